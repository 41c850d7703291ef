"""What starts often loads only what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.drive import ROOT, environment

_HELP = "from sluice import cli; cli.parser(['--help']).format_help()"
_CHILD = "import store.confined; from manifests.formats import format_named; format_named('files')"


@pytest.mark.parametrize(
    ("program", "without"),
    [
        pytest.param(_HELP, {"sqlalchemy", "cryptography", "yaml", "store"}, id="help"),
        pytest.param(
            _CHILD,
            {"sqlalchemy", "cryptography", "yaml", "asyncio", "manifests.formats.yum"},
            id="confined-child",
        ),
        # Its publications come from the ledger, so SQL it does need.
        pytest.param(
            "import repo_server.worker",
            {
                "tuf",
                "securesystemslib",
                "requests",
                "apscheduler",
                "createrepo_c",
                "manifests.trust",
            },
            id="worker",
        ),
    ],
)
def test_what_starts_often_loads_little(program: str, without: set[str]) -> None:
    words = [sys.executable, "-c", f"import sys; {program}; print(*sys.modules)"]
    loaded = subprocess.run(
        words, env=environment(), cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert without.isdisjoint(loaded)
