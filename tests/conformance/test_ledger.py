"""What the ledger must do, on SQLite and on a real PostgreSQL alike."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy

from manifests import errors
from manifests.digest import Digest, sha256_of
from manifests.state import Snapshot
from store.ledger import Ledger, upstreams
from store.ledger.events import NO_EVENT, EventArchive
from store.records import (
    BundleRecord,
    Hold,
    PartRecord,
    PinKind,
    Publication,
    StoredSnapshot,
    Validator,
)
from store.seam import Kind, Operation, Seam
from tests.support.clock import NOON, Clock

A, B, C = (sha256_of(text) for text in (b"a", b"b", b"c"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/a folder%3F/ledger.sqlite"


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    ledger = Ledger.open(url, Seam(), clock=clock, actor="operator")
    yield ledger
    ledger.close()


def snapshot(serial: int, tree: Digest = A, repository: str = "baseos") -> StoredSnapshot:
    return StoredSnapshot(
        "", Snapshot(repository, "yum", serial, tree, 100, 3, 2**40, NOON), "rsync://x/"
    )


def publication(serial: int, tree: Digest = A, name: str = "baseos") -> Publication:
    return Publication(name, "hq", "yum", "baseos", serial, tree, None, NOON)


def bundle(sequence: int, manifest: Digest = A) -> BundleRecord:
    return BundleRecord(
        "hq", 1, sequence, "delta", manifest, "", B, C, NOON, 2**41, 3,
        base=[["baseos", "yum", 1, A, 100]], retain={"baseos": 1}, packed=NOON,
    )  # fmt: skip


def sql(url: str, statement: str) -> None:
    """What somebody does behind the ledger's back."""
    engine = sqlalchemy.create_engine(
        sqlalchemy.engine.URL.create("sqlite", database=url.removeprefix("sqlite:///"))
        if url.startswith("sqlite")
        else url
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_snapshots_come_back_newest_first(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for serial in (2, 10, 1):
            tx.add_snapshot(snapshot(serial))
        tx.add_snapshot(snapshot(7, repository="apps"))
    with ledger.read() as tx:
        assert [s.snapshot.serial for s in tx.snapshots("", "baseos")] == [10, 2, 1]
        assert tx.newest_snapshot("", "baseos") == snapshot(10)
        assert tx.newest_snapshot("hq", "baseos") is None
        assert tx.repositories("") == ["apps", "baseos"]
        assert tx.snapshot("", "baseos", 2) == snapshot(2)


def test_a_serial_stands_for_one_tree_for_ever(ledger: Ledger) -> None:
    with ledger.write() as tx:
        tx.add_snapshot(snapshot(1, A))
        tx.add_snapshot(snapshot(1, A))
        with pytest.raises(errors.StoreError, match="another tree"):
            tx.add_snapshot(snapshot(1, B))
        assert len(tx.snapshots()) == 1


def test_a_failed_transaction_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError), ledger.write() as tx:
        tx.add_snapshot(snapshot(1))
        tx.publish([publication(1)])
        tx.event("sync")
        raise RuntimeError
    with ledger.read() as tx:
        assert tx.snapshots() == []
        assert tx.publications() == []
        assert tx.generation() == 0
        assert tx.event_head() == (0, NO_EVENT)


def test_publishing_is_one_step_and_keeps_a_history(ledger: Ledger, clock: Clock) -> None:
    with ledger.write() as tx:
        assert tx.publish([publication(1), publication(5, C, "apps")]) == 1
    clock.time += timedelta(hours=1)
    with ledger.write() as tx:
        tx.publish([publication(2, B)])
    clock.time += timedelta(hours=1)
    with ledger.write() as tx:
        assert tx.withdraw("baseos")
        assert not tx.withdraw("baseos")
    with ledger.read() as tx:
        assert [p.repository for p in tx.publications()] == ["apps"]
        assert tx.publication("baseos") is None
        assert ledger.generation() == 3
        past = tx.publication_history("baseos")
        assert [(p.publication.serial, p.replaced.hour) for p in past] == [(2, 14), (1, 13)]
        late = tx.publication_history("baseos", since=NOON + timedelta(minutes=90))
        assert [p.publication.serial for p in late] == [2]
    with ledger.write() as tx:
        assert tx.forget_publications(NOON + timedelta(minutes=90)) == 1


def test_a_kept_snapshot_keeps_its_first_publication(ledger: Ledger, clock: Clock) -> None:
    """Its serial can be asked for as long as it is there, always with the same overlay."""
    with ledger.write() as tx:
        tx.add_snapshot(StoredSnapshot("hq", snapshot(1).snapshot))
        tx.publish([publication(1)])
    for serial in (2, 1, 3):
        clock.time += timedelta(hours=1)
        with ledger.write() as tx:
            tx.publish([publication(serial, B)])
    clock.time += timedelta(hours=1)
    with ledger.write() as tx:
        assert [(p.serial, p.tree) for p in tx.kept_publications(clock.time)] == [(1, A)]
        assert tx.forget_publications(clock.time) == 2
        assert [p.publication.serial for p in tx.publication_history()] == [1]
        assert tx.drop_snapshot("hq", "baseos", 1)
        assert tx.kept_publications(clock.time) == []
        assert tx.forget_publications(clock.time) == 1


def test_a_published_snapshot_cannot_be_dropped(ledger: Ledger) -> None:
    inside = StoredSnapshot("hq", snapshot(1).snapshot)
    with ledger.write() as tx:
        tx.add_snapshot(inside)
        tx.publish([publication(1, name="served-as")])
        with pytest.raises(errors.StoreError, match="published"):
            tx.drop_snapshot("hq", "baseos", 1)
        tx.publish([publication(2, B, name="served-as")])
        assert tx.drop_snapshot("hq", "baseos", 1)
        assert not tx.drop_snapshot("hq", "baseos", 1)


def test_holds_are_replaced_but_keep_their_age(ledger: Ledger) -> None:
    first = Hold("hq/baseos/torn", "hq", "baseos", "torn", "a", "b", NOON, {"missing": ["x"]})
    later = Hold(
        "hq/baseos/torn", "hq", "baseos", "torn", "c", "d", NOON + timedelta(days=1), {"total": 2}
    )
    with ledger.write() as tx:
        tx.set_hold(first)
        tx.set_hold(later)
        tx.set_hold(Hold("hq_baseos", "hq", "", "gap", "e", "f", NOON))
        (hold,) = tx.holds("hq", "baseos")
        assert (hold.reason, hold.since, hold.detail) == ("c", NOON, {"total": 2})
        assert len(tx.holds("hq")) == 2
        assert tx.clear_holds("hq/") == 1  # "_" and "%" in a prefix stand for themselves
        assert tx.clear_holds("hq%") == 0
        assert tx.clear_hold("hq_baseos")
        assert tx.holds() == []


def test_bundles_and_their_steps(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for sequence in (1, 2, 11):
            tx.add_bundle(bundle(sequence))
        tx.update_bundle("hq", 1, 2, sent=NOON, released=NOON)
        with pytest.raises(errors.StoreError, match="no bundle 3"):
            tx.update_bundle("hq", 1, 3, sent=NOON)
        with pytest.raises(errors.StoreError, match="another manifest"):
            tx.add_bundle(bundle(2, B))
        part = PartRecord("hq", 1, 2, 0, "hq-1-2-0.tar", 2**40, A, "spooled")
        tx.set_part(part)
        tx.set_part(part)
    with ledger.read() as tx:
        assert [b.sequence for b in tx.bundles("hq")] == [11, 2, 1]
        assert [b.sequence for b in tx.bundles("hq", limit=1)] == [11]
        assert tx.bundle("hq", 1, 1) == bundle(1)
        changed = tx.bundle("hq", 1, 2)
        assert changed is not None
        assert (changed.sent, changed.released, changed.imported) == (NOON, NOON, None)
        assert tx.parts("hq", 1, 2) == [part]
    with ledger.write() as tx:
        assert tx.drop_bundle("hq", 1, 2)
        assert tx.parts("hq", 1, 2) == []


def test_drafts_trust_and_arrivals(ledger: Ledger) -> None:
    with ledger.write() as tx:
        tx.add_draft("hq", "d1", {"blobs": [A], "size": 3})
        tx.set_trust_state("hq", b"\x00state")
        tx.set_trust_state("hq", b"\x00newer")
        long = "x" * 5000 + "\udcff"
        tx.mark_seen("hq", long, "a\x00b", "imported", NOON)
        tx.mark_seen("hq", "other", "other", "quarantined", NOON + timedelta(days=2))
    with ledger.read() as tx:
        (draft,) = tx.drafts("hq")
        assert (draft.data, draft.created) == ({"blobs": [A], "size": 3}, NOON)
        assert tx.draft("hq", "d1") == draft
        assert tx.trust_state("hq") == b"\x00newer"
        assert tx.trust_state("other") is None
        assert tx.seen("hq", long) == "imported"
        assert tx.seen("elsewhere", long) is None
    with ledger.write() as tx:
        assert tx.forget_seen("hq", NOON + timedelta(days=1)) == 1
        assert [seen.name for seen in tx.all_seen("hq")] == ["other"]
        many = [(f"id{number}", "name", "foreign") for number in range(1_201)]
        tx.mark_all_seen("hq", many, NOON)
        tx.mark_all_seen("hq", [("id7", "name", "done")], NOON)
        found = tx.seen_among("hq", [*(identity for identity, _, _ in many), "never"])
        assert found == {identity: "foreign" for identity, _, _ in many} | {"id7": "done"}
        assert tx.seen_among("elsewhere", ["id7"]) == {}
        assert tx.drop_draft("hq", "d1")
        assert tx.drafts() == []


def test_what_mirroring_remembers(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://repo.example.org/" + "p" * 9000
    with ledger.write() as tx:
        tx.set_validators("baseos", [(url, Validator('"e"', "", A, 2**35))])
        tx.set_validators("baseos", [(url, Validator('"f"', "", B, 2**35))])
        tx.set_validators("apps", ((f"file{n}", Validator("", "", C, n)) for n in range(5)))
        tx.set_validators("none", [])
        tx.accept_missing("baseos", "Packages/é.rpm", "gone upstream", "kim", NOON)
        tx.begin_work("baseos", "1234")
    with ledger.read() as tx:
        assert dict(tx.validators("baseos")) == {
            sha256_of(url.encode()): Validator('"f"', "", B, 2**35)
        }
        monkeypatch.setattr(upstreams, "_PAGE", 2)
        found = list(tx.validators("apps"))
        assert [key for key, _ in found] == sorted(sha256_of(b"file%d" % n) for n in range(5))
        assert dict(found)[sha256_of(b"file3")] == Validator("", "", C, 3)
        assert list(tx.validators("none")) == []
        (accepted,) = tx.exceptions("baseos")
        assert (accepted.path, accepted.by, accepted.at) == ("Packages/é.rpm", "kim", NOON)
        assert tx.work_open("baseos") == "1234"
    with ledger.write() as tx:
        tx.end_work("baseos")
        tx.forget_validators("baseos")
        assert tx.work_open("baseos") is None
        assert list(tx.validators("baseos")) == []
        assert tx.drop_exception("baseos", "Packages/é.rpm")


def test_denials_reach_the_servers(ledger: Ledger) -> None:
    with ledger.write() as tx:
        tx.deny(A, "recalled", "kim")
    assert ledger.generation() == 1
    with ledger.write() as tx:
        assert tx.denied()[A].reason == "recalled"
        assert tx.allow(A)
        assert tx.denied() == {}
    assert ledger.generation() == 2


def test_a_key_is_offered_only_after_a_person_approved_it(ledger: Ledger) -> None:
    with ledger.write() as tx:
        assert tx.offer_key("F" * 40, "baseos", "hq", b"armored")
        assert not tx.offer_key("F" * 40, "baseos", "hq", b"armored")
        assert tx.approved_keys("baseos") == []
        with pytest.raises(errors.StoreError, match="no bundle offered"):
            tx.approve_key("E" * 40, "kim")
        tx.approve_key("F" * 40, "kim")
        (key,) = tx.approved_keys("baseos")
        assert (key.armored, key.approved_by) == (b"armored", "kim")
        assert tx.approved_keys("apps") == []
        assert tx.withdraw_key("F" * 40)
        assert tx.approved_keys("baseos") == []
        assert len(tx.offered_keys()) == 1


def test_pins_and_checksums(ledger: Ledger) -> None:
    with ledger.write() as tx:
        tx.pin("draft/1", [A, B], note="a draft")
        tx.pin("tree", [C], PinKind.TREES)
        tx.add_checksums([(A, "sha1", "0" * 40), (A, "sha1", "0" * 40)])
        with pytest.raises(ValueError, match="not a checksum"):
            tx.add_checksums([(A, "sha256", "0" * 64)])
    with ledger.write() as tx:
        assert [(p.key, p.kind, p.digests) for p in tx.pins()] == [
            ("draft/1", PinKind.BLOBS, (A, B)),
            ("tree", PinKind.TREES, (C,)),
        ]
        assert tx.unpin("tree")
        assert not tx.unpin("tree")
        assert tx.checksum(A, "sha1") == "0" * 40
        assert tx.checksum(A, "md5") is None
        assert tx.checksums([A, B], "sha1") == {A: "0" * 40}
        assert tx.checksums([], "sha1") == {}


def test_events_are_chained(ledger: Ledger) -> None:
    with ledger.write() as tx:
        tx.event("sync", repository="baseos", files=3, at=NOON, odd="\udcff", where=Path("a"))
    with ledger.write("kim") as tx:
        tx.event("pack", stream="hq", lost=["é", None, True])
    with ledger.read() as tx:
        one, two = tx.events()
        assert (one.actor, two.actor) == ("operator", "kim")
        assert one.detail == {
            "files": 3, "at": "2031-05-01T12:00:00Z", "odd": "\\udcff", "where": "a",
        }  # fmt: skip
        assert (one.previous, two.previous) == (NO_EVENT, one.digest)
        assert tx.event_head() == (2, two.digest)
        assert tx.verify_events() == 2
        assert tx.events(after=1) == [two]
        assert tx.last_events(1) == [two]


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE events SET detail = '{\"n\":9}' WHERE seq = 2", "event 2: was changed"),
        ("UPDATE events SET actor = 'nobody' WHERE seq = 3", "event 3: was changed"),
        ("UPDATE events SET detail = 'x' WHERE seq = 2", "event 2: not JSON"),
        ("DELETE FROM events WHERE seq = 2", "event 3: event 2 is missing"),
        ("DELETE FROM events WHERE seq = 3", "the log ends at event 2"),
        ("DELETE FROM events WHERE seq = 1", "event 2: event 1 is missing"),
        ("UPDATE events SET previous = digest WHERE seq = 1", "event 1: does not follow"),
    ],
)
def test_a_changed_log_is_found(ledger: Ledger, url: str, statement: str, complaint: str) -> None:
    with ledger.write() as tx:
        for number in range(3):
            tx.event("sync", n=number)
        assert tx.verify_events() == 3
    sql(url, statement)
    with ledger.read() as tx, pytest.raises(errors.LedgerDamaged) as caught:
        tx.verify_events()
    assert complaint in str(caught.value)
    assert caught.value.remedy or "JSON" in complaint


def test_writers_wait_for_each_other(url: str, ledger: Ledger) -> None:
    """Four writers that read, then write, lose no update."""

    def work() -> None:
        other = Ledger.open(url, Seam())
        for _ in range(10):
            with other.write() as tx:
                tx.bump_generation()
                tx.event("tick")
        other.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.generation() == 40
    with ledger.read() as tx:
        assert tx.verify_events() == 40


def test_a_reader_sees_one_picture(url: str, ledger: Ledger) -> None:
    with ledger.write() as tx:
        tx.publish([publication(1)])
    reader = Ledger.open_read_only(url)
    with reader.read() as tx:
        assert tx.generation() == 1
        with ledger.write() as writing:
            writing.publish([publication(2, B)])
        assert tx.generation() == 1
        assert [p.serial for p in tx.publications()] == [1]
    assert reader.generation() == 2
    reader.close()


def test_a_reader_cannot_write(url: str, ledger: Ledger) -> None:
    reader = Ledger.open_read_only(url)
    assert not reader.writable
    with pytest.raises(errors.StoreError, match="reading only"), reader.write():
        pass
    with pytest.raises(errors.StoreError), reader.read() as tx:
        tx._connection.execute(sqlalchemy.text("DELETE FROM meta"))
    reader.close()


def test_the_seam_is_told_of_a_commit(url: str) -> None:
    told: list[Operation] = []
    ledger = Ledger.open(url, Seam(told.append))
    told.clear()
    with ledger.write() as tx:
        tx.bump_generation()
    with pytest.raises(RuntimeError), ledger.write() as tx:
        raise RuntimeError
    assert [operation.kind for operation in told] == [Kind.COMMITTED]
    ledger.close()


@pytest.mark.parametrize("opening", ["write", "read"])
@pytest.mark.parametrize(
    ("version", "remedy"),
    [("999", "newer Sluice"), ("1", "sluice -z DIR upgrade"), ("0", "cannot upgrade")],
)
def test_another_version_is_refused(
    url: str, ledger: Ledger, version: str, remedy: str, opening: str
) -> None:
    ledger.close()
    sql(url, f"UPDATE meta SET value = '{version}' WHERE key = 'schema_version'")
    opener: Callable[[], Ledger] = {
        "write": lambda: Ledger.open(url, Seam()),
        "read": lambda: Ledger.open_read_only(url),
    }[opening]
    with pytest.raises(errors.WrongVersion) as caught:
        opener()
    assert remedy in caught.value.remedy


def test_events_that_were_archived_leave_an_anchor(ledger: Ledger) -> None:
    with ledger.write() as tx:
        one, two, three = [tx.event("tried", number=number) for number in range(3)]
    archive = EventArchive(two.seq, two.digest, sha256_of(b"lines"))
    with ledger.write() as tx:
        tx.archived_events(one.seq, archive)
    with ledger.read() as tx:
        assert tx.events() == [three] and tx.verify_events() == 3
        assert tx.event_archives() == [archive] and tx.event_anchor() == (2, two.digest)
    with pytest.raises(errors.StoreBusy), ledger.write() as tx:
        tx.archived_events(one.seq, archive)


def test_wants_are_counted_and_the_least_asked_for_go_first(ledger: Ledger, clock: Clock) -> None:
    with ledger.write() as tx:
        assert tx.add_wants([("central", "g:a:1", 2), ("central", "g:b:1", 1)]) == 0
        assert tx.add_wants([("vendor", "g:a:1", 1)]) == 0
    clock.time += timedelta(hours=1)
    with ledger.write() as tx:
        assert tx.add_wants([("central", "g:a:1", 3), ("central", "é" * 500, 1)], most=3) == 1
        wants = tx.wants()
        assert [(each.repository, each.what, each.count) for each in wants] == [
            ("central", "g:a:1", 5), ("central", "é" * 500, 1), ("vendor", "g:a:1", 1),
        ]  # fmt: skip
        assert [each.last for each in wants] == [NOON + timedelta(hours=1)] * 2 + [NOON]
        assert tx.count_wants() == 3
    with ledger.write() as tx:
        assert tx.forget_old_wants(NOON + timedelta(minutes=1)) == 1
        assert tx.wants() == wants[:2]
        tx.add_wants([("vendor", "g:c:1", 1)])
    with ledger.write() as tx:
        assert tx.forget_wants("central", "g:a:1") == 1
        assert tx.forget_wants("central", "g:a:1") == 0
        assert [each.what for each in tx.wants("central")] == ["é" * 500]
        assert tx.forget_wants("central") == 1
        assert tx.forget_wants() == 1
        assert tx.wants() == []


def test_opening_again_keeps_everything(url: str, ledger: Ledger) -> None:
    with ledger.write() as tx:
        tx.set_meta("zone", "outside")
    ledger.close()
    again = Ledger.open(url, Seam())
    with again.read() as tx:
        assert tx.get_meta("zone") == "outside"
        assert tx.get_meta("other") is None
    again.close()


def test_an_empty_database_is_no_ledger_for_a_reader(url: str, tmp_path: Path) -> None:
    if url.startswith("sqlite"):
        path = tmp_path / "empty.sqlite"
        path.touch()
        url = f"sqlite:///{path}"
    with pytest.raises(errors.LedgerDamaged, match="holds no ledger"):
        Ledger.open_read_only(url)
