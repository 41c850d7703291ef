"""RPMs: signed by a vendor, mirrored by rsync, installed and updated by dnf."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from tests.demo.stage import Stage
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


class YumPart:
    """Also founds the two zones. Use as a context manager: the vendor's daemon runs meanwhile."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def __enter__(self) -> YumPart:
        stage = self.stage
        stage.say("The vendor: signed RPMs in a yum repository, behind an rsync daemon")
        self.key = GpgHome.create("Example Vendor <vendor@example.org>")
        self.repo = YumRepo(stage.folder / "vendor", key=self.key)
        self.repo.add(*build([WORDS, HELLO, LEGACY, *MORE], self._built, key=self.key))
        self.repo.publish()
        for package in (WORDS, HELLO, LEGACY, *MORE):
            print(f"    {package.filename}")
        self.daemon = Rsyncd({"baseos": self.repo.root})
        self.daemon.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.stop()
        self.key.close()

    @property
    def _built(self) -> Path:
        return self.stage.folder / "built"

    def first_crossing(self) -> None:
        stage, root = self.stage, self.stage.folder / "root.json"
        vendor_key = self.key.export(stage.folder / "vendor.asc").read_bytes()
        stage.say("Outside: a zone that mirrors this repository, with keys of its own")
        stage.sluice("init", "outside", stage.out, "--stream", "hq")
        (stage.out / "keys/vendor.asc").write_bytes(vendor_key)
        stage.repository(
            f'baseos: {{format: yum, upstream: "{self.daemon.url("baseos")}", '
            "signed_by: keys/vendor.asc}"
        )
        stage.sluice("-z", stage.out, "trust", "export", root)

        stage.say("Inside: a zone that trusts that root, and checks the vendor's signature again")
        stage.sluice("init", "inside", stage.inside, "--root", root, "--stream", "hq")
        (stage.inside / "keys").mkdir(exist_ok=True)
        (stage.inside / "keys/vendor.asc").write_bytes(vendor_key)
        stage.setting(stage.inside, "require:", "baseos: {signed_by: keys/vendor.asc}")
        stage.setting(stage.inside, "serve:", f'listen: "{stage.url.removeprefix("http://")}"')

        stage.say("Across the gap: mirror by rsync, seal a signed bundle; verify, publish")
        stage.cross("baseos")

    def install(self) -> None:
        self.stage.say("A client inside: dnf, gpgcheck=1, this one repository, an empty root")
        self.client = Dnf(self.stage.folder / "client")
        with urllib.request.urlopen(f"{self.stage.url}/setup/baseos.repo", timeout=10) as answer:
            text = answer.read().decode()
        print("    " + text.strip().replace("\n", "\n    "))
        self.client.use_text(text)
        self.client.install("hello", "legacy")
        self._show_installed()

    def second_crossing(self) -> None:
        self.stage.say("The vendor: hello 1.1 comes, legacy is withdrawn")
        self.repo.update(
            add=build([HELLO_NEW], self._built, key=self.key), remove=[LEGACY.filename]
        )
        self.stage.say("Across the gap again: only what changed")
        self.stage.cross("baseos")
        self.stage.say("The client: update")
        self.client.update()
        self._show_installed()
        offered = "legacy" in " ".join(self.client.available())
        print(f"    legacy is {'still' if offered else 'no longer'} offered")
        if offered or "hello-1.1-1.noarch" not in self.client.installed():
            raise SystemExit("the second crossing did not arrive")
        self.client.close()

    def _show_installed(self) -> None:
        for name in self.client.installed():
            print(f"    installed: {name}")
