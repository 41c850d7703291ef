"""What the rules look at: our files, packages and documents."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("manifests", "store", "mirror", "transfer", "cds", "repo_server", "sluice")


def tracked() -> list[Path]:
    """All files of the project that git knows or would take."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(words, cwd=ROOT, check=True, capture_output=True).stdout
    paths = [ROOT / name.decode() for name in names.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def modules(*packages: str) -> Iterator[Path]:
    """The Python files of our packages."""
    for package in packages or PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def documents() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def section(document: str, heading: str) -> str:
    """The text below ``heading`` (with its ``#``), up to the next of the same rank."""
    rank = heading.split(" ", 1)[0]
    text = (ROOT / document).read_text()
    start = text.index(f"\n{heading}\n")
    end = re.search(rf"\n#{{1,{len(rank)}}} ", text[start + 1 + len(heading) :])
    return text[start:] if end is None else text[start : start + 1 + len(heading) + end.start()]


def first_cells(text: str) -> list[str]:
    """The first cells of all table rows."""
    return [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]


def code_in(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)
