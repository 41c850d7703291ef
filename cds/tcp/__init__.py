"""Parts as frames on a TCP connection that only the sender opens and nobody answers on.

The sender needs no byte back and reads none, so a relay that passes bytes one way is
enough between the two. ``frames`` is the one file that both halves share and that owns
the format; docs/design.md describes it for strangers.
"""

from cds.tcp.receiver import Listener
from cds.tcp.sender import TcpOutlet

__all__ = ["Listener", "TcpOutlet"]
