"""The whole path as an operator drives it, and what a second cycle moves."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from tests.support.drive import Upstream, noise, pair, program
from tests.support.yumrepos import Repo, Rpm

FILES = {"readme.txt": b"read me", "iso/disc.iso": noise(1, 300_000), "empty": b""}


def test_the_whole_path_by_programs_of_their_own(tmp_path: Path) -> None:
    """Every step in its own process, exactly as the documentation writes it."""
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = tmp_path / "OUT", tmp_path / "IN"
    made = program("init", "outside", out, "--stream", "hq").out
    (out / "zone.yaml").write_text(
        "zone: outside\n"
        f'repositories:\n  tools: {{format: files, upstream: "{upstream.url}", keep: 5}}\n'
        "streams:\n  hq: {carrier: file, outbox: outbox, part_size: 64MiB}\n"
    )
    program("-z", out, "trust", "export", tmp_path / "root.json")
    pinned = program("init", "inside", inside, "--root", tmp_path / "root.json", "--stream", "hq")
    fingerprint = next(line for line in made.splitlines() if line.startswith("root of trust"))
    assert fingerprint.partition(": ")[2] in pinned.out, "both sides print what a person compares"
    program("-z", out, "sync")
    program("-z", out, "pack")
    program("-z", out, "send")
    for part in (out / "outbox").iterdir():
        part.rename(inside / "inbox" / part.name)
    done = program("-z", inside, "receive", "--once")
    assert "published tools snapshot 1" in done.out
    assert not list((inside / "inbox").iterdir())
    status = json.loads(program("-z", inside, "status", "--json").out)
    publication = status["repositories"]["tools"]["publication"]
    assert publication["serial"] == 1
    assert publication["files"] == 3
    assert publication["bytes"] == sum(map(len, FILES.values()))


def test_what_is_served_is_what_the_vendor_had(tmp_path: Path) -> None:
    names = {"a+b~c^d%e f.txt": b"odd name", **FILES}
    upstream = Upstream(tmp_path / "vendor", names)
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    assert inside.content("tools") == names
    with inside.server() as server:
        for path, data in names.items():
            quoted = path.replace("%", "%25").replace(" ", "%20").replace("^", "%5E")
            answer = server.get(f"/files/tools/{quoted}")
            assert (answer.status, answer.body) == (200, data), path
        assert server.get("/files/tools/missing").status == 404
        assert server.get("/files/tools/.sluice/facts.json").status == 404


def test_the_second_bundle_holds_only_what_is_new(tmp_path: Path) -> None:
    many = {f"d{n % 7}/file{n:03}": noise(n, 20_000) for n in range(50)}
    upstream = Upstream(tmp_path / "vendor", many)
    out, inside = pair(tmp_path, {"tools": upstream})
    first = out.cycle()
    inside.receive(*first)
    upstream.write({"new/one": noise(1001, 30_000), "copy": many["d0/file007"]})
    upstream.remove("d0/file000")
    second = out.cycle()
    size = sum(part.stat().st_size for part in second)
    # One new blob, a tree diff, and the head; the copied file is a blob that is there.
    assert 30_000 < size < 30_000 + 45_000
    shown = out.sluice("diff", "tools", 1, 2).out
    assert "+ new/one" in shown
    assert "- d0/file000" in shown
    assert "2 added, 1 removed, 0 changed" in shown
    inside.receive(*second)
    assert inside.content("tools") == upstream.files()
    assert inside.digest() == out.digest()


def test_rollback_brings_it_back_and_a_pinned_url_never_changes(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"keep": b"1", "gone": b"gone", "changed": b"old"})
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    upstream.remove("gone")
    upstream.write({"changed": b"new"})
    out.repositories["tools"]["max_removals"] = "100%"
    out.configure()
    inside.receive(*out.cycle())
    with inside.server() as server:

        def get(path: str) -> tuple[int, bytes]:
            answer = server.get(path)
            return answer.status, answer.body if answer.status == 200 else b""

        assert get("/files/tools/changed") == (200, b"new")
        assert b"gone" not in server.get("/files/tools/").body
        for _ in range(2):
            assert get("/files/tools@1/gone") == (200, b"gone")
            assert get("/files/tools@1/changed") == (200, b"old")
            assert get("/files/tools@2/changed") == (200, b"new")
            assert get("/files/tools@2/gone")[0] == 404
            done = inside.sluice("rollback", "tools", 1)
        assert "serves snapshot 1 already" in done.out
        assert get("/files/tools/gone") == (200, b"gone")
        assert get("/files/tools/changed") == (200, b"old")
        live = inside.status()["repositories"]["tools"]
        assert live["publication"]["rolled_back"]
        assert live["snapshot"]["serial"] == 2
        # It stays where the operator put it until something newer arrives.
        inside.sluice("receive", "--once")
        assert inside.live()["tools"][0] == 1
        upstream.write({"third": b"3"})
        inside.receive(*out.cycle())
        assert inside.live()["tools"][0] == 3
        assert get("/files/tools/third") == (200, b"3")
    rolled = inside.events("rollback")
    assert [event["detail"]["serial"] for event in rolled] == [1]


def test_a_withdrawn_package_leaves_the_index_and_rollback_tells_old_clients(
    tmp_path: Path,
) -> None:
    repo = Repo([Rpm("stays"), Rpm("legacy")])
    upstream = Upstream(tmp_path / "vendor", repo.files())
    out, inside = pair(tmp_path, {"base": upstream})
    out.repositories["base"] |= {"format": "yum", "max_removals": "100%"}
    out.configure()
    inside.receive(*out.cycle())
    repo.rpms = [Rpm("stays"), Rpm("fresh")]
    new = repo.files()
    upstream.remove(*(path for path in upstream.files() if path not in new))
    upstream.write(new)
    second = out.cycle()
    inside.receive(*second)

    def indexed(prefix: str) -> bytes:
        repomd = server.get(f"{prefix}/repodata/repomd.xml").body.decode()
        [path] = re.findall(r'href="(repodata/[^"]*-primary\.xml\.gz)"', repomd)
        return gzip.decompress(server.get(f"{prefix}/{path}").body)

    with inside.server() as server:
        assert b"legacy" not in indexed("/yum/base")
        assert b"fresh" in indexed("/yum/base")
        assert b"legacy" in indexed("/yum/base@1")
        done = inside.sluice("rollback", "base", 1)
        assert "dnf --refresh" in done.out
        assert "yum clean metadata" in done.out
        # The servers follow within a second, or at once when they miss something.
        assert server.get("/yum/base/nothing").status == 404
        assert b"fresh" not in indexed("/yum/base")
        assert b"legacy" in indexed("/yum/base")
        # Who read the index a moment ago still gets the package that it named.
        assert server.get("/yum/base/Packages/fresh-1.0-1.noarch.rpm").status == 200
        assert b"fresh" in indexed("/yum/base@2")


def test_nothing_changed_makes_nothing(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    before = out.digest()
    assert "unchanged" in out.sluice("sync").out
    assert "nothing changed" in out.sluice("pack").out
    assert "nothing to send" in out.sluice("send").out
    assert out.take() == []
    assert out.digest() == before
    assert out.status()["streams"]["hq"]["sequence"] == 1
    assert "nothing new" in inside.sluice("receive", "--once").out
    # A file that is only touched is read again and is the same.
    (upstream.folder / "readme.txt").touch()
    assert "unchanged" in out.sluice("sync").out
    assert "nothing changed" in out.sluice("pack").out


def test_a_dry_run_says_what_would_happen_and_does_nothing(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream})
    assert "3 added" in out.sluice("sync", "--dry-run").out
    assert out.status()["repositories"]["tools"]["snapshot"] is None
    out.sluice("sync")
    assert "would cross" in out.sluice("pack", "--dry-run").out
    assert out.status()["streams"]["hq"]["sequence"] == 0
    out.sluice("pack")
    assert "would hand over 1 part" in out.sluice("send", "--dry-run").out
    assert out.take() == []
    out.sluice("send")
    inside.receive(*out.take())
    upstream.write({"more": b"more"})
    inside.receive(*out.cycle())
    assert "from snapshot 2 to 1" in inside.sluice("rollback", "tools", 1, "--dry-run").out
    assert inside.live()["tools"][0] == 2
    assert "would remove" in inside.sluice("gc", "--dry-run").out
