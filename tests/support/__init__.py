"""Real programs for tests: packages, repositories, daemons and clients.

Nothing here imitates a protocol where a small real thing can run instead.
Every server listens on 127.0.0.1 only and is stopped by its process id.
"""
