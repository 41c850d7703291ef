"""`show`: every item of a bundle, in both zones, long after its blobs are gone."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from manifests.errors import BlobDamaged
from sluice.commands.show import COLUMNS, tell, write_csv, write_json
from sluice.showing import look_up
from store.gc import collect
from store.records import RootKind
from store.verify import verify
from tests.support import rpms
from tests.support.crossing import Inside, Outside
from tests.support.drive import Upstream, pair, sluice
from transfer.changes import forget_lists

TAG = "app/web/_tags/1.2"
JAR = "org/example/lib/1.0/lib-1.0.jar"
ORIGIN = {
    "upstream": "https://repo.example.org/base/",
    "actor": "alice",
    "signature": "good",
    "packages": True,
    "keys": ("ABCD1234",),
}
NAMES = ("rpms", "jars", "images", "docs")


def shown(zone: Outside | Inside, sequence: int) -> dict[str, Any]:
    out = io.StringIO()
    write_json(zone.store, look_up(zone.store, zone.config, sequence), out)
    document: dict[str, Any] = json.loads(out.getvalue())
    document["repositories"] = {part["repository"]: part for part in document["repositories"]}
    return document


def table(zone: Outside | Inside, sequence: int) -> list[dict[str, str]]:
    out = io.StringIO()
    write_csv(zone.store, look_up(zone.store, zone.config, sequence), out)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def brief(document: dict[str, Any], repository: str) -> list[tuple[str, str, str, str]]:
    items = document["repositories"][repository]["items"]
    return [(item["change"], item["kind"], item["what"], item["version"]) for item in items]


@pytest.fixture
def zones(tmp_path: Path) -> tuple[Outside, Inside]:
    outside = Outside(tmp_path / "out", repositories=NAMES)
    return outside, Inside(tmp_path / "in", outside.keys.export_root())


def cross(zones: tuple[Outside, Inside]) -> None:
    outside, inside = zones
    inside.bring(*outside.bundle())
    inside.receive()


def test_every_format_is_shown_in_its_own_words_in_both_zones(
    zones: tuple[Outside, Inside], tmp_path: Path
) -> None:
    outside, inside = zones
    package = rpms.Package("tool", "1.5", "2.el9", epoch=3)
    [rpm] = rpms.build([package], tmp_path / "rpms")
    # A file may call itself what it likes: the header inside it counts.
    outside.snapshot("rpms", {"Packages/lie-9-9.x86_64.rpm": rpm.read_bytes()}, "yum", ORIGIN)
    with outside.store.ledger.write() as tx:
        tx.add_roots("jars", RootKind.WANT, ["org.example:lib:1.0"], by="bob")
    outside.snapshot("jars", {JAR: b"jar", f"{JAR}.sha1": b"0"}, "maven", ORIGIN)
    outside.snapshot("images", {TAG: b"{}"}, "oci", ORIGIN)
    outside.snapshot("docs", {"a/readme.txt": b"read"})
    cross(zones)
    for zone in zones:
        document = shown(zone, 1)
        assert document["version"] == 1 and document["by"] and document["at"]
        nevra = "tool-3:1.5-2.el9.noarch"
        assert brief(document, "rpms") == [("added", "package", nevra, "3:1.5-2.el9")]
        assert brief(document, "jars") == [
            ("added", "artifact", "org.example:lib:1.0", "1.0"),
            ("added", "checksum", f"{JAR}.sha1", ""),
        ]
        assert [i["by"] for i in document["repositories"]["jars"]["items"]] == ["bob", ""]
        assert brief(document, "images") == [("added", "tag", "app/web:1.2", "1.2")]
        assert brief(document, "docs") == [("added", "file", "a/readme.txt", "")]
        told = document["repositories"]["rpms"]["provenance"]
        assert (told["upstream"], told["actor"]) == (ORIGIN["upstream"], "alice")
        assert (told["signature"], told["keys"]) == ("good", ["ABCD1234"])
        assert document["repositories"]["docs"]["provenance"] is None
        rows = {row["path"]: row for row in table(zone, 1)}
        assert rows[JAR]["actor"] == "bob" and rows[f"{JAR}.sha1"]["actor"] == "alice"
        assert rows[JAR]["upstream"] == ORIGIN["upstream"] and rows[JAR]["signature"] == "good"
    assert shown(inside, 1)["repositories"]["rpms"]["checked"] is False


def test_people_see_which_version_a_new_one_stands_in_the_place_of(
    zones: tuple[Outside, Inside], capsys: pytest.CaptureFixture[str]
) -> None:
    def jars(*coordinates: str) -> dict[str, bytes]:
        pairs = [each.split(":") for each in coordinates]
        return {f"org/{n}/{v}/{n}-{v}.{e}": b"x" for n, v in pairs for e in ("jar", "pom")}

    def packages(*names: str) -> dict[str, bytes]:
        return {f"Packages/{name}.rpm": name.encode() for name in names}

    outside, _ = zones
    outside.snapshot("jars", jars("one:1", "two:1", "two:2", "gone:1"), "maven")
    old = ("tool-1.0-1.x86_64", "tool-1.0-1.i686", "same-1-1.noarch")
    outside.snapshot("rpms", packages(*old), "yum")
    cross(zones)
    outside.snapshot("jars", jars("one:1.1", "two:3", "new:1"), "maven")
    outside.snapshot("rpms", packages("tool-1.1-1.x86_64", "same-1-1.noarch"), "yum")
    cross(zones)
    for zone in zones:
        tell(zone.store, look_up(zone.store, zone.config, 2), None)
        lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
        said = {line[1].removeprefix("+ "): line[-1] for line in lines if line[1:2]}
        assert said["org:one:1.1"] == said["org:one:pom:1.1"] == "(in the place of 1)"
        assert said["tool-1.1-1.x86_64"] == "(in the place of 1.0-1)"
        assert sum("in the place of" in text for text in said.values()) == 3, said
        assert {"- tool-1.0-1.i686", "- org:gone:1", "org:new:1"} <= said.keys()
        parts = shown(zone, 2)["repositories"].values()
        items = {item["what"]: item["replaces"] for part in parts for item in part["items"]}
        rows = {row["what"]: row["replaces"] for row in table(zone, 2)}
        assert items == rows
        assert {what for what, old in items.items() if old} == {
            what for what, text in said.items() if "in the place of" in text
        }
        assert items["tool-1.1-1.x86_64"] == "1.0-1"


def test_updates_and_removals_outlive_their_blobs(zones: tuple[Outside, Inside]) -> None:
    outside, _ = zones
    outside.snapshot("docs", {"gone": b"gone", "new": b"old", "same": b"same"})
    outside.snapshot("jars", {JAR: b"jar"}, "maven")
    cross(zones)
    outside.snapshot("docs", {"came": b"c", "new": b"newer", "same": b"same"})
    cross(zones)
    before = [(shown(zone, 1), shown(zone, 2), table(zone, 2)) for zone in zones]
    for number in range(7):
        outside.snapshot("docs", {"came": b"%d" % number})
        cross(zones)
    with outside.store.ledger.write() as tx:
        for stored in tx.snapshots("", "docs")[1:]:
            tx.drop_snapshot("", "docs", stored.snapshot.serial)
    for zone in zones:
        assert collect(zone.store, resend={"hq": 1}).removed > 0
    assert before == [(shown(zone, 1), shown(zone, 2), table(zone, 2)) for zone in zones]
    for _, second, rows in before:
        docs = second["repositories"]["docs"]
        assert (docs["serial_before"], docs["serial"]) == (1, 2)
        assert (docs["added"], docs["updated"], docs["removed"]) == (1, 1, 1)
        came, gone, new = docs["items"]
        assert (came["change"], came["old_digest"]) == ("added", None)
        assert (gone["change"], gone["size"]) == ("removed", 4)
        assert (new["size"], new["old_size"]) == (5, 3) and new["digest"] != new["old_digest"]
        assert second["repositories"]["jars"]["status"] == "unchanged"
        assert [row["change"] for row in rows] == ["added", "removed", "updated"]


def test_items_are_forgotten_only_on_demand_and_their_counts_stay(
    zones: tuple[Outside, Inside],
) -> None:
    outside, _ = zones
    outside.snapshot("docs", {"a": b"1", "b": b"2"})
    cross(zones)
    for zone in zones:
        before = shown(zone, 1)
        with zone.store.ledger.write() as tx:
            assert forget_lists(tx, tx.now() - timedelta(days=1)) == 0, "nothing is so old"
            assert forget_lists(tx, tx.now()) == 1
            assert forget_lists(tx, tx.now()) == 0
        collect(zone.store, resend={"hq": 1})
        after = shown(zone, 1)
        docs, old = (document["repositories"]["docs"] for document in (after, before))
        assert not zone.store.blobs.has(old["list"])
        assert (docs["status"], docs["items"]) == ("forgotten", [])
        kept = ("added", "updated", "removed", "list", "at", "by", "serial")
        assert [docs[key] for key in kept] == [old[key] for key in kept] and docs["added"] == 2
        assert after["accounts"] == before["accounts"] and table(zone, 1) == []
        with zone.store.ledger.read() as tx:
            assert [e.detail["accounts"] for e in tx.events() if e.kind == "changes.forgotten"]
            tx.verify_events()
        assert verify(zone.store).sound
    outside.snapshot("docs", {"a": b"1"})
    cross(zones)
    assert [shown(zone, 2)["repositories"]["docs"]["status"] for zone in zones] == ["changed"] * 2


def test_a_lost_bundle_is_told_by_what_changed_here(zones: tuple[Outside, Inside]) -> None:
    outside, inside = zones
    outside.snapshot("docs", {"a": b"1"})
    cross(zones)
    outside.snapshot("docs", {"a": b"1", "b": b"2"})
    lost = outside.bundle()
    outside.snapshot("docs", {"a": b"1", "b": b"2", "c": b"3"})
    inside.bring(*outside.bundle())
    inside.receive()
    document = shown(inside, 3)["repositories"]["docs"]
    assert document["status"] == "held" and document["items"] == []
    inside.bring(*lost)
    inside.receive()
    assert [i["path"] for i in shown(outside, 3)["repositories"]["docs"]["items"]] == ["c"]
    assert [i["path"] for i in shown(inside, 3)["repositories"]["docs"]["items"]] == ["b", "c"]


def test_the_audit_log_names_what_is_shown(zones: tuple[Outside, Inside]) -> None:
    outside, inside = zones
    outside.snapshot("docs", {"a": b"1"})
    cross(zones)
    for zone, kind in ((outside, "bundle.released"), (inside, "publication")):
        with zone.store.ledger.read() as tx:
            [event] = [event for event in tx.events() if event.kind == kind]
        assert [one["digest"] for one in shown(zone, 1)["accounts"]] == (
            [event.detail["changes"]] if zone is outside else event.detail["changes"]
        )


def test_a_damaged_list_is_not_shown(zones: tuple[Outside, Inside]) -> None:
    outside, _ = zones
    outside.snapshot("docs", {"a": b"1"})
    outside.bundle()
    digest = shown(outside, 1)["repositories"]["docs"]["list"]
    path = outside.store.blobs.path(digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BlobDamaged):
        shown(outside, 1)


def test_names_that_attack_terminals_and_spreadsheets(tmp_path: Path) -> None:
    names = {
        '=HYPERLINK("x")': b"1", "@SUM(A1)": b"2", "+1": b"3", "-1": b"4", " =1": b"5",
        "\uff1d1": b"6", "plain": b"7", "rtl\u202egnp.exe": b"8", 'quote",': b"9",
    }  # fmt: skip
    out, inside = pair(tmp_path, {"tools": Upstream(tmp_path / "vendor", names)})
    inside.receive(*out.cycle())
    for zone in (out, inside):
        text = zone.sluice("show", 1).out
        assert "\x1b" not in text and "\u202e" not in text and r"rtl\u202egnp.exe" in text
        assert "9 added" in text
        lines = zone.sluice("show", 1, "--csv").out
        rows = list(csv.reader(io.StringIO(lines)))
        assert tuple(rows[0]) == COLUMNS and len(rows) == 10
        cells = [cell for row in rows[1:] for cell in row]
        assert not [c for c in cells if c.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))]
        found = json.loads(zone.sluice("show", 1, "--json", "--stream", "hq").out)
        [part] = found["repositories"]
        assert {item["path"] for item in part["items"]} == set(names)
        assert part["provenance"]["upstream"].startswith("file:///")
        assert part["provenance"]["actor"], "who ran the sync"
        zone.sluice("gc", "--forget-changes", "0s")
        text = zone.sluice("show", 1).out
        assert "9 added, 0 updated, 0 removed; the items themselves are forgotten" in text
        assert len(zone.sluice("show", 1, "--csv").out.splitlines()) == 1
    assert sluice("-z", inside.folder, "show", 9, expect=2).err.count("\n") == 2
