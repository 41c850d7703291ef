"""What a real build lacks inside, all the way: want, slip, root, closure, crossing, build."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.maven import artifact, mvn, place, plugin, pom
from tests.support.mavenweb import DebianRepository, Layers, MavenWeb
from tests.support.zones import Zones

PLAIN, LATE, BELOW = "org.example:plain:1", "org.example:late:1", "org.example:below:2"
BASE = (
    plugin("1.0")
    | artifact("org.codehaus.plexus:plexus-utils:1.1")  # Maven gives it to every plugin
    | artifact(PLAIN)
)
MORE = (
    artifact(LATE, dependencies=[BELOW], parent="org.example:family:3")
    | artifact(BELOW)
    | {
        place("org.example:family:3", ".pom"): pom("org.example:family:3", packaging="pom"),
        place("org.example:unrelated:1", ".pom"): pom("org.example:unrelated:1"),
    }
)
FETCH = (
    "import os, sys, urllib.request as r\n"
    "for p in sys.argv[1:]: r.urlopen(os.environ['SLUICE_URL'] + p)"
)
SHOW = "org.example.tools:show-maven-plugin:1.0:paths"  # by its prefix Maven looks for more plugins
PROJECT = pom("org.example.apps:app:1", dependencies=[PLAIN, LATE])


def build(folder: Path, zones: Zones, *words: str) -> subprocess.CompletedProcess[str]:
    """A real Maven against the inside's server, its local repository kept between builds."""
    with zones.serving() as server:
        return mvn(folder, f"{server.url}/maven/central/", PROJECT, "-C", *words, SHOW)


def wants(zones: Zones) -> list[tuple[str, str]]:
    found = json.loads(zones.within("wants", "--json").out)["wants"]
    return [(each["repository"], each["want"]) for each in found]


def arrived(zones: Zones) -> dict[str, bool]:
    """The accepted wants, and whether the newest snapshot has them."""
    rows = json.loads(zones.out("roots", "central", "--json").out)
    return {row["root"]: row["here"] for row in rows if row["kind"] == "want"}


def test_a_missing_dependency_comes_back_with_its_closure(tmp_path: Path) -> None:
    web = MavenWeb(Layers(BASE, MORE, DebianRepository()))
    with web.serving():
        zones = Zones(tmp_path / "zones", {"central": {"format": "maven", "upstream": web.url}})
        zones.out("capture", "central", "--", "python3", "-c", FETCH, *BASE)
        zones.cross()

        failed = build(tmp_path / "app", zones)
        assert failed.returncode != 0 and "org.example:late:jar:1" in failed.stdout
        assert wants(zones) == [("central", LATE)], "one want for one artifact"

        slip = tmp_path / "wants.txt"
        zones.within("wants", "export", slip)
        assert slip.read_text() == f"sluice-wants 1 hq\ncentral {LATE}\n"
        zones.out("wants", "import", slip, "--accept")
        assert arrived(zones) == {LATE: False}

        zones.cross()
        assert wants(zones) == [], "what was published is wanted no more"
        assert arrived(zones) == {LATE: True}
        assert "a root already, and here" in zones.out("wants", "import", slip).out
        held = zones.status(inside=False)["holds"]
        assert held == []

        # Maven remembers what was missing: -U, as the documents say.
        passed = build(tmp_path / "app", zones, "-U")
        assert passed.returncode == 0, passed.stdout
        rows = [line for line in passed.stdout.splitlines() if "path " in line]
        names = {row.rpartition("/")[2] for row in rows if row.endswith(".jar")}
        assert names == {"plain-1.jar", "late-1.jar", "below-2.jar"}
        assert wants(zones) == []
        asked = web.asked.keys()
        assert not any("unrelated" in path for path in asked)
