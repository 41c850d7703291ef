"""The whole path over TCP, by the real commands, through relays that pass bytes one way."""

from __future__ import annotations

import random
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support import tools
from tests.support.certs import Authority
from tests.support.drive import Inside, Outside, Upstream, noise
from tests.support.tcp import OneWay, RelayProcess, push, until

FILES = {"readme.txt": b"read me", "iso/disc.iso": noise(1, 3_000_000), "empty": b""}


def zones(folder: Path, port: int, **options: Any) -> tuple[Upstream, Outside, Inside]:
    """A pair that is joined by TCP; ``port`` is where the outside sends to."""
    upstream = Upstream(folder / "vendor", FILES)
    out = Outside.make(folder / "OUT", {"tools": upstream})
    inside = out.inside(folder / "IN")
    out.options = {"part_size": "256KiB", **options}
    send_to(out, port)
    listen(inside)
    return upstream, out, inside


def send_to(out: Outside, port: int, **options: Any) -> None:
    """zone.yaml outside; the helper knows only file drops, so this writes it by itself."""
    out.options |= options
    stream = {"carrier": "tcp", "to": f"127.0.0.1:{port}", "timeout": "10s", **out.options}
    out.write_yaml(
        {"zone": "outside", "repositories": out.repositories, "streams": {"hq": stream}}
        | {"reserve_free": "1MiB"}
    )


def listen(inside: Inside, **options: Any) -> None:
    stream = {"carrier": "tcp", "listen": "127.0.0.1:0", "root": "trust/root.json", **options}
    inside.write_yaml({"zone": "inside", "streams": {"hq": stream}, "reserve_free": "1MiB"})


@contextmanager
def receiving(inside: Inside, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``sluice receive`` as a process, and the port it listens on."""
    process = inside.start("receive", *words)
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], 60)
        line = process.stdout.readline() if ready else "nothing"
        found = re.fullmatch(r"hq: listening on 127\.0\.0\.1:(\d+)\n", line)
        assert found, line
        yield process, int(found[1])
    finally:
        process.terminate()
        process.communicate(timeout=60)


def published(inside: Inside, upstream: Upstream) -> bool:
    return inside.content("tools") == upstream.files()


def test_the_whole_path_through_a_relay_that_forwards_one_direction(tmp_path: Path) -> None:
    upstream, out, inside = zones(tmp_path, 1)
    out.sluice("sync")
    out.sluice("pack")
    with receiving(inside) as (_, port), OneWay(("127.0.0.1", port)) as relay:
        send_to(out, relay.address[1])
        assert "handed over" in out.sluice("send").out
        until(lambda: published(inside, upstream), 60)
        assert out.status()["streams"]["hq"]["sent"]["sequence"] == 1
        assert "nothing to send" in out.sluice("send").out
        upstream.write({"more": b"more"})
        out.sluice("sync")
        out.sluice("pack")
        out.sluice("send")
        until(lambda: published(inside, upstream), 60)
    assert inside.digest() == out.digest()
    until(lambda: not [p for p in (inside.folder / "inbox" / "hq").iterdir() if p.is_file()])
    assert inside.quarantined() == {}


def test_receive_once_takes_what_is_sent_meanwhile(tmp_path: Path) -> None:
    upstream, out, inside = zones(tmp_path, 1)
    out.sluice("sync")
    out.sluice("pack")
    with receiving(inside, "--once") as (process, port):
        send_to(out, port)
        out.sluice("send")
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "published tools snapshot 1" in said
    assert published(inside, upstream)


def test_a_full_disk_inside_is_said_and_fails(tmp_path: Path) -> None:
    _, out, inside = zones(tmp_path, 1)
    out.sluice("sync")
    out.sluice("pack")
    listen(inside, timeout="1s")
    settings = yaml.safe_load((inside.folder / "zone.yaml").read_text())
    inside.write_yaml(settings | {"reserve_free": "1PB"})
    with receiving(inside, "--once") as (process, port):
        send_to(out, port)
        out.sluice("send")
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "NoSpace: 127.0.0.1" in complaints
    assert "free space on this disk" in complaints
    assert inside.content("tools") is None


def test_the_relay_is_killed_and_started_again_in_the_middle(tmp_path: Path) -> None:
    upstream, out, inside = zones(tmp_path, 1, part_size="128KiB", rate="12Mbit")
    out.sluice("sync")
    out.sluice("pack")
    with receiving(inside) as (_, port), RelayProcess(tools.free_port(), port) as relay:
        send_to(out, relay.port)
        sender = out.start("send")
        for _ in range(3):
            time.sleep(0.5)
            assert sender.poll() is None, "it was to be in the middle"
            relay.kill()
            time.sleep(0.2)
            relay.start()
        said, complaint = sender.communicate(timeout=60)
        assert sender.returncode == 0, complaint
        assert "handed over" in said
        until(lambda: published(inside, upstream), 60)
    assert inside.digest() == out.digest()
    assert inside.quarantined() == {}


def test_nobody_there_fails_in_time_and_the_next_call_goes_on(tmp_path: Path) -> None:
    upstream, out, inside = zones(tmp_path, tools.free_port(), timeout="300ms")
    out.sluice("sync")
    out.sluice("pack")
    failed = out.sluice("send", expect=1)
    assert "nobody takes the connection" in failed.err
    assert out.status()["streams"]["hq"]["sent"] is None
    with receiving(inside) as (_, port):
        send_to(out, port, timeout="10s")
        out.sluice("send")
        until(lambda: published(inside, upstream), 60)


def test_parts_in_doubt_wait_for_the_next_call(tmp_path: Path) -> None:
    """The relay took one bundle and half of the next, and died before it passed anything on."""
    upstream, out, inside = zones(tmp_path, 1, timeout="400ms", rate="24Mbit")
    out.sluice("sync")
    out.sluice("pack")
    upstream.write({"more.iso": noise(3, 1_500_000)})
    out.sluice("sync")
    out.sluice("pack")
    hole = OneWay(None)
    send_to(out, hole.address[1])
    sender = out.start("send")
    until(lambda: hole.passed > 3_600_000, 60)
    hole.close()
    _, complaint = sender.communicate(timeout=60)
    assert sender.returncode == 1, complaint
    assert len(out.events("bundle.sent")) == 1
    assert out.status()["streams"]["hq"]["sent"] is None, "nothing is known to be out"
    with receiving(inside) as (_, port):
        send_to(out, port, timeout="10s", rate="8Gbit")
        assert "of bundle 1, 2" in out.sluice("send").out
        until(lambda: published(inside, upstream), 60)
    assert inside.digest() == out.digest()


def test_a_sender_that_is_killed_sends_again_what_was_under_way(tmp_path: Path) -> None:
    upstream, out, inside = zones(tmp_path, 1, rate="12Mbit")
    out.sluice("sync")
    out.sluice("pack")
    chance = random.Random(5)
    with receiving(inside) as (_, port):
        send_to(out, port)
        for _ in range(3):
            sender = out.start("send")
            time.sleep(0.8 + chance.random())
            sender.kill()
            sender.communicate()
        send_to(out, port, rate="8Gbit")
        out.sluice("send")
        until(lambda: published(inside, upstream), 60)
    assert inside.quarantined() == {}


def test_a_part_that_is_damaged_on_the_way_is_sent_again_by_hand(tmp_path: Path) -> None:
    upstream, out, inside = zones(tmp_path, 1)
    out.sluice("sync")
    out.sluice("pack")
    passed = 0

    def alter(data: bytes) -> bytes:
        nonlocal passed
        before, passed = passed, passed + len(data)
        hit = before <= 1_000_000 < passed
        return bytes([data[0] ^ 4]) + data[1:] if hit else data

    with receiving(inside) as (process, port):
        with OneWay(("127.0.0.1", port), alter) as relay:
            send_to(out, relay.address[1])
            out.sluice("send")
            until(lambda: "tools" in inside.holds(), 60)
        send_to(out, port)
        until(lambda: "part 4" in inside.holds()["tools"]["remedy"], 60)
        assert inside.content("tools") is None
        out.sluice("resend", 1, "--parts", 4)
        until(lambda: published(inside, upstream), 60)
        process.terminate()
        _, complaints = process.communicate(timeout=60)
    assert "DamagedFrame" in complaints
    assert inside.status()["holds"] == []


def test_pinned_certificates(tmp_path: Path) -> None:
    upstream, out, inside = zones(tmp_path, 1)
    authority = Authority(tmp_path / "ca")
    pairs = {name: authority.issue(name) for name in ("out", "in", "other")}

    def tls(own: str, pin: str) -> dict[str, str]:
        return {
            "cert": str(pairs[own].cert),
            "key": str(pairs[own].key),
            "pin": str(pairs[pin].cert),
        }

    out.sluice("sync")
    out.sluice("pack")
    listen(inside, tls=tls("in", "out"))
    with receiving(inside) as (process, port):
        send_to(out, port, tls=tls("out", "other"))
        assert "TLS handshake failed" in out.sluice("send", expect=1).err
        send_to(out, port, tls=tls("other", "in"))
        refused = out.sluice("send", expect=1).err
        assert "TLS handshake failed" in refused
        assert "`tls: pin` is the other side's `tls: cert`" in refused
        send_to(out, port, tls=tls("out", "in"))
        out.sluice("send")
        until(lambda: published(inside, upstream), 60)
        process.terminate()
        _, complaints = process.communicate(timeout=60)
    assert "PeerRefused: 127.0.0.1: the TLS handshake failed" in complaints


def test_strangers_are_named_and_change_nothing(tmp_path: Path) -> None:
    upstream, out, inside = zones(tmp_path, 1)
    out.sluice("sync")
    out.sluice("pack")
    with receiving(inside) as (process, port):
        assert "process" in inside.sluice("receive", "--once", expect=1).err, "one is enough"
        push(("127.0.0.1", port), b"GET / HTTP/1.0\r\n\r\n")
        push(("127.0.0.1", port), noise(2, 100_000))
        send_to(out, port)
        out.sluice("send")
        until(lambda: published(inside, upstream), 60)
        process.terminate()
        _, complaints = process.communicate(timeout=60)
    assert "DamagedFrame: 127.0.0.1: bytes that are no frame" in complaints
    assert inside.quarantined() == {}
