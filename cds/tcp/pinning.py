"""TLS between two programs that each know the other's one certificate.

Version 1.2, not newer: there the opener's handshake ends only after the other side has
accepted its certificate. In 1.3 it would have to read later bytes to learn of a refusal,
and this carrier reads none.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from manifests import errors
from manifests.zone import Tls

_LARGEST = 64 << 10


class Pinned:
    """One end's TLS: our certificate, and nobody but the pinned one believed.

    Raises ``ConfigError`` for files that cannot be used.
    """

    def __init__(self, tls: Tls, *, server: bool) -> None:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        made.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        made.check_hostname = False  # a pinned certificate is one peer, whatever it is called
        made.verify_mode = ssl.CERT_REQUIRED
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._pin = _read(tls.pin)
        try:
            made.load_verify_locations(cadata=self._pin)
        except ssl.SSLError as exc:
            raise _unusable(tls.pin, exc) from exc
        try:
            made.load_cert_chain(tls.cert, tls.key, password=_no_passphrase)
        except (OSError, ValueError) as exc:  # SSLError is an OSError
            raise _unusable(tls.cert, exc) from exc
        self._context = made
        self._server = server

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """The connection with TLS on it, before the handshake; the old object is of no use."""
        return self._context.wrap_socket(
            connection, server_side=self._server, do_handshake_on_connect=False
        )

    def shake_hands(self, connection: ssl.SSLSocket) -> None:
        """Raises ``PeerRefused`` unless each end shows the other what it pinned; ``OSError``."""
        try:
            connection.do_handshake()
        except ssl.SSLEOFError:
            raise  # it broke: no judgement on anybody
        except ssl.SSLError as exc:
            raise _refused(exc.reason or str(exc)) from exc
        # The pin may be an authority's by mistake; what that signed is not pinned.
        if connection.getpeercert(binary_form=True) != self._pin:
            raise _refused("another certificate than the pinned one")


def _refused(why: str) -> errors.PeerRefused:
    return errors.PeerRefused(
        f"the TLS handshake failed: {why}",
        remedy="compare the certificates: `tls: pin` is the other side's `tls: cert`",
    )


def _read(file: Path) -> bytes:
    """The one certificate in a PEM file, as DER. Raises ``ConfigError``."""
    try:
        with file.open("r", encoding="ascii") as source:
            text = source.read(_LARGEST)
        return ssl.PEM_cert_to_DER_cert(text.strip() + "\n")
    except (OSError, ValueError) as exc:
        raise _unusable(file, exc) from exc


def _no_passphrase() -> str:
    # Asking on the terminal, as OpenSSL would, hangs a service for ever.
    return ""


def _unusable(file: Path, exc: Exception) -> errors.ConfigError:
    return errors.ConfigError(
        f"no certificate and key can be read: {exc}",
        where=str(file),
        remedy="`tls` wants PEM files: our `cert`, its `key` without a passphrase, and `pin`,"
        " the other side's certificate",
    )
