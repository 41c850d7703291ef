"""Either zone is upgraded first: an older program on the other side, and a crossing between."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from manifests.bundle.manifest import WIRE
from manifests.version import VERSION
from tests.architecture.project import PACKAGES
from tests.support.drive import ROOT, Inside, Outside, Upstream, environment

OLDER = {
    "manifests/version.py": (f'"{VERSION}"', '"0.0.9"'),
    "manifests/bundle/manifest.py": (f"WIRE: Final = {WIRE}\n", "WIRE: Final = 1\n"),
    "store/ledger/schema.py": ("SCHEMA_VERSION = ", "SCHEMA_VERSION = 1  # "),
}
"""What makes a copy of this program an older one: it knows the first wire and ledger."""

WALK = """
import json, sys
from pathlib import Path
from sluice.cli import main

for words in json.loads(sys.argv[1]):
    if words[0] == "write":
        Path(words[1]).write_text(words[2])
    elif words[0] == "carry":
        for part in sorted(Path(words[1]).iterdir()):
            part.rename(Path(words[2], part.name))
    elif code := main(words):
        raise SystemExit(code)
"""


class Pair:
    """Both zones below one folder, and the older program."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder, self.program = folder, program
        self.out = Outside(folder / "OUT")
        self.inside = Inside(folder / "IN")
        self.upstream = Upstream(folder / "vendor")

    def older(self, *commands: list[object], expect: int = 0) -> str:
        """Commands for the older program, in one process; what it said."""
        words = json.dumps([[str(word) for word in words] for words in commands])
        done = subprocess.run(
            [sys.executable, "-c", WALK, words],
            env=environment() | {"PYTHONPATH": str(self.program)},
            cwd=self.folder, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def begin(self) -> None:
        """Zones made by the older program, and a first crossing."""
        out, inside = self.out.folder, self.inside.folder
        root = self.folder / "root.json"
        self.upstream.write({"a": b"first"})
        self.older(
            ["init", "outside", out, "--stream", "hq"],
            ["-z", out, "trust", "export", root],
            ["init", "inside", inside, "--root", root, "--stream", "hq"],
            ["write", out / "zone.yaml", self.yaml()],
            ["write", inside / "zone.yaml", json.dumps({
                "zone": "inside", "reserve_free": "1MiB",
                "streams": {"hq": {"carrier": "file", "inbox": "inbox", "settle": "0s",
                                   "root": "trust/root.json"}},
            })],
            *self.sending(),
            *self.receiving(),
        )  # fmt: skip

    def yaml(self, **stream: object) -> str:
        """zone.yaml of the outside; ``stream`` are further settings of its stream."""
        upstream = f"file://{self.folder}/vendor"
        return json.dumps({
            "zone": "outside", "reserve_free": "1MiB",
            "repositories": {"tools": {"format": "files", "upstream": upstream}},
            "streams": {"hq": {"carrier": "file", "outbox": "outbox", **stream}},
        })  # fmt: skip

    def sending(self) -> list[list[object]]:
        return [["-z", self.out.folder, word] for word in ("sync", "pack", "send")]

    def receiving(self) -> list[list[object]]:
        folder = self.inside.folder
        carry: list[object] = ["carry", self.out.folder / "outbox", folder / "inbox"]
        return [carry, ["-z", folder, "receive", "--once"]]

    def send(self) -> None:
        """By the present program, in this process."""
        for word in ("sync", "pack", "send"):
            self.out.sluice(word)

    def receive(self) -> None:
        for part in sorted((self.out.folder / "outbox").iterdir()):
            part.rename(self.inside.inbox / part.name)
        self.inside.sluice("receive", "--once")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("orders")
    program = folder / "program"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, program / package, ignore=ignored)
    for name, (now, then) in OLDER.items():
        text = (program / name).read_text()
        assert text.count(now) == 1, f"{name} does not say {now!r} once"
        (program / name).write_text(text.replace(now, then))
    wires = program / "manifests/bundle/manifest.py"
    wires.write_text(wires.read_text().replace("WIRES: Final = (1, WIRE)", "WIRES: Final = (1,)"))
    pair = Pair(folder / "begun", program)
    pair.begin()
    return pair


@pytest.fixture
def pair(begun: Pair, tmp_path: Path) -> Pair:
    copied = Pair(tmp_path / "zones", begun.program)
    shutil.rmtree(copied.folder)
    shutil.copytree(begun.folder, copied.folder)
    (copied.out.folder / "zone.yaml").write_text(copied.yaml())
    return copied


def test_the_outside_first(pair: Pair) -> None:
    assert "sluice -z DIR upgrade" in pair.out.sluice("status", expect=1).err
    pair.out.sluice("upgrade")
    (pair.out.folder / "zone.yaml").write_text(pair.yaml(wire=1))
    pair.upstream.write({"a": b"second"})
    pair.send()
    assert "published tools" in pair.older(*pair.receiving())

    # Too early: the older inside says what it needs, and loses nothing.
    (pair.out.folder / "zone.yaml").write_text(pair.yaml())
    pair.upstream.write({"a": b"third"})
    pair.send()
    said = pair.older(*pair.receiving(), expect=3)
    assert f"install sluice {VERSION} here" in said
    assert pair.inside.waiting()
    pair.inside.sluice("upgrade")
    pair.receive()
    assert pair.inside.content("tools") == {"a": b"third"}
    assert not pair.inside.waiting()


def test_the_inside_first(pair: Pair) -> None:
    pair.inside.sluice("upgrade")
    pair.upstream.write({"a": b"second"})
    pair.older(*pair.sending())
    pair.receive()
    assert pair.inside.content("tools") == {"a": b"second"}
    pair.out.sluice("upgrade")
    pair.upstream.write({"a": b"third"})
    pair.send()
    pair.receive()
    assert pair.inside.content("tools") == {"a": b"third"}
    for zone in (pair.out, pair.inside):
        zone.sluice("events", "--verify")
