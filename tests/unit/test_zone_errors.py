"""zone.yaml: every mistake names its line and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import ConfigError
from manifests.zone import parse

FOLDER = Path("/srv/zone")
FORMATS = frozenset({"yum", "files", "maven", "oci"})


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, FOLDER, FORMATS)
    error = caught.value
    assert error.exit_code == 2
    assert error.remedy
    assert "\n" not in error.what + error.remedy
    return error


def check(text: str, line: int, what: str, remedy: str = "") -> None:
    error = refused(text)
    assert error.where == f"zone.yaml line {line}"
    assert what in error.what
    assert remedy in error.remedy


OUT = "zone: outside\nrepositories:\n  r:\n    format: yum\n    upstream: https://h/p/\n"  # 5 lines
SEND = "streams:\n  hq:\n    carrier: file\n    outbox: out\n"  # lines 6 to 9 after OUT
IN = (
    "zone: inside\nstreams:\n  hq:\n    carrier: file\n    inbox: in\n    root: r.json\n"  # 6 lines
)


@pytest.mark.parametrize(
    ("text", "line", "key", "near"),
    [
        ("zone: outside\nrepositries: {}\n", 2, "repositries", "repositories"),
        ("zone: outside\nreserve-free: 1\n", 2, "reserve-free", "reserve_free"),
        (OUT + "    kep: 3\n", 6, "repositories.r.kep", "keep"),
        (OUT + "    signedby: a\n", 6, "signedby", "signed_by"),
        (OUT + "    <<: {keep: 3}\n", 6, "<<", ""),
        (OUT + SEND + "    partsize: 1GiB\n", 10, "streams.hq.partsize", "part_size"),
        (OUT + SEND + "    retain: {ages: 1d}\n", 10, "retain.ages", "age"),
        ("zone: inside\nlog:\n  lvl: info\n", 3, "log.lvl", "level"),
        (IN + "    setle: 2s\n", 7, "setle", "settle"),
        (IN + "serve: {lisen: 'a:1'}\n", 7, "serve.lisen", "listen"),
        (IN + "require:\n  a:\n    signd_by: k\n", 9, "require.a.signd_by", "signed_by"),
        (
            "zone: outside\nrepositories:\n r: {format: yum, upstream: {mirorlist: x}}",
            3,
            "upstream.mirorlist",
            "mirrorlist",
        ),
    ],
)
def test_an_unknown_key_names_its_line_and_the_nearest(
    text: str, line: int, key: str, near: str
) -> None:
    check(text, line, "is not a known key", f"did you mean `{near}`?" if near else "known here")
    check(text, line, key)


@pytest.mark.parametrize(
    ("text", "line", "what", "remedy"),
    [
        ("zone: inside\nrepositories: {}\n", 2, "outside zone", "streams"),
        ("zone: outside\nserve: {}\n", 2, "inside zone", "streams"),
        ("zone: outside\nrequire: {}\n", 2, "inside zone", ""),
        (OUT + SEND + "    inbox: in\n", 10, "inside zone", "outbox"),
        (IN + "    outbox: out\n", 7, "outside zone", "inbox"),
    ],
)
def test_a_key_of_the_other_kind_of_zone(text: str, line: int, what: str, remedy: str) -> None:
    check(text, line, what, remedy)


@pytest.mark.parametrize(
    ("text", "line", "what", "remedy"),
    [
        ("", 1, "empty", "zone: outside"),
        ("# only a comment\n", 1, "empty", "zone: outside"),
        ("- zone\n", 1, "mapping", ""),
        ("hello\n", 1, "mapping", ""),
        ("\nversion: 1\n", 2, "lacks the key `zone`", "zone: inside"),
        ("zones: inside\n", 1, "did you mean `zones`", ""),
        ("zone: insid\n", 1, "insid", "did you mean `inside`"),
        ("zone: [inside]\n", 1, "not a list", "inside"),
        ("zone: inside\nzone: outside\n", 2, "twice, first in line 1", ""),
        (OUT + "    keep: 1\n    keep: 2\n", 7, "twice, first in line 6", "remove"),
        ("zone: inside\n? [a]\n: b\n", 2, "not plain text", ""),
        ("zone: inside\nlog: &x {level: info}\n", 2, "anchors", "quotes"),
        ("zone: inside\nlog: *x\n", 2, "aliases", ""),
        ("zone: inside\nlog: !!python/object:os.system {}\n", 2, "tags", ""),
        ("zone: !!str inside\n", 1, "tags", ""),
        ("zone: inside\nlog: " + "[" * 99 + "\n", 2, "nested deeper", ""),
        ("zone: inside\n---\nzone: inside\n", 2, "not YAML", ""),
        ("zone: inside\nlog: {level: info\n", 3, "not YAML", "brackets"),
        ("zone: inside\n\tlog: {}\n", 2, "not YAML", "spaces"),
        ("zone: inside\n# \x07\n", 2, "character", "UTF-8"),
        ("zone: inside\nversion: 2\n", 2, "version 2", "install"),
        ("zone: inside\nversion: '1'\n", 2, "whole number", "without quotes"),
        ("zone: inside\nversion: 01\n", 2, "cannot be 01", ""),
        ("zone: inside\nreserve_free: 1Gib\n", 2, "'1Gib' is not a size", "64MiB"),
        ("zone: inside\nreserve_free: true\n", 2, "not true or false", ""),
        ("zone: inside\nreserve_free: {}\n", 2, "not a mapping", ""),
        ("zone: inside\nreserve_free:\n", 2, "has no value", "remove the line"),
        ("zone: inside\nreserve_free: -5\n", 2, "not a size", ""),
        ("zone: inside\nlog: {level: warn}\n", 2, "warn", "did you mean `warning`"),
        ("zone: inside\nlog: info\n", 2, "must be a mapping", ""),
        ("zone: inside\nrepository_key: 5\n", 2, "not a number", "quotes"),
        ("zone: inside\nrepository_key: ~/k\n", 2, "not a plain path", ""),
        ("zone: inside\nrepository_key: ' '\n", 2, "is empty", ""),
        ('zone: inside\nrepository_key: "a\\0b"\n', 2, "control characters", ""),
        ('zone: inside\nrepository_key: "a\\uD800b"\n', 2, "control characters", ""),
        ("zone: inside\nledger: mysql://h/d\n", 2, "postgresql://, sqlite://", ""),
        ("zone: inside\nledger: postgresql://h\n", 2, "no database", ""),
        ("zone: inside\nledger: 'sqlite://'\n", 2, "no file", ""),
        ("zone: inside\nledger_password_file: p\n", 2, "no use", "postgresql"),
    ],
)
def test_the_file_and_its_common_keys(text: str, line: int, what: str, remedy: str) -> None:
    check(text, line, what, remedy)


@pytest.mark.parametrize(
    ("added", "what", "remedy"),
    [
        ("keep: 0", "keep` cannot be 0", "from 1"),
        ("keep: 1.5", "whole number", ""),
        ("keep: 1:30", "cannot be 1:30", ""),
        ("keep: 99999999999999999999999", "cannot be", ""),
        ("signed_by: []", "empty list", ""),
        ("signed_by: [a, a]", "repeats", ""),
        ("signed_by: {a: b}", "not a mapping", ""),
        ("check_packages: true", "no keys", "signed_by"),
        ("check_packages: yes", "true or false, not 'yes'", "write true or false"),
        ("check_packages: 'true'", "not text", "write true or false"),
        ("include: [1]", "must be text", "quotes"),
        ("arches: [x86-64]", "cannot be 'x86-64'", "x86_64"),
        ("newest: 0", "cannot be 0", ""),
        ("metadata: verbatm", "verbatm", "did you mean `verbatim`"),
        ("max_removals: 30", "not a percentage", "30%"),
        ("max_removals: 130%", "not a percentage", ""),
        ("together: El9", "not a name", ""),
        ("bandwidth: 10", "below 1KiB", ""),
        ("bandwidth: fast", "not a rate", "800Mbit"),
        ("timeout: 60", "not a duration", "30s"),
        ("timeout: 0", "more than 0", ""),
        ("timeout: 8d", "more than a week", "60s"),
        ("timeout: 999999w", "too long a duration", ""),
        ("retries: -1", "cannot be -1", ""),
        ("parallel: 65", "cannot be 65", ""),
        ("password_file: p", "without `username`", "username"),
        ("client_key: k", "without `client_cert`", ""),
        ("proxy: proxy:3128", "does not begin", "https://"),
        ("password: hunter2", "a secret may not stand", "password_file"),
        ("token: hunter2", "a secret may not stand", "password_file"),
        ("proxy: http://u:hunter2@proxy:3128", "password in it", "environment"),
    ],
)
def test_repository_keys(added: str, what: str, remedy: str) -> None:
    check(OUT + f"    {added}\n", 6, what, remedy)
    assert "hunter2" not in str(refused(OUT + f"    {added}\n"))


def test_verbatim_metadata_of_a_filtered_repository() -> None:
    check(OUT + "    newest: 1\n    metadata: verbatim\n", 7, "files that are not there", "newest")


@pytest.mark.parametrize(
    ("upstream", "what", "remedy"),
    [
        ("https://u:hunter2@h/p", "password in it", "password_file"),
        ("rsync://:hunter2@h/p", "password in it", "password_file"),
        ("[https://h/, https://u:hunter2@h/p]", "password in it", "password_file"),
        ("{mirrorlist: 'https://u:hunter2@h/p'}", "password in it", "password_file"),
        ("https://h/p?token=hunter2", "password in it", "password_file"),
        ("https://u@h/p", "user name", "username"),
        ("u:hunter2@h/p", "does not begin", "rsync://"),
        ("h::module", "does not begin", "rsync://host/module/"),
        ("ftp://h/p", "does not begin", ""),
        ("httsp://h/p", "does not begin", ""),
        ("rsync://h/", "no rsync module", ""),
        ("https:///p", "not a usable https address", ""),
        ("https://h:0/p", "not a usable", ""),
        ("https://h:99999/p", "not an address", ""),
        ("'https://[::1/p'", "not an address", ""),
        ("https://h/p#x", "not a usable", ""),
        ("https://h/a b", "not a usable", ""),
        ("file://h/p", "not a usable file address", ""),
        ("https://h/p?a=b", "has a query", "mirrorlist"),
        ("[https://h/, rsync://h/m]", "mixes", "one kind"),
        ("[]", "empty list", ""),
        ("[https://h/p, https://h/p/]", "repeats", ""),
        ("{}", "either `url` or `mirrorlist`", ""),
        ("{url: https://h/, mirrorlist: https://h/}", "either", ""),
        ("{mirrorlist: rsync://h/m}", "does not begin", "https://"),
        ("5", "must be text", ""),
        ("", "has no value", ""),
    ],
)
def test_upstreams(upstream: str, what: str, remedy: str) -> None:
    text = f"zone: outside\nrepositories:\n  r:\n    format: yum\n    upstream: {upstream}\n"
    check(text, 5, what, remedy)
    error = refused(text)
    assert "hunter2" not in error.what + error.remedy


def test_what_a_repository_needs() -> None:
    text = "zone: outside\nrepositories:\n  r:\n    format: yum\n"
    check(text, 3, "lacks the key `upstream`", "rsync://")
    text = "zone: outside\nrepositories:\n  r:\n    upstream: https://h/\n"
    check(text, 3, "lacks the key `format`", "format: yum")
    check(text + "    format: yumm\n", 5, "yumm", "did you mean `yum`")
    check("zone: outside\nrepositories: [r]\n", 2, "must be a mapping", "")


@pytest.mark.parametrize("name", ["BaseOS", "-a", ".a", "a/b", "'a b'", "a" * 65, "''", "ä"])
def test_names(name: str) -> None:
    text = f"zone: outside\nrepositories:\n  {name}: {{format: yum, upstream: 'https://h/'}}\n"
    check(text, 3, "is not a name", "64 of a-z")
    check(f"zone: inside\nstreams:\n  {name}: {{}}\n", 3, "is not a name")


@pytest.mark.parametrize(
    ("added", "what", "remedy"),
    [
        ("part_size: 1KiB", "less than 65536", ""),
        ("part_size: 64Mbit", "not a size", ""),
        ("repositories: [q]", "no repository 'q'", "known here: r"),
        ("repositories: [r, r]", "repeats", ""),
        ("repositories: []", "empty list", ""),
        ("resend_window: -1", "cannot be -1", ""),
        ("retain: {}", "ends nothing", "7d"),
        ("retain: {age: 7}", "not a duration", ""),
        ("retain: {size: 0}", "less than 1", ""),
        ("name_prefix: a/b", "cannot be 'a/b'", ""),
        ("name_prefix: .hidden", "cannot be", ""),
        ("name_suffix: tar", "cannot be 'tar'", "dot"),
        ("done_marker: done", "cannot be 'done'", "none"),
        ("done_marker: .tar", "the same as the suffix", ".done"),
    ],
)
def test_outside_stream_keys(added: str, what: str, remedy: str) -> None:
    check(OUT + SEND + f"    {added}\n", 10, what, remedy)


@pytest.mark.parametrize(
    ("added", "what", "remedy"),
    [
        ("after: delet", "delet", "did you mean `delete`"),
        ("after: move", "without `done`", "done: PATH"),
        ("done: d", "needs `after: move`", ""),
        ("settle: 2", "not a duration", "30s"),
        ("repositories: [A]", "not a name", ""),
        ("rename: {a: B}", "not a name", ""),
        ("rename: {A: b}", "not a name", ""),
        ("rename: {a: c, b: c}", "two repositories would be 'c'", ""),
        ("rename: [a]", "must be a mapping", ""),
    ],
)
def test_inside_stream_keys(added: str, what: str, remedy: str) -> None:
    check(IN + f"    {added}\n", 7, what, remedy)


def test_inside_stream_keys_that_contradict_each_other() -> None:
    check(IN + "    after: move\n    done: in\n", 8, "must not be the inbox")
    check(IN + "    repositories: [a]\n    rename: {b: c}\n", 8, "not among", "add it there")
    check(IN + "    repositories: [a, b]\n    rename: {a: b}\n", 8, "two repositories would be 'b'")
    check("zone: inside\nstreams:\n  hq: {carrier: file, inbox: a}\n", 3, "`root`", "trust/root")


def test_a_carrier_that_never_was() -> None:
    text = "zone: outside\nstreams:\n  hq: {carrier: fiel, outbox: o}\n"
    check(text, 3, "no carrier 'fiel'", "did you mean `file`")


@pytest.mark.parametrize(
    ("serve", "what"),
    [
        ("listen: 8080", "not an address"),
        ("listen: localhost", "not an address"),
        ("listen: 'h:65536'", "not an address"),
        ("listen: '::1:80'", "not an address"),
        ("listen: [a]", "not an address"),
        ("workers: 0", "cannot be 0"),
        ("external_url: p.example.org", "does not begin"),
        ("external_url: https://u@p.example.org", "user name"),
        ("grace: 1 day", "not a duration"),
        ("deny: abc", "must be a list"),
        ("deny: [abc]", "not a digest"),
        ("deny: [[a]]", "not a digest"),
        ("password: hunter2", "secret"),
        ("registries: {a: {}}", "says nothing"),
        ("registries: {a: {replaces: https://registry.example.com}}", "not the name of a registry"),
        ("registries: {a: {replaces: registry.example.com/team}}", "not the name of a registry"),
        ("registries: {a: {hosts: Images.example.org}}", "cannot be 'Images.example.org'"),
        ("registries: {a: {hosts: h}, b: {hosts: [g, h]}}", "already another repository's"),
        ("registries: {a: {listen: 'h:1'}, b: {listen: 'h:1'}}", "already another repository's"),
    ],
)
def test_serve_keys(serve: str, what: str) -> None:
    check(
        f"zone: inside\nserve:\n  workers: 1\n  {serve}\n".replace("  workers: 1\n", "", 1), 3, what
    )


def test_require_keys() -> None:
    check("zone: inside\nrequire:\n  a: {}\n", 3, "requires nothing", "signed_by")
    check("zone: inside\nrequire:\n  a: {check_packages: true}\n", 3, "requires nothing")


def test_a_ledger_password_is_pointed_to_a_file_and_never_repeated() -> None:
    for text in (
        "zone: inside\nledger: postgresql://u:hunter2@h/d\n",
        "zone: inside\nledger: postgresql://u@h/d?password=hunter2\n",
        "zone: inside\nledger_password: hunter2\n",
        "zone: inside\npassword: hunter2\n",
    ):
        check(text, 2, "", "ledger_password_file")
        error = refused(text)
        assert "hunter2" not in error.what + error.remedy


def test_a_repository_of_images_has_a_name_that_images_may_have() -> None:
    text = "zone: outside\nrepositories:\n  a._b: {format: oci, upstream: 'https://h', images: x}\n"
    check(text, 3, "clients could not name 'a._b'")
    text = text.replace("a._b", "a-b").replace("images: x", "images: x, replaces: h/x")
    check(text, 3, "not the name of a registry")
