"""zone.yaml: what each carrier is told, and mistakes about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import ConfigError
from manifests.zone import InsideZone, OutsideZone, TcpListening, TcpSending, Tls, parse

FOLDER = Path("/srv/zone")
OUT = "zone: outside\nstreams:\n  hq: {%s}\n"
IN = "zone: inside\nstreams:\n  hq: {root: r.json, %s}\n"


def test_tcp_on_both_sides() -> None:
    tls = "tls: {cert: a.pem, key: a.key, pin: b.pem}"
    out = parse(
        OUT % f'carrier: tcp, to: "[::1]:9000", rate: 800Mbit, repeat: 1MiB, timeout: 5s, {tls}',
        FOLDER,
        (),
    )
    assert isinstance(out, OutsideZone)
    expected = Tls(cert=FOLDER / "a.pem", key=FOLDER / "a.key", pin=FOLDER / "b.pem")
    assert out.streams["hq"].tcp == TcpSending(
        host="::1", port=9000, rate=100_000_000, repeat=1 << 20, timeout=5.0, tls=expected
    )
    inside = parse(IN % f'carrier: tcp, listen: "127.0.0.1:9000", {tls}', FOLDER, ())
    assert isinstance(inside, InsideZone)
    stream = inside.streams["hq"]
    assert stream.tcp == TcpListening(host="127.0.0.1", port=9000, tls=expected)
    assert stream.inbox == FOLDER / "inbox" / "hq"
    assert stream.settle == 0.0


def test_media_on_both_sides() -> None:
    words = "carrier: media, folder: /media/x, volume: 25GB"
    out = parse(OUT % words, FOLDER, ())
    inside = parse(IN % words, FOLDER, ())
    assert isinstance(out, OutsideZone) and isinstance(inside, InsideZone)
    assert (out.streams["hq"].media, out.streams["hq"].volume) == (Path("/media/x"), 25 * 10**9)
    assert inside.streams["hq"].media == Path("/media/x")
    assert inside.streams["hq"].inbox == FOLDER / "inbox" / "hq"


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        (OUT % "carrier: tcp", "lacks the key `to`", "9000"),
        (OUT % "carrier: tcp, to: host", "not an address to connect to", "HOST:PORT"),
        (OUT % 'carrier: tcp, to: "h:0"', "no port", "1 to 65535"),
        (OUT % 'carrier: tcp, to: "h:1", outbox: o', "of no use", "carrier: file"),
        (OUT % 'carrier: tcp, to: "h:1", retain: {age: 1d}', "of no use", "carrier: file"),
        (OUT % 'carrier: tcp, to: "h:1", timeout: 0', "more than 0", "60s"),
        (OUT % 'carrier: tcp, to: "h:1", timeout: 30d', "more than a week", "60s"),
        (OUT % 'carrier: tcp, to: "h:1", tls: {cert: a}', "lacks the key `key`", "key.pem"),
        (OUT % 'carrier: tcp, to: "h:1", listen: "h:1"', "inside zone", ""),
        (OUT % "carrier: file, outbox: o, rate: 1MiB", "of no use", "carrier: tcp"),
        (OUT % "carrier: file, outbox: o, volume: 1GB", "of no use", "carrier: media"),
        (OUT % "carrier: media, folder: f", "lacks the key `volume`", "25GB"),
        (OUT % "carrier: media, volume: 25GB", "lacks the key `folder`", "/media/x"),
        (OUT % "carrier: media, folder: f, volume: 1GB", "no room for a part", "part_size"),
        (IN % "carrier: tcp", "lacks the key `listen`", "127.0.0.1:9000"),
        (IN % 'carrier: tcp, listen: "h:1", connections: 0', "cannot be 0", "1 to 256"),
        (IN % 'carrier: tcp, listen: "h:1", settle: 1s', "of no use", "carrier: file"),
        (IN % "carrier: media, folder: f, after: keep", "of no use", "carrier: file"),
        (IN % "carrier: udp", "no carrier 'udp'", "file, media, tcp"),
    ],
)
def test_mistakes_name_what_to_write(text: str, what: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, FOLDER, ())
    assert what in caught.value.what
    assert remedy in caught.value.remedy
    assert caught.value.where == "zone.yaml line 3"
