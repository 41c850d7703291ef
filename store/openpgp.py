"""OpenPGP (RFC 4880) by the programs that administrators trust: gpgv, rpmkeys, gpg.

Every call has a private home and sees only the keys it is given: neither the user's
keyring nor the system's RPM keys decide what is trusted.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from manifests.errors import ConfigError, SignatureInvalid
from manifests.formats.base import Problem, Signed, TreeView
from store.programs import Outcome, private_home, run

MAX_KEYS_BYTES = 4 << 20
MAX_SIGNATURE_BYTES = 256 << 10
_BATCH = 200
_BLOCK = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)
_RPM_GOOD = re.compile(r"([0-9]{7}): digests signatures OK")
_RPM_SECTION = re.compile(r"([0-9]{7}):(.*)")
_KEY_ID = re.compile(r"key ID ([0-9a-f]{8,40})")
_UNREADABLE = "is not a readable package"
_GPG = (
    "--batch", "--no-tty", "--no-options", "--no-auto-check-trustdb",
    "--trust-model", "always", "--pinentry-mode", "loopback",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One OpenPGP key: ``fingerprint`` in 40 (or 64) capital hex digits, its first user id."""

    fingerprint: str
    user_id: str
    armored: bytes


def read_keys(armored: bytes, *, where: str = "key file") -> list[PublicKey]:
    """The public keys in ASCII-armored text, each by itself, stripped of foreign signatures.

    Raises ConfigError for anything but public keys.
    """
    if len(armored) > MAX_KEYS_BYTES:
        raise ConfigError(f"more than {MAX_KEYS_BYTES} bytes", where=where)
    if b"PRIVATE KEY BLOCK" in armored:
        raise ConfigError(
            "a private key, where a public one is expected",
            where=where,
            remedy="export the public key with `gpg --armor --export` and protect this file",
        )
    with private_home() as home:
        (home / "keys").write_bytes(_binary(armored, where))
        done = run("gpg", [*_GPG, "--no-autostart", "--import-options", "import-minimal",
                           "--import", home / "keys"], home=home)  # fmt: skip
        listing = run("gpg", [*_GPG, "--no-autostart", "--with-colons", "--list-keys"], home=home)
        keys = [
            PublicKey(fingerprint, user_id, _export(home, fingerprint, where))
            for fingerprint, user_id in _listed(listing.out.decode("utf-8", "replace"))
        ]
    if not keys:
        raise ConfigError(
            f"no OpenPGP key can be read from it ({done.complaint()})",
            where=where,
            remedy="export the key with `gpg --armor --export`",
        )
    return keys


def verify_detached(data: Path, signature: bytes, keys: Iterable[bytes], *, where: str = "") -> str:
    """Verify a detached signature, armored or binary; the signing key's fingerprint.

    ``keys`` are armored public keys. At least one signature must be good and none bad;
    signatures of other keys do not count. Expired and revoked keys sign nothing. Raises
    SignatureInvalid, ConfigError.
    """
    where = where or data.name
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise SignatureInvalid(f"a signature of more than {MAX_SIGNATURE_BYTES} bytes", where=where)
    with private_home() as home:
        (home / "keys.gpg").write_bytes(b"".join(_binary(key, "key") for key in keys))
        (home / "signature").write_bytes(signature)
        done = run(
            "gpgv",
            ["--keyring", home / "keys.gpg", "--status-fd", "1", "--",
             home / "signature", data.absolute()],
            home=home,
            seconds=300 + data.stat().st_size / (10 << 20),
        )  # fmt: skip
    return _verdict(done, where)


def _verdict(done: Outcome, where: str) -> str:
    """What gpgv's status lines (GnuPG, doc/DETAILS) say."""
    status: dict[str, list[str]] = {}
    for line in done.out.decode("utf-8", "replace").split("\n"):
        words = line.split(" ")
        if words[0] == "[GNUPG:]" and len(words) > 1:
            status.setdefault(words[1], words[2:])
    for word, what in (
        ("BADSIG", "the signature does not match"),
        ("REVKEYSIG", "signed by a revoked key"),
        ("EXPKEYSIG", "signed by an expired key"),
        ("EXPSIG", "the signature has expired"),
    ):
        if word in status:
            by = "".join(status[word][:1])
            raise SignatureInvalid(
                f"{what} (key {by})", where=where, remedy="ask the vendor for its current key"
                if "key" in what else "fetch it again; if it stays so, do not trust it",
            )  # fmt: skip
    # Signatures by other keys stand beside the good one while a vendor changes its key;
    # gpgv then ends with 2.
    usual = done.status == 0 or (done.status == 2 and "NO_PUBKEY" in status)
    if usual and "GOODSIG" in status and "VALIDSIG" in status and "PLAINTEXT" not in status:
        valid = status["VALIDSIG"]
        return valid[9] if len(valid) > 9 else valid[0]
    unknown = status.get("NO_PUBKEY", status.get("ERRSIG"))
    if unknown:
        raise SignatureInvalid(
            f"signed by the key {unknown[0]}, which is not among the trusted ones",
            where=where,
            remedy="if the vendor changed its key, verify the new one and add it to signed_by",
        )
    raise SignatureInvalid(
        f"not a detached OpenPGP signature ({done.complaint()})",
        where=where,
        remedy="fetch it again; if it stays so, do not trust it",
    )


def verify_rpms(packages: Iterable[tuple[str, Path]], keys: Iterable[bytes]) -> Iterator[Problem]:
    """Packages that are not wholly covered by a good signature of one of ``keys``.

    ``packages`` are (name for messages, local file); the whole file is read. Unsigned
    packages are problems. Raises ConfigError when rpm cannot use a key.
    """
    with private_home() as home:
        database = home / "db"
        database.mkdir()
        # rpm before 4.16 refuses several keys in one file.
        for number, key in enumerate(keys):
            file = home / f"key{number}"
            file.write_bytes(key)
            done = run("rpmkeys", ["--dbpath", database, "--import", file], home=home)
            if done.status:
                raise ConfigError(
                    f"rpm cannot use this key ({done.complaint()})",
                    where=f"key {number + 1} of signed_by",
                    remedy="export one key with `gpg --armor --export FINGERPRINT`",
                )
        rest = iter(packages)
        while batch := list(islice(rest, _BATCH)):
            yield from _bad_rpms(batch, home, database)


def _bad_rpms(batch: Sequence[tuple[str, Path]], home: Path, database: Path) -> Iterator[Problem]:
    # rpm sees our own short names, so that no name from outside stands in its output.
    links = {f"{number:07}": path for number, (_, path) in enumerate(batch)}
    for name, path in links.items():
        (home / name).symlink_to(path.absolute())
    try:
        suspects = sorted(set(links) - _good_rpms(sorted(links), links, home, database))
        reasons = _reasons(suspects, links, home, database) if suspects else {}
        for name in suspects:
            reason = reasons.get(name, _UNREADABLE)
            # An unreadable package ends its line of output early and so hides the next one.
            if reason or not _good_rpms([name], links, home, database):
                yield Problem(batch[int(name)][0], reason or "is not signed as a whole")
    finally:
        for name in links:
            (home / name).unlink()


def _rpmkeys(
    mode: str, names: Sequence[str], links: dict[str, Path], home: Path, database: Path
) -> Outcome:
    # Without the level, unsigned packages count as good.
    return run(
        "rpmkeys",
        ["--dbpath", database, "--define", "_pkgverify_level all",
         "--define", "_pkgverify_flags 0x0", mode, *names],
        home=home,
        seconds=300 + sum(links[name].stat().st_size for name in names) / (10 << 20),
    )  # fmt: skip


def _good_rpms(
    names: Sequence[str], links: dict[str, Path], home: Path, database: Path
) -> set[str]:
    done = _rpmkeys("-K", names, links, home, database)
    found = (_RPM_GOOD.fullmatch(line) for line in done.out.decode("ascii", "replace").split("\n"))
    good = {match[1] for match in found if match}
    if (done.status == 0) != (good == set(names)):
        # The output and the status must tell the same, else neither is believed.
        return set()
    return good


def _reasons(
    names: Sequence[str], links: dict[str, Path], home: Path, database: Path
) -> dict[str, str]:
    done = _rpmkeys("-Kv", names, links, home, database)
    sections: dict[str, str] = {}
    current = ""
    for line in done.out.decode("ascii", "replace").split("\n"):
        if head := _RPM_SECTION.fullmatch(line):
            current, line = head[1], head[2]
        if current:
            sections[current] = sections.get(current, "") + line + "\n"
    return {name: _reason(text) for name, text in sections.items()}


def _reason(text: str) -> str:
    """Why rpm refuses a package, empty if its output does not tell."""
    if not text.strip():
        return _UNREADABLE
    if ": BAD" in text:
        return "has a signature or digest that does not match"
    if ": NOKEY" in text:
        key = _KEY_ID.search(text)
        by = f"the key {key[1].upper()}" if key else "a key"
        return f"is signed by {by}, which is not among the trusted ones"
    return "is not signed as a whole" if ": NOTFOUND" in text else ""


def verify_signed(
    view: TreeView, signed: Iterable[Signed], keys: Sequence[bytes]
) -> Iterator[Problem]:
    """Verify the upstream signatures that a format named, with these keys alone."""
    packages: list[Signed] = []
    for one in signed:
        if one.kind == "rpm":
            packages.append(one)
        elif one.kind == "openpgp-detached":
            yield from _detached_problem(view, one, keys)
        else:
            yield Problem(one.path, f"is signed in an unknown way: {one.kind[:40]}")
    if packages:
        yield from verify_rpms(((one.path, view.local(one.path)) for one in packages), keys)


def _detached_problem(view: TreeView, one: Signed, keys: Sequence[bytes]) -> Iterator[Problem]:
    for path in (one.path, one.signature):
        if view.lookup(path) is None:
            yield Problem(path, "is missing, and the signature cannot be verified without it")
            return
    with view.open(one.signature) as body:
        signature = body.read(MAX_SIGNATURE_BYTES + 1)
    try:
        verify_detached(view.local(one.path), signature, keys, where=one.path)
    except SignatureInvalid as error:
        yield Problem(one.path, error.what)


class RepositoryKey:
    """``manifests.formats.base.Signer``: signs derived indexes with a private key file.

    The file is what ``gpg --armor --export-secret-keys`` writes. Each call works in a
    private home that is gone afterwards.
    """

    def __init__(self, file: Path, passphrase: str = "") -> None:
        self._file = file
        self._passphrase = passphrase

    def armored(self, data: bytes) -> bytes:
        """An ASCII-armored detached signature (SHA-256). Raises ConfigError."""
        with self._home() as home:
            (home / "data").write_bytes(data)
            done = self._gpg(home, ["--armor", "--digest-algo", "SHA256", "--detach-sign",
                                    "--output", "-", str(home / "data")])  # fmt: skip
        if done.status or not done.out.startswith(b"-----BEGIN PGP SIGNATURE-----"):
            raise self._useless(done)
        return done.out

    def public(self) -> PublicKey:
        """The public half, for clients. Raises ConfigError."""
        with self._home() as home:
            listing = self._gpg(home, ["--with-colons", "--list-secret-keys"])
            keys = list(_listed(listing.out.decode("utf-8", "replace")))
            if len(keys) != 1:
                raise ConfigError(f"holds {len(keys)} keys instead of one", where=str(self._file))
            fingerprint, user_id = keys[0]
            return PublicKey(fingerprint, user_id, _export(home, fingerprint, str(self._file)))

    @contextmanager
    def _home(self) -> Iterator[Path]:
        """A private home with the key in it. Its agent is ended once, after the last call:
        a call right after an agent was told to end may still find that one, and fail."""
        with private_home() as home:
            try:
                self._import(home)
                yield home
            finally:
                run("gpgconf", ["--homedir", home, "--kill", "gpg-agent"], home=home)

    def _import(self, home: Path) -> None:
        try:
            secret = self._file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"the repository key cannot be read: {error.strerror}", where=str(self._file)
            ) from error
        (home / "secret").write_bytes(secret)
        done = self._gpg(home, ["--import", str(home / "secret")])
        (home / "secret").unlink()
        if done.status:
            raise self._useless(done)

    def _gpg(self, home: Path, words: list[str]) -> Outcome:
        return run("gpg", [*_GPG, "--passphrase-fd", "0", *words], home=home,
                   stdin=os.fsencode(self._passphrase) + b"\n")  # fmt: skip

    def _useless(self, done: Outcome) -> ConfigError:
        return ConfigError(
            f"gpg cannot sign with the repository key ({done.complaint()})",
            where=str(self._file),
            remedy="export it with `gpg --armor --export-secret-keys FINGERPRINT`, and give "
            "its passphrase if it has one",
        )


def _export(home: Path, fingerprint: str, where: str) -> bytes:
    done = run(
        "gpg",
        [*_GPG, "--no-autostart", "--armor", "--export-options", "export-minimal",
         "--export", fingerprint],
        home=home,
    )  # fmt: skip
    if done.status or not done.out:
        raise ConfigError(f"gpg cannot export {fingerprint} ({done.complaint()})", where=where)
    return done.out


def _listed(colons: str) -> Iterator[tuple[str, str]]:
    """Fingerprint and first user id of each primary key (GnuPG, doc/DETAILS)."""
    fingerprint = ""
    waiting = False
    for fields in (line.split(":") for line in colons.split("\n")):
        if fields[0] in ("pub", "sec"):
            if fingerprint:
                yield fingerprint, ""
            fingerprint, waiting = "", True
        elif fields[0] == "fpr" and waiting:
            fingerprint, waiting = fields[9], False
        elif fields[0] == "uid" and fingerprint:
            # gpg escapes colons and control characters as \xHH.
            yield fingerprint, fields[9].replace("\\x3a", ":")[:200]
            fingerprint = ""
    if fingerprint:
        yield fingerprint, ""


def _binary(armored: bytes, where: str) -> bytes:
    """Public key blocks without their armour (RFC 4880, section 6.2); binary keys as they are."""
    if armored[:1] and armored[0] & 0x80:
        return armored
    found = []
    for block in _BLOCK.findall(armored):
        lines = block.replace(b"\r", b"").split(b"\n")
        # Armour headers end at the first empty line; "=xxxx" is the checksum.
        body = lines[lines.index(b"") + 1 :] if b"" in lines else []
        text = b"".join(line.strip() for line in body if not line.startswith(b"="))
        try:
            found.append(base64.b64decode(text, validate=True))
        except binascii.Error as error:
            raise ConfigError("not ASCII armour", where=where) from error
    if not found:
        raise ConfigError(
            "no OpenPGP public key in it",
            where=where,
            remedy="export the key with `gpg --armor --export`",
        )
    return b"".join(found)


def passphrase(file: Path | None, variable: str = "SLUICE_REPOSITORY_KEY_PASSPHRASE") -> str:
    """The passphrase of the repository key: from the environment, else a file, else none.

    Raises ConfigError if the file cannot be read.
    """
    if variable in os.environ:
        return os.environ[variable]
    if file is None:
        return ""
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the passphrase cannot be read", where=str(file)) from error
