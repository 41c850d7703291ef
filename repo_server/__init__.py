"""HTTP: gate, routing, bodies, listings.

``serve(Settings(store=..., serve=zone.serve, keys=...))`` serves a store until SIGTERM.
"""

from repo_server.misses import Miss
from repo_server.settings import Limits, Settings
from repo_server.supervisor import Server, serve

__all__ = ["Limits", "Miss", "Server", "Settings", "serve"]
