"""zone.yaml: every key has its value, its default and its unit."""

from __future__ import annotations

import pickle
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from manifests.errors import ConfigError
from manifests.zone import (
    After,
    Connection,
    Filters,
    InsideStream,
    InsideZone,
    Ledger,
    Metadata,
    OutsideStream,
    OutsideZone,
    PartNames,
    Registry,
    Repository,
    Retain,
    Serve,
    ServerTls,
    Signers,
    Upstream,
    ZoneKind,
    commented_example,
    load,
    parse,
)

FOLDER = Path("/srv/zone")
FORMATS = frozenset({"yum", "files", "maven", "oci"})
DIGEST = "0123456789abcdef" * 4


def outside(text: str) -> OutsideZone:
    zone = parse(text, FOLDER, FORMATS)
    assert isinstance(zone, OutsideZone)
    return zone


def inside(text: str) -> InsideZone:
    zone = parse(text, FOLDER, FORMATS)
    assert isinstance(zone, InsideZone)
    return zone


def repository(settings: str, upstream: str = '"https://m.example.org/a"') -> Repository:
    text = f"zone: outside\nrepositories:\n  r: {{format: yum, upstream: {upstream}, {settings}}}\n"
    return outside(text).repositories["r"]


def sender(settings: str) -> OutsideStream:
    return outside(
        "zone: outside\nrepositories:\n"
        "  a: {format: yum, upstream: 'rsync://h/a'}\n  b: {format: files, upstream: 'file:///b'}\n"
        f"streams:\n  hq: {{carrier: file, outbox: outbox, {settings}}}\n"
    ).streams["hq"]


def receiver(settings: str) -> InsideStream:
    return inside(
        f"zone: inside\nstreams:\n  hq: {{carrier: file, inbox: in, root: t/root.json, {settings}}}"
    ).streams["hq"]


def test_the_smallest_outside_of_the_manual() -> None:
    zone = outside(
        "zone: outside\n"
        "repositories:\n"
        '  baseos: {format: yum, upstream: "rsync://127.0.0.1:8730/baseos/", keep: 5,'
        " signed_by: keys/vendor.asc}   # the last two optional\n"
        "streams:\n"
        "  hq: {carrier: file, outbox: outbox, part_size: 64MiB}\n"
    )
    assert zone == OutsideZone(
        folder=FOLDER,
        ledger=Ledger(path=FOLDER / "ledger.sqlite"),
        version=1,
        reserve_free=2**30,
        log_level="info",
        repository_key=None,
        repositories={
            "baseos": Repository(
                name="baseos",
                format="yum",
                upstream=Upstream(urls=("rsync://127.0.0.1:8730/baseos/",)),
                keep=5,
                signers=Signers(signed_by=(FOLDER / "keys/vendor.asc",)),
                filters=Filters(),
                metadata=Metadata.AUTO,
                max_removals=0.3,
                connection=Connection(timeout=60, retries=4, parallel=4),
            )
        },
        streams={
            "hq": OutsideStream(
                name="hq",
                carrier="file",
                outbox=FOLDER / "outbox",
                keys=FOLDER / "keys/hq",
                part_size=64 * 2**20,
                repositories=("baseos",),
                resend_window=0,
                names=PartNames(prefix="", suffix=".tar", done_marker=None),
            )
        },
    )
    assert zone.kind is ZoneKind.OUTSIDE
    assert not zone.repositories["baseos"].filters


def test_the_smallest_inside_of_the_manual() -> None:
    zone = inside(
        "zone: inside\n"
        "streams:\n"
        "  hq: {carrier: file, inbox: inbox, root: trust/root.json}\n"
        "require: {baseos: {signed_by: keys/vendor.asc}}                # optional\n"
        'serve: {listen: "127.0.0.1:8080"}\n'
    )
    assert zone == InsideZone(
        folder=FOLDER,
        ledger=Ledger(path=FOLDER / "ledger.sqlite"),
        streams={
            "hq": InsideStream(
                name="hq",
                carrier="file",
                inbox=FOLDER / "inbox",
                root=FOLDER / "trust/root.json",
                after=After.DELETE,
                settle=2.0,
                rename={},
                mark=FOLDER / "marks/hq.json",
            )
        },
        require={"baseos": Signers(signed_by=(FOLDER / "keys/vendor.asc",))},
        serve=Serve(host="127.0.0.1", port=8080, workers=1, grace=86400.0),
    )
    assert zone.kind is ZoneKind.INSIDE


def test_common_keys() -> None:
    zone = inside(
        "zone: inside\nversion: 1\nreserve_free: 25GB\nlog: {level: debug}\n"
        "ledger: postgresql://sluice@db.example.org:5433/sluice\n"
        "ledger_password_file: secrets/ledger\nrepository_key: /etc/keys/r.asc\n"
    )
    assert zone.reserve_free == 25 * 10**9
    assert zone.log_level == "debug"
    assert zone.repository_key == Path("/etc/keys/r.asc")
    assert zone.ledger == Ledger(
        url="postgresql://sluice@db.example.org:5433/sluice",
        password_file=FOLDER / "secrets/ledger",
    )
    assert zone.streams == {}
    assert zone.serve == Serve()


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///state/l.db", FOLDER / "state/l.db"), ("sqlite:////var/l.db", Path("/var/l.db"))],
)
def test_sqlite_paths(url: str, path: Path) -> None:
    assert inside(f"zone: inside\nledger: {url}").ledger == Ledger(path=path)
    assert Ledger(path=path).address == f"sqlite:///{path}"


def test_a_socket_is_a_postgresql_address() -> None:
    url = "postgresql:///sluice?host=/run/postgresql"
    assert inside(f"zone: inside\nledger: {url}").ledger == Ledger(url=url)


@pytest.mark.parametrize(
    ("written", "upstream", "transport"),
    [
        ("'rsync://h:8730/m'", Upstream(urls=("rsync://h:8730/m/",)), "rsync"),
        ("http://h/p/", Upstream(urls=("http://h/p/",)), "http"),
        ("'file:///data/r'", Upstream(urls=("file:///data/r/",)), "file"),
        ("['https://a/', 'http://b/c']", Upstream(urls=("https://a/", "http://b/c/")), "http"),
        ("{url: 'https://[::1]:81/x'}", Upstream(urls=("https://[::1]:81/x/",)), "http"),
        (
            "{url: ['rsync://a/m/', 'rsync://b/m/']}",
            Upstream(urls=("rsync://a/m/", "rsync://b/m/")),
            "rsync",
        ),
        (
            "{mirrorlist: 'https://h/?repo=a&arch=b'}",
            Upstream(mirrorlist="https://h/?repo=a&arch=b"),
            "http",
        ),
    ],
)
def test_upstreams(written: str, upstream: Upstream, transport: str) -> None:
    found = repository("keep: 5", written).upstream
    assert found == upstream
    assert found.transport == transport


def test_repository_keys() -> None:
    found = repository(
        "keep: 9, signed_by: [a.asc, /k/b.asc], check_packages: true, include: ['a*', b], "
        "exclude: '*-debug', arches: [x86_64, noarch], newest: 2, metadata: derived, "
        "max_removals: 12.5%, together: el9, bandwidth: 800Mbit, username: me, "
        "password_file: s/p, proxy: 'http://proxy:3128/', ca_file: ca.pem, client_cert: c.pem, "
        "client_key: c.key, timeout: 2m, retries: 0, parallel: 16"
    )
    assert found == Repository(
        name="r",
        format="yum",
        upstream=Upstream(urls=("https://m.example.org/a/",)),
        keep=9,
        signers=Signers(signed_by=(FOLDER / "a.asc", Path("/k/b.asc")), check_packages=True),
        filters=Filters(
            include=("a*", "b"), exclude=("*-debug",), arches=("x86_64", "noarch"), newest=2
        ),
        metadata=Metadata.DERIVED,
        max_removals=0.125,
        together="el9",
        connection=Connection(
            bandwidth=100_000_000,
            username="me",
            password_file=FOLDER / "s/p",
            proxy="http://proxy:3128",
            ca_file=FOLDER / "ca.pem",
            client_cert=FOLDER / "c.pem",
            client_key=FOLDER / "c.key",
            timeout=120.0,
            retries=0,
            parallel=16,
        ),
    )
    assert found.filters


def test_outside_stream_keys() -> None:
    found = sender(
        "keys: /k, part_size: 1GB, repositories: [b], resend_window: 3, "
        "max_bundle: 10GB, full_every: 90d, heartbeat: 6h, "
        "retain: {age: 7d, size: 100GiB}, name_prefix: hq-, name_suffix: .bin, done_marker: .ok"
    )
    assert found == OutsideStream(
        name="hq",
        carrier="file",
        outbox=FOLDER / "outbox",
        keys=Path("/k"),
        part_size=10**9,
        repositories=("b",),
        resend_window=3,
        max_bundle=10**10,
        full_every=7_776_000.0,
        heartbeat=21_600.0,
        retain=Retain(age=7 * 86400.0, size=100 * 2**30),
        names=PartNames(prefix="hq-", suffix=".bin", done_marker=".ok"),
    )
    assert sender("part_size: 1GiB").repositories == ("a", "b")
    assert sender("retain: {age: 12h}").retain == Retain(age=43200.0)
    assert sender("done_marker: none").names.done_marker is None


def test_inside_stream_keys() -> None:
    found = receiver(
        "after: move, done: imported, settle: 500ms, done_marker: .ok, name_prefix: hq-, "
        "name_suffix: .bin, repositories: [baseos, apps], rename: {baseos: el9}, "
        "silence: 36h, mark: /var/marks/hq.json"
    )
    assert found == InsideStream(
        name="hq",
        carrier="file",
        inbox=FOLDER / "in",
        root=FOLDER / "t/root.json",
        after=After.MOVE,
        done=FOLDER / "imported",
        settle=0.5,
        silence=129600.0,
        mark=Path("/var/marks/hq.json"),
        repositories=("baseos", "apps"),
        rename={"baseos": "el9"},
        names=PartNames(prefix="hq-", suffix=".bin", done_marker=".ok"),
    )
    assert found.local_name("baseos") == "el9"
    assert found.local_name("apps") == "apps"
    assert found.local_name("other") is None
    assert receiver("rename: {a: b}").local_name("other") == "other"
    assert receiver("rename: {a: b, b: a}").rename == {"a": "b", "b": "a"}
    assert receiver("settle: 0, after: keep").settle == 0


def test_serve_keys() -> None:
    zone = inside(
        "zone: inside\nserve:\n  listen: '[::1]:0'\n  workers: 4\n  grace: 6h\n"
        f"  external_url: https://p.example.org/x/\n  deny: [{DIGEST}, 'sha256:{'f' * 64}']\n"
        "require: {a: {signed_by: [k.asc, l.asc], check_packages: true}}\n"
    )
    assert zone.serve == Serve(
        host="::1",
        port=0,
        workers=4,
        grace=21600.0,
        external_url="https://p.example.org/x",
        deny=frozenset({DIGEST, "f" * 64}),
    )
    assert zone.require["a"] == Signers(
        signed_by=(FOLDER / "k.asc", FOLDER / "l.asc"), check_packages=True
    )


def test_tls_of_the_server() -> None:
    tls = "tls: {cert: keys/s.pem, key: /etc/ssl/s.key}"
    zone = inside(f"zone: inside\nserve: {{{tls}, external_url: 'https://p.example.org'}}\n")
    assert zone.serve.tls == ServerTls(cert=FOLDER / "keys/s.pem", key=Path("/etc/ssl/s.key"))
    with pytest.raises(ConfigError, match="plain HTTP, but the server speaks TLS"):
        inside(f"zone: inside\nserve: {{{tls}, external_url: 'http://p.example.org'}}\n")
    for wrong in ("{cert: a.pem}", "{key: a.key}", "{cert: a, key: b, pin: c}", "true"):
        with pytest.raises(ConfigError):
            inside(f"zone: inside\nserve: {{tls: {wrong}}}\n")


def test_registries() -> None:
    zone = inside(
        "zone: inside\nserve:\n  ca_file: keys/ca.pem\n  registries:\n"
        "    a: {listen: '0.0.0.0:5000', hosts: images.example.org}\n"
        "    b: {hosts: [b.example.org, 'b.example.org:81'], replaces: none}\n"
        "    c: {replaces: [registry.example.com, 'registry.example.com:5000']}\n"
    )
    assert zone.serve.ca_file == FOLDER / "keys/ca.pem"
    assert zone.serve.registries == {
        "a": Registry(listen=("0.0.0.0", 5000), hosts=("images.example.org",)),
        "b": Registry(hosts=("b.example.org", "b.example.org:81"), replaces=()),
        "c": Registry(replaces=("registry.example.com", "registry.example.com:5000")),
    }


def test_names_stay_as_they_were_written() -> None:
    text = "zone: outside\nrepositories:\n"
    names = ["no", "1.10", "0x1f", "2024-01-01", "null", "a" * 64, "9..__--"]
    for name in names:
        text += f"  {name}: {{format: files, upstream: 'file:///d'}}\n"
    text += "streams:\n  hq: {carrier: file, outbox: o, repositories: [no, 1.10, 2024-01-01]}\n"
    zone = outside(text)
    assert list(zone.repositories) == names
    assert zone.streams["hq"].repositories == ("no", "1.10", "2024-01-01")


def test_values_cannot_change_and_can_be_sent_to_a_worker() -> None:
    zone = outside("zone: outside\nrepositories:\n  #nothing: yet\n")
    with pytest.raises(FrozenInstanceError):
        zone.reserve_free = 0  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(zone)) == zone


@pytest.mark.parametrize("kind", list(ZoneKind))
@pytest.mark.parametrize("stream", [None, "hq", "branch-2"])
def test_the_example_is_valid_as_written_and_with_everything_on(
    kind: ZoneKind, stream: str | None
) -> None:
    text = commented_example(kind, stream)
    zone = parse(text, FOLDER, FORMATS)
    assert zone.kind is kind
    assert list(zone.streams) == ([stream] if stream else [])
    assert max(map(len, text.splitlines())) <= 100
    everything = re.sub(r"(?m)^( *)#(?=[a-z])", r"\1", text)
    full = parse(everything, FOLDER, FORMATS)
    assert list(full.streams) == [stream or "hq", "remote", "discs"]


def test_the_example_shows_every_key() -> None:
    from manifests.zone import inside as inside_module
    from manifests.zone import outside as outside_module

    keys = {
        ZoneKind.OUTSIDE: outside_module.KEYS
        + outside_module.STREAM_KEYS
        + outside_module.REPOSITORY_KEYS,
        ZoneKind.INSIDE: inside_module.KEYS
        + inside_module.STREAM_KEYS
        + inside_module.REQUIRE_KEYS
        + inside_module.SERVE_KEYS,
    }
    for kind, words in keys.items():
        text = commented_example(kind, "hq")
        missing = [word for word in words if not re.search(rf"(?m)^ *#?{word}:", text)]
        assert missing == []


def test_the_example_refuses_a_bad_stream_name() -> None:
    with pytest.raises(ConfigError):
        commented_example(ZoneKind.INSIDE, "a: {b")


def test_load_reads_the_file_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "zone.yaml").write_text(commented_example(ZoneKind.INSIDE, "hq"))
    zone = load(tmp_path, FORMATS)
    assert isinstance(zone, InsideZone)
    assert zone.streams["hq"].inbox == tmp_path / "inbox"


def test_load_makes_paths_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zone.yaml").write_text("zone: inside\n")
    monkeypatch.chdir(tmp_path)
    assert load(Path(), FORMATS).folder == tmp_path


def test_load_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no") as caught:
        load(tmp_path, FORMATS)
    assert "sluice init" in caught.value.remedy
    file = tmp_path / "zone.yaml"
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, FORMATS)
    file.rmdir()
    file.write_bytes(b"zone: inside\n# caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        load(tmp_path, FORMATS)
    assert caught.value.where == "zone.yaml line 2"
    file.write_bytes(b"zone: inside\n#" + b"\xc3\xa9" * (1 << 20))
    with pytest.raises(ConfigError, match="larger than"):
        load(tmp_path, FORMATS)
