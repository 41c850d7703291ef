"""Which Sluice this is."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
"""Semantic version of the program; wire, store, ledger and zone.yaml have their own."""

WRITER: Final = f"sluice {VERSION}"
"""How manifests name the program that wrote them."""
