"""A POM says the same whether it is read in one go or step by step."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import FormatError
from manifests.formats.maven import pom

NAMES = ["project", "parent", "groupId", "artifactId", "version", "packaging", "x:version",
         "distributionManagement", "relocation", "dependencies", "description"]  # fmt: skip
TEXTS = ["", "a", " b ", "&amp;", "&eacute;", "&no;", "<!-- c -->", "d<?pi x?>e", "<![CDATA[f]]>",
         "\n ", "é", "&#65;", "<", "&#0;", "<!DOCTYPE x>"]  # fmt: skip
HEADS = ["", '<?xml version="1.0"?>', "<?xml version='1.0' encoding='UTF-8'?>\n",
         '<?xml version="1.0" encoding="ISO-8859-1"?>', '<?xml version="1.0" encoding="utf-16"?>',
         '<?xml version="1.0" encoding="UTF-8" standalone="no" ?>', "\ufeff", "\n",
         '<!DOCTYPE project [<!ENTITY a "b">]>']  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    def element(depth: int, name: str) -> str:
        inner = draw(st.sampled_from(TEXTS[:12] if draw(st.booleans()) else TEXTS))
        if depth < 5:
            for child in draw(st.lists(st.sampled_from(NAMES), max_size=2)):
                inner += element(depth + 1, child) + draw(st.sampled_from(TEXTS[:3]))
        end = name if draw(st.integers(0, 60)) else "other"
        return f"<{name}>{inner}</{end}>"

    space = draw(st.sampled_from(["", ' xmlns="u" xmlns:x="v"', ' xmlns:x="v"']))
    body = element(1, "project" if draw(st.integers(0, 9)) else "html").replace(">", f"{space}>", 1)
    after = draw(st.sampled_from(["", "\n", "<!-- end -->", "x"]))
    head = draw(st.sampled_from(HEADS))
    return (head + body + after).encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-16"])))


def verdict(data: bytes) -> object:
    try:
        return pom.parse(data, "x.pom")
    except FormatError as error:
        return type(error), str(error)


@settings(max_examples=200, deadline=None)
@given(documents())
def test_both_ways_of_reading_say_the_same(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        quick = verdict(data)
        patch.setattr(pom, "_SMALL", -1)
        assert quick == verdict(data)


@pytest.mark.parametrize("depth", [2, 63, 64, 65, 2000])
def test_depth_is_judged_alike(depth: int) -> None:
    names = ["project", *(f"e{n}" for n in range(depth - 1))]
    data = "".join(f"<{name}>" for name in names) + "".join(f"</{name}>" for name in names[::-1])
    with pytest.MonkeyPatch.context() as patch:
        quick = verdict(data.encode())
        patch.setattr(pom, "_SMALL", -1)
        assert quick == verdict(data.encode())


def test_most_poms_are_read_in_one_go() -> None:
    """What is meant to be the exception must not become the rule without anybody noticing."""
    lines = [f"<dependency><version>{random.Random(n).random()}</version></dependency>"
             for n in range(20)]  # fmt: skip
    body = f"<project><parent><version>1</version></parent>{''.join(lines)}</project>"
    for head in HEADS[:3]:
        assert pom._at_once((head + body).encode()) is not None
