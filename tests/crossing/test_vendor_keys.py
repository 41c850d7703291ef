"""Upstream signatures, checked again inside with keys that a person brought in."""

from __future__ import annotations

from pathlib import Path

from tests.support.drive import Inside, Outside, Upstream, pair
from tests.support.gpg import GpgHome
from tests.support.rpms import RpmCache
from tests.support.samples import GREETING, HELLO
from tests.support.yumrepo import YumRepo


def signed_zones(
    tmp_path: Path, cache: RpmCache, key: GpgHome | None, **outside: object
) -> tuple[YumRepo, Outside, Inside]:
    repo = YumRepo(tmp_path / "vendor", key=key)
    repo.add(*cache.get(GREETING, key=key))
    repo.publish()
    out, inside = pair(tmp_path, {"base": Upstream(repo.root)})
    out.repositories["base"] |= {"format": "yum", **outside}
    out.configure()
    return repo, out, inside


def pin(zone: Inside, key: GpgHome, **more: object) -> None:
    key.export(zone.folder / "keys" / "vendor.asc")
    zone.require = {"base": {"signed_by": "keys/vendor.asc", **more}}
    zone.configure()


def test_the_wrong_key_publishes_nothing_until_the_right_one_is_pinned(
    tmp_path: Path, rpm_cache: RpmCache, vendor_key: GpgHome, foreign_key: GpgHome
) -> None:
    _, out, inside = signed_zones(tmp_path, rpm_cache, vendor_key)
    pin(inside, foreign_key)
    done = inside.receive(*out.cycle(), expect=3)
    assert "SignatureInvalid" in done.err
    assert inside.live() == {}
    assert inside.holds()["base"]["kind"] == "refused"
    assert "require" in inside.holds()["base"]["remedy"]
    # The parts are not needed any more: only the key was wrong.
    assert inside.waiting() == []
    pin(inside, vendor_key, check_packages=True)
    inside.receive()
    assert inside.live()["base"][0] == 1
    assert inside.holds() == {}


def test_an_unsigned_update_is_held_and_the_signed_one_stays(
    tmp_path: Path, rpm_cache: RpmCache, vendor_key: GpgHome
) -> None:
    repo, out, inside = signed_zones(tmp_path, rpm_cache, vendor_key)
    pin(inside, vendor_key, check_packages=True)
    inside.receive(*out.cycle())
    repo.key = None
    repo.update(add=rpm_cache.get(HELLO))
    done = inside.receive(*out.cycle(), expect=3)
    assert "SignatureInvalid" in done.err
    assert inside.live()["base"][0] == 1
    repo.key = vendor_key
    repo.update(add=rpm_cache.get(HELLO, key=vendor_key))
    inside.receive(*out.cycle())
    assert inside.live()["base"][0] == 3
    assert inside.holds() == {}


def test_the_outside_holds_what_another_key_signed(
    tmp_path: Path, rpm_cache: RpmCache, vendor_key: GpgHome, foreign_key: GpgHome
) -> None:
    repo, out, inside = signed_zones(
        tmp_path, rpm_cache, vendor_key, signed_by="keys/vendor.asc", retries=0
    )
    vendor_key.export(out.folder / "keys" / "vendor.asc")
    inside.receive(*out.cycle())
    foreign_key.export(out.folder / "keys" / "vendor.asc")
    repo.update(add=rpm_cache.get(HELLO, key=vendor_key))
    # Only a dry run here: a real sync asks the upstream three times before it believes it.
    assert out.sluice("sync", "--dry-run").code == 0


def test_a_key_that_came_in_a_bundle_is_offered_only_once_it_is_approved(
    tmp_path: Path, rpm_cache: RpmCache, vendor_key: GpgHome
) -> None:
    _, out, inside = signed_zones(tmp_path, rpm_cache, vendor_key, signed_by="keys/vendor.asc")
    vendor_key.export(out.folder / "keys" / "vendor.asc")
    inside.receive(*out.cycle())
    fingerprint = vendor_key.fingerprint.upper()
    listed = inside.sluice("keys", "list").out
    assert fingerprint in listed
    assert "not approved" in listed
    with inside.server() as server:
        setup = server.get("/setup/base.repo").body.decode()
        assert "gpgcheck=0" in setup
        assert "gpgkey" not in setup
        assert server.get("/setup/keys/base.asc").status == 404
        inside.sluice("keys", "approve", "0" * 40, expect=2)
        inside.sluice("keys", "approve", fingerprint)
        setup = server.wait("/setup/base.repo", b"gpgcheck=1").decode()
        assert "repo_gpgcheck=1" in setup
        assert f"gpgkey={server.url}/setup/keys/base.asc" in setup
        armored = server.get("/setup/keys/base.asc").body
        assert armored.strip() == vendor_key.public_key().strip()
        inside.sluice("keys", "withdraw", fingerprint)
        server.wait("/setup/base.repo", b"gpgcheck=0")
    inside.sluice("keys", "withdraw", fingerprint, expect=2)
    assert [event["detail"]["fingerprint"] for event in inside.events("key.approved")] == [
        fingerprint
    ]
