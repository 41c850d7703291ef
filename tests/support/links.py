"""A one-way link that loses, repeats, reorders, renames and delays, and what it does to a
stream over hundreds of bundles. Everything follows from a seed.

``Crossing`` drives a real outside and a real inside (stores, keys, files; no mirror and no
server) and checks after every step what must always hold; ``Tally`` is what came of it.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from manifests.digest import Digest
from manifests.state import StateRow, StateTable
from store.records import BundleRecord, Hold
from tests.support.crossing import Inside, Outside

STEP = timedelta(hours=12)
"""Time between two bundles."""


@dataclass(frozen=True, slots=True)
class Link:
    """What happens to a file. Shares are of all files.

    ``loss`` is independent; with ``burst`` (files) losses come in runs of that mean length,
    the share of all lost files staying ``loss`` (a Gilbert model: a good and a bad state).
    ``late`` files take up to ``weeks``; all others arrive within a step, in any order.
    """

    loss: float
    burst: float = 0
    twice: float = 0.05
    late: float = 0.02
    weeks: int = 3

    def name(self) -> str:
        how = f", in bursts of {self.burst:g}" if self.burst else ""
        return f"{100 * self.loss:g} %{how}"


class Fate:
    """Decides for one file after another, in the order of sending."""

    def __init__(self, link: Link, chance: random.Random) -> None:
        self._link = link
        self._chance = chance
        self._bad = False

    def arrivals(self) -> list[int]:
        """After how many steps each copy arrives; none for a lost file."""
        link, chance = self._link, self._chance
        if self._lost():
            return []
        copies = 2 if chance.random() < link.twice else 1
        most = int(timedelta(weeks=link.weeks) / STEP)
        return [
            chance.randint(1, most) if chance.random() < link.late else 0 for _ in range(copies)
        ]

    def _lost(self) -> bool:
        link, chance = self._link, self._chance
        if not link.burst:
            return chance.random() < link.loss
        leave = 1 / link.burst
        enter = leave * link.loss / (1 - link.loss)
        self._bad = chance.random() < (1 - leave if self._bad else enter)
        return self._bad


@dataclass(slots=True)
class Tally:
    """What came of a crossing. Counts of repositories are per bundle received."""

    bundles: int = 0
    parts: int = 0
    bytes: int = 0
    lost: int = 0
    late: int = 0
    twice: int = 0
    held: int = 0
    """Times that a repository was held after a bundle."""
    rows: int = 0
    """Times that a repository could have been held."""
    resent: int = 0
    resent_bytes: int = 0
    by_itself: int = 0
    """Holds that a late part or a later bundle ended."""
    by_resend: int = 0
    by_full: int = 0
    longest: int = 0
    """The longest hold, in bundles."""


@dataclass
class Crossing:
    """``resend``: every so many bundles an operator has sent again what the holds name
    (0: never). ``full``: every so many bundles there is a full one, which arrives whole."""

    folder: Path
    link: Link
    seed: int
    repositories: int = 4
    resend: int = 0
    full: int = 40
    window: int = 0
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.fate = Fate(self.link, self.chance)
        names = tuple(f"repo{number}" for number in range(self.repositories))
        for part in ("out", "in"):
            (self.folder / part).mkdir()
        self.out = Outside(
            self.folder / "out",
            part_size=128 << 10,
            repositories=names,
            resend_window=self.window,
        )
        self.inside = Inside(self.folder / "in", self.out.keys.export_root())
        self.content: dict[str, dict[str, bytes]] = {name: {} for name in names}
        self.history: dict[tuple[str, int], Digest] = {}
        self.archive: dict[int, list[Path]] = {}
        """All parts that were ever sent, by sequence."""
        self.flying: list[tuple[int, Path]] = []
        """Step of arrival, and part."""
        self.delivered: set[str] = set()
        self.serials: dict[str, int] = {}
        self.since: dict[str, int] = {}
        """By repository, the step at which its hold began."""
        self.step = 0

    def close(self) -> None:
        self.out.store.close()
        self.inside.store.close()

    # The outside

    def run(self, bundles: int) -> Tally:
        """So many bundles, and then a full one that ends every doubt."""
        for _ in range(bundles):
            self._turn(full=self.full > 0 and self.step % self.full == self.full - 1)
        self._turn(full=True)
        return self.tally

    def _turn(self, *, full: bool) -> None:
        self._change()
        sent = self.out.bundle(full=full)
        with self.out.store.ledger.write() as tx:
            newest = tx.bundles("hq")[0]
            tx.update_bundle("hq", newest.epoch, newest.sequence, sent=self.out.now)
        self._keep(newest, sent)
        for part in self.archive[newest.sequence]:
            self._send(part, sure=full)
        self.tally.bundles += 1
        self._arrive(heal="full" if full else "")
        if full:
            assert self.digest() == newest.state, "a full bundle ends every doubt"
            assert self._holds() == {}
        elif self.resend and self.step % self.resend == 0:
            self._have_sent_again()
        self.step += 1
        self.out.now += STEP
        self.inside.now = self.out.now

    def _change(self) -> None:
        for name in self.chance.sample(sorted(self.content), self.chance.randint(1, 2)):
            files = self.content[name]
            for _ in range(self.chance.randint(1, 4)):
                path = f"p{self.chance.randrange(30):02}"
                if path in files and self.chance.random() < 0.3:
                    del files[path]
                else:
                    # Some bytes stand in several repositories, and come back after a removal.
                    seed = self.chance.randrange(150)
                    size = 200 + seed * 300
                    files[path] = random.Random(seed).randbytes(size)
            files.setdefault("always", name.encode())
            snapshot = self.out.snapshot(name, files)
            self.history[name, snapshot.serial] = snapshot.tree

    def _keep(self, bundle: BundleRecord, parts: list[Path]) -> None:
        place = self.folder / "archive"
        place.mkdir(exist_ok=True)
        self.archive[bundle.sequence] = [
            Path(shutil.move(part, place / part.name)) for part in parts
        ]

    def _send(self, part: Path, *, sure: bool) -> None:
        self.tally.parts += 1
        self.tally.bytes += part.stat().st_size
        after = [0] if sure else self.fate.arrivals()
        self.tally.lost += not after
        self.tally.twice += len(after) > 1
        self.tally.late += any(after)
        self.flying += [(self.step + steps, part) for steps in after]

    # The inside

    def _arrive(self, *, heal: str) -> None:
        now = [part for due, part in self.flying if due <= self.step]
        self.flying = [(due, part) for due, part in self.flying if due > self.step]
        self.chance.shuffle(now)
        self._receive(now)
        self._count(heal)

    def _receive(self, parts: list[Path]) -> None:
        self.inside.bring(*parts, rename=True)
        self.delivered |= {part.name for part in parts}
        self.inside.receive()
        self._check()

    def _check(self) -> None:
        """What must hold at any time."""
        with self.inside.store.ledger.read() as tx:
            live = tx.publications()
        has = self.inside.store.blobs.has
        for each in live:
            assert self.history[each.repository, each.serial] == each.tree, "a false publication"
            assert each.serial >= self.serials.get(each.repository, 0), "moved back"
            if each.serial > self.serials.get(each.repository, 0):
                entries = self.inside.store.tree(each.tree).entries()
                assert all(has(entry.digest) for entry in entries), "published incomplete"
            self.serials[each.repository] = each.serial
        for name, hold in self._holds().items():
            self._check_hold(name, hold)

    def _check_hold(self, name: str, hold: Hold) -> None:
        """It names what is missing: no file that is here, no part that came."""
        assert hold.kind == "incomplete", hold
        tree = Digest(str(hold.detail["tree"]))
        has = self.inside.store.blobs.has
        if has(tree):
            entries = self.inside.store.tree(tree).entries()
            missing = [entry.path for entry in entries if not has(entry.digest)]
            assert hold.detail["items"] == missing, "exactly the files that are not here"
            assert hold.detail["total"] == len(missing) > 0
        else:
            assert hold.detail["total"] == 0
        wanted = self._wanted(hold)
        assert wanted, f"{name} is held and names nothing"
        for part in wanted:
            assert part.name not in self.delivered, f"{part.name} came, and is named as missing"

    def _wanted(self, hold: Hold) -> list[Path]:
        """The parts that a hold asks for."""
        bundles, parts = hold.detail["bundles"], hold.detail["parts"]
        assert isinstance(bundles, list)
        assert isinstance(parts, dict)
        found = [part for number in bundles for part in self.archive[number]]
        for bundle, numbers in parts.items():
            sent = self.archive[int(bundle.partition("/")[2])]
            found += [sent[number - 1] for number in numbers]
        return found

    def _have_sent_again(self) -> None:
        """What the holds name comes once more, and nothing else: it must be enough."""
        for _ in range(20):
            wanted = {part for hold in self._holds().values() for part in self._wanted(hold)}
            if not wanted:
                break
            self.tally.resent += len(wanted)
            self.tally.resent_bytes += sum(part.stat().st_size for part in wanted)
            self._receive(sorted(wanted))
        assert self._holds() == {}, "what was named was not enough"
        self._count("resend")

    def repeat(self, count: int) -> None:
        """Parts that were taken in come again, as copies: nothing may change."""
        came = [part for parts in self.archive.values() for part in parts]
        again = self.chance.sample([p for p in came if p.name in self.delivered], count)
        before = self._facts()
        self._receive(again)
        assert self._facts() == before

    def _facts(self) -> object:
        with self.inside.store.ledger.read() as tx:
            holds = [(hold.key, hold.reason, hold.remedy) for hold in tx.holds()]
            return tx.publications(), holds, tx.trust_state("hq"), tx.generation()

    def _holds(self) -> dict[str, Hold]:
        with self.inside.store.ledger.read() as tx:
            return {hold.repository: hold for hold in tx.holds() if hold.repository}

    def _count(self, how: str) -> None:
        held = self._holds()
        if not how or how == "full":
            self.tally.held += len(held)
            self.tally.rows += self.repositories
        for name in set(self.since) - set(held):
            self.tally.longest = max(self.tally.longest, self.step - self.since.pop(name))
            if how == "resend":
                self.tally.by_resend += 1
            elif how == "full":
                self.tally.by_full += 1
            else:
                self.tally.by_itself += 1
        for name in held:
            self.since.setdefault(name, self.step)

    def digest(self) -> Digest:
        """State digest of what is published inside."""
        rows = []
        with self.inside.store.ledger.read() as tx:
            for live in tx.publications():
                stored = tx.snapshot(live.stream, live.source_repository, live.serial)
                assert stored is not None
                size = stored.snapshot.tree_size
                rows.append(StateRow(live.repository, live.format, live.serial, live.tree, size))
        return StateTable.of(rows).digest
