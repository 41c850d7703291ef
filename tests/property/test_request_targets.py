"""What a request target may decode to, and what a tree of any content answers."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import BadPath
from manifests.tree import check_path
from repo_server.target import parse_target
from tests.support.soaking import examples

_pieces = st.sampled_from(
    ["/", "..", ".", "%", "%2e", "%2E", "%2f", "%5c", "%00", "%25", "%ff", "a", "+", "~", "^", "\\",
     "?", "#", "http://x", "é", "%c3%a9", " ", "\x00", "\x7f", "\udcff"]
)  # fmt: skip


def _good(text: str) -> bool:
    try:
        check_path(text)
    except BadPath:
        return False
    return True


@given(st.lists(_pieces, max_size=12).map("".join))
@settings(max_examples=examples(1000))
def test_no_target_leads_out_of_the_tree(raw: str) -> None:
    target = parse_target("/" + raw)
    if target is None:
        return
    assert target.path.startswith("/")
    assert not {".", ".."} & set(target.path.split("/"))
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in target.path)
    (target.path + target.query).encode()  # it is UTF-8


@given(st.text(min_size=1, max_size=60).filter(_good), st.sampled_from(["", "/", "+~^", "%"]))
@settings(max_examples=examples(500))
def test_every_path_of_a_tree_has_its_url(path: str, safe: str) -> None:
    if safe == "%":
        url = "".join(f"%{byte:02x}" for byte in path.encode())  # everything escaped
    else:
        url = quote(path, safe=safe)
    target = parse_target(f"/yum/r/{url}?x=%zz")
    assert target is not None
    assert target.path == f"/yum/r/{path}"
    assert target.query == "x=%zz"


def test_percent_signs_are_decoded_once() -> None:
    assert parse_target("/a%252e%252e/b").path == "/a%2e%2e/b"  # type: ignore[union-attr]
    assert parse_target("/c++").path == "/c++"  # type: ignore[union-attr]


def test_a_proxy_may_send_the_whole_url() -> None:
    assert parse_target("http://mirror.example.org:80/yum/r/x").path == "/yum/r/x"  # type: ignore[union-attr]
    assert parse_target("http://mirror.example.org").path == "/"  # type: ignore[union-attr]


def test_what_is_no_path_is_refused() -> None:
    for raw in ("", "*", "x", "/%", "/%4", "/%zz", "/%ff", "/%00", "/a%0d%0ab", "/a/../b", "/a#b"):
        assert parse_target(raw) is None, raw
