"""YAML text to nodes that know their line, with everything surprising refused.

YAML 1.1 as PyYAML's safe scanner and parser read it, without aliases, anchors
(which can blow up a small file), tags (which can name types) and more than one
document. Keys and values stay as they were written: a repository may be called
``no`` or ``1.10``.
"""

from __future__ import annotations

from typing import Any

import yaml

from manifests.errors import ConfigError

FILE_NAME = "zone.yaml"
MAX_BYTES = 1 << 20
"""Largest zone.yaml, in bytes; thousands of repositories fit."""
MAX_DEPTH = 16
"""Deepest nesting; the deepest setting lies at 5."""


def place(line: int) -> str:
    """How every message names a line (counted from 1) of zone.yaml."""
    return f"{FILE_NAME} line {line}"


def check_size(length: int) -> None:
    """Raise ConfigError if ``length`` (bytes or, as a lower bound, characters) is too much."""
    if length > MAX_BYTES:
        raise ConfigError(
            f"the file is larger than {MAX_BYTES:,} bytes",
            where=FILE_NAME,
            remedy="is this the right file? A zone.yaml is a few kilobytes",
        )


def compose(text: str) -> yaml.Node | None:
    """The root node of the only document in ``text``; None if it is empty.

    Raises ConfigError: too large, not YAML, aliases, anchors, tags, too deep,
    more than one document.
    """
    check_size(len(text))
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "not readable"
        begun = error.context_mark
        if begun is not None and mark is not None and begun.line != mark.line:
            # An unclosed bracket or quote is noticed only where something else begins.
            reason = f"{reason}, {error.context} that begins in line {begun.line + 1}"
        raise ConfigError(
            f"this is not YAML: {reason}",
            where=place(mark.line + 1) if mark else FILE_NAME,
            remedy="check indentation (spaces only), colons, quotes and brackets near this line",
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            "this line has a character that YAML does not allow",
            where=place(line),
            remedy="remove control characters; save the file as UTF-8 text",
        ) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML passes on ValueError for escapes such as "\UFFFFFFFF".
        raise ConfigError(
            "this is not YAML: a number or an escape is out of range",
            where=FILE_NAME,
            remedy="look for a %YAML line or a backslash in double quotes, and remove it",
        ) from error


class _Loader(yaml.SafeLoader):
    """Composes nodes only; nothing is ever constructed."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ConfigError(
                "aliases (*name) and anchors (&name) are not allowed",
                where=place(line),
                remedy="write the value out; put it in quotes if it begins with * or &",
            )
        if getattr(event, "tag", None) is not None:
            raise ConfigError(
                "tags (!name) are not allowed",
                where=place(line),
                remedy="remove the tag; put the value in quotes if it begins with !",
            )
        if self._depth >= MAX_DEPTH:
            raise ConfigError(
                f"nested deeper than {MAX_DEPTH} levels",
                where=place(line),
                remedy="no setting lies so deep; look for a bracket too many",
            )
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1
