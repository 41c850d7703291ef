"""The server's certificate: what is refused, what is only said, and how it is renewed."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from manifests.errors import ConfigError
from manifests.zone.served import ServerTls
from repo_server.pair import certificate_warnings, read_pair
from repo_server.renewal import Renewal
from sluice.health.certificates import _ends
from tests.support.certs import Authority, Pair

NAME = "packages.example.org"
URL = f"https://{NAME}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def files(pair: Pair) -> ServerTls:
    return ServerTls(cert=pair.cert, key=pair.key)


def test_both_kinds_of_keys_with_what_leads_to_the_authority(
    authority: Authority, tmp_path: Path
) -> None:
    for bits in (0, 2048):
        pair = authority.issue(NAME, rsa_bits=bits)
        pair.cert.write_bytes(pair.cert.read_bytes() + authority.ca.read_bytes())
        found = read_pair(files(pair))
        assert found.cert.count("BEGIN CERTIFICATE") == 2
        assert pair.key.read_text() not in repr(found)
    # One file with both, reached by a link, as tools that renew certificates leave it.
    both = tmp_path / "both.pem"
    both.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    link = tmp_path / "live.pem"
    link.symlink_to(both)
    read_pair(ServerTls(cert=link, key=link))


def test_what_cannot_be_used_is_refused_with_a_reason(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.issue(NAME), authority.issue("other")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", good.key, "-aes256", "-passout", "pass:x", "-out", locked],
        check=True,
    )
    short = authority.issue("short", rsa_bits=1024)
    odd = tmp_path / "odd.pem"
    odd.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    large = tmp_path / "large.pem"
    large.write_bytes(good.cert.read_bytes() * 800)
    for cert, key, reason in (
        (good.cert, other.key, "the key is not that of the certificate"),
        (good.cert, locked, "passphrase"),
        (short.cert, short.key, "too short"),
        (good.cert, tmp_path / "none", "No such file"),
        (good.cert, good.cert, "no private key"),
        (good.key, good.key, "no certificate"),
        (odd, good.key, "not a certificate"),
        (large, good.key, "too large"),
        (tmp_path, good.key, "not a file|Is a directory"),
        (Path("/dev/null"), good.key, "not a file"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            read_pair(ServerTls(cert=cert, key=key))
        assert caught.value.remedy and caught.value.where


def test_damage_within_a_certificate_is_told(tmp_path: Path) -> None:
    key, good, cert = tmp_path / "key.pem", tmp_path / "good.pem", tmp_path / "damaged.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", good, "-subj", f"/CN={NAME}", "-days", "300"],
        check=True, capture_output=True,
    )  # fmt: skip
    body = good.read_bytes().partition(b"-----END")[0].partition(b"E-----\n")[2]

    def said(old: bytes, new: bytes) -> str:
        data = base64.b64decode(body)
        assert data.count(old) == 1
        text = base64.encodebytes(data.replace(old, new)).decode()
        cert.write_text(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n")
        return " ".join(certificate_warnings(ServerTls(cert=cert, key=key), URL, datetime.now(UTC)))

    # A version that there is not; then an extension that OpenSSL lets pass.
    assert "not a certificate" in said(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0a")
    assert _ends(cert) == "is no certificate in PEM"
    assert f"not for {NAME}" in said(b"\x30\x03\x01\x01\xff", b"\x30\x03\x01\x01\x05")


def test_status_warns_ahead_of_time(authority: Authority) -> None:
    day = timedelta(days=1)
    now = datetime.now(UTC)

    def said(when: datetime = now, url: str | None = URL, **issued: timedelta) -> list[str]:
        return certificate_warnings(files(authority.issue(NAME, **issued)), url, when)

    year = {"begins": -day, "ends": 365 * day}
    assert said(**year) == []
    assert said(now + 334 * day, **year) == []
    assert "in 29 days" in said(now + 335.5 * day, **year)[0]
    assert "expired on" in said(now + 366 * day, **year)[0]
    assert "valid only from" in said(now - 2 * day, **year)[0]
    # One that is renewed every week is no matter for a warning all the time.
    week = {"begins": -day, "ends": 6 * day}
    assert said(**week) == []
    assert "in 1 days" in said(now + 4.5 * day, **week)[0]
    assert "not for other.example.org" in said(url="https://other.example.org:8443", **year)[0]
    assert said(url="https://127.0.0.1:8443", **year) == []
    assert "not for 127.0.0.2" in said(url="https://127.0.0.2", **year)[0]
    pair = authority.issue(NAME, **year)
    pair.key.chmod(0o644)
    assert "chmod 600" in certificate_warnings(files(pair), None, now)[0]
    pair.key.unlink()
    assert "No such file" in certificate_warnings(files(pair), None, now)[0]


def test_a_wildcard_is_for_one_level(authority: Authority) -> None:
    pair = files(authority.issue("*.example.org"))
    now = datetime.now(UTC)
    assert certificate_warnings(pair, URL, now) == []
    assert "not for" in certificate_warnings(pair, "https://a.b.example.org", now)[0]


class Watched:
    """A renewal with a clock of its own."""

    def __init__(self, folder: Path, first: Pair) -> None:
        folder.mkdir()
        self.place = ServerTls(cert=folder / "s.pem", key=folder / "s.key")
        self.put(first)
        self.said: list[str] = []
        self.time = 0.0
        self.renewal = Renewal(self.place, None, self.said.append, clock=lambda: self.time)

    def put(self, pair: Pair, *parts: str) -> None:
        for part in parts or ("cert", "key"):
            target: Path = getattr(self.place, part)
            fresh = target.with_suffix(".new")
            shutil.copy(getattr(pair, part), fresh)
            os.replace(fresh, target)

    def pass_time(self, seconds: float) -> int:
        """How many new pairs were taken meanwhile."""
        taken = 0
        for _ in range(round(seconds * 10)):
            self.time += 0.1
            taken += self.renewal.poll() is not None
        return taken


def test_a_renewed_pair_is_taken_once_both_files_fit(authority: Authority, tmp_path: Path) -> None:
    first, second = authority.issue(NAME, ends=timedelta(days=40)), authority.issue("second")
    watched = Watched(tmp_path / "live", first)
    assert watched.pass_time(10) == 0
    watched.put(second, "cert")
    assert watched.pass_time(2) == 0 and watched.said == []  # the key is on its way
    watched.put(second, "key")
    assert watched.pass_time(3) == 1
    assert watched.renewal.pair.cert == second.cert.read_text()
    assert len(watched.said) == 1 and "read again" in watched.said[0]
    os.utime(watched.place.cert)
    assert watched.pass_time(10) == 0 and len(watched.said) == 1  # the same again


def test_a_broken_pair_keeps_the_old_one_and_is_said_once(
    authority: Authority, tmp_path: Path
) -> None:
    first, second = authority.issue(NAME, ends=timedelta(days=40)), authority.issue("second")
    watched = Watched(tmp_path / "live", first)
    watched.put(second, "cert")
    assert watched.pass_time(60) == 0
    assert len(watched.said) == 1 and "stays the old one" in watched.said[0]
    assert watched.renewal.pair.cert == first.cert.read_text()
    watched.place.key.unlink()
    assert watched.pass_time(60) == 0 and len(watched.said) == 2  # broken in another way
    assert watched.renewal.poll(at_once=True) is None and len(watched.said) == 3  # asked
    watched.put(second)
    assert watched.pass_time(3) == 1 and len(watched.said) == 4
    assert watched.renewal.poll(at_once=True) is not None and len(watched.said) == 5
