"""HTTP to a registry: every request carries what the registry asks for, renewed when it must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from manifests.zone.model import Connection
from mirror.registry.authfile import Logins
from mirror.registry.tokens import Doorkeeper
from mirror.web import Answer, Web


class RegistryWeb(Web):
    """See ``mirror.web.Web``. Passwords and tokens go to the registry and its token server.

    A redirect to where the registry keeps its blobs carries neither.
    """

    def __init__(self, connection: Connection, base: str, logins: Logins) -> None:
        plain = replace(connection, username=None, password=None, password_file=None)
        self._door = Doorkeeper(plain, base, logins)
        super().__init__(plain, [base], secrets=self._door.headers)

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str], *, method: str = "GET", data: bytes = b""
    ) -> Iterator[Answer]:
        """See ``Web.get``; after a 401 once more, if there is another way in."""
        used = self._door.headers(url).get("Authorization", "")
        with super().get(url, headers, method=method, data=data) as answer:
            if not self._may_again(answer, used):
                yield answer
                return
        with super().get(url, headers, method=method, data=data) as answer:
            yield answer

    def _may_again(self, answer: Answer, used: str) -> bool:
        if answer.status != 401 or not self.is_trusted(answer.url):
            return False
        return self._door.renew(answer.url, answer, used)
