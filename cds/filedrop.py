"""The file drop: an outbox that a guard empties or mirrors, an inbox that it fills.

What a guard may do to either is in the two modules' texts.
"""

from cds.inbox import FileInbox
from cds.outbox import FileOutbox

__all__ = ["FileInbox", "FileOutbox"]
