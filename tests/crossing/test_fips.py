"""Where hashlib refuses MD5 and SHA-1 for security, as OpenSSL in FIPS mode makes it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.support import tools
from tests.support.drive import ROOT, environment
from tests.support.maven import artifact, place, with_checksums
from tests.support.mavenweb import MavenWeb
from tests.support.rpms import Package, RpmCache
from tests.support.yumrepo import YumRepo
from tests.support.zones import Zones

FORBIDDING = """
import _hashlib, _md5, _sha1, hashlib

WEAK = {"md5", "sha1", "md4", "ripemd160"}

def guard(make, name=None):
    def made(*words, **options):
        called = name or str(words[0]).lower().replace("-", "")
        if called in WEAK and options.get("usedforsecurity", True):
            raise ValueError("[digital envelope routines] unsupported: disabled for FIPS")
        return make(*words, **options)
    return made

def keyed(make, place):
    def made(*words, **options):
        kind = options.get("digestmod") or options.get("digest") or words[place]
        if str(getattr(kind, "__name__", kind)).replace("openssl_", "") in WEAK:
            raise ValueError("[digital envelope routines] unsupported: disabled for FIPS")
        return make(*words, **options)
    return made

for module in (hashlib, _hashlib):
    module.new = guard(module.new)
for name in ("md5", "sha1"):
    setattr(hashlib, name, guard(getattr(hashlib, name), name))
    setattr(_hashlib, f"openssl_{name}", guard(getattr(_hashlib, f"openssl_{name}"), name))
_md5.md5, _sha1.sha1 = guard(_md5.md5, "md5"), guard(_sha1.sha1, "sha1")
_hashlib.hmac_new = keyed(_hashlib.hmac_new, 2)
_hashlib.hmac_digest = keyed(_hashlib.hmac_digest, 2)
"""

WALK = """
import hashlib, json, sys
from sluice.cli import main

for refused in (hashlib.md5, hashlib.sha1, lambda: hashlib.new("md5")):
    try:
        refused()
    except ValueError:
        continue
    raise SystemExit("nothing is forbidden here")
for words in json.loads(sys.argv[1]):
    if code := main(words):
        raise SystemExit(code)
"""

FETCH = (
    "import os, sys, urllib.request as r\n"
    "for p in sys.argv[1:]: r.urlopen(os.environ['SLUICE_URL'] + p)"
)
WANTED = "org.example:one:1"


def test_weak_checksums_of_upstreams_work_where_fips_forbids_them(
    tmp_path: Path, rpm_cache: RpmCache
) -> None:
    vendor = YumRepo(tmp_path / "vendor", checksum="sha1")
    vendor.add(*rpm_cache.get(Package("app"), Package("app", version="2")))
    vendor.publish()
    web = MavenWeb(with_checksums(artifact(WANTED), "md5", "sha1"))
    mode = tmp_path / "fips"
    mode.mkdir()
    (mode / "sitecustomize.py").write_text(FORBIDDING)
    env = environment() | {"PYTHONPATH": f"{mode}:{ROOT}"}

    def walk(*commands: list[object], expect: tuple[int, ...] = (0,)) -> str:
        words = json.dumps([[str(word) for word in words] for words in commands])
        done = subprocess.run(
            [sys.executable, "-c", WALK, words], env=env, capture_output=True, text=True
        )
        assert done.returncode in expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    with web.serving():
        zones = Zones(tmp_path / "zones", {
            "central": {"format": "maven", "upstream": web.url},
            "whole": {"format": "yum", "upstream": f"file://{vendor.root}"},
            "newest": {"format": "yum", "upstream": f"file://{vendor.root}", "newest": 1},
        })  # fmt: skip
        out = ["-z", zones.outside]
        fetch = ["python3", "-c", FETCH, *artifact(WANTED)]
        walk(
            [*out, "capture", "central", "--", *fetch],
            *([*out, word] for word in ("sync", "pack", "send")),
        )
    zones.carry()
    receive = ["-z", zones.inside, "receive", "--once"]
    # Red Hat's OpenSSL, which is in createrepo_c's wheel, can be made to believe in the mode.
    env["OPENSSL_FORCE_FIPS_MODE"] = "1"
    said = walk(receive, expect=(0, 1, 3))
    del env["OPENSSL_FORCE_FIPS_MODE"]
    assert "published newest" in said or "cannot be read in FIPS mode here" in said
    assert "published central" in said and "published whole" in said
    walk(receive)

    port, log = tools.free_port(), tmp_path / "serve.log"
    words = ["serve", "--listen", f"127.0.0.1:{port}", "--workers", "1"]
    command = [sys.executable, "-m", "sluice", "-z", str(zones.inside), *words]
    server = tools.spawn(command, log=log, env=env)

    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
            return bytes(answer.read())

    try:
        tools.wait_for_port(port, server, log=log)
        assert get("yum/whole/repodata/repomd.xml") == vendor.repomd.read_bytes()
        assert b"sha256" in get("yum/newest/repodata/repomd.xml")
        for path in (place(WANTED, ".jar"), "org/example/one/maven-metadata.xml"):
            data = get(f"maven/central/{path}")
            for kind in ("md5", "sha1"):
                expected = hashlib.new(kind, data).hexdigest().encode()
                assert get(f"maven/central/{path}.{kind}").strip() == expected
    finally:
        tools.stop(server)
