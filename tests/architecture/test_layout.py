"""Imports, lengths, and what may not stand in any file."""

import re
import tomllib

import pytest
from importlinter.cli import lint_imports

from tests.architecture.project import PACKAGES, ROOT, modules, tracked

LONGEST = 400


def test_imports_follow_the_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0


def test_the_contracts_cover_all_packages() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert set(settings["importlinter"]["root_packages"]) == set(PACKAGES)
    assert set(settings["mypy"]["packages"]) == set(PACKAGES)
    layers = [c for c in settings["importlinter"]["contracts"] if c["type"] == "layers"]
    assert layers and layers[0]["layers"] == [
        "sluice",
        "mirror | transfer | repo_server | cds",
        "store",
        "manifests",
    ]


def test_no_file_does_too_much() -> None:
    lengths = {path.relative_to(ROOT): path.read_text().count("\n") for path in modules()}
    assert {str(path): n for path, n in lengths.items() if n > LONGEST} == {}


# In pieces, so that this file does not name what it forbids.
_REGISTRIES = (
    ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("maven", "org"),
    ("docker", "io"), ("quay", "io"), ("gcr", "io"), ("ghcr", "io"), ("crates", "io"),
    ("rubygems", "org"), ("golang", "org"), ("packagist", "org"), ("debian", "org"),
    ("ubuntu", "com"), ("centos", "org"), ("fedoraproject", "org"), ("redhat", "com"),
    ("rockylinux", "org"), ("almalinux", "org"), ("epel", "io"), ("eclipse", "org"),
    ("sonatype", "org"), ("maven.apache", "org"), ("k8s", "io"), ("opensuse", "org"),
)  # fmt: skip
_ALLOWED = ("http://maven.apache" + ".org/POM/4.0.0",)
"""An XML name space, which nobody fetches."""
_HOST = re.compile(
    "|".join(rf"(?<![\w-]){name}\.{end}(?![\w-])" for name, end in _REGISTRIES), re.IGNORECASE
)
_MACHINE = re.compile(r"(?<![\w.})*>\]\-/])/(?:wo" + r"rk|ro" + r"ot|home/[a-z]\w*)/\w")


def test_no_registry_host_and_no_path_of_a_machine() -> None:
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            for allowed in _ALLOWED:
                line = line.replace(allowed, "")
            if _HOST.search(line) or _MACHINE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert found == []


def test_the_patterns_find_what_they_should() -> None:
    for line in ("https://registry.npm" + "js.org/x", "get from PyP" + "I.org", '"/ro' + 'ot/x"'):
        assert _HOST.search(line) or _MACHINE.search(line), line
    for line in (
        "https://mirror.example.org/",
        "keys/NAME/root/x",
        "work/REPO/files",
        "{x}/root/y",
    ):
        assert not (_HOST.search(line) or _MACHINE.search(line)), line
