"""Notices of holds, gaps and silence, taken by real listeners; and those who take them badly."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from sluice.context import Context
from sluice.notices import deliver, meanwhile
from sluice.running.standing import LOCK
from store.locks import Locks
from store.records import Hold
from store.store import Store
from tests.support import tools
from tests.support.certs import Authority
from tests.support.drive import Outside, Upstream, Zone, noise, pair
from tests.support.notices import Datagrams, Streams, Web, web

MINUTE = timedelta(minutes=1)


@pytest.fixture
def out(tmp_path: Path) -> Outside:
    return Outside.make(tmp_path / "OUT")


@pytest.fixture
def hook() -> Iterator[Web]:
    with web() as server:
        yield server


def tell(zone: Outside, **channels: Any) -> None:
    zone.common["notices"] = channels
    zone.configure()


def hold(zone: Zone, *numbers: int, kind: str = "signature") -> None:
    with Store.open(zone.folder) as store, store.ledger.write() as tx:
        for n in numbers:
            tx.set_hold(Hold(f"k{n}", "", f"r{n}", kind, f"why {n}", "do it", datetime.now(UTC)))


def release(zone: Zone) -> None:
    with Store.open(zone.folder) as store, store.ledger.write() as tx:
        tx.clear_holds("k")


@pytest.mark.parametrize("kind", ["local", "udp", "tcp"])
def test_syslog_is_told_once_of_each_beginning_and_end(
    out: Outside, tmp_path: Path, kind: str
) -> None:
    listener: Datagrams | Streams = (
        Streams() if kind == "tcp" else Datagrams(tmp_path / "log" if kind == "local" else None)
    )
    tell(out, syslog={"address": listener.address, "facility": "local0"})
    out.sluice("notices", "test")
    [test] = listener.take(1)
    assert "a test" in test and test.startswith("<133>")
    hold(out, 1)
    out.sluice("notices", "send")
    [begun] = listener.take(1)
    assert begun.startswith("<131>") and "HELD: r1: signature: why 1 -> do it" in begun
    assert kind == "local" or ' begun [sluice@32473 id="' in begun
    hold(out, 1, 2)
    out.sluice("notices", "send")
    [second] = listener.take(1)
    assert "HELD: r2" in second
    release(out)
    out.sluice("notices", "send")
    assert len(ended := listener.take(2)) == 2 and all("ended: r" in each for each in ended)
    out.sluice("notices", "send")
    assert listener.take(0) == []
    listener.close()


def test_a_webhook_gets_signed_json_and_what_failed_comes_later(
    out: Outside, hook: Web, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("geheim\n")
    tell(out, webhook={"url": hook.url, "secret_file": str(secret)})
    hook.answer = lambda request: request.send_error(503)
    hold(out, 1)
    said = out.sluice("notices", "send")
    assert "status 503" in said.err and "geheim" not in said.err
    out.sluice("notices", "send")
    assert len(first := hook.take()) == 1, "it is tried again only after a pause"
    status = out.status()["notices"]["webhook"]
    assert (status["waiting"], status["sent"], status["failing"]["tries"]) == (1, 0, 1)
    assert "NOTICES by webhook are not delivered" in out.sluice("status", expect=3).out
    figures = out.sluice("metrics").out
    assert 'sluice_notices_failing{channel="webhook"} 1\n' in figures
    assert 'sluice_notices_waiting{channel="webhook"} 1\n' in figures
    found = json.loads(out.sluice("check", "--json", "--offline", expect=3).out)["findings"]
    seen = {one["where"]: one["level"] for one in found if one["check"] == "watching"}
    assert seen == {str(secret): "ok", "notices by webhook": "problem"}

    hook.answer = None
    out.ahead = 2 * MINUTE
    out.sluice("notices", "send")
    [(headers, body)] = hook.take()
    expected = hmac.new(b"geheim", body, hashlib.sha256).hexdigest()
    assert headers["sluice-signature"] == f"sha256={expected}"
    value = json.loads(body)
    assert value["event"] == "begun" and value["counts"] == {"begun": {"signature": 1}, "ended": {}}
    assert value["begun"][0]["key"] == "k1" and value["begun"][0]["remedy"] == "do it"
    assert value["id"] == headers["sluice-notice"] == json.loads(first[0][1])["id"]
    status = out.status()["notices"]["webhook"]
    assert (status["waiting"], status["sent"], status["failing"]) == (0, 1, None)


def test_a_storm_is_one_message(out: Outside, hook: Web) -> None:
    tell(out, webhook={"url": hook.url})
    hold(out, *range(1000))
    out.sluice("notices", "send")
    [(_, body)] = hook.take()
    assert json.loads(body)["counts"]["begun"] == {"signature": 1000} and len(body) < 10_000
    release(out)
    out.sluice("notices", "send")
    assert hook.take() == []
    out.ahead = 11 * MINUTE
    out.sluice("notices", "send")
    [(_, body)] = hook.take()
    assert json.loads(body)["counts"] == {"begun": {}, "ended": {"signature": 1000}}


def _redirect(request: BaseHTTPRequestHandler) -> None:
    request.send_response(307)
    request.send_header("Location", "/elsewhere")
    request.end_headers()


def _endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    with suppress(OSError):
        while True:
            request.wfile.write(b"x" * 65536)


def _slow(request: BaseHTTPRequestHandler) -> None:
    with suppress(OSError):
        for byte in b"HTTP/1.1 200 OK" + b" " * 1000:
            request.wfile.write(bytes([byte]))
            time.sleep(0.05)


def _garbage(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"\x16\x03\x01" + b"A" * 100_000)


def _headers(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n")


def _gone(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


@pytest.mark.parametrize(
    ("answer", "well"),
    [(_redirect, False), (_endless, True), (_slow, False), (_garbage, False), (_headers, False),
     (_gone, False)],
)  # fmt: skip
def test_no_answer_holds_up_or_misleads(
    out: Outside,
    hook: Web,
    answer: Callable[[BaseHTTPRequestHandler], None],
    well: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliver, "_PATIENCE", 1.0 if answer is _slow else 30.0)
    tell(out, webhook={"url": hook.url})
    hook.answer = answer
    said = out.sluice("notices", "test", expect=0 if well else 1)
    assert len(hook.posts) == 1 and ("-> " in said.err) is not well


def test_a_sync_tells_of_its_holds_and_is_not_changed_by_who_is_told(
    tmp_path: Path, out: Outside
) -> None:
    log = Datagrams(tmp_path / "log")
    out.repositories["tools"] = {"format": "files", "upstream": f"file://{tmp_path}/nothing"}
    dead = f"https://127.0.0.1:{tools.free_port()}/secret-path"
    tell(out, syslog={"address": log.address}, webhook={"url": dead})
    before = Outside.make(tmp_path / "OTHER")
    before.repositories = out.repositories
    before.configure()
    code = before.sluice("sync", expect=None).code
    said = out.sluice("sync", expect=code)
    assert "webhook at 127.0.0.1: cannot be reached" in said.err and "secret-path" not in said.err
    [message] = log.take()
    assert "outside zone OUT: HELD: tools: " in message
    assert out.status()["notices"]["webhook"]["waiting"] == 1
    assert out.status()["notices"]["syslog"]["waiting"] == 0
    log.close()


def test_lost_parts_are_told_after_a_while_and_silence_at_once(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": noise(1, 90_000), "b": noise(2, 90_000)})
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="64KiB")
    log = Datagrams(tmp_path / "log")
    inside.common["notices"] = {"syslog": {"address": log.address}}
    inside.options["silence"] = "1d"
    inside.configure()
    parts = out.cycle()
    inside.receive(*parts[:1], *parts[2:], expect=3)
    inside.sluice("notices", "send")
    assert log.take() == []
    inside.ahead = 61 * MINUTE
    inside.sluice("notices", "send")
    told = log.take()
    assert sorted(each.split(": ")[4] for each in told) == ["gap", "incomplete"]
    assert "bundle 1 (part 2)" in "".join(told)
    inside.receive(parts[1])
    assert sum(": ended: " in each for each in log.take()) == 2
    inside.ahead = timedelta(days=2)
    inside.sluice("notices", "send")
    [message] = log.take()
    assert ": silence: nothing newer than" in message
    log.close()


def test_a_receive_that_goes_on_tells_as_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, inside = pair(tmp_path, {})
    log = Datagrams(tmp_path / "log")
    inside.common["notices"] = {"syslog": {"address": log.address}}
    inside.configure()
    hold(inside, 1)
    process = inside.start("receive")
    try:
        [begun] = awaited(log)
        assert "HELD: r1" in begun
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    # What begins and ends later comes with the next look, unless `run` is there to tell it.
    monkeypatch.setattr(meanwhile, "_EVERY", 0.05)
    looks: list[str] = []
    busy = Locks.busy
    monkeypatch.setattr(Locks, "busy", lambda self, name: looks.append(name) or busy(self, name))
    context = Context.open(inside.folder)
    release(inside)
    with context.store.locks.named(LOCK), meanwhile.telling(context):
        until = time.monotonic() + 60
        while len(looks) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(looks) >= 3 and log.take() == []
    with meanwhile.telling(context):
        assert ": ended: r1" in awaited(log)[0]
        hold(inside, 2)
        assert "HELD: r2" in awaited(log)[0]
    log.close()


def awaited(log: Datagrams) -> list[str]:
    until = time.monotonic() + 60
    while not (found := log.take()):
        assert time.monotonic() < until, "nobody told anything"
        time.sleep(0.02)
    return found


def test_a_webhook_by_tls_is_believed_only_with_its_authority(out: Outside, tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs", "Other CA")
    with web(ours.issue("alerts.example.org")) as server:
        tell(out, webhook={"url": server.url, "ca_file": str(theirs.ca)})
        assert "certificate" in out.sluice("notices", "test", expect=1).err.lower()
        assert server.posts == []
        tell(out, webhook={"url": server.url, "ca_file": str(ours.ca)})
        out.sluice("notices", "test")
        assert len(server.posts) == 1


def test_settings_say_what_is_wrong_with_them(out: Outside) -> None:
    for channels, words in [
        ({}, "names nobody"),
        ({"syslog": {"address": "loghost:514"}}, "does not begin with"),
        ({"syslog": {"address": "udp://loghost/x"}}, "more than a host"),
        ({"syslog": {"address": "/dev/log", "facility": "demon"}}, "did you mean `daemon`"),
        ({"webhook": {"url": "https://u:p@host.example/"}}, "password"),
        ({"webhook": {"url": "http://host.example/", "ca_file": "x"}}, "of no use"),
        ({"syslog": {"address": "/dev/log"}, "kinds": ["forks"]}, "did you mean `fork`"),
    ]:
        tell(out, **channels)
        assert words in out.sluice("notices", expect=2).err
    tell(out, syslog={"address": "udp://loghost.example"}, kinds="fork", after="5m")
    assert "syslog" in out.sluice("notices").out
    del out.common["notices"]
    out.configure()
    assert "nobody is to be told" in out.sluice("notices", "test", expect=2).err
