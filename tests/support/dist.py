"""The archive of ``make dist``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.support import tools
from tests.support.drive import ROOT


def build_archive(folder: Path) -> Path:
    """Build it in ``folder``, a new copy of the checkout, so that nothing is left in it."""
    ignored = shutil.ignore_patterns(".*", "dist", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=ignored)
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    tools.run([folder / ".ci" / "dist", Path(sys.executable).parent], cwd=folder, timeout=300)
    [found] = (folder / "dist").glob("*.tar.gz")
    return found
