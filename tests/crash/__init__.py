"""Crash tests: what is on disk after a kill, a power cut, or a disk that refuses."""
