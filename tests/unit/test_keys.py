"""Key files and ceremonies, on a real folder through the real seam."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from manifests.errors import ConfigError, Unsigned, UsageError
from manifests.trust import TrustState, verify_release, walk_roots
from sluice.ceremonies import StreamKeys
from sluice.keys import key_files, new_signer, passphrase_from, read_key, write_key
from store.seam import Operation, Seam

NOW = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
MANIFEST = b'{"a":"manifest"}'


def stream_keys(folder: Path, passphrase: bytes | None = None) -> StreamKeys:
    return StreamKeys(Seam(), "hq", folder / "keys", folder / "stick", passphrase=passphrase)


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa"])
@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_keys_are_made_kept_and_used(
    tmp_path: Path, key_type: str, passphrase: bytes | None
) -> None:
    keys = stream_keys(tmp_path, passphrase)
    root = keys.create(NOW, key_type=key_type)
    assert (root.version, root.epoch, root.stream) == (1, 1, "hq")
    assert root.expires == NOW.replace(microsecond=0) + timedelta(days=5 * 365)
    state = TrustState.fresh(keys.export_root())
    for role in ("targets", "timestamp"):
        document = keys.sign_release(MANIFEST, 3, NOW, role=role)
        release = verify_release(walk_roots(state.roots, keys.chain()), document, MANIFEST)
        assert (release.role, release.sequence) == (role, 3)
        assert keys.verify_own(document, MANIFEST) == release
    days = {"targets": 365, "timestamp": 180}[role]
    assert release.expires == NOW.replace(microsecond=0) + timedelta(days=days)


def test_private_keys_are_for_their_owner_and_the_root_key_lies_apart(tmp_path: Path) -> None:
    keys = stream_keys(tmp_path)
    keys.create(NOW)
    names = sorted(path.name.split(".")[1] for path in (tmp_path / "keys").glob("*.pem"))
    assert names == ["orders", "targets", "timestamp"]
    [root_key] = keys.root_keys_here()
    assert root_key.parent == tmp_path / "stick"
    for path in [*(tmp_path / "keys").glob("*.pem"), root_key]:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    [path] = key_files(tmp_path / "keys", "hq", "targets")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read"):
        keys.sign_release(MANIFEST, 1, NOW)


def test_a_passphrase_is_needed_and_must_be_right(tmp_path: Path) -> None:
    stream_keys(tmp_path, b"right").create(NOW)
    for passphrase, message in [(None, "has a passphrase"), (b"wrong", "not a usable key")]:
        with pytest.raises(ConfigError, match=message):
            stream_keys(tmp_path, passphrase).sign_release(MANIFEST, 1, NOW)
    assert b"ENCRYPTED" in key_files(tmp_path / "keys", "hq", "targets")[0].read_bytes()


def test_the_passphrase_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"from a file\n")
    assert passphrase_from({}) is None
    assert passphrase_from({"SLUICE_KEY_PASSPHRASE": "x y"}) == b"x y"
    assert passphrase_from({"SLUICE_KEY_PASSPHRASE_FILE": str(secret)}) == b"from a file"
    with pytest.raises(ConfigError, match="empty"):
        passphrase_from({"SLUICE_KEY_PASSPHRASE": ""})
    with pytest.raises(ConfigError, match="cannot be read"):
        passphrase_from({"SLUICE_KEY_PASSPHRASE_FILE": str(tmp_path / "none")})


def test_files_that_are_no_keys_of_ours_are_refused(tmp_path: Path) -> None:
    rsa = generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for data in (b"", b"garbage", rsa, b"x" * 20000):
        path = tmp_path / "key.pem"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(ConfigError):
            read_key(path, None)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "none.pem", None)
    with pytest.raises(ConfigError, match="unknown key type"):
        new_signer("rsa")


def test_keys_are_not_made_twice(tmp_path: Path) -> None:
    keys = stream_keys(tmp_path)
    keys.create(NOW)
    with pytest.raises(UsageError, match="has keys already"):
        keys.create(NOW)


@pytest.mark.parametrize("role", ["root", "targets", "timestamp", "orders"])
@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa"])
def test_a_rotated_role_has_a_new_key_that_an_old_inside_accepts(
    tmp_path: Path, role: str, key_type: str
) -> None:
    keys = stream_keys(tmp_path)
    first = keys.create(NOW)
    old_document = keys.sign_release(MANIFEST, 1, NOW)
    second = keys.rotate(role, NOW, key_type=key_type)
    third = keys.rotate(role, NOW)
    assert (second.version, third.version) == (2, 3)
    rings = [set(root.roles[role].keyids) for root in (first, second, third)]
    assert not rings[0] & rings[1]
    assert not rings[1] & rings[2]
    for other in {"root", "targets", "timestamp", "orders"} - {role}:
        assert third.roles[other] == first.roles[other]
    state = TrustState.fresh(first.data)
    trusted = walk_roots(state.roots, keys.chain())
    assert trusted.newest == third
    verify_release(trusted, keys.sign_release(MANIFEST, 2, NOW), MANIFEST)
    if role == "targets":
        with pytest.raises(Unsigned):
            verify_release(trusted, old_document, MANIFEST)
    else:
        verify_release(trusted, old_document, MANIFEST)
    folder = tmp_path / ("stick" if role == "root" else "keys")
    assert len(key_files(folder, "hq", role)) == 1
    assert len(list(folder.glob(f"hq.{role}.*.retired"))) == 2


def test_two_persons_release_on_two_hosts(tmp_path: Path) -> None:
    second = new_signer()
    keys = stream_keys(tmp_path / "one")
    keys.create(NOW, thresholds={"targets": 2}, others={"targets": [second.public_key]})
    other = StreamKeys(Seam(), "hq", tmp_path / "two")
    write_key(Seam(), tmp_path / "two", "hq", "targets", second, None)
    for number, root in enumerate(keys.chain(), 1):
        (tmp_path / "two" / f"hq.root.{number}.json").write_bytes(root)
    document = keys.sign_release(MANIFEST, 1, NOW)
    with pytest.raises(Unsigned, match="1 of the 2"):
        keys.verify_own(document, MANIFEST)
    document = other.countersign(document)
    assert len(keys.verify_own(document, MANIFEST).signers) == 2


def test_rotating_leaves_the_second_persons_key_alone(tmp_path: Path) -> None:
    second = new_signer().public_key
    keys = stream_keys(tmp_path)
    keys.create(NOW, thresholds={"targets": 2}, others={"targets": [second]})
    root = keys.rotate("targets", NOW)
    assert second.keyid in root.roles["targets"].keyids
    assert (len(root.roles["targets"].keyids), root.roles["targets"].threshold) == (2, 2)
    root = keys.rotate("targets", NOW, threshold=1, others=[])
    assert second.keyid not in root.keys
    with pytest.raises(UsageError, match="threshold 2 with 1 keys"):
        keys.rotate("targets", NOW, threshold=2)


def test_a_threshold_of_root_keys(tmp_path: Path) -> None:
    keys = stream_keys(tmp_path)
    keys.create(NOW, keep={"root": 3}, thresholds={"root": 2})
    keys.root_keys_here()[0].unlink()
    assert keys.renew(NOW).version == 2
    keys.root_keys_here()[0].unlink()
    with pytest.raises(ConfigError, match="1 of the 2 root keys"):
        keys.renew(NOW)


def test_without_root_keys_there_is_no_ceremony_but_releases_go_on(tmp_path: Path) -> None:
    keys = stream_keys(tmp_path)
    keys.create(NOW)
    keys.root_keys_here()[0].unlink()
    with pytest.raises(ConfigError, match="0 of the 1 root keys") as caught:
        keys.rotate("targets", NOW)
    assert "--root-key-to" in caught.value.remedy
    keys.verify_own(keys.sign_release(MANIFEST, 1, NOW), MANIFEST)


def test_renewing_keeps_the_keys_and_may_start_an_epoch(tmp_path: Path) -> None:
    keys = stream_keys(tmp_path)
    first = keys.create(NOW)
    later = NOW + timedelta(days=1000)
    second = keys.renew(later)
    assert (second.roles, second.epoch) == (first.roles, 1)
    assert second.expires > first.expires
    assert keys.renew(later, new_epoch=True).epoch == 2


def test_a_missing_or_damaged_root_document_is_named(tmp_path: Path) -> None:
    keys = stream_keys(tmp_path)
    keys.create(NOW)
    keys.renew(NOW)
    first = tmp_path / "keys" / "hq.root.1.json"
    data = first.read_bytes()
    first.unlink()
    with pytest.raises(ConfigError, match="no complete chain"):
        keys.chain()
    first.write_bytes(data.replace(b'"epoch":1', b'"epoch":9'))
    with pytest.raises(Unsigned):
        keys.trusted()


def test_a_lost_everyday_key_is_named(tmp_path: Path) -> None:
    keys = stream_keys(tmp_path)
    keys.create(NOW)
    key_files(tmp_path / "keys", "hq", "targets")[0].unlink()
    with pytest.raises(ConfigError, match="no key of the role targets"):
        keys.sign_release(MANIFEST, 1, NOW)
    keys.rotate("targets", NOW, others=[])
    keys.verify_own(keys.sign_release(MANIFEST, 1, NOW), MANIFEST)


class PowerCutError(Exception):
    """The process ends before an operation."""


def test_a_rotation_that_is_cut_short_leaves_keys_that_sign(tmp_path: Path) -> None:
    """At each durable operation in turn: the old root or the new one is in force, whole."""
    versions = set()
    for cut in range(1000):
        folder = tmp_path / str(cut)
        stream_keys(folder).create(NOW)
        left = cut

        def observe(operation: Operation) -> None:
            nonlocal left
            if left == 0:
                raise PowerCutError
            left -= 1

        cutting = StreamKeys(Seam(observe), "hq", folder / "keys", folder / "stick")
        try:
            cutting.rotate("targets", NOW)
            done = True
        except PowerCutError:
            done = False
        keys = stream_keys(folder)
        keys.verify_own(keys.sign_release(MANIFEST, 1, NOW), MANIFEST)
        versions.add(keys.trusted().newest.version)
        assert keys.rotate("targets", NOW).version == keys.trusted().newest.version
        if done:
            break
    assert versions == {1, 2}
