"""Which tests of a parallel run must share a process.

``--dist loadgroup`` with marks would do, but pytest 9.2 loses the suffix by which
pytest-xdist 3.8 tells groups apart, so that every process built every zone again.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

SITE = ("test_yum_dnf.py", "test_yum_web.py")
"""Modules that read one and the same served repository."""


class ByFixture(LoadScopeScheduling):
    """Modules whose fixtures walk the whole path stay together, all other tests are free."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        name = file.rpartition("/")[2]
        if name in SITE:
            return "site"
        if name in ("test_yum_shapes.py", "test_yum_chosen.py", "test_appliance.py"):
            return file
        return nodeid
