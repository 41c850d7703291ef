"""A webhook: one POST of JSON, signed; nothing of the answer is believed but its status.

The body of the answer is not read, a redirect is not followed (it would carry the message
to whoever it names). A peer may be slow on purpose: callers wait no longer than they like.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
from datetime import datetime
from urllib.parse import urlsplit

from manifests.errors import CarrierError
from manifests.zone.notices import Webhook
from sluice import __version__
from sluice.context import read_secret
from sluice.notices.message import Sender, document
from sluice.notices.plan import Notice

SECONDS = 8.0
"""Until it must have taken a connection, and between two pieces of its answer."""
SIGNATURE = "Sluice-Signature"
_REMEDY = "see the log of what listens there, then: `sluice notices test`"


def signature(secret: str, body: bytes) -> str:
    """The value of the header: HMAC with SHA-256 (RFC 2104) over the body, hexadecimal."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def send_webhook(settings: Webhook, notice: Notice, sender: Sender, now: datetime) -> None:
    """Post one notice. Raises CarrierError or ConfigError (the secret or the CA cannot be
    read); an address may itself be a secret, so no text names more of it than the host."""
    parts = urlsplit(settings.url)
    body = document(notice, sender, now)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"sluice/{__version__}",
        "Sluice-Notice": notice.id,
    }
    if settings.secret_file is not None:
        headers[SIGNATURE] = signature(read_secret(settings.secret_file), body)
    where = f"webhook at {parts.hostname}"
    try:
        status = _post(settings, f"{parts.path or '/'}{parts.query and '?' + parts.query}", body,
                       headers)  # fmt: skip
    except (OSError, http.client.HTTPException, ValueError) as error:
        what = getattr(error, "strerror", None) or type(error).__name__
        raise CarrierError(f"cannot be reached: {what}", where=where, remedy=_REMEDY) from error
    if not 200 <= status < 300:
        what = "redirects, which is not followed" if 300 <= status < 400 else "refuses"
        raise CarrierError(f"{what} (status {status})", where=where, remedy=_REMEDY)


def _post(settings: Webhook, target: str, body: bytes, headers: dict[str, str]) -> int:
    parts = urlsplit(settings.url)
    assert parts.hostname is not None
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=settings.ca_file and str(settings.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    try:
        connection.request("POST", target, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
