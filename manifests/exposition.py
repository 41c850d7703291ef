"""Measurements as text for Prometheus: its text exposition format, version 0.0.4. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Family:
    """One metric with all its samples. ``kind`` is ``gauge`` or ``counter``; names, kinds
    and help are ours, values of labels may be any text."""

    name: str
    kind: str
    help: str
    samples: list[tuple[Mapping[str, str], int]] = field(default_factory=list)

    def add(self, value: int | None, /, **labels: str) -> None:
        """One sample; nothing for None, since a value that is not known is left out."""
        if value is not None:
            self.samples.append((labels, value))


def render(families: Iterable[Family]) -> str:
    """The whole text. A family without samples is left out."""
    return "".join(line for family in families if family.samples for line in _lines(family))


def _lines(family: Family) -> Iterable[str]:
    yield f"# HELP {family.name} {_escape(family.help)}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    for labels, value in family.samples:
        shown = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels.items())
        yield f"{family.name}{{{shown}}} {value}\n" if shown else f"{family.name} {value}\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    # A lone surrogate cannot be written as UTF-8.
    return _escape(text).replace('"', '\\"').encode("utf-8", "replace").decode()
