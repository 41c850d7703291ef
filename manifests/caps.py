"""How large signed metadata may be.

Apart from what reads it: settings and the server know of bundles, and load no TUF for that.
"""

from __future__ import annotations

from typing import Final

MAX_DOCUMENT: Final = 512 * 1024
"""Bytes of one signed document."""
MAX_CHAIN: Final = 1024
"""Root documents in one chain."""
MAX_CHAIN_BYTES: Final = 16 * 1024 * 1024
"""Bytes of all root documents of one chain."""
