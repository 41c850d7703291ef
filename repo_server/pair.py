"""The certificate and the private key that the server shows: read, checked, made into a context.

The parent reads the files and hands their text to the workers, so that all workers show the
same pair, and one that is started again while the files are broken still has the good one.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from manifests.errors import ConfigError
from manifests.state import format_time
from manifests.zone.served import ServerTls

_MAX_FILE = 256 << 10
_AHEAD = timedelta(days=30)
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption alone (RFC 9325, 4.2); OpenSSL
adds those of 1.3 by itself."""
_REASONS = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
    "KEY_TYPE_MISMATCH": "the key is not that of the certificate",
    "EE_KEY_TOO_SMALL": "the key is too short for today",
    "CA_MD_TOO_WEAK": "the certificate is signed with a digest that is too weak",
    "EE_MD_TOO_WEAK": "the certificate is signed with a digest that is too weak",
    "BAD_DECRYPT": "the key is encrypted with a passphrase",
    "BAD_PASSWORD_READ": "the key is encrypted with a passphrase",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with what leads to its authority, and its key, both as PEM."""

    cert: str
    key: str = field(repr=False)

    def context(self) -> ssl.SSLContext:
        """For the server's side: TLS 1.2 and 1.3, HTTP/1.1 by ALPN (RFC 7301).

        Raises ssl.SSLError: OpenSSL takes the certificate or the key not, or not together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        # OpenSSL takes files only. Without an answer it would ask the terminal for a passphrase.
        with _in_memory(self.cert) as cert, _in_memory(self.key) as key:
            context.load_cert_chain(cert, key, password=lambda: "")
        return context

    def leaf(self) -> x509.Certificate:
        """The server's own certificate. Raises ValueError."""
        try:
            return x509.load_pem_x509_certificates(self.cert.encode("ascii", "replace"))[0]
        except x509.InvalidVersion as error:
            raise ValueError(str(error)) from error


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(text.encode("ascii", "replace"))
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def read_pair(files: ServerTls) -> Pair:
    """The pair in these files, usable as it is. Raises ConfigError."""
    pair = Pair(_read(files.cert, "certificate"), _read(files.key, "key"))
    if "-----BEGIN CERTIFICATE-----" not in pair.cert:
        raise _wrong(files.cert, "there is no certificate in this file", "cert")
    if "PRIVATE KEY-----" not in pair.key:
        raise _wrong(files.key, "there is no private key in this file", "key")
    try:
        pair.leaf()
    except ValueError as error:
        raise _wrong(files.cert, f"this is not a certificate: {error}", "cert") from error
    try:
        pair.context()
    except ssl.SSLError as error:
        reason = _REASONS.get(error.reason or "", f"OpenSSL says {error.reason or error}")
        if "-----BEGIN ENCRYPTED" in pair.key or "Proc-Type: 4,ENCRYPTED" in pair.key:
            reason = _REASONS["BAD_DECRYPT"]
        raise ConfigError(
            f"certificate and key cannot be used: {reason}",
            where=f"{files.cert}, {files.key}",
            remedy="put a certificate and its own key there, as PEM and without a passphrase",
        ) from error
    return pair


def warnings(files: ServerTls, pair: Pair, external_url: str | None, now: datetime) -> list[str]:
    """What works now but soon will not, or should not be so; one line each."""
    leaf = pair.leaf()
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    ahead = min(_AHEAD, (ends - begins) / 3)
    lines = []
    name = f"the server's certificate {files.cert}"
    if now >= ends:
        lines.append(f"{name} expired on {format_time(ends)}: put a renewed one there")
    elif now >= ends - ahead:
        days = (ends - now).days
        lines.append(f"{name} expires on {format_time(ends)}, in {days} days")
    if now < begins:
        lines.append(f"{name} is valid only from {format_time(begins)}: check this clock")
    host = None if external_url is None else urlsplit(external_url).hostname
    if host is not None and not _is_for(leaf, host):
        lines.append(f"{name} is not for {host}, as `serve: external_url` says")
    try:
        if files.key.stat().st_mode & stat.S_IROTH:
            lines.append(f"everybody on this machine can read the key {files.key}: chmod 600")
    except OSError:
        pass  # it is being replaced; its next reading says what is wrong
    return lines


def certificate_warnings(files: ServerTls, external_url: str | None, now: datetime) -> list[str]:
    """The same for what lies there now, broken or not: a running server may show an older pair."""
    try:
        return warnings(files, read_pair(files), external_url, now)
    except ConfigError as error:
        return [f"serve: tls: {error}"]


def _is_for(leaf: x509.Certificate, host: str) -> bool:
    """Whether clients take it for ``host`` (RFC 9525, section 6)."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        ValueError,  # one that cannot be parsed
    ):
        return False
    try:
        return ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        pass
    known = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    return host in known or f"*.{host.partition('.')[2]}" in known


def _read(path: Path, what: str) -> str:
    try:
        # A link is usual here: tools that renew certificates switch it.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _wrong(path, "this is not a file", "cert" if what != "key" else "key")
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(
            f"the {what} of the server cannot be read: {error.strerror}",
            where=str(path),
            remedy="put it there, readable by the account that runs `serve`",
        ) from error
    if len(data) > _MAX_FILE:
        raise _wrong(path, "this file is too large", "cert" if what != "key" else "key")
    return data.decode("ascii", "replace")


def _wrong(path: Path, what: str, key: str) -> ConfigError:
    return ConfigError(
        what, where=str(path), remedy=f"name a PEM file as `serve: tls: {key}`, or put one there"
    )
