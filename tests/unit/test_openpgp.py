"""Signatures by the real gpgv, rpmkeys and gpg, with the given keys alone."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import errors
from manifests.formats.base import Problem, Signed
from manifests.tree import Entry
from store import openpgp
from store.openpgp import RepositoryKey, read_keys, verify_detached, verify_rpms, verify_signed
from store.store import Store
from tests.support import tools
from tests.support.gpg import GpgHome
from tests.support.rpms import Package, build


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "repomd.xml"
    path.write_bytes(b"<repomd/>")
    return path


@pytest.fixture(scope="module")
def expired_key() -> Iterator[GpgHome]:
    with GpgHome.create("Old <old@example.org>", expires="seconds=1") as home:
        yield home


def test_keys_are_read_one_by_one(vendor_key: GpgHome, foreign_key: GpgHome) -> None:
    both = vendor_key.public_key() + b"\nsome text\n" + foreign_key.public_key()
    keys = read_keys(both)
    assert {key.fingerprint for key in keys} == {vendor_key.fingerprint, foreign_key.fingerprint}
    for key in keys:
        assert [again.fingerprint for again in read_keys(key.armored)] == [key.fingerprint]
        assert key.user_id.endswith("@example.org>")


@pytest.mark.parametrize(
    "text",
    [
        b"", b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n"
        b"-----END PGP PUBLIC KEY BLOCK-----\n",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n",
        b"x" * (5 << 20),
    ],
)  # fmt: skip
def test_what_is_no_key(text: bytes) -> None:
    with pytest.raises(errors.ConfigError):
        read_keys(text)


def test_a_private_key_is_never_taken_for_a_public_one(vendor_key: GpgHome) -> None:
    with pytest.raises(errors.ConfigError, match="private key"):
        read_keys(vendor_key.secret_key())


def test_a_detached_signature(vendor_key: GpgHome, foreign_key: GpgHome, data: Path) -> None:
    signature = vendor_key.detach_sign(data).read_bytes()
    keys = [foreign_key.public_key(), vendor_key.public_key()]
    assert verify_detached(data, signature, keys) == vendor_key.fingerprint
    with pytest.raises(errors.SignatureInvalid, match="not among the trusted ones"):
        verify_detached(data, signature, [foreign_key.public_key()])
    with pytest.raises(errors.SignatureInvalid):
        verify_detached(data, signature, [])
    data.write_bytes(b"<repomd></repomd>")
    with pytest.raises(errors.SignatureInvalid, match="does not match") as caught:
        verify_detached(data, signature, keys)
    assert caught.value.where == "repomd.xml"


def test_only_a_detached_signature_counts(vendor_key: GpgHome, data: Path) -> None:
    """Signed text that carries its own content says nothing about the file beside it."""
    for mode in ("--clearsign", "--sign"):
        made = subprocess.run(
            [tools.need("gpg"), "--homedir", vendor_key.home, "--batch", "-o", "-", mode, data],
            check=True, capture_output=True,
        )  # fmt: skip
        with pytest.raises(errors.SignatureInvalid):
            verify_detached(data, made.stdout, [vendor_key.public_key()])
    for junk in (b"", b"junk", b"\x00" * 300_000):
        with pytest.raises(errors.SignatureInvalid):
            verify_detached(data, junk, [vendor_key.public_key()])


def test_one_trusted_signature_beside_another_key_is_enough(
    vendor_key: GpgHome, foreign_key: GpgHome, data: Path
) -> None:
    def binary(key: GpgHome) -> bytes:
        return subprocess.run(
            [tools.need("gpg"), "--dearmor"], input=key.detach_sign(data).read_bytes(),
            check=True, capture_output=True,
        ).stdout  # fmt: skip

    both = binary(foreign_key) + binary(vendor_key)
    assert verify_detached(data, both, [vendor_key.public_key()]) == vendor_key.fingerprint


def test_an_expired_key_signs_nothing(expired_key: GpgHome, tmp_path: Path) -> None:
    data = tmp_path / "x"
    data.write_bytes(b"x")
    made = subprocess.run(
        [tools.need("gpg"), "--homedir", expired_key.home, "--batch", "--faked-system-time",
         _creation(expired_key), "-o", "-", "--detach-sign", data],
        check=True, capture_output=True,
    )  # fmt: skip
    while time.time() < int(_creation(expired_key)) + 2:
        time.sleep(0.1)
    with pytest.raises(errors.SignatureInvalid, match="expired"):
        verify_detached(data, made.stdout, [expired_key.public_key()])


def _creation(key: GpgHome) -> str:
    listing = tools.run(
        [tools.need("gpg"), "--homedir", key.home, "--with-colons", "--list-keys"]
    ).stdout
    return next(line.split(":")[5] for line in listing.splitlines() if line.startswith("pub"))


@pytest.fixture(scope="module")
def packages(
    tmp_path_factory: pytest.TempPathFactory, vendor_key: GpgHome, foreign_key: GpgHome
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rpms")
    signed, also = build([Package("signed"), Package("also")], folder, key=vendor_key)
    (unsigned,) = build([Package("unsigned")], folder)
    (foreign,) = build([Package("foreign")], folder, key=foreign_key)
    body = bytearray(signed.read_bytes())
    body[-20] ^= 1
    made = {"signed": signed, "also": also, "unsigned": unsigned, "foreign": foreign}
    for name, content in {
        "damaged": bytes(body), "short": bytes(body[:-200]), "text": b"hello", "empty": b"",
    }.items():  # fmt: skip
        made[name] = folder / f"{name}.rpm"
        made[name].write_bytes(content)
    return made


def test_packages(packages: dict[str, Path], vendor_key: GpgHome, foreign_key: GpgHome) -> None:
    keys = [vendor_key.public_key()]
    good = [("Packages/s.rpm", packages["signed"]), ("Packages/a.rpm", packages["also"])]
    assert list(verify_rpms(good, keys)) == []
    assert list(verify_rpms([], keys)) == []
    everything = list(packages.items())
    # Bad ones first, so that an ending line of output swallows what follows.
    found = {p.path: p.what for p in verify_rpms(reversed(everything), keys)}
    assert sorted(found) == ["damaged", "empty", "foreign", "short", "text", "unsigned"]
    assert "not among the trusted" in found["foreign"]
    assert found["unsigned"] == "is not signed as a whole"
    assert "does not match" in found["damaged"]
    both = [*keys, foreign_key.public_key()]
    assert list(verify_rpms([*good, ("f", packages["foreign"])], both)) == []
    assert {p.path for p in verify_rpms(good, [])} == {"Packages/s.rpm", "Packages/a.rpm"}


def test_many_packages_go_in_batches(
    packages: dict[str, Path], vendor_key: GpgHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openpgp, "_BATCH", 4)
    many = [(f"p{number}", packages["signed"]) for number in range(10)]
    many[7] = ("bad", packages["unsigned"])
    found = list(verify_rpms(many, [vendor_key.public_key()]))
    assert found == [Problem("bad", "is not signed as a whole")]


def test_all_signatures_of_a_tree(
    tmp_path: Path, packages: dict[str, Path], vendor_key: GpgHome, data: Path
) -> None:
    signature = vendor_key.detach_sign(data)
    with Store.open(tmp_path / "store") as store:
        with store.blobs.batch() as batch:
            entries = [
                Entry("a.rpm", *batch.put_file(packages["signed"])),
                Entry("b.rpm", *batch.put_file(packages["unsigned"])),
                Entry("repomd.xml", *batch.put_file(data)),
                Entry("repomd.xml.asc", *batch.put_file(signature)),
            ]
        view = store.view(store.keep_tree(entries).digest)
        signed = [
            Signed("repomd.xml", "openpgp-detached", "repomd.xml.asc"),
            Signed("repomd.xml", "openpgp-detached", "gone.asc"),
            Signed("a.rpm", "openpgp-detached", "repomd.xml.asc"),
            Signed("x", "sigstore"),
            Signed("a.rpm", "rpm"),
            Signed("b.rpm", "rpm"),
        ]
        found = [(p.path, p.what) for p in verify_signed(view, signed, [vendor_key.public_key()])]
    assert [path for path, _ in found] == ["gone.asc", "a.rpm", "x", "b.rpm"]


def test_the_repository_key_signs(tmp_path: Path, vendor_key: GpgHome, data: Path) -> None:
    file = tmp_path / "repository.asc"
    file.write_bytes(vendor_key.secret_key())
    key = RepositoryKey(file)
    public = key.public()
    assert public.fingerprint == vendor_key.fingerprint
    assert b"PRIVATE" not in public.armored
    signature = key.armored(data.read_bytes())
    assert verify_detached(data, signature, [public.armored]) == vendor_key.fingerprint
    file.write_bytes(vendor_key.public_key())
    with pytest.raises(errors.ConfigError, match="cannot sign"):
        key.armored(b"x")
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        RepositoryKey(tmp_path / "none").armored(b"x")


def test_a_passphrase(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "h"
    home.mkdir(mode=0o700)
    gpg = [tools.need("gpg"), "--homedir", home, "--batch", "--pinentry-mode", "loopback",
           "--passphrase", "open sesame"]  # fmt: skip
    tools.run([*gpg, "--quick-gen-key", "Site <site@example.org>", "ed25519", "sign", "never"])
    file = tmp_path / "key.asc"
    tools.run([*gpg, "--armor", "--output", file, "--export-secret-keys"])
    tools.run([tools.need("gpgconf"), "--homedir", home, "--kill", "all"])
    with pytest.raises(errors.ConfigError):
        RepositoryKey(file, "wrong").armored(b"x")
    secret = tmp_path / "passphrase"
    secret.write_text("open sesame\n")
    key = RepositoryKey(file, openpgp.passphrase(secret))
    signature = key.armored(data.read_bytes())
    assert verify_detached(data, signature, [key.public().armored])
    monkeypatch.setenv("SLUICE_REPOSITORY_KEY_PASSPHRASE", "other")
    assert openpgp.passphrase(secret) == "other"


def test_a_missing_program_is_named(
    data: Path, vendor_key: GpgHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = [vendor_key.public_key()]
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    for call, packages in (
        (lambda: verify_detached(data, b"x", keys), ("gpgv", "gnupg2")),
        (lambda: list(verify_rpms([("a", data)], keys)), ("rpm", "rpm")),
    ):
        with pytest.raises(errors.ConfigError) as caught:
            call()
        assert all(package in caught.value.remedy for package in packages)
