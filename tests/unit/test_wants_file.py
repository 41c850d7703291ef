"""The wants file: what a reader refuses, and what is never written."""

import pytest

from manifests.errors import UsageError
from manifests.wants import (
    MAX_BYTES,
    MAX_WANT,
    MAX_WANTS,
    Want,
    escaped,
    ignored,
    is_want,
    read,
    write,
)

GOOD = b"sluice-wants 1 hq\ncentral org.example:lib:1.0\nvendor a%20b/%C3%A9+c\n"


def test_one_line_for_each_want_and_nothing_else() -> None:
    wants = [Want("vendor", "a b/é+c"), Want("central", "org.example:lib:1.0")]
    assert write("hq", [*wants, wants[0]]) == GOOD
    file = read(GOOD, "wants.txt")
    assert (file.stream, file.wants) == ("hq", tuple(sorted(wants)))
    assert read(b"sluice-wants 1 hq\n", "x").wants == ()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cut short"),
        (GOOD[:-1], "cut short"),
        (b"\n", "line 1: not a wants file"),
        (b"sluice-wants 1 HQ\n", "line 1"),
        (b"sluice-wants 1 a..b\n", "line 1"),
        (b"sluice-wants 01 hq\n", "line 1"),
        (b"sluice-wants 2 hq\n", "version 2"),
        (GOOD.replace(b"\n", b"\r\n"), "line 1"),
        (b"\xef\xbb\xbf" + GOOD, "line 1: a byte that is not ASCII"),
        (GOOD.replace(b"%C3%A9", "é".encode()), "line 3: a byte that is not ASCII"),
        (GOOD.replace(b"%C3", b"%c3"), "line 3: a want that is not written"),
        (GOOD.replace(b"%A9", b"%41"), "line 3: an escape that is not UTF-8"),
        (GOOD.replace(b"%20", b" "), "line 3: a want that is not written"),
        (GOOD.replace(b"%20", b"%0a"), "line 3"),
        (GOOD.replace(b"%20", b"%E2%80%A8"), "line 3"),
        (GOOD.replace(b"lib", b"%6Cib"), "line 2: a want that is not written"),
        (GOOD.replace(b"central", b"Central"), "line 2: not REPOSITORY"),
        (GOOD.replace(b"central ", b"central"), "line 2: not REPOSITORY"),
        (GOOD.replace(b"org.example:lib:1.0", b""), "line 2: a want"),
        (GOOD.replace(b"central", b"zentral"), "line 3: lines that are not in order"),
        (GOOD + GOOD.splitlines()[-1] + b"\n", "line 4: lines that are not in order, or twice"),
        (GOOD + b"\n", "line 4"),
        (GOOD + b"x" * MAX_BYTES, "larger"),
        (b"sluice-wants 1 hq\nc " + b"x" * (MAX_WANT + 1) + b"\n", "line 2"),
        (b"sluice-wants 1 hq\n" + b"".join(b"c %05d\n" % n for n in range(MAX_WANTS + 1)), "more"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_its_line(data: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(data, "wants.txt")
    assert says in str(caught.value) and str(caught.value).startswith("wants.txt")
    assert caught.value.remedy


def test_a_file_never_grows_beyond_what_a_reader_takes() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        write("hq", [Want("c", str(n)) for n in range(MAX_WANTS + 1)])
    with pytest.raises(UsageError, match="do not fit"):
        write("hq", [Want("c", f"{n:05}" + "é" * 500) for n in range(1000)])


def test_what_may_be_kept() -> None:
    for what in ("", "a\nb", "a\x85b", "a\u2028b", "\ud800", "x" * (MAX_WANT + 1), "é" * 513):
        assert not is_want(what)
    assert is_want("é" * 512) and is_want("a b") and is_want("<script>")
    assert escaped("a b<\u202e>") == "a%20b%3C%E2%80%AE%3E"


def test_names_of_ours_stay_inside_however_they_are_written() -> None:
    globs = ("com.corp*", "*:secret-*")
    for what in ("com.corp:app:1", "com.corp.net:x:1", "com/corp/app/1/app-1.jar",
                 "COM.Corp:app:1", "org.example:secret-plan:1"):  # fmt: skip
        assert ignored(what, globs), what
    assert not ignored("org.example:com.corp:1", globs)
    assert not ignored("com.corp:app:1", ())
