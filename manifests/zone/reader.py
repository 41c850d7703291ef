"""Typed reading of YAML nodes; every mistake becomes a ConfigError with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml

from manifests.cron import Cron, parse_cron
from manifests.errors import ConfigError
from manifests.units import parse_duration, parse_percent, parse_rate, parse_size
from manifests.zone.yamltext import place

T = TypeVar("T")
D = TypeVar("D")

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Names of repositories and streams; they become URL segments and file names."""
_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")
_WEEK = 7 * 86400.0
_TAG = "tag:yaml.org,2002:"
_SECRETS = frozenset({"password", "passwd", "passphrase", "secret", "token", "ledger_password"})


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean `x`? `` or nothing, and then all that is known."""
    options = sorted(known)
    close = difflib.get_close_matches(word[:100], options, n=1, cutoff=0.5)
    hint = f"did you mean `{close[0]}`? " if close else ""
    return f"{hint}known here: {', '.join(options) or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Value:
    """One value of zone.yaml with its dotted path and its line (from 1)."""

    node: yaml.Node
    path: str
    line: int

    def fail(self, what: str, remedy: str) -> NoReturn:
        """Raise the ConfigError of this line."""
        raise ConfigError(what, where=place(self.line), remedy=remedy)

    @property
    def is_null(self) -> bool:
        """Nothing was written, or ``null`` or ``~``."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == _TAG + "null"

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    def _scalar(self, tags: Collection[str], kind: str, remedy: str) -> str:
        if self.is_null:
            self.fail(f"`{self.path}` has no value", f"{remedy}, or remove the line")
        if not isinstance(self.node, yaml.ScalarNode):
            shape = "a list" if self.is_list else "a mapping"
            self.fail(f"`{self.path}` must be {kind}, not {shape}", remedy)
        found = str(self.node.tag).removeprefix(_TAG)
        if found not in tags:
            self.fail(f"`{self.path}` must be {kind}, not {_KINDS.get(found, found)}", remedy)
        return str(self.node.value)

    def text(self) -> str:
        """A string of at least one and at most 4096 printable characters."""
        text = self._scalar(("str",), "text", "write text; put it in quotes")
        if not text.strip():
            self.fail(f"`{self.path}` is empty", "write a value, or remove the line")
        if len(text) > 4096 or not text.isprintable():
            self.fail(
                f"`{self.path}` has control characters, or more than 4096 characters",
                "write one line of plain text",
            )
        return text

    def matching(self, pattern: re.Pattern[str], remedy: str) -> str:
        """Text that the whole of ``pattern`` matches."""
        text = self.text()
        if not pattern.fullmatch(text):
            self.fail(f"`{self.path}` cannot be {text[:80]!r}", remedy)
        return text

    def name(self) -> str:
        """The name of a repository or stream, as written (``1.10`` stays ``1.10``)."""
        text = self._scalar(tuple(_KINDS), "a name", "write a name")
        self.check_name(text)
        return text

    def check_name(self, text: str) -> None:
        """Raise unless ``text`` may name a repository or a stream."""
        if not NAME.fullmatch(text):
            self.fail(
                f"{text[:80]!r} in `{self.path}` is not a name",
                "use 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit",
            )

    def choice(self, options: Collection[str]) -> str:
        """One of ``options``."""
        text = self._scalar(("str", "bool"), "a word", f"write one of: {_listed(options)}")
        if text not in options:
            self.fail(f"`{self.path}` cannot be {text[:80]!r}", nearest(text, options))
        return text

    def boolean(self) -> bool:
        """``true`` or ``false``; not YAML's older ``yes``, ``on`` and the like."""
        remedy = "write true or false"
        text = self._scalar(("bool",), "true or false", remedy)
        if text not in ("true", "false"):
            self.fail(f"`{self.path}` must be true or false, not {text!r}", remedy)
        return text == "true"

    def integer(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        remedy = f"write a whole number from {low} to {high}, without quotes"
        text = self._scalar(("int",), "a whole number", remedy)
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            self.fail(f"`{self.path}` cannot be {text[:80]}", remedy)
        return int(text)

    def _unit(self, parse: Callable[[str], T], kind: str, example: str) -> T:
        text = self._scalar(("str", "int"), kind, f"write {kind} such as {example}")
        try:
            return parse(text)
        except ConfigError as error:
            self.fail(f"`{self.path}`: {error.what}", error.remedy)

    def size(self, low: int = 0) -> int:
        """Bytes, at least ``low``."""
        count = self._unit(parse_size, "a size", "64MiB")
        if count < low:
            self.fail(f"`{self.path}` is less than {low} bytes", f"write at least {low}")
        return count

    def rate(self) -> int:
        """Bytes a second, at least 1024 (rsync counts no finer)."""
        count = self._unit(parse_rate, "a rate", "10MiB or 800Mbit")
        if count < 1024:
            self.fail(f"`{self.path}` is below 1KiB a second", "write a rate such as 10MiB")
        return count

    def duration(self) -> float:
        """Seconds."""
        return self._unit(parse_duration, "a duration", "30s, 15m, 6h or 30d")

    def positive(self) -> float:
        """Seconds, more than 0."""
        seconds = self.duration()
        if seconds <= 0:
            self.fail(f"`{self.path}` must be more than 0", "write a duration such as 60s")
        return seconds

    def timeout(self) -> float:
        """Seconds to wait on a connection, more than 0 and at most a week.

        The kernel counts them in milliseconds of 32 bits.
        """
        seconds = self.positive()
        if seconds > _WEEK:
            self.fail(f"`{self.path}` is more than a week", "write a duration such as 60s")
        return seconds

    @property
    def is_never(self) -> bool:
        """The word ``never`` was written."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.value == "never"

    def cron(self) -> Cron:
        """Times of day as crontab writes them."""
        text = self.text()
        try:
            return parse_cron(text)
        except ConfigError as error:
            self.fail(f"`{self.path}`: {error.what}", error.remedy)

    def percent(self) -> float:
        """A fraction from 0.0 to 1.0."""
        return self._unit(parse_percent, "a percentage", "30%")

    def file(self, folder: Path) -> Path:
        """A path, taken relative to ``folder``."""
        text = self.text()
        if text.startswith("~") or "://" in text:
            self.fail(
                f"`{self.path}` is not a plain path: {text[:80]!r}",
                "write a path from / or relative to the zone's folder",
            )
        return folder / text

    def items(self) -> tuple[Value, ...]:
        """The values of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail(f"`{self.path}` must be a list", "write it as [first, second]")
        return tuple(
            Value(node, f"{self.path}[{number}]", node.start_mark.line + 1)
            for number, node in enumerate(self.node.value)
        )

    def some(self, read: Callable[[Value], T]) -> tuple[T, ...]:
        """A list of one or more different values."""
        result: list[T] = []
        for item in self.items():
            value = read(item)
            if value in result:
                item.fail(f"`{item.path}` repeats an earlier value", "remove one of the two")
            result.append(value)
        if not result:
            self.fail(f"`{self.path}` is an empty list", "name at least one, or remove the line")
        return tuple(result)

    def one_or_some(self, read: Callable[[Value], T]) -> tuple[T, ...]:
        """A single value, or a list of one or more."""
        return self.some(read) if self.is_list else (read(self),)

    def entries(self) -> dict[str, Value]:
        """A mapping, keys as written; nothing written is an empty one.

        Raises ConfigError: not a mapping, a key that is not plain text, a key twice.
        """
        if self.is_null:
            return {}
        label = f"`{self.path}`" if self.path else "the file"
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(f"{label} must be a mapping", "write `key: value` lines, indented below it")
        result: dict[str, Value] = {}
        for key, node in self.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                Value(key, self.path, line).fail(
                    f"a key in {label} is not plain text", "write a name before the colon"
                )
            word = str(key.value)
            value = Value(node, f"{self.path}.{word[:80]}".lstrip("."), line)
            if word in result:
                value.fail(
                    f"`{value.path}` is written twice, first in line {result[word].line}",
                    "remove one of the two",
                )
            result[word] = value
        return result

    def named(self, read: Callable[[str, Value], T]) -> dict[str, T]:
        """A mapping from names (see ``name``) to what ``read`` makes of each entry."""
        result: dict[str, T] = {}
        for name, value in self.entries().items():
            value.check_name(name)
            result[name] = read(name, value)
        return result

    def section(self, known: Collection[str], elsewhere: Mapping[str, str]) -> Section:
        """A mapping whose keys are all ``known``; ``elsewhere`` says where others belong."""
        entries = self.entries()
        for word, value in entries.items():
            if word in known:
                continue
            if word in _SECRETS:
                value.fail(
                    f"`{value.path}`: a secret may not stand in zone.yaml",
                    "write it to a file that only Sluice may read, and name that file: "
                    + ("ledger_password_file" if not self.path else "password_file"),
                )
            if word in elsewhere:
                value.fail(
                    f"`{value.path}` belongs {elsewhere[word]}",
                    f"remove it here; {nearest('', known)}",
                )
            value.fail(f"`{value.path}` is not a known key", nearest(word, known))
        return Section(self, entries)


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping whose keys were checked."""

    value: Value
    entries: Mapping[str, Value]

    def get(self, key: str, read: Callable[[Value], T], default: D) -> T | D:
        """The value of ``key`` by ``read``; ``default`` if it is not written."""
        found = self.entries.get(key)
        return default if found is None else read(found)

    def need(self, key: str, read: Callable[[Value], T], example: str) -> T:
        """The value of ``key``, which must be written."""
        found = self.entries.get(key)
        if found is None:
            label = f"`{self.value.path}`" if self.value.path else "the file"
            self.value.fail(f"{label} lacks the key `{key}`", f"add `{key}: {example}`")
        return read(found)

    def at(self, key: str) -> Value:
        """Where to report a mistake about ``key``."""
        return self.entries.get(key, self.value)


_KINDS = {
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "timestamp": "a date",
}


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
