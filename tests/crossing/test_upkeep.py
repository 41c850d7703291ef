"""Garbage collection and verification after whole cycles."""

from __future__ import annotations

from pathlib import Path

from store.store import Store
from tests.support.drive import Inside, Outside, Upstream, Zone, noise, pair


def flip(zone: Zone, repository: str, path: str) -> Path:
    """Change one bit of the blob behind a live path, as a bad disk does; the blob's file."""
    with zone.store() as store:
        with store.ledger.read() as tx:
            if isinstance(zone, Inside):
                live = tx.publication(repository)
                assert live is not None
                tree = live.tree
            else:
                newest = tx.newest_snapshot("", repository)
                assert newest is not None
                tree = newest.snapshot.tree
        entry = store.tree(tree).lookup(path)
        assert entry is not None
        blob = store.blobs.path(entry.digest)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    blob.chmod(0o444)
    return blob


def blobs(zone: Zone) -> int:
    with zone.store() as store:
        return sum(1 for _ in store.blobs.digests())


def churn(tmp_path: Path, days: int) -> tuple[Upstream, Outside, Inside]:
    """Every day one file of 20 kB goes and another comes."""
    upstream = Upstream(tmp_path / "vendor", {"always": noise(1, 10_000), "day0": noise(2, 20_000)})
    out, inside = pair(tmp_path, {"tools": upstream})
    out.repositories["tools"] |= {"keep": 2, "max_removals": "100%"}
    out.configure()
    inside.receive(*out.cycle())
    for day in range(1, days):
        upstream.write({f"day{day}": noise(100 + day, 20_000)})
        upstream.remove(f"day{day - 1}")
        inside.receive(*out.cycle())
    return upstream, out, inside


def test_garbage_goes_and_live_content_stays(tmp_path: Path) -> None:
    upstream, out, inside = churn(tmp_path, 8)
    inside.serve["grace"] = "0s"
    inside.configure()
    for zone in (out, inside):
        before = blobs(zone)
        would = zone.sluice("gc", "--dry-run").out
        assert blobs(zone) == before
        done = zone.sluice("gc").out
        assert would.replace("would remove", "removed") == done
        assert blobs(zone) < before
        zone.sluice("verify")
        assert zone.sluice("gc").out.startswith("removed 0 blobs")
    assert inside.content("tools") == upstream.files()
    # Everything goes on as before: the next bundle, a rollback, a full bundle.
    upstream.write({"more": b"more"})
    inside.receive(*out.cycle())
    assert inside.content("tools") == upstream.files()
    kept = [line.split()[0] for line in inside.sluice("snapshots", "tools").out.splitlines()[1:]]
    inside.sluice("rollback", "tools", kept[-1])
    inside.sluice("gc")
    inside.sluice("verify")
    inside.receive(*out.bundle(full=True))
    inside.sluice("verify")


def test_what_waits_survives_gc(tmp_path: Path) -> None:
    upstream, out, inside = churn(tmp_path, 2)
    out.options["part_size"] = "64KiB"
    out.configure()
    upstream.write({f"f{n}": noise(50 + n, 20_000) for n in range(8)})
    out.sluice("sync")
    out.sluice("pack")
    out.sluice("gc")
    out.sluice("send")
    parts = out.take()
    inside.receive(*parts[:2], *parts[3:], expect=3)
    inside.sluice("gc")
    inside.receive(parts[2])
    assert inside.content("tools") == upstream.files()


def test_a_damaged_blob_inside_is_found_and_healed_by_a_full_bundle(tmp_path: Path) -> None:
    upstream, out, inside = churn(tmp_path, 2)
    inside.sluice("verify")
    blob = flip(inside, "tools", "always")
    done = inside.sluice("verify", expect=1)
    assert "damaged: tools always" in done.err
    assert "--repair" in done.err
    assert blob.exists()
    assert "1 damaged blob set aside" in inside.sluice("verify", "--repair", expect=1).out
    assert not blob.exists()
    assert inside.holds(), "the operator is told until it is healed"
    inside.receive(*out.bundle(full=True))
    assert inside.content("tools") == upstream.files()
    assert inside.holds() == {}, "it ends when what was set aside has come"
    inside.sluice("verify")
    inside.sluice("receive", "--once")


def test_a_damaged_blob_outside_never_crosses_and_sync_heals_it(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": noise(1, 30_000), "b": noise(2, 30_000)})
    out, inside = pair(tmp_path, {"tools": upstream})
    out.sluice("sync")
    flip(out, "tools", "a")
    done = out.sluice("pack", expect=1)
    assert "tools:a" in done.err
    out.sluice("verify", "--repair", expect=1)
    out.sluice("sync")
    inside.receive(*out.bundle())
    assert inside.content("tools") == upstream.files()
    out.sluice("verify", "--repair")
    assert out.holds() == {}


def test_gc_waits_for_nobody_for_ever(tmp_path: Path) -> None:
    """A dry run shares the store; the audit log names every collection."""
    _, out, inside = churn(tmp_path, 2)
    store = Store.open(inside.folder)
    with store.locks.shared():
        inside.sluice("gc", "--dry-run")
        inside.sluice("verify")
    store.close()
    inside.sluice("gc")
    assert len(inside.events("gc")) == 1
    out.sluice("events", "--verify")
    inside.sluice("events", "--verify")
