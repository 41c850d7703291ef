"""Ways into a registry: files of logins, tokens that are renewed, and what is never told."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from manifests.errors import ConfigError, UpstreamRefused, UpstreamUnreachable
from manifests.zone.model import Connection
from mirror.registry.authfile import Login, Logins, read_auth_file
from mirror.registry.tokens import Doorkeeper, image_of
from mirror.registry.web import RegistryWeb
from tests.support.badregistry import BadRegistry, Mood
from tests.support.images import Layout

HOST = "registry.example.com:5000"


def pair(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def logins(tmp_path: Path, content: object, host: str = HOST) -> Logins:
    file = tmp_path / "auth.json"
    file.write_text(json.dumps(content))
    return read_auth_file(file, host)


def test_the_most_specific_login_counts(tmp_path: Path) -> None:
    found = logins(
        tmp_path,
        {
            "auths": {
                HOST: pair("all", "p:w"),
                f"{HOST}/team": pair("team", "t"),
                f"{HOST}/team/app/": pair("app", "ä"),
                "registry.example.com": pair("other port", "x"),
                "other.example.com": pair("other", "x"),
            }
        },
    )
    assert found.of("") == found.of("base") == found.of("teams/x") == Login("all", "p:w")
    assert found.of("team/db") == Login("team", "t")
    assert found.of("team/app/deep") == Login("app", "ä")
    assert base64.b64decode(Login("app", "ä").basic.partition(" ")[2]).decode() == "app:ä"


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}/v1/", f"https://{HOST}", f"{HOST}/v2/"])
def test_docker_writes_addresses(key: str, tmp_path: Path) -> None:
    assert logins(tmp_path, {"auths": {key: pair("a", "b")}}).of("x/y") == Login("a", "b")


def test_identity_tokens_and_plain_names(tmp_path: Path) -> None:
    row = {**pair("a", ""), "identitytoken": "refresh"}
    assert logins(tmp_path, {"auths": {HOST: row}}).of("") == Login("a", "", "refresh")
    row = {"username": "a", "password": "b"}
    assert logins(tmp_path, {"auths": {HOST: row}}).of("") == Login("a", "b")
    assert logins(tmp_path, {"auths": {HOST: {}}}).of("") is None
    assert logins(tmp_path, {}).of("") is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([], "not of the form"),
        ({"auths": []}, "not of the form"),
        ({"auths": {HOST: {"auth": "?"}}}, "base64"),
        ({"auths": {HOST: {"auth": "bm9jb2xvbg=="}}}, "base64 of user:password"),
        ({"auths": {HOST: {}}, "credsStore": "desktop"}, "another program"),
        ({"credHelpers": {HOST: "x"}}, "another program"),
    ],
)
def test_files_that_say_nothing_usable(content: object, what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=what):
        logins(tmp_path, content)


def test_no_file_and_no_secrets_in_what_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_auth_file(tmp_path / "none", HOST)
    shown = repr(Login("ann", "s3cret", "refresh")) + repr(Logins({"": Login("ann", "s3cret")}))
    assert "s3cret" not in shown and "refresh" not in shown


def test_images_in_addresses() -> None:
    base = "https://registry.example.com/prefix/v2/"
    for rest in ("manifests/v1", "blobs/sha256:ab", "tags/list?n=5", "referrers/sha256:ab"):
        assert image_of(f"{base}team/app/{rest}") == "team/app"
    assert image_of(f"{base}tags/tags/list") == "tags"
    assert image_of(f"{base}a/manifests/b/tags/list") == "a/manifests/b"
    assert image_of(base) == image_of(f"{base}_catalog?n=5") == ""


class _Answer:
    """What a 401 says."""

    status = 401

    def __init__(self, header: str) -> None:
        self.headers: Mapping[str, str] = {"www-authenticate": header}


def test_tokens_are_used_until_they_expire(tmp_path: Path) -> None:
    now = [0.0]
    with BadRegistry(Layout(tmp_path), token_life=60) as registry:
        door = Doorkeeper(Connection(), registry.url, Logins(), clock=lambda: now[0])
        url = f"{registry.url}/v2/app/manifests/v1"
        assert door.headers(url) == {}
        answer = _Answer(f'Bearer realm="{registry.url}/token",service="s"')
        assert door.renew(url, answer, "")  # type: ignore[arg-type]
        first = door.headers(url)
        assert first == {"Authorization": "Bearer t1"} == door.headers(url)
        assert door.headers(f"{registry.url}/v2/other/manifests/v1") == {}
        # Another thread asked with a token that was renewed since: no new one is needed.
        assert door.renew(url, answer, "Bearer old")  # type: ignore[arg-type]
        assert registry.given == 1
        now[0] = 299.0  # of the 300 seconds that the server promised
        assert door.headers(url) == {"Authorization": "Bearer t2"}
        paths = [one.path for one in registry.asked]
        assert paths == ["token repository:app:pull"] * 2


@pytest.mark.parametrize(
    "realm", ["http://registry.example.com/token", "file:///etc/passwd", "", "https://[", "//x"]
)
def test_token_servers_that_are_not_asked(realm: str) -> None:
    door = Doorkeeper(Connection(), "https://registry.example.com/", Logins({"": Login("a", "b")}))
    answer = _Answer(f'Bearer realm="{realm}"')
    with pytest.raises(UpstreamRefused, match="a token server that is not asked"):
        door.renew("https://registry.example.com/v2/a/tags/list", answer, "")  # type: ignore[arg-type]


def test_a_wrong_password_is_refused_and_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    with BadRegistry(Layout(tmp_path), token_life=60) as registry:
        registry.users["ann"] = "right"
        wrong = Logins({"": Login("ann", "wrong")})
        web = RegistryWeb(Connection(), f"{registry.url}/", wrong)
        with (
            pytest.raises(UpstreamRefused, match="token server answered 401"),
            web.get(f"{registry.url}/v2/app/tags/list", {}),
        ):
            pass
        web.close()


def test_a_login_never_follows_a_redirect(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layer = layout.blob(b"somewhere else")
    with BadRegistry(layout) as storage, BadRegistry(layout, token_life=60) as registry:
        registry.users["ann"] = "secret"
        registry.moods[f"app/blobs/{layer.digest}"] = Mood(
            status=307, headers={"location": f"{storage.url}/v2/x/blobs/{layer.digest}"}
        )
        web = RegistryWeb(Connection(), f"{registry.url}/", Logins({"": Login("ann", "secret")}))
        with web.get(f"{registry.url}/v2/app/blobs/{layer.digest}", {}) as answer:
            assert b"".join(answer.blocks(1024, 1)) == b"somewhere else"
        web.close()
        assert [one.authorization for one in storage.asked] == [""]
        assert registry.asked[-1].authorization.startswith("Bearer ")


def test_a_registry_that_asks_for_basic_and_gets_nothing(tmp_path: Path) -> None:
    door = Doorkeeper(Connection(), "https://registry.example.com/", Logins())
    url = "https://registry.example.com/v2/app/tags/list"
    answer = _Answer('Basic realm="x"')
    assert not door.renew(url, answer, "")  # type: ignore[arg-type]
    door = Doorkeeper(Connection(), url, Logins({"app": Login("a", "b")}))
    assert door.renew(url, answer, "")  # type: ignore[arg-type]
    sent = door.headers(url)["Authorization"]
    assert sent == Login("a", "b").basic
    assert not door.renew(url, answer, sent)  # type: ignore[arg-type]


def test_a_token_server_that_does_not_answer(tmp_path: Path) -> None:
    door = Doorkeeper(Connection(timeout=1), "http://127.0.0.1:9/", Logins())
    answer = _Answer('Bearer realm="http://127.0.0.1:9/token"')
    with pytest.raises(UpstreamUnreachable):
        door.renew("http://127.0.0.1:9/v2/a/tags/list", answer, "")  # type: ignore[arg-type]
