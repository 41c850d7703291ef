"""How Maven orders versions: ``org.apache.maven.artifact.versioning.ComparableVersion`` of 3.8.

A version is a list of numbers and qualifiers; a hyphen, or a change between digits and
other characters, opens a list inside the list, always as its last item. So a version is kept
as a chain of flat lists, and no version however long needs recursion.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cmp_to_key

_QUALIFIERS = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_ALIASES = {"ga": "", "final": "", "release": "", "cr": "rc"}
_LETTERS = {"a": "alpha", "b": "beta", "m": "milestone"}
_LONG = 1000
_RELEASE = str(_QUALIFIERS.index("")).encode("utf-16-be")

#: A number: (class by its length, value); a qualifier: its sort text in UTF-16, as Java compares.
_Item = tuple[int, int] | bytes
_Chain = list[list[_Item]]


def _number(digits: str) -> _Item:
    """Java picks int, long or BigInteger by the length without leading zeros."""
    digits = digits.lstrip("0") or digits
    size = (len(digits) > 9) + (len(digits) > 18)
    if len(digits) < _LONG:
        return size, int(digits)
    # Python reads so many digits in quadratic time, or not at all. Those of ASCII order by their
    # bytes as by their value, and more of them are larger than any number read as one.
    plain = "".join(str(int(char)) for char in digits).lstrip("0")
    return size, int(plain or "0") if len(plain) < _LONG else int.from_bytes(plain.encode(), "big")


def _qualifier(text: str, *, before_digit: bool) -> _Item:
    if before_digit:
        text = _LETTERS.get(text, text)
    text = _ALIASES.get(text, text)
    known = text in _QUALIFIERS
    key = str(_QUALIFIERS.index(text)) if known else f"{len(_QUALIFIERS)}-{text}"
    return key.encode("utf-16-be", "surrogatepass")


def _is_digit(char: str) -> bool:
    return char.isdecimal() and char < "\U00010000"


def parse(version: str) -> _Chain:
    """The chain of ``version``, without what counts as nothing (``1.0.0-ga`` is ``1``)."""
    text = version.lower()
    chain: _Chain = [[]]
    start, digits = 0, False

    def item(end: int) -> _Item:
        if end == start:
            return 0, 0
        piece = text[start:end]
        return _number(piece) if digits else _qualifier(piece, before_digit=False)

    for at, char in enumerate(text):
        if char in ".-":
            chain[-1].append(item(at))
            start = at + 1
            if char == "-":
                chain.append([])
        elif _is_digit(char):
            if not digits and at > start:
                if chain[-1]:
                    chain.append([])
                chain[-1].append(_qualifier(text[start:at], before_digit=True))
                start = at
                chain.append([])
            digits = True
        else:
            if digits and at > start:
                chain[-1].append(item(at))
                start = at
                chain.append([])
            digits = False
    if len(text) > start:
        if not digits and chain[-1]:
            chain.append([])
        chain[-1].append(item(len(text)))
    return _normal(chain)


def _normal(chain: _Chain) -> _Chain:
    """Zeros and release qualifiers at the end of each list count as nothing."""
    kept: _Chain = []  # innermost first
    for items in reversed(chain):
        while items and _is_null(items[-1]):
            items.pop()
        if items or kept:
            kept.append(items)
    return kept[::-1]


def _is_null(item: _Item) -> bool:
    return item == _RELEASE if isinstance(item, bytes) else item[1] == 0


def _with_nothing(item: _Item) -> int:
    if isinstance(item, bytes):
        return (item > _RELEASE) - (item < _RELEASE)
    return int(item[1] != 0)


def _rest_with_nothing(chain: _Chain, level: int) -> int:
    for items in chain[level:]:
        for item in items:
            if found := _with_nothing(item):
                return found
    return 0


def _two(left: _Item, right: _Item) -> int:
    """A number is newer than a qualifier."""
    if isinstance(left, bytes) or isinstance(right, bytes):
        if isinstance(left, bytes) and isinstance(right, bytes):
            return (left > right) - (left < right)
        return -1 if isinstance(left, bytes) else 1
    return (left > right) - (left < right)


def _compare(left: _Chain, right: _Chain) -> int:
    level = 0
    while level < len(left) and level < len(right):
        ours, theirs = left[level], right[level]
        for one, other in zip(ours, theirs, strict=False):
            if found := _two(one, other):
                return found
        if len(ours) != len(theirs):
            return _uneven(left, right, level)
        level += 1
    return _rest_with_nothing(left, level) - _rest_with_nothing(right, level)


def _uneven(left: _Chain, right: _Chain, level: int) -> int:
    """What remains where one flat list is longer: the other has its inner list there, or nothing.

    A number is newer than a list, a list is newer than a qualifier.
    """
    if len(left[level]) < len(right[level]):
        return -_uneven(right, left, level)
    start = len(right[level])
    rest = left[level][start:]
    if level + 1 < len(right):
        return -1 if isinstance(rest[0], bytes) else 1
    for item in rest:
        if found := _with_nothing(item):
            return found
    return _rest_with_nothing(left, level + 1)


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as ``ComparableVersion.compareTo``."""
    return _compare(parse(left), parse(right))


def in_order(versions: Iterable[str]) -> list[str]:
    """Oldest first. Versions that Maven takes for equal stand in the order of their text."""
    texts = sorted(versions)
    if len(texts) < 2:
        return texts
    chains = {text: parse(text) for text in texts}

    def order(left: str, right: str) -> int:
        return _compare(chains[left], chains[right])

    return sorted(texts, key=cmp_to_key(order))
