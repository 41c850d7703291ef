"""Advisories limited to the packages that a repository holds."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from manifests.errors import MalformedIndex, OversizedIndex
from manifests.formats import xmlstream
from manifests.formats.yum.repomd import shown

_MAX_UPDATE = 64 << 20
_NAME = re.compile(r"[^\W\d]")


class _Rewriter:
    """Copies the elements of each ``update`` except packages that are not there."""

    deepest = xmlstream.MAX_DEPTH

    def __init__(self, present: Container[str], where: str) -> None:
        self._present = present
        self._where = where
        self._parts: list[str] = []
        self._length = 0
        self._package = -1
        self._nevra = ""
        self._kept = 0
        self.done: list[str] = []

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        if depth == 1:
            if name != "updates":
                raise MalformedIndex(f"the root is <{shown(name)}>", where=self._where)
            return
        if depth == 2:
            self._parts, self._length, self._kept, self._package = [], 0, 0, -1
        if name == "package" and self._package < 0:
            self._package = len(self._parts)
            get = attributes.get
            self._nevra = (
                f"{get('name', '')}-{get('epoch') or '0'}:{get('version', '')}"
                f"-{get('release', '')}.{get('arch', '')}"
            )
        if not _NAME.match(name):
            # A parser that knows no namespaces takes `a:5`; without its prefix that is no name.
            raise MalformedIndex(f"an element that has no name: <{shown(name)}>", where=self._where)
        # Prefixes are declared in the outermost element, which is not copied; no client needs any.
        written = "".join(
            f" {key}={quoteattr(value)}" for key, value in attributes.items() if ":" not in key
        )
        self._add(f"<{name}{written}>")

    def end(self, depth: int, name: str, text: str) -> None:
        if depth == 1:
            return
        self._add(f"{escape(text.strip())}</{name}>")
        if name == "package" and self._package >= 0:
            if self._nevra in self._present:
                self._kept += 1
            else:
                del self._parts[self._package :]
            self._package = -1
        if depth == 2 and self._kept and name == "update":
            self.done.append("".join(self._parts) + "\n")

    def _add(self, part: str) -> None:
        self._length += len(part)
        if self._length > _MAX_UPDATE:
            raise OversizedIndex("one advisory of more than 64 MiB", where=self._where)
        self._parts.append(part)


def limited(chunks: Iterable[bytes], present: Container[str], where: str) -> Iterator[bytes]:
    """updateinfo.xml with the advisories that concern ``present`` (NEVRAs with epoch).

    An advisory that concerns none of them is left out. Raises FormatError.
    """
    sink = _Rewriter(present, where)
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n'
    for _ in xmlstream.read(chunks, sink, where):
        yield from (each.encode() for each in sink.done)
        sink.done.clear()
    yield b"</updates>\n"
