"""No command block of a followed document goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.manual import Block, blocks

SECTION = "## Path"


def written(folder: Path, text: str) -> Path:
    document = folder / "manual.md"
    document.write_text(f"# Manual\n\n{SECTION}\n\n{text}\n\n## Next\n\n```\nunmarked\n```\n")
    return document


@pytest.mark.parametrize(
    "mark",
    [
        "",
        "Type:",
        "<!-- runs: outside as root -->",
        "<!-- run: outside -->",
        "<!-- run: outside as root, ends with three -->",
        "<!-- not run: -->",
        "<!-- not run: no -->",
        "<!-- run: outside as root -->\n",
    ],
)
@pytest.mark.parametrize("fence", ["```", "```yaml", "  ```", "~~~"])
def test_a_block_without_a_mark_that_is_understood_is_refused(
    tmp_path: Path, mark: str, fence: str
) -> None:
    end = fence.removesuffix("yaml")
    document = written(tmp_path, f"{mark}\n{fence}\nsluice sync\n{end}")
    with pytest.raises(AssertionError):
        list(blocks(document, SECTION))


def test_marked_blocks_are_found_in_their_order(tmp_path: Path) -> None:
    text = (
        "<!-- run: outside as sluice -->\n```\nsluice sync\nsluice \\\n  pack\n```\n"
        "### Below\n\n- an item\n\n  <!-- prints -->\n  ```\n  a\n    b\n  ```\n"
        "<!-- not run: it needs a disk -->\n```yaml\nx: 1\n```"
    )
    run, prints, not_run = blocks(written(tmp_path, text), SECTION)
    assert run.lines == ["sluice sync", "sluice   pack"]
    assert (prints.mark, prints.text) == ("prints", "a\n  b")
    assert not_run.mark.startswith("not run")
    assert run.where == "manual.md:6"


def test_a_section_that_is_gone_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        list(blocks(written(tmp_path, ""), "## Another"))


def test_what_is_shown_is_compared_word_by_word() -> None:
    shown = Block("", "prints", "bundle 1: ... parts\n...\nend.")
    assert shown.printed("bundle 1: 3 parts\na\nb\nend.\n")
    assert not shown.printed("bundle 1: 3 parts\na\nb\nend!\n")
    assert not shown.printed("bundle 2: 3 parts\na\nend.\n")
    assert not shown.printed("bundle 1: 3 parts\na\nend.\nHELD: a\n")
