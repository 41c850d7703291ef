"""The TCP carrier's two halves: over relays that break, and against peers that mean harm."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from cds.tcp import Listener, TcpOutlet
from cds.tcp.frames import MAGIC, Frame, Kind, digest, frame
from cds.tcp.landing import INCOMING
from cds.tcp.sender import Pace
from manifests import errors
from manifests.zone import TcpSending, Tls
from tests.support import tools
from tests.support.certs import Authority, Pair
from tests.support.tcp import (
    OneWay,
    decode,
    landed,
    listener,
    part_frames,
    push,
    until,
)

DATA = random.Random(1).randbytes(300_000)


@contextmanager
def outlet(address: tuple[str, int], **settings: object) -> Iterator[TcpOutlet]:
    values: dict[str, object] = {"timeout": 60.0} | settings
    made = TcpOutlet(TcpSending(host=address[0], port=address[1], **values))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


def set_timeout(end: Listener | TcpOutlet, seconds: float) -> None:
    """From here on: short where the end of one is waited for, so that nothing else hurries."""
    end._settings = replace(end._settings, timeout=seconds)


def spool(folder: Path, count: int, size: int = 300_000) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    made = {}
    for n in range(count):
        made[f"p{n:03}.tar"] = folder / f"p{n:03}"
        made[f"p{n:03}.tar"].write_bytes(random.Random(n).randbytes(size + n))
    return made


def content(parts: dict[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in parts.items()}


def classes(peer: Listener) -> set[type[errors.SluiceError]]:
    return {type(error) for error, _ in peer.problems()}


# What works


def test_parts_cross_and_nothing_comes_back(tmp_path: Path) -> None:
    parts = spool(tmp_path / "spool", 4)
    parts["empty"] = tmp_path / "spool" / "empty"
    parts["empty"].touch()
    with listener(tmp_path / "in") as inside, OneWay(inside.address) as relay:
        with outlet(relay.address) as outside:
            for name, path in parts.items():
                sent = outside.offer(name, path)
                assert (sent.name, sent.size, sent.again) == (name, path.stat().st_size, False)
        until(lambda: inside.parts == len(parts))
        assert landed(tmp_path / "in") == content(parts)
        assert inside.problems() == []
        assert relay.connections == 1


def test_a_broken_connection_costs_time_only(tmp_path: Path) -> None:
    parts = spool(tmp_path / "spool", 12, 400_000)
    with listener(tmp_path / "in") as inside, OneWay(inside.address) as relay:
        breaks = [700_000, 1_900_000, 4_000_000]
        with outlet(relay.address, rate=16_000_000, repeat=500_000) as outside:
            for name, path in parts.items():
                if breaks and relay.passed > breaks[0]:
                    breaks.pop(0)
                    threading.Timer(0.01, relay.break_all).start()
                outside.offer(name, path)
                # Whoever has them sent may let them go, also while they are in doubt.
                parts[name] = path.rename(path.with_suffix(".kept"))
        assert breaks == []
        assert relay.connections > 1
        until(lambda: landed(tmp_path / "in").keys() == parts.keys())
        assert landed(tmp_path / "in") == content(parts)
        assert classes(inside) <= {errors.DamagedFrame}
        assert not list((tmp_path / "in" / INCOMING).iterdir())


def test_a_link_that_damages_bytes_costs_parts_and_never_truth(tmp_path: Path) -> None:
    parts = spool(tmp_path / "spool", 40, 20_000)
    chance = random.Random(11)

    def alter(data: bytes) -> bytes:
        if chance.random() < 0.6:
            return data
        at = chance.randrange(len(data))
        return chance.choice(
            [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at] + b"noise" + data[at:],
             data[:at] + data[at + 3 :], data + data[-100:]]
        )  # fmt: skip

    with listener(tmp_path / "in") as inside:
        with OneWay(inside.address, alter) as relay, outlet(relay.address) as outside:
            for name, path in parts.items():
                outside.offer(name, path)
        inside.wait_quiet(5.0, 0.3)
        came = landed(tmp_path / "in")
        true = content(parts)
        assert came.items() < true.items(), "whole parts, and not all of them"
        assert classes(inside) == {errors.DamagedFrame}
        with outlet(inside.address) as outside:
            for name in true.keys() - came.keys():
                outside.offer(name, parts[name])
        until(lambda: inside.parts == len(parts))
        assert landed(tmp_path / "in") == true


def test_what_a_dying_relay_had_swallowed_is_sent_again(tmp_path: Path) -> None:
    """Acknowledged is not arrived: the relay took three parts and passed none on."""
    parts = spool(tmp_path / "spool", 4, 50_000)
    with listener(tmp_path / "in") as inside:
        hole = OneWay(None)
        with outlet(hole.address) as outside:
            names = list(parts)
            for name in names[:3]:
                outside.offer(name, parts[name])
            port = hole.address[1]
            hole.close()
            straight = socket.create_server(("127.0.0.1", port))
            threading.Thread(target=_pass_on, args=(straight, inside.address)).start()
            outside.offer(names[3], parts[names[3]])
        until(lambda: inside.parts == 4)
        assert landed(tmp_path / "in") == content(parts)


def _pass_on(server: socket.socket, target: tuple[str, int]) -> None:
    with server, server.accept()[0] as client, socket.create_connection(target) as onward:
        while data := client.recv(1 << 16):
            onward.sendall(data)


def test_a_break_after_the_last_part_is_noticed_when_closing(tmp_path: Path) -> None:
    parts = spool(tmp_path / "spool", 2, 50_000)
    with listener(tmp_path / "in") as inside:
        hole = OneWay(None)
        with outlet(hole.address) as outside:
            for name, path in parts.items():
                outside.offer(name, path)
            port = hole.address[1]
            hole.close()
            straight = socket.create_server(("127.0.0.1", port))
            threading.Thread(target=_pass_on, args=(straight, inside.address)).start()
        until(lambda: inside.parts == 2)
        assert landed(tmp_path / "in") == content(parts)


def test_what_nobody_takes_stays_in_doubt(tmp_path: Path) -> None:
    parts = spool(tmp_path / "spool", 2, 50_000)
    hole = OneWay(None)
    outside = TcpOutlet(TcpSending(host="127.0.0.1", port=hole.address[1], timeout=60.0))
    outside.offer("p000.tar", parts["p000.tar"])
    assert outside.in_doubt() == []
    until(lambda: hole.passed > 50_000)
    hole.close()
    set_timeout(outside, 0.5)
    with pytest.raises(errors.CarrierError, match="nobody takes the connection") as caught:
        outside.offer("p001.tar", parts["p001.tar"])
    assert "sluice receive" in caught.value.remedy
    outside.close()
    assert outside.in_doubt() == ["p000.tar"]


def test_who_accepts_and_hangs_up_is_given_up_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds.tcp.sender._LONGEST_PAUSE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        outside = TcpOutlet(
            TcpSending(host="127.0.0.1", port=server.getsockname()[1], timeout=60.0)
        )
        big = spool(tmp_path / "spool", 1, 8 << 20)["p000.tar"]
        with pytest.raises(errors.CarrierError, match="broke 10 times"):
            outside.offer("one", big)
        outside.close()


def test_who_takes_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        outside = TcpOutlet(TcpSending(host="127.0.0.1", port=server.getsockname()[1], timeout=0.1))
        started = time.monotonic()
        with pytest.raises(errors.CarrierError):
            outside.offer("one", spool(tmp_path / "spool", 1, 32 << 20)["p000.tar"])
        assert time.monotonic() - started < 60
        outside.close()


def test_what_comes_twice_is_thrown_away(tmp_path: Path) -> None:
    frames = part_frames("one.tar", DATA)
    with listener(tmp_path / "in") as inside:
        push(inside.address, *frames, *frames)
        until(lambda: inside.parts == 1)
        [path] = [p for p in (tmp_path / "in").iterdir() if p.is_file()]
        path.unlink()  # imported meanwhile
        push(inside.address, *frames)
        push(inside.address, *part_frames("two.tar", DATA))
        until(lambda: inside.parts == 2)
        assert landed(tmp_path / "in").keys() == {"two.tar"}
    with listener(tmp_path / "in") as inside:
        # A new process knows it by what lies there.
        push(inside.address, *part_frames("two.tar", DATA))
        push(inside.address, *part_frames("two.tar", DATA[::-1]))
        until(lambda: inside.parts == 1)
    assert sorted(p.read_bytes() for p in (tmp_path / "in").iterdir() if p.is_file()) == sorted(
        [DATA, DATA[::-1]]
    )


def test_the_pace_is_kept() -> None:
    now = 0.0

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = Pace(1000, lambda: now, pause)
    for _ in range(100):
        pace.take(100)
    assert now == pytest.approx(9.9)
    now += 100.0
    pace.take(100)
    pace.take(100)
    # A pause is not saved up for a burst.
    assert now == pytest.approx(110.0)


def test_a_slow_link_gets_small_frames_and_an_idle_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds.tcp.sender._ALIVE", 0.2)
    part = spool(tmp_path / "spool", 1, 40_000)["p000.tar"]
    passed = bytearray()

    def note(piece: bytes) -> bytes:
        passed.extend(piece)
        return piece

    with listener(tmp_path / "in") as inside, OneWay(inside.address, note) as relay:
        with outlet(relay.address, rate=50_000) as outside:
            outside.offer("slow", part)
            until(lambda: inside.parts == 1)
            [peer] = inside._peers
            seen: set[float | None] = set()

            def put_off() -> bool:
                """By keep-alives, since nothing else is sent."""
                seen.add(peer.deadline)
                return len(seen - {None}) > 2

            until(put_off)
            outside.offer("later", part)
        until(lambda: inside.parts == 2)
        assert inside.problems() == []
        assert relay.connections == 1
    frames = [each for each in decode(bytes(passed)) if isinstance(each, Frame)]
    assert max(len(each.body) for each in frames) <= 50_000  # a second's worth
    assert Kind.ALIVE in {each.kind for each in frames}


# TLS


def _tls(own: Pair, other: Pair) -> Tls:
    return Tls(cert=own.cert, key=own.key, pin=other.cert)


def test_pinned_certificates_pass_and_no_others(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    out, inside_pair, stranger = (authority.issue(name) for name in ("out", "in", "stranger"))
    part = spool(tmp_path / "spool", 1)["p000.tar"]
    with listener(tmp_path / "in", tls=_tls(inside_pair, out)) as inside:
        # The stranger's is of the same authority; it is not the pinned one.
        with (
            pytest.raises(errors.PeerRefused, match="handshake"),
            outlet(inside.address, tls=_tls(stranger, inside_pair)) as outside,
        ):
            outside.offer("no", part)
        until(lambda: errors.PeerRefused in classes(inside))
        with (
            pytest.raises(errors.PeerRefused, match="handshake"),
            outlet(inside.address, tls=_tls(out, stranger)) as outside,
        ):
            outside.offer("no", part)
        with pytest.raises(errors.CarrierError), outlet(inside.address, timeout=0.2) as outside:
            outside.offer("plain", spool(tmp_path / "spool", 1, 8 << 20)["p000.tar"])
        with contextlib.suppress(OSError):
            push(inside.address, *part_frames("plain", b"x"))
        with outlet(inside.address, tls=_tls(out, inside_pair)) as outside:
            outside.offer("yes", part)
        until(lambda: inside.parts == 1)
        assert landed(tmp_path / "in") == {"yes": part.read_bytes()}


def test_a_pin_that_is_an_authority_lets_in_nobody_it_signed(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    out, inside_pair = authority.issue("out"), authority.issue("in")
    pin = Tls(cert=inside_pair.cert, key=inside_pair.key, pin=authority.ca)
    with listener(tmp_path / "in", tls=pin) as inside:
        with (
            contextlib.suppress(errors.CarrierError),
            outlet(inside.address, tls=_tls(out, inside_pair), timeout=0.5) as outside,
        ):
            outside.offer("no", spool(tmp_path / "spool", 1)["p000.tar"])
        until(lambda: errors.PeerRefused in classes(inside))
        assert inside.parts == 0


def test_unusable_certificates_are_named(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").issue("out")
    for tls in (
        Tls(cert=pair.cert, key=pair.key, pin=tmp_path / "absent.pem"),
        Tls(cert=tmp_path / "absent.pem", key=pair.key, pin=pair.cert),
        Tls(cert=pair.cert, key=pair.cert, pin=pair.cert),
        Tls(cert=pair.cert, key=pair.key, pin=pair.key),
    ):
        with pytest.raises(errors.ConfigError) as caught:
            TcpOutlet(TcpSending(host="127.0.0.1", port=1, tls=tls))
        assert caught.value.where.endswith((".pem", ".key"))


# Peers that mean harm; after each, an honest one gets through


def _honest(inside: Listener, folder: Path) -> None:
    before = inside.parts
    with outlet(inside.address) as outside:
        path = folder / "honest"
        path.write_bytes(DATA)
        outside.offer("honest.tar", path)
    until(lambda: inside.parts == before + 1)
    assert landed(folder / "in")["honest.tar"] == DATA


@pytest.mark.parametrize(
    ("attack", "error", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", errors.DamagedFrame, "no frame"),
        (MAGIC + b"\1\2" + b"\xff" * 86, errors.DamagedFrame, "header of a frame is damaged"),
        (frame(Kind.BEGIN, b"t" * 16, 10**18, b"huge"), errors.PeerRefused, "10{18} bytes"),
        (frame(Kind.BEGIN, b"t" * 16, 9, b"../../etc/x"), errors.PeerRefused, "a part called"),
        (frame(Kind.BEGIN, b"t" * 16, 9, b".incoming"), errors.PeerRefused, "a part called"),
        (frame(Kind.BEGIN, b"t" * 16, 9, b"a\0b"), errors.PeerRefused, "a part called"),
        (frame(Kind.BEGIN, b"t" * 16, 9, b"n" * 4000), errors.PeerRefused, "a part called"),
        (frame(Kind.BEGIN, bytes(16), 9, b"n"), errors.PeerRefused, "no transfer"),
        (b"".join(part_frames("cut", DATA)[:-1]), errors.DamagedFrame, "connection ended"),
        (
            frame(Kind.BEGIN, b"t" * 16, 5, b"over") + frame(Kind.DATA, b"t" * 16, 0, b"123456"),
            errors.DamagedFrame,
            "did not come",
        ),
        (
            frame(Kind.BEGIN, b"t" * 16, 5, b"lie")
            + frame(Kind.DATA, b"t" * 16, 0, b"12345")
            + frame(Kind.END, b"t" * 16, 5, blake3(b"12345").digest()),
            errors.DamagedFrame,
            "end of it does not fit",
        ),
    ],
)  # fmt: skip
def test_bytes_that_mean_harm(
    attack: bytes, error: type[errors.SluiceError], words: str, tmp_path: Path
) -> None:
    with listener(tmp_path / "in") as inside:
        push(inside.address, attack)
        found: list[tuple[errors.SluiceError, int]] = []
        until(lambda: found.extend(inside.problems()) or found)
        assert {type(each) for each, _ in found} == {error}
        assert re.search(words, str(found[0][0]))
        assert found[0][0].where.startswith("127.0.0.1")
        assert found[0][0].remedy
        _honest(inside, tmp_path)
    assert landed(tmp_path / "in").keys() == {"honest.tar"}
    assert not list((tmp_path / "in" / INCOMING).iterdir())
    assert {p.name for p in tmp_path.iterdir()} == {"in", "honest"}


def test_what_belongs_to_no_part_is_passed_over(tmp_path: Path) -> None:
    with listener(tmp_path / "in") as inside:
        push(
            inside.address,
            frame(Kind.DATA, b"u" * 16, 0, b"stray"),
            frame(Kind.END, b"u" * 16, 5, b"x" * 32),
            frame(99, b"u" * 16, 0, b"of a later version"),
            *part_frames("one", DATA),
        )
        until(lambda: inside.parts == 1)
        assert inside.problems() == []


def test_a_byte_now_and_then_is_not_waited_for(tmp_path: Path) -> None:
    """Ten a second here, against a time-out of two seconds; in earnest one a minute."""
    with listener(tmp_path / "in", timeout=2.0, connections=2) as inside:
        slow = [socket.create_connection(inside.address) for _ in range(2)]
        whole = frame(Kind.BEGIN, b"t" * 16, 9, b"slow")
        with contextlib.suppress(OSError):
            for byte in whole:
                for each in slow:
                    each.sendall(bytes([byte]))
                time.sleep(0.1)
        for each in slow:
            each.close()
        until(lambda: errors.PeerRefused in classes(inside))
        set_timeout(inside, 60.0)
        _honest(inside, tmp_path)


def test_a_part_that_never_goes_on_is_given_up(tmp_path: Path) -> None:
    frames = part_frames("stuck", DATA)
    with listener(tmp_path / "in") as inside:
        with socket.create_connection(inside.address) as stuck:
            stuck.sendall(b"".join(frames[:2]))
            until(lambda: list((tmp_path / "in" / INCOMING).iterdir()))
            set_timeout(inside, 2.0)
            stuck.sendall(frames[2])  # counts from here
            until(lambda: not list((tmp_path / "in" / INCOMING).iterdir()))
        found: list[tuple[errors.SluiceError, int]] = []
        until(lambda: found.extend(inside.problems()) or len(found) == 2)
        assert {type(error) for error, _ in found} == {errors.DamagedFrame, errors.PeerRefused}
        assert any("no whole frame came for 2 s" in str(error) for error, _ in found)
        set_timeout(inside, 60.0)
        _honest(inside, tmp_path)


def test_a_thousand_connections(tmp_path: Path) -> None:
    with listener(tmp_path / "in") as inside:
        crowd = []
        for _ in range(1000):
            crowd.append(socket.create_connection(inside.address))
        assert threading.active_count() < 60
        # They all stay; who really sends gets through before any of them times out.
        _honest(inside, tmp_path)
        found = {type(e): n for e, n in inside.problems() if "connections" in e.what}
        assert found[errors.PeerRefused] > 900
        for each in crowd:
            each.close()


def test_those_who_send_are_not_pushed_out(tmp_path: Path) -> None:
    frames = part_frames("one", DATA)
    with listener(tmp_path / "in", connections=2) as inside:
        senders = [socket.create_connection(inside.address) for _ in range(2)]
        for each in senders:
            each.sendall(frames[0])
        until(lambda: len(list((tmp_path / "in" / INCOMING).iterdir())) == 2)
        crowd = [socket.create_connection(inside.address) for _ in range(50)]
        until(lambda: sum(n for _, n in inside.problems()) >= 1)
        for each in senders:
            each.sendall(b"".join(frames[1:]))
        until(lambda: inside.parts == 1)
        for each in (*senders, *crowd):
            each.close()


def test_a_peer_that_floods_is_cut_off(tmp_path: Path) -> None:
    with listener(tmp_path / "in") as inside:
        with contextlib.suppress(OSError), socket.create_connection(inside.address) as flood:
            for _ in range(64):
                flood.sendall(bytes(1 << 20))
            pytest.fail("it was read to the end")
        until(lambda: errors.DamagedFrame in classes(inside))
        _honest(inside, tmp_path)


def test_a_flood_of_problems_is_only_counted(tmp_path: Path) -> None:
    with listener(tmp_path / "in") as inside:
        bad = [frame(Kind.BEGIN, b"t" * 16, 10**15 + n, b"n%d" % n) for n in range(500)]
        push(inside.address, *bad)
        _honest(inside, tmp_path)
        until(lambda: not inside._peers)  # all that was sent is read and judged
        found = inside.problems()
        assert len(found) <= 51
        assert sum(count for _, count in found) == 500


def test_a_full_disk_costs_the_parts_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    with listener(
        tmp_path / "in", reserve_free=free - (200 << 20), timeout=2.0, max_part=1 << 50
    ) as inside:

        def refused() -> bool:
            push(inside.address, frame(Kind.BEGIN, b"t" * 16, 10**12, b"large"))
            found: set[type[errors.SluiceError]] = set()
            until(lambda: found.update(classes(inside)) or found)
            return errors.NoSpace in found

        until(refused)  # a slow machine may take the peer for one that brings nothing
        until(lambda: not inside._peers)
        inside.problems()
        set_timeout(inside, 60.0)
        _honest(inside, tmp_path)


def test_a_part_waits_for_room_that_the_import_makes(tmp_path: Path) -> None:
    with listener(tmp_path / "in", reserve_free=1 << 60) as inside:
        field = inside._field
        pusher = threading.Thread(target=push, args=(inside.address, *part_frames("one", DATA)))
        pusher.start()
        time.sleep(0.5)
        assert inside.parts == 0
        field._reserve = 0
        until(lambda: inside.parts == 1)
        pusher.join()
        assert inside.problems() == []


def test_too_many_files_are_like_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds.tcp.landing.MOST_WAITING", 5)
    with listener(tmp_path / "in") as inside:
        for n in range(5):
            push(inside.address, *part_frames(f"p{n}", DATA))
            until(lambda: inside.parts == n + 1)  # noqa: B023
        set_timeout(inside, 2.0)
        for n in range(5, 8):
            push(inside.address, *part_frames(f"p{n}", DATA))
        refused: list[int] = []
        until(lambda: refused.extend(n for _, n in inside.problems()) or sum(refused) == 3)
        assert len(landed(tmp_path / "in")) == 5
        set_timeout(inside, 60.0)
        for path in (tmp_path / "in").iterdir():
            if path.is_file():
                path.unlink()
        _honest(inside, tmp_path)


def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    with listener(tmp_path / "in") as inside:
        with (
            pytest.raises(errors.CarrierError, match="cannot listen") as caught,
            listener(tmp_path / "other", port=inside.address[1]),
        ):
            pass
        assert f":{inside.address[1]}" in caught.value.where


def test_closing_ends_at_once_and_leaves_nothing_half(tmp_path: Path) -> None:
    started = time.monotonic()
    with listener(tmp_path / "in") as inside:
        client = socket.create_connection(inside.address)
        client.sendall(b"".join(part_frames("one", DATA)[:3]))
        until(lambda: list((tmp_path / "in" / INCOMING).iterdir()))
    assert time.monotonic() - started < 30
    assert not list((tmp_path / "in" / INCOMING).iterdir())
    client.close()


def test_quiet_is_when_only_keep_alives_come(tmp_path: Path) -> None:
    with listener(tmp_path / "in") as inside:
        started = time.monotonic()
        inside.wait_quiet(0.3, 0.1)
        assert time.monotonic() - started < 30
        with socket.create_connection(inside.address) as client:
            frames = part_frames("one", DATA)
            client.sendall(b"".join(frames[:2]))
            until(lambda: list((tmp_path / "in" / INCOMING).iterdir()))
            done = threading.Thread(target=inside.wait_quiet, args=(60.0, 0.1))
            done.start()
            time.sleep(0.5)
            assert done.is_alive(), "a part is under way"
            client.sendall(b"".join(frames[2:]))
            for _ in range(100):
                client.sendall(frame(Kind.ALIVE))
                done.join(0.05)
                if not done.is_alive():
                    break
            assert not done.is_alive()


def test_leftovers_of_a_killed_process_go(tmp_path: Path) -> None:
    incoming = tmp_path / "in" / INCOMING
    incoming.mkdir(parents=True)
    (incoming / "7.part").write_bytes(b"half")
    with listener(tmp_path / "in"):
        assert not list(incoming.iterdir())


def test_nobody_listens_is_said_within_the_time_out(tmp_path: Path) -> None:
    part = spool(tmp_path / "spool", 1)["p000.tar"]
    started = time.monotonic()
    with (
        pytest.raises(errors.CarrierError, match="nobody takes"),
        outlet(("127.0.0.1", tools.free_port()), timeout=0.3) as outside,
    ):
        outside.offer("one", part)
    assert time.monotonic() - started < 30


def test_frames_are_as_the_document_says() -> None:
    """The layout of docs/design.md, by hand, and BLAKE3 by its published vector of no bytes."""
    nothing = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert digest(b"").hex() == nothing
    made = frame(Kind.BEGIN, b"0123456789abcdef", 5, b"name")
    fields = struct.pack(
        ">8sBB6sQQ16s32s",
        bytes.fromhex("89534c55430d0a1a"), 1, 1, bytes(6), 4, 5, b"0123456789abcdef",
        blake3(b"name").digest(),
    )  # fmt: skip
    assert made == fields + blake3(fields).digest()[:16] + b"name"
    assert len(fields) + 16 == 96
