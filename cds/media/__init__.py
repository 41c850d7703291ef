"""Parts as files on volumes that a person carries: any order, any number of media.

A volume is a folder: part files, ``SHA256SUMS`` for ``sha256sum -c``, and ``LABEL.txt``. It
lies below the stream's folder, or, on a medium of its own, is that folder itself.
"""

from cds.media.intake import Intake, VolumeSeen
from cds.media.outbox import Begun, MediaOutbox
from cds.media.volume import Label, Next

__all__ = ["Begun", "Intake", "Label", "MediaOutbox", "Next", "VolumeSeen"]
