"""A link on which really nothing comes back: two network namespaces, one dropping all it hears.

TCP cannot even begin on it. What can work there is what diodes do: a program on either side,
the first of which answers the handshake of TCP in the inside's place.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crossing.test_tcp_path import listen, published, send_to, zones
from tests.support import tools
from tests.support.drive import ROOT, environment
from tests.support.tcp import until

NEAR, FAR = "192.0.2.1", "192.0.2.2"
"""Addresses for documentation (RFC 5737); they exist in the two namespaces only."""
PORT = 9000


def run(*words: object) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Link:
    """Namespaces ``out`` and ``within``; whatever goes from the second to the first is dropped."""

    def __init__(self) -> None:
        self.out, self.within = (f"sluice{os.getpid()}{side}" for side in "ab")
        self._stack = ExitStack()

    def __enter__(self) -> Link:
        try:
            self._make()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _make(self) -> None:
        for name in (self.out, self.within):
            run("ip", "netns", "add", name)
            self._stack.callback(run, "ip", "netns", "delete", name)
        macs = {}
        words = ("type", "veth", "peer", "name", "wire", "netns", self.within)
        run("ip", "-n", self.out, "link", "add", "wire", *words)
        for name, address in ((self.out, NEAR), (self.within, FAR)):
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "wire")
            run("ip", "-n", name, "link", "set", "wire", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            [found] = json.loads(run("ip", "-n", name, "-j", "link", "show", "wire"))
            macs[name] = found["address"]
        # Nobody can ask for addresses, so both are told.
        for name, address, other in (
            (self.out, FAR, macs[self.within]),
            (self.within, NEAR, macs[self.out]),
        ):
            words = (address, "lladdr", other, "nud", "permanent", "dev", "wire")
            run("ip", "-n", name, "neigh", "replace", *words)
        self.execute(
            self.out,
            "nft",
            "add table netdev oneway;"
            " add chain netdev oneway in { type filter hook ingress device wire priority 0; };"
            # The other rule is for what the kernel says by itself (IPv6).
            " add rule netdev oneway in meta protocol ip counter drop;"
            " add rule netdev oneway in drop",
        )

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @staticmethod
    def execute(name: str, *words: object) -> str:
        return run("ip", "netns", "exec", name, *words)

    def start(self, name: str, *words: object) -> subprocess.Popen[str]:
        """A program in a namespace; it is ended with the link."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", name, *map(str, words)],
            cwd=ROOT,
            env=environment() | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        def end() -> None:
            process.terminate()
            process.communicate(timeout=60)

        self._stack.callback(end)
        return process

    def dropped(self) -> int:
        """Packets that came back and were dropped."""
        listed = json.loads(self.execute(self.out, "nft", "-j", "list", "ruleset"))
        [packets] = [
            part["counter"]["packets"]
            for item in listed["nftables"]
            for part in item.get("rule", {}).get("expr", [])
            if "counter" in part
        ]
        assert isinstance(packets, int)
        return packets


@pytest.fixture
def link() -> Iterator[Link]:
    with Link() as made:
        yield made


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 60)
    return process.stdout.readline() if ready else ""


def test_tcp_alone_cannot_begin_and_says_so(link: Link, tmp_path: Path) -> None:
    _, out, inside = zones(tmp_path, 1, timeout="1s")
    out.sluice("sync")
    out.sluice("pack")
    listen(inside, listen=f"{FAR}:{PORT}")
    receiver = link.start(link.within, *inside.command("receive"))
    assert first_line(receiver) == f"hq: listening on {FAR}:{PORT}\n"
    send_to(out, PORT, to=f"{FAR}:{PORT}")
    before = link.dropped()
    sender = link.start(link.out, *out.command("send"))
    _, complaint = sender.communicate(timeout=60)
    assert sender.returncode == 1
    assert "nobody takes the connection (timed out)" in complaint
    assert link.dropped() > before, "the inside's answers came, and nobody heard them"
    assert out.status()["streams"]["hq"]["sent"] is None


def test_with_programs_that_answer_the_handshake_everything_crosses(
    link: Link, tmp_path: Path
) -> None:
    upstream, out, inside = zones(tmp_path, 1, rate="40Mbit")
    out.sluice("sync")
    out.sluice("pack")
    receiver = link.start(link.within, *inside.command("receive"))
    port = first_line(receiver).rpartition(":")[2].strip()
    relay = (sys.executable, "-m", "tests.support.relay")
    far = f"{FAR}:{PORT}"
    arriving = link.start(link.within, *relay, "--from-datagrams", far, port)
    assert first_line(arriving) == "ready\n"
    near = tools.free_port()
    leaving = link.start(link.out, *relay, "--to-datagrams", near, far)
    assert first_line(leaving) == "ready\n"
    send_to(out, near)
    before = link.dropped()
    for number in range(3):
        sender = link.start(link.out, *out.command("send"))
        said, complaint = sender.communicate(timeout=60)
        assert sender.returncode == 0, complaint
        assert "handed over" in said
        try:
            until(lambda: published(inside, upstream), 30)
            break
        except AssertionError:
            # Datagrams may be lost here as on any such link; then a full bundle heals it.
            assert number < 2
            out.sluice("pack", "--full")
    assert inside.digest() == out.digest()
    assert link.dropped() == before, "nothing was sent back"
