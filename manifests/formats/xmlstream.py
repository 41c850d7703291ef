"""Streaming XML without entities.

Expat reads the bytes; a document type, an entity declaration or an external
reference ends the reading (XML 1.0, sections 2.8, 4.2 and 4.4). Depth, the size of one
token (a start tag with its attributes, a comment) and the text of one element
are capped, so memory stays flat for a document of any length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NoReturn, Protocol
from xml.parsers import expat

from manifests.errors import ForbiddenXml, MalformedIndex, OversizedIndex

MAX_DEPTH = 64
MAX_TOKEN = 1 << 20
MAX_TEXT = 1 << 20


class Sink(Protocol):
    """Receives the elements down to the depth ``deepest``; the root has depth 1.

    Names come without their namespace prefix. ``text`` is the character data of
    an element without children, else empty.
    """

    deepest: int

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None: ...
    def end(self, depth: int, name: str, text: str) -> None: ...


class _Reader:
    def __init__(self, sink: Sink, where: str) -> None:
        self._sink = sink
        self._deepest = sink.deepest
        self._where = where
        self._depth = 0
        self._text: list[str] = []
        self._length = 0
        self._listening = False
        self._fed = 0
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._forbidden
        parser.EntityDeclHandler = self._forbidden
        parser.ExternalEntityRefHandler = self._forbidden
        parser.SkippedEntityHandler = self._forbidden
        self._parser = parser

    def feed(self, data: bytes, *, final: bool = False) -> None:
        try:
            self._parser.Parse(data, final)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise MalformedIndex(f"not well-formed XML ({error})", where=self._where) from error
        self._fed += len(data)
        if self._fed - max(self._parser.CurrentByteIndex, 0) > MAX_TOKEN and not final:
            raise OversizedIndex("an XML token of more than 1 MiB", where=self._where)

    def _listen(self, wanted: bool) -> None:
        """Text is asked for only inside elements that matter: most of it is indentation."""
        self._listening = wanted
        self._parser.CharacterDataHandler = self._characters if wanted else None
        self._text.clear()
        self._length = 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth = depth = self._depth + 1
        if depth > self._deepest:
            if self._listening:
                self._listen(False)
            if depth > MAX_DEPTH:
                raise OversizedIndex(f"XML deeper than {MAX_DEPTH} elements", where=self._where)
            return
        self._listen(True)
        self._sink.start(depth, name.rpartition(":")[2], attributes)

    def _end(self, name: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        if depth > self._deepest:
            return
        text = "".join(self._text)
        if self._listening:
            self._listen(False)
        self._sink.end(depth, name.rpartition(":")[2], text)

    def _characters(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_TEXT:
            raise OversizedIndex("an XML element with more than 1 MiB of text", where=self._where)
        self._text.append(text)

    def _forbidden(self, *_: object) -> NoReturn:
        raise ForbiddenXml("a document type or an entity in XML", where=self._where)


def read(chunks: Iterable[bytes], sink: Sink, where: str) -> Iterator[None]:
    """Feed ``chunks`` to ``sink``; yields after each, so that its findings can be drained.

    Raises ForbiddenXml, OversizedIndex and MalformedIndex.
    """
    reader = _Reader(sink, where)
    for chunk in chunks:
        reader.feed(chunk)
        yield
    reader.feed(b"", final=True)
    yield
