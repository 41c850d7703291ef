"""A store whose clock a test moves. Modules that need another store make their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.store import Store
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(tmp_path / "store", clock=clock, actor="somebody") as opened:
        yield opened
