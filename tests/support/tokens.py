"""A token server as a real registry demands it: signed tokens, one for each image.

Docker Registry v2 authentication, "Token Authentication Implementation": JSON Web Tokens (RFC 7519)
in ES256 whose certificate travels along (``x5c``).
"""

from __future__ import annotations

import base64
import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509 import load_pem_x509_certificate

from tests.support.certs import Pair
from tests.support.loopback import WebServer

ISSUER = "example-issuer"
SERVICE = "example-registry"


class TokenServer(WebServer):
    """Gives ``users`` tokens for what they ask; ``scopes`` are what was asked for."""

    def __init__(self, pair: Pair, **users: str) -> None:
        self.pair = pair
        self.users = users
        self.scopes: list[str] = []
        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        certificate = load_pem_x509_certificate(pair.cert.read_bytes())
        self._der = certificate.public_bytes(serialization.Encoding.DER)

    @property
    def options(self) -> dict[str, str]:
        """The registry's ``auth: token:``."""
        return {
            "realm": f"{self.url}/token", "service": SERVICE, "issuer": ISSUER,
            "rootcertbundle": str(self.pair.cert),
        }  # fmt: skip

    def token(self, scope: str) -> str:
        """A signed token for ``repository:NAME:ACTIONS`` or ``registry:catalog:*``."""
        kind, name, actions = scope.split(":", 2)
        now = int(time.time())
        claims = {
            "iss": ISSUER, "sub": "", "aud": SERVICE, "exp": now + 300, "nbf": now - 10,
            "iat": now, "jti": str(now),
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }  # fmt: skip
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(self._der).decode()]}
        text = f"{_coded(json.dumps(header).encode())}.{_coded(json.dumps(claims).encode())}"
        r, s = utils.decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_coded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """To one request."""
        query = parse_qs(urlsplit(request.path).query)
        pairs = {
            "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            for user, password in self.users.items()
        }
        good = request.headers.get("authorization", "") in pairs
        scope = query.get("scope", ["registry:catalog:*"])[0]
        self.scopes.append(scope)
        body = json.dumps({"token": self.token(scope)} if good else {}).encode()
        request.send_response(200 if good else 401)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
