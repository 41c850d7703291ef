"""A want on its way: missed inside, listed, carried out, and made a root outside."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from store.ledger import Ledger
from store.seam import Seam
from tests.support import tools
from tests.support.zones import Serving, Zones

UPSTREAM = "https://repo.example.org/maven2/"
CENTRAL = {"format": "maven", "upstream": UPSTREAM}


def ask(server: Serving, path: str) -> int:
    try:
        with urllib.request.urlopen(server.url + path, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def noted(zones: Zones) -> list[dict[str, Any]]:
    found: dict[str, Any] = json.loads(zones.within("wants", "--json").out)
    assert found["version"] == 1
    wants: list[dict[str, Any]] = found["wants"]
    return wants


@pytest.fixture
def zones(tmp_path: Path) -> Zones:
    source = tmp_path / "tools"
    source.mkdir()
    (source / "here.txt").write_text("here")
    made = Zones(
        tmp_path / "zones",
        {"tools": {"format": "files", "upstream": source.as_uri() + "/"}, "central": CENTRAL},
    )
    inbox = {"carrier": "file", "inbox": "inbox", "root": "trust/root.json", "settle": "0s",
             "rename": {"tools": "our-tools"}}  # fmt: skip
    made.configure_inside(
        streams={"hq": inbox}, wants={"ignore": ["corp*"]}, serve={"groups": {"all": "our-tools"}}
    )
    return made


@pytest.fixture
def crossed(zones: Zones) -> Zones:
    """With something that is served inside."""
    zones.cross("tools")
    return zones


def test_a_miss_becomes_a_want_and_leaves_as_one_plain_line(crossed: Zones, tmp_path: Path) -> None:
    with crossed.serving() as server:
        for path in ("missing.zip", "missing.zip", "a%20b", "corp/secret.zip", "here.txt"):
            ask(server, f"/files/our-tools/{path}")
        ask(server, "/files/all/missing.zip")  # a want belongs to a repository, not to a group
        ask(server, "/files/unknown/x")
    found = noted(crossed)
    assert [(each["repository"], each["want"], each["count"]) for each in found] == [
        ("our-tools", "missing.zip", 3), ("our-tools", "a b", 1),
    ]  # fmt: skip
    assert crossed.status()["wants"] == 2
    assert "a%20b" in crossed.within("wants").out
    target = tmp_path / "wants.txt"
    said = crossed.within("wants", "export", target)
    assert "2 wants for stream hq" in said.out
    assert target.read_bytes() == b"sluice-wants 1 hq\ntools a%20b\ntools missing.zip\n"


def test_what_is_ignored_later_stays_inside_too(crossed: Zones, tmp_path: Path) -> None:
    with crossed.serving() as server:
        ask(server, "/files/our-tools/Product-X/plan.pdf")
        ask(server, "/files/our-tools/other")
    settings = (crossed.inside / "zone.yaml").read_text()
    (crossed.inside / "zone.yaml").write_text(settings.replace("corp*", "product-x*"))
    said = crossed.within("wants", "export", tmp_path / "wants.txt")
    assert "1 want stays here" in said.out
    assert (tmp_path / "wants.txt").read_bytes() == b"sluice-wants 1 hq\ntools other\n"


def test_a_want_that_was_published_is_struck_off_and_no_other(crossed: Zones) -> None:
    with crossed.serving() as server:
        ask(server, "/files/our-tools/late.txt")
        ask(server, "/files/our-tools/never.txt")
    (crossed.folder.parent / "tools" / "late.txt").write_text("late")
    crossed.cross("tools")
    assert [each["want"] for each in noted(crossed)] == ["never.txt"]
    # A miss from before the publication, written down after it.
    ledger = Ledger.open(crossed.inside / "ledger.sqlite", Seam())
    with closing(ledger), ledger.write() as tx:
        tx.add_wants([("our-tools", "late.txt", 1), ("gone", "late.txt", 1)])
    crossed.within("receive", "--once")
    assert [(each["repository"], each["want"]) for each in noted(crossed)] == [
        ("gone", "late.txt"), ("our-tools", "never.txt"),
    ]  # fmt: skip
    events = crossed.within("events", "--json").out
    assert events.count("wants.fulfilled") == 2


def test_wants_are_forgotten_only_by_name(crossed: Zones) -> None:
    with crossed.serving() as server:
        for name in ("a%20b", "c", "d"):
            ask(server, f"/files/our-tools/{name}")
    said = crossed.within("wants", "forget", expect=2)
    assert "which wants?" in said.err
    crossed.within("wants", "forget", "nothing", expect=2)
    assert len(noted(crossed)) == 3
    crossed.within("wants", "forget", "a%20b")
    crossed.within("wants", "forget", "--repository", "other")
    assert {each["want"] for each in noted(crossed)} == {"c", "d"}
    assert "forgot 2 wants" in crossed.within("wants", "forget", "--all").out
    assert crossed.within("wants").out == "nothing was asked for in vain\n"
    assert "wants.forgotten" in crossed.within("events").out


def wanted_outside(zones: Zones) -> list[str]:
    """The accepted wants of ``central``."""
    rows = json.loads(zones.out("roots", "central", "--json").out)
    assert all(row["by"] and row["here"] is False for row in rows)
    return [row["root"] for row in rows if row["kind"] == "want"]


def test_an_import_shows_every_line_and_accepts_only_when_told(
    zones: Zones, tmp_path: Path
) -> None:
    file = tmp_path / "wants.txt"
    file.write_text("sluice-wants 1 hq\ncentral org.example:lib:1.0\ncentral org.example:z:2\n")
    said = zones.out("wants", "import", file)
    assert said.out.count("new  ") == 2 and "org.example:lib:1.0" in said.out
    assert "2 new wants; --accept" in said.out and wanted_outside(zones) == []
    assert "accepted 2 wants" in zones.out("wants", "import", file, "--accept").out
    assert wanted_outside(zones) == ["org.example:lib:1.0", "org.example:z:2"]
    again = zones.out("wants", "import", file, "--accept")
    assert again.out.count("a root already") == 2 and len(wanted_outside(zones)) == 2
    assert zones.out("events").out.count("wants.accepted") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sluice-wants 1 other\n", "stream other, which is not one of this zone"),
        ("sluice-wants 1 hq\nvendor a:b:1\n", "1 line of 1 cannot be accepted"),
        ("sluice-wants 1 hq\ncentral a:b:1\ncentral org/x\n", "1 line of 2"),
        ("sluice-wants 1 hq\ntools x\n", "1 line of 1"),
        ("sluice-wants 1 hq\ncentral a b\n", "line 2"),
        ("<html>", "cut short"),
    ],
)
def test_a_file_with_one_bad_line_adds_nothing(
    zones: Zones, tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "wants.txt"
    file.write_text(text)
    said = zones.out("wants", "import", file, "--accept", expect=2)
    assert says in said.err and wanted_outside(zones) == []


def test_wants_belong_to_their_side(zones: Zones, tmp_path: Path) -> None:
    zones.out("wants", expect=2)
    zones.out("wants", "export", tmp_path / "x", expect=2)
    zones.within("wants", "import", tmp_path / "x", expect=2)
    assert "cannot be read" in zones.out("wants", "import", tmp_path / "x", expect=2).err


def test_a_store_that_can_only_be_read_is_served(crossed: Zones) -> None:
    """Wants are counted then, and said at the end."""
    # SQLite's readers need what a writer leaves beside the database while it runs.
    held = Ledger.open(crossed.inside / "ledger.sqlite", Seam())
    with held.write() as tx:
        tx.set_meta("test", "held open")
    closed = [crossed.inside, *crossed.inside.rglob("*")]
    for path in closed:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        with ReadOnlyServing(crossed.inside) as server:
            assert ask(server, "/files/our-tools/here.txt") == 200
            assert ask(server, "/files/our-tools/missing") == 404
            time.sleep(3.0)  # a worker tells once a second
        log = server.log.read_text()
    finally:
        for path in closed:
            path.chmod(path.stat().st_mode | 0o200)
        held.close()
    assert "1 want could not be written down, among them:" in log and "our-tools missing (1)" in log
    assert noted(crossed) == []


class ReadOnlyServing(Serving):
    """The server without root's right to write what it may not."""

    def _command(self) -> list[str]:
        less = "-dac_override,-dac_read_search,-fowner"
        drop = [tools.need("setpriv"), f"--bounding-set={less}", f"--inh-caps={less}", "--"]
        return [*(drop if os.geteuid() == 0 else []), *super()._command()]
