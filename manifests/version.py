"""Which Sluice this is. Every process loads it first, so it imports nothing."""

VERSION = "0.1.0"
"""Semantic version of the program; wire, store, ledger and zone.yaml have their own."""

WRITER = f"sluice {VERSION}"
"""How manifests name the program that wrote them."""
