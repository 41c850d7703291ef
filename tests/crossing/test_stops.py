"""Every step stopped wherever Python takes a signal: nothing false is said, the next run goes on.

Which places are tried is left to chance with a fixed seed; `make soak` tries hundreds.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import RsyncdFactory
from tests.support import tools
from tests.support.drive import Inside, Outside, Upstream, noise, pair, read_folder
from tests.support.forker import Forker
from tests.support.hostile import HostileServer, document
from tests.support.images import Layout
from tests.support.mavenweb import MavenWeb
from tests.support.registry import Registry
from tests.support.stops import CODES, Sweep
from tests.support.tcp import landed, listener, until
from tests.support.yumrepo import YumRepo

POM = b"""<project><modelVersion>4.0.0</modelVersion>
<groupId>org.example</groupId><artifactId>lib</artifactId><version>1</version></project>"""


class Sites:
    """Zones right before the step that is to be stopped."""

    def __init__(self, folder: Path, forker: Forker, rsyncd: RsyncdFactory) -> None:
        self._folder = folder
        self._forker = forker
        self._rsyncd = rsyncd
        self.stack = ExitStack()

    # --- sync

    def sync_files(self) -> Sweep:
        return self._sync(format="files", upstream=self._vendor().url)

    def sync_yum_by_rsync(self, repo: YumRepo) -> Sweep:
        daemon = self._rsyncd({"baseos": repo.root})
        return self._sync(format="yum", upstream=daemon.url("baseos"))

    def sync_yum_by_http(self, repo: YumRepo) -> Sweep:
        server = self.stack.enter_context(HostileServer())
        for path, data in read_folder(repo.root).items():
            server.put(f"/{quote(path)}", document(data, etag=f'"{hashlib.md5(data).hexdigest()}"'))
        return self._sync(format="yum", upstream=server.url)

    def sync_maven(self) -> Sweep:
        files = {"org/example/lib/1/lib-1.pom": POM, "org/example/lib/1/lib-1.jar": noise(1, 9000)}
        web = self.stack.enter_context(MavenWeb(files).serving())
        return self._sync(format="maven", upstream=web.url, artifacts=["org.example:lib:1"])

    def sync_images(self) -> Sweep:
        registry = self.stack.enter_context(Registry())
        layout = Layout(self._folder / "layout")
        registry.push(layout, "team/app", layout.image("one\n"), "v1")
        images = [{"name": "team/app", "tags": ["v1"]}]
        return self._sync(format="oci", upstream=registry.url, images=images)

    def _sync(self, **repository: object) -> Sweep:
        out = Outside.make(self._folder / "OUT")
        out.repositories["it"] = dict(repository)
        out.configure()
        return Sweep(self._forker, out, "sync", state=lambda: outside(out))

    # --- the other steps

    def pack(self) -> Sweep:
        out, _ = self._synced()
        return Sweep(self._forker, out, "pack", state=lambda: outside(out))

    def send_files(self) -> Sweep:
        out, _ = self._packed()

        def state() -> object:
            sent = read_folder(out.outbox).items()
            return outside(out), {name: hashlib.sha256(data).hexdigest() for name, data in sent}

        return Sweep(self._forker, out, "send", state=state)

    def send_by_tcp(self) -> Sweep:
        out, _ = self._packed()
        inbox, port = self._folder / "landed", tools.free_port()
        out.streams["hq"] = {"carrier": "tcp", "to": f"127.0.0.1:{port}", "part_size": "128KiB"}
        out.configure()
        parts = len(read_folder(out.folder / "spool"))
        peer = self.stack.enter_context(ExitStack())
        peer.enter_context(listener(inbox, port=port))

        def state() -> object:
            until(lambda: len(landed(inbox)) == parts)
            found = {name: hashlib.sha256(data).hexdigest() for name, data in landed(inbox).items()}
            # A new one, since this one throws away what it has had.
            peer.close()
            shutil.rmtree(inbox)
            peer.enter_context(listener(inbox, port=port))
            return outside(out), found

        return Sweep(self._forker, out, "send", state=state)

    def send_to_media(self) -> Sweep:
        out, _ = self._packed()
        medium = self._folder / "medium"
        medium.mkdir()
        out.streams["hq"] = {
            "carrier": "media", "folder": str(medium), "volume": "5MB", "part_size": "128KiB"
        }  # fmt: skip
        out.configure()

        def state() -> object:
            found = read_folder(medium)
            parts = {name: data for name, data in found.items() if name.endswith(".tar")}
            return outside(out), parts, sorted(found)

        return Sweep(self._forker, out, "send", state=state, kept=(medium,))

    def receive(self) -> Sweep:
        out, inside = self._packed()
        out.sluice("send")
        inside.bring(out.take())

        def state() -> object:
            return str(inside.digest()), inside.holds(), inside.waiting(), inside.quarantined()

        return Sweep(self._forker, inside, "receive", "--once", state=state)

    def gc(self) -> Sweep:
        out, _ = self._packed()
        out.sluice("send")
        # As a sync leaves them that did not come to its end.
        blobs = out.folder / "blobs"
        for number in range(20):
            data = noise(number, 100)
            name = hashlib.sha256(data).hexdigest()
            (blobs / name[:2]).mkdir(exist_ok=True)
            (blobs / name[:2] / name).write_bytes(data)
        return Sweep(self._forker, out, "gc", state=lambda: outside(out))

    def verify(self) -> Sweep:
        out, _ = self._packed()
        blob = max((out.folder / "blobs").glob("??/*"), key=lambda path: path.stat().st_size)
        blob.chmod(0o644)
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")

        def state() -> object:
            return outside(out), sorted(path.name for path in out.folder.glob("blobs/.damaged/*"))

        return Sweep(self._forker, out, "verify", "--repair", state=state, code=1)

    def _vendor(self) -> Upstream:
        return Upstream(self._folder / "vendor", {f"d/{n}": noise(n, 30_000) for n in range(8)})

    def _synced(self) -> tuple[Outside, Inside]:
        out, inside = pair(self._folder, {"tools": self._vendor()}, part_size="128KiB")
        out.sluice("sync")
        return out, inside

    def _packed(self) -> tuple[Outside, Inside]:
        out, inside = self._synced()
        out.sluice("pack")
        return out, inside


def outside(out: Outside) -> object:
    """What an outside holds and has made of it, without times."""
    with out.store() as store, store.ledger.read() as tx:
        return (
            str(out.digest()),
            [
                (one.sequence, one.state, one.kind, one.parts, bool(one.sent))
                for one in tx.bundles()
            ],
            len(tx.drafts()),
            sorted(hold.key for hold in tx.holds()),
        )


@pytest.fixture
def forker(tmp_path: Path) -> Iterator[Forker]:
    with Forker(tmp_path / "said") as made:
        yield made


@pytest.fixture
def sites(tmp_path: Path, forker: Forker, rsyncd: RsyncdFactory) -> Iterator[Sites]:
    made = Sites(tmp_path, forker, rsyncd)
    with made.stack:
        yield made


STEPS: dict[str, Callable[[Sites], Sweep]] = {
    "sync-files": Sites.sync_files,
    "sync-maven": Sites.sync_maven,
    "sync-images": Sites.sync_images,
    "pack": Sites.pack,
    "send-files": Sites.send_files,
    "send-tcp": Sites.send_by_tcp,
    "send-media": Sites.send_to_media,
    "receive": Sites.receive,
    "gc": Sites.gc,
    "verify": Sites.verify,
}
YUM = {"rsync": Sites.sync_yum_by_rsync, "http": Sites.sync_yum_by_http}


def test_packing_can_be_stopped(sites: Sites) -> None:
    sweep = sites.pack()
    for trial in sweep.trials(3, seed=4, ours=1.0):
        sweep.stop(trial)
    assert sum(sweep.codes[code] for code in CODES.values()) >= 1, sweep.codes


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_can_be_stopped_anywhere(step: str, sites: Sites) -> None:
    stop_often(STEPS[step](sites))


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("way", YUM)
def test_a_sync_of_packages_can_be_stopped_anywhere(
    way: str, sites: Sites, vendor_repo: YumRepo
) -> None:
    stop_often(YUM[way](sites, vendor_repo))


def stop_often(sweep: Sweep) -> None:
    for trial in sweep.trials(250, seed=1):
        sweep.stop(trial)
    stopped = sum(sweep.codes[code] for code in CODES.values())
    assert stopped >= 0.9 * sum(sweep.codes.values()), sweep.codes
