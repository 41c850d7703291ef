"""The first try of README.md, line by line, up to a served file."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from manifests.formats import FORMATS
from manifests.zone import OutsideZone, parse
from tests.support.drive import ROOT, Inside, sluice
from tests.support.manual import blocks

README = ROOT / "README.md"


def test_the_first_try_serves_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the virtual environment, which whoever runs this has, and ``serve``'s port."""
    monkeypatch.chdir(tmp_path)
    served = ""
    program, *commands, lines_of_yaml = blocks(README, "## A first try")
    assert program.lines[0].startswith("make program ")
    for line in [*program.lines[1:], *(line for block in commands for line in block.lines)]:
        words = shlex.split(line, comments=True)
        if words[-1] == "serve":
            served = line.rpartition("# ")[2]
            break
        if words[0] == "sluice":
            sluice(*words[1:])
            continue
        done = subprocess.run(
            ["bash", "-euc", f"{line}\npwd > {tmp_path}/pwd"], check=True, capture_output=True
        )
        assert done.stderr == b""
        monkeypatch.chdir((tmp_path / "pwd").read_text().strip())
    with Inside(Path("IN").absolute()).server() as server:
        path = re.sub("^http://127.0.0.1:8080", "", served)
        assert server.get(path).body == b"hello\n"

    settings = Path("OUT/zone.yaml").read_text()
    more = settings.replace("\nrepositories:\n", f"\nrepositories:\n{lines_of_yaml.text}\n")
    (tmp_path / "try/OUT/keys/vendor.asc").write_text("")
    zone = parse(more, Path("OUT").absolute(), FORMATS)
    assert isinstance(zone, OutsideZone)
    assert {each.format for each in zone.repositories.values()} == {"yum", "maven", "oci", "files"}
