"""Speeds and memory as ratios against named peers: ``python -m bench``, see ``common``."""
