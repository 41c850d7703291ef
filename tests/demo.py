"""The main job, end to end, on this machine: ``make demo``.

Builds a few signed RPMs, serves them by a real rsync daemon, and lets them
cross an air gap: outside zone, files in a folder, inside zone, HTTP, dnf.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import tools
from tests.support.dnf import Dnf
from tests.support.gpg import GpgHome
from tests.support.rpms import Package, build
from tests.support.rsyncd import Rsyncd
from tests.support.yumrepo import YumRepo

WORDS = Package("words", "1.0", summary="A word list")
HELLO = Package("hello", "1.0", requires=("words >= 1.0",), summary="Needs words")
HELLO_NEW = Package("hello", "1.1", requires=("words >= 1.0",), summary="Needs words")
MORE = tuple(
    Package(name, "2.3", summary="One more package") for name in ("alpha", "beta", "gamma")
)
LEGACY = Package("legacy", "0.9", summary="Will be withdrawn by the vendor")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--folder", type=Path, help="work there and keep it (default: temporary)")
    parser.add_argument("--port", type=int, default=0, help="of the inside server (default: free)")
    options = parser.parse_args()
    started = time.monotonic()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sluice-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        Demo(folder.resolve(), options.port or tools.free_port()).run(started)
    except KeyboardInterrupt:
        print("\nstopped")
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


class Demo:
    """One run; every step prints what it does and what came of it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.out = folder / "OUT"
        self.inside = folder / "IN"
        self.step = 0

    def run(self, started: float) -> None:
        self.say("The vendor: signed RPMs in a yum repository, behind an rsync daemon")
        key = GpgHome.create("Example Vendor <vendor@example.org>")
        repo = YumRepo(self.folder / "vendor", key=key)
        repo.add(*build([WORDS, HELLO, LEGACY, *MORE], self.folder / "built", key=key))
        repo.publish()
        for package in (WORDS, HELLO, LEGACY, *MORE):
            print(f"    {package.filename}")
        vendor_key = key.export(self.folder / "vendor.asc")
        daemon = Rsyncd({"baseos": repo.root})
        daemon.start()
        try:
            self.first_crossing(daemon, vendor_key)
            with self.server():
                self.install()
                self.second_crossing(repo, key)
                self.farewell(time.monotonic() - started)
        finally:
            daemon.stop()
            key.close()

    def first_crossing(self, daemon: Rsyncd, vendor_key: Path) -> None:
        self.say("Outside: a zone that mirrors this repository, with keys of its own")
        self.sluice("init", "outside", self.out, "--stream", "hq")
        (self.out / "keys/vendor.asc").write_bytes(vendor_key.read_bytes())
        self.append(
            self.out,
            "repositories:",
            f'  baseos: {{format: yum, upstream: "{daemon.url("baseos")}", '
            "signed_by: keys/vendor.asc}",
        )
        self.sluice("-z", self.out, "trust", "export", self.folder / "root.json")

        self.say("Inside: a zone that trusts that root, and checks the vendor's signature again")
        self.sluice(
            "init", "inside", self.inside, "--root", self.folder / "root.json", "--stream", "hq"
        )
        (self.inside / "keys").mkdir(exist_ok=True)
        (self.inside / "keys/vendor.asc").write_bytes(vendor_key.read_bytes())
        self.append(self.inside, "require:", "  baseos: {signed_by: keys/vendor.asc}")
        self.append(self.inside, "serve:", f'  listen: "{self.url.removeprefix("http://")}"')

        self.say("Outside: mirror by rsync, seal a signed bundle, put it where the CDS takes it")
        self.sluice("-z", self.out, "sync")
        self.sluice("-z", self.out, "pack")
        self.sluice("-z", self.out, "send")
        self.carry()
        self.say("Inside: verify every byte, publish")
        self.sluice("-z", self.inside, "receive", "--once")

    def install(self) -> None:
        self.say("A client inside: dnf, gpgcheck=1, this one repository, an empty root")
        self.client = Dnf(self.folder / "client")
        with urllib.request.urlopen(f"{self.url}/setup/baseos.repo", timeout=10) as answer:
            text = answer.read().decode()
        print("    " + text.strip().replace("\n", "\n    "))
        self.client.use_text(text)
        self.client.install("hello", "legacy")
        self.show_installed()

    def second_crossing(self, repo: YumRepo, key: GpgHome) -> None:
        self.say("The vendor: hello 1.1 comes, legacy is withdrawn")
        repo.update(
            add=build([HELLO_NEW], self.folder / "built", key=key), remove=[LEGACY.filename]
        )
        self.say("Across the gap again: only what changed")
        self.sluice("-z", self.out, "sync")
        self.sluice("-z", self.out, "pack")
        self.sluice("-z", self.out, "send")
        self.carry()
        self.sluice("-z", self.inside, "receive", "--once")
        self.say("The client: update")
        self.client.update()
        self.show_installed()
        offered = "legacy" in " ".join(self.client.available())
        print(f"    legacy is {'still' if offered else 'no longer'} offered")
        if offered or "hello-1.1-1.noarch" not in self.client.installed():
            raise SystemExit("the second crossing did not arrive")
        self.client.close()
        self.sluice("-z", self.inside, "status")

    def farewell(self, seconds: float) -> None:
        self.say(f"Done in {seconds:.0f} seconds: two bundles crossed, the client is up to date")
        if sys.stdout.isatty():
            print(f"    the inside server stays up: {self.url}/   (Ctrl-C ends it)")
            while True:
                time.sleep(3600)

    def carry(self) -> None:
        """What a CDS does: take the files away on one side, put them down on the other."""
        total = 0
        for part in sorted((self.out / "outbox").iterdir()):
            total += part.stat().st_size
            print(f"    the CDS carries {part.name}, {part.stat().st_size} bytes")
            shutil.move(part, self.inside / "inbox" / part.name)
        if total == 0:
            raise SystemExit("nothing lay in the outbox")

    @contextmanager
    def server(self) -> Iterator[None]:
        """The inside's server, in the background."""
        self.say("Inside: serve over HTTP")
        command = [sys.executable, "-m", "sluice", "-z", str(self.inside), "serve"]
        print(f"    $ sluice -z {self.short(self.inside)} serve &")
        log = self.folder / "serve.log"
        process = tools.spawn(command, log=log, env=dict(os.environ) | self.environment())
        try:
            tools.wait_for_port(int(self.url.rpartition(":")[2]), process, log=log)
            yield
        finally:
            tools.stop(process)

    def show_installed(self) -> None:
        for name in self.client.installed():
            print(f"    installed: {name}")

    def say(self, text: str) -> None:
        self.step += 1
        print(f"\n{self.step}. {text}", flush=True)

    def short(self, word: object) -> str:
        return str(word).replace(f"{self.folder}/", "")

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "PYTHONUNBUFFERED": "1"}

    def sluice(self, *words: object) -> None:
        """Run the real command line and show what it says."""
        print(f"    $ sluice {' '.join(self.short(word) for word in words)}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "sluice", *(str(word) for word in words)],
            env=dict(os.environ) | self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        for line in done.stdout.splitlines():
            print(f"      {self.short(line)}")
        if done.returncode != 0:
            raise SystemExit(f"the command ended with {done.returncode}")

    def append(self, zone: Path, section: str, *lines: str) -> None:
        """Put lines below a section of zone.yaml, replacing what it had switched on."""
        path = zone / "zone.yaml"
        kept: list[str] = []
        inside = False
        for line in path.read_text().splitlines():
            if line == section:
                inside = True
                kept += [line, *lines]
                continue
            if inside and line and not line.startswith((" ", "#")):
                inside = False
            if not inside or line.lstrip().startswith("#") or not line.strip():
                kept.append(line)
        path.write_text("\n".join(kept) + "\n")
        for line in (section, *lines):
            print(f"    {self.short(zone)}/zone.yaml: {self.short(line)}")


if __name__ == "__main__":
    sys.exit(main())
