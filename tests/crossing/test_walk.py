"""A seeded random walk over many cycles: whatever the carrier does, never a half publication."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests.bundle import read_head
from tests.support.drive import Inside, Outside, Upstream

NAMES = ("tools", "docs", "apps")


class Walk:
    """One outside, two insides, three repositories, and a carrier that does what it likes."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.vendors = {name: Upstream(folder / name, self.files(4)) for name in NAMES}
        self.days = {name: [vendor.files()] for name, vendor in self.vendors.items()}
        self.out = Outside.make(
            folder / "OUT",
            self.vendors,
            part_size="128KiB",
            resend_window=self.chance.randint(0, 2),
        )
        for name in NAMES:
            self.out.repositories[name] |= {"max_removals": "100%", "keep": 3}
        for name in self.chance.sample(NAMES, 2):
            self.out.repositories[name]["together"] = "group"
        self.out.configure()
        self.insides = [self.out.inside(folder / f"IN{n}") for n in range(2)]
        self.sent: list[Path] = []
        self.late: dict[Path, list[Path]] = {inside.folder: [] for inside in self.insides}
        self.renewals = 0
        self.log: list[str] = []

    def files(self, count: int) -> dict[str, bytes]:
        sizes = [0, 7, 900, 12_000, 90_000, 200_000]
        return {
            f"{self.chance.choice('ab')}/{self.chance.getrandbits(12):03x}": self.chance.randbytes(
                self.chance.choice(sizes)
            )
            for _ in range(count)
        }

    # What may happen outside

    def publish(self) -> None:
        """Some vendors add, change, remove, or put back what they had before."""
        for name in self.chance.sample(NAMES, self.chance.randint(1, 3)):
            vendor = self.vendors[name]
            there = sorted(vendor.files())
            vendor.remove(*self.chance.sample(there, self.chance.randint(0, len(there) // 2)))
            vendor.write(self.files(self.chance.randint(0, 3)))
            if self.chance.random() < 0.3:
                vendor.write(self.chance.choice(self.days[name]))
            self.days[name].append(vendor.files())

    def sync(self) -> None:
        self.out.sluice("sync")

    def pack(self) -> None:
        self.out.sluice("pack", *self.chance.choice([[], [], [], ["--full"]]))

    def send(self) -> None:
        self.out.sluice("send")
        parts = self.out.take()
        self.sent += parts
        for inside in self.insides:
            self.carry(inside, parts)

    def collect(self) -> None:
        for zone in (self.out, *self.insides):
            zone.sluice("gc")

    def renew(self) -> None:
        if self.renewals < 6:  # each one makes every head larger
            self.renewals += 1
            self.out.sluice("trust", "renew")

    # What a carrier may do

    def carry(self, inside: Inside, parts: list[Path]) -> None:
        fate = self.chance.random()
        if fate < 0.15:
            return  # lost, all of it
        kept = [part for part in parts if self.chance.random() > 0.1]
        if fate < 0.3:
            self.late[inside.folder] += kept
            return
        kept = self.chance.sample(kept, len(kept))
        if fate < 0.5 and kept:
            kept.append(self.chance.choice(kept))
        if fate < 0.6 and kept:
            kept.append(self.damaged(self.chance.choice(kept)))
        inside.bring(kept, rename=self.chance if self.chance.random() < 0.5 else None)

    def damaged(self, part: Path) -> Path:
        data = bytearray(part.read_bytes())
        if self.chance.random() < 0.5:
            data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
        else:
            del data[self.chance.randrange(1, len(data)) :]
        self.folder.joinpath("bad").mkdir(exist_ok=True)
        target = self.folder / "bad" / f"{self.chance.getrandbits(40):010x}.tar"
        target.write_bytes(data)
        return target

    def delayed(self) -> None:
        """What was delayed arrives, and something old once more."""
        for inside in self.insides:
            waiting, self.late[inside.folder] = self.late[inside.folder], []
            if self.sent:
                waiting.append(self.chance.choice(self.sent))
            inside.bring(waiting, rename=self.chance)

    # What may happen inside

    def receive(self) -> None:
        for inside in self.insides:
            before = self.state(inside)
            done = inside.sluice("receive", "--once", expect=None)
            assert done.code in (0, 3), done
            for name, (serial, rolled, _) in self.state(inside).items():
                old = before.get(name)
                if old is not None and not old[1]:
                    assert serial >= old[0], f"{name} moved back\n{done}"
                assert rolled <= (old is not None and old[1])

    def rollback(self) -> None:
        inside = self.chance.choice(self.insides)
        live = sorted(inside.live())
        if not live:
            return
        name = self.chance.choice(live)
        with inside.store() as store, store.ledger.read() as tx:
            serials = [s.snapshot.serial for s in tx.snapshots(inside.stream, name)]
        inside.sluice("rollback", name, self.chance.choice(serials))

    def state(self, inside: Inside) -> dict[str, tuple[int, bool, str]]:
        with inside.store() as store, store.ledger.read() as tx:
            return {
                live.repository: (live.serial, live.rolled_back, live.tree)
                for live in tx.publications()
            }

    def whole(self) -> None:
        """Everything that is live is complete, and is what the vendor had on some day."""
        for inside in self.insides:
            for name in inside.live():
                assert inside.content(name) in self.days[name], name

    # The walk

    def step(self) -> None:
        actions: list[tuple[int, Callable[[], None]]] = [
            (4, self.publish),
            (4, self.sync),
            (4, self.pack),
            (4, self.send),
            (4, self.receive),
            (2, self.delayed),
            (1, self.rollback),
            (1, self.collect),
            (1, self.renew),
        ]
        weights = [weight for weight, _ in actions]
        [(_, action)] = self.chance.choices(actions, weights)
        self.log.append(action.__name__)
        action()
        self.whole()

    def heal(self) -> None:
        """A full bundle that arrives whole ends every doubt."""
        for name, vendor in self.vendors.items():
            vendor.write({"healed": self.chance.randbytes(100)})  # newer than any rollback
            self.days[name].append(vendor.files())
        self.out.sluice("sync")
        self.out.sluice("pack")
        self.out.sluice("send")
        self.sent += self.out.take()
        full = self.out.bundle(full=True)
        self.sent += full
        for inside in self.insides:
            inside.bring(self.chance.sample(full, len(full)), rename=self.chance)
            inside.sluice("receive", "--once", expect=None)
            assert inside.holds() == {}, self.log
            assert inside.digest() == self.out.digest(), self.log
            for name, vendor in self.vendors.items():
                assert inside.content(name) == vendor.files(), self.log
        self.repeat()

    def repeat(self) -> None:
        """Whatever comes late or again moves nothing."""
        for inside in self.insides:
            before = inside.live()
            inside.bring(self.chance.sample(self.sent, min(len(self.sent), 12)))
            inside.bring(self.late[inside.folder], rename=self.chance)
            self.late[inside.folder] = []
            done = inside.sluice("receive", "--once", expect=None)
            # Of a bundle that was lost but for some parts, these wait for its manifest.
            held = set(inside.holds())
            assert held <= {"unmatched"}, (done, self.log)
            assert done.code == (3 if held else 0), (done, self.log)
            assert inside.live() == before
            self.strangers(inside)

    def strangers(self, inside: Inside) -> None:
        """What may stay in the inbox: parts of bundles whose manifest was lost for good, and
        of open bundles, whose snapshots a later delta may still build on."""
        with inside.store() as store, store.ledger.read() as tx:
            bundles = tx.bundles(inside.stream)
            known = {bundle.sequence for bundle in bundles}
            needed = {
                (part.sequence, part.index)
                for bundle in bundles
                if bundle.imported is None
                for part in tx.parts(inside.stream, bundle.epoch, bundle.sequence)
                if part.state == "waiting"
            }
        for name in inside.waiting():
            with (inside.inbox / name).open("rb") as file:
                head = read_head(file)
            assert head is not None
            assert head.record is not None
            place = head.record.sequence, head.record.part
            assert place[0] not in known or place in needed, name
            (inside.inbox / name).unlink()

    def end(self) -> None:
        for zone in (self.out, *self.insides):
            zone.sluice("gc")
            zone.sluice("verify")
            zone.sluice("events", "--verify")
        self.whole()
        shutil.rmtree(self.folder)


def walk(folder: Path, seed: int, rounds: int, steps: int) -> None:
    made = Walk(folder, seed)
    for _ in range(rounds):
        made.log.clear()
        for _ in range(steps):
            made.step()
        made.heal()
    made.end()


@pytest.mark.parametrize("seed", [11])
def test_a_short_walk(tmp_path: Path, seed: int) -> None:
    walk(tmp_path / "walk", seed, rounds=2, steps=12)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [12, *range(100, 108)])
def test_a_long_walk(tmp_path: Path, seed: int) -> None:
    walk(tmp_path / "walk", seed, rounds=8, steps=30)
