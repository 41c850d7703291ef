"""What the Maven format derives and answers."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.formats.base import Before, Derived, Missing, Request, SendEntry
from manifests.formats.maven import metadata
from manifests.formats.maven.derive import RULES
from manifests.formats.maven.metadata import Metadata
from tests.support import maven
from tests.support.formats import MemoryView
from tests.support.maven import MAVEN, artifact, jar, overlay, place, pom

ONE, TWO, SNAP = "org.example:app:1.0", "org.example:app:1.10", "org.example:app:2.0-SNAPSHOT"
HOME = "org/example/app/maven-metadata.xml"


def read(made: dict[str, bytes], path: str) -> Metadata:
    return metadata.read(made[path], path)


def test_versions_stand_in_mavens_order_with_latest_and_release() -> None:
    files = {
        **artifact(ONE),
        **artifact(TWO),
        **artifact("org.example:app:1.9"),
        **artifact(SNAP, "2.0-20240501.120000-3"),
    }
    made = overlay(files)
    found = read(made, HOME)
    assert (found.group, found.artifact) == ("org.example", "app")
    assert found.versions == ("1.0", "1.9", "1.10", "2.0-SNAPSHOT")
    assert b"<latest>2.0-SNAPSHOT</latest>" in made[HOME]
    assert b"<release>1.10</release>" in made[HOME]
    assert found.updated == "20240501120000"


def test_a_version_of_which_only_the_pom_was_read_is_not_listed() -> None:
    files = artifact(ONE)
    files[place(TWO, ".pom")] = pom(TWO)
    files[place(TWO, "-sources.jar")] = jar()
    parent, moved = "org.example:parent:3", "org.example:moved:4"
    files[place(parent, ".pom")] = pom(parent, packaging="pom")
    files[place(moved, ".pom")] = pom(
        moved, extra="<distributionManagement><relocation/></distributionManagement>"
    )
    made = overlay(files)
    assert read(made, HOME).versions == ("1.0",)
    assert read(made, "org/example/parent/maven-metadata.xml").versions == ("3",)
    assert read(made, "org/example/moved/maven-metadata.xml").versions == ("4",)


def test_a_snapshots_newest_build_of_each_kind() -> None:
    old, new = "2.0-20240501.120000-3", "2.0-20240502.080000-4"
    files = {**artifact(SNAP, old), **artifact(SNAP, new)}
    files[place(SNAP, "-tests.jar", old)] = jar()
    path = "org/example/app/2.0-SNAPSHOT/maven-metadata.xml"
    found = read(overlay(files), path)
    assert found.version == "2.0-SNAPSHOT"
    assert found.moment == ("20240502.080000", 4)
    assert found.updated == "20240502080000"
    assert {(each.extension, each.classifier): each.value for each in found.builds} == {
        ("jar", ""): new,
        ("pom", ""): new,
        ("jar", "tests"): old,
    }


def test_a_group_tells_the_prefixes_of_its_plugins() -> None:
    made = overlay({**maven.plugin("1.0"), **maven.plugin("1.1"), **artifact(ONE)})
    (plugin,) = read(made, "org/example/tools/maven-metadata.xml").plugins
    assert (plugin.prefix, plugin.artifact) == ("reveal", "show-maven-plugin")
    assert read(made, "org/example/tools/show-maven-plugin/maven-metadata.xml").versions == (
        "1.0",
        "1.1",
    )
    assert "org/example/maven-metadata.xml" not in made


def test_a_folder_may_be_a_group_and_an_artifact() -> None:
    tools = "org.example:tools:5"
    made = overlay({**maven.plugin("1.0"), **artifact(tools)})
    found = read(made, "org/example/tools/maven-metadata.xml")
    assert found.versions == ("5",)
    assert [each.prefix for each in found.plugins] == ["reveal"]


def test_a_broken_plugin_keeps_no_other_back() -> None:
    files = {**maven.plugin("1.0"), **artifact(ONE)}
    files[place("org.example.tools:show-maven-plugin:1.0", ".jar")] = b"<html>"
    made = overlay(files)
    assert "org/example/tools/maven-metadata.xml" not in made
    assert HOME in made


def test_an_upstreams_metadata_of_nothing_is_hidden() -> None:
    files = {**artifact(ONE), "org/gone/x/maven-metadata.xml": b"<metadata/>"}
    files[HOME] = b"<metadata><versioning><release>9</release></versioning></metadata>"
    made = overlay(files)
    view = MemoryView({**files, **made})
    assert isinstance(MAVEN.answer(Request("org/gone/x/maven-metadata.xml"), view), Missing)
    assert isinstance(MAVEN.answer(Request("org/gone/x/maven-metadata.xml.sha1"), view), Missing)
    answer = MAVEN.answer(Request(HOME), view)
    assert isinstance(answer, SendEntry)
    assert b">9<" not in view.files[answer.entry.path]


COORDINATES = [
    f"{group}:{name}:{version}"
    for group in ("org.example", "org.example.app")
    for name in ("app", "tool")
    for version in ("1.0", "1.1-SNAPSHOT", "2")
]


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for each in draw(st.lists(st.sampled_from(COORDINATES), max_size=8)):
        build = ""
        if each.endswith("-SNAPSHOT") and draw(st.booleans()):
            build = f"1.1-2024050{draw(st.integers(1, 3))}.120000-{draw(st.integers(1, 3))}"
        packaging = draw(st.sampled_from(["", "pom", "maven-plugin"]))
        made = artifact(each, build, packaging=packaging)
        if packaging == "maven-plugin":
            prefix = draw(st.sampled_from(["p", "q"]))
            descriptor = f"<plugin><goalPrefix>{prefix}</goalPrefix></plugin>".encode()
            made[place(each, ".jar", build)] = jar({"META-INF/maven/plugin.xml": descriptor})
        if draw(st.booleans()):
            del made[place(each, ".jar", build)]
        files.update(made)
    if draw(st.booleans()):
        files[draw(st.sampled_from([HOME, "org/example/maven-metadata.xml"]))] = b"<metadata/>"
    return files


@settings(max_examples=150, deadline=None)
@given(trees(), trees())
def test_what_is_derived_anew_and_step_by_step_is_the_same(
    first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    before = (MemoryView(first), MemoryView(overlay(first)))
    assert overlay(second, before) == overlay(second)


@settings(max_examples=100, deadline=None)
@given(trees())
def test_metadata_never_leads_to_what_is_not_there(files: dict[str, bytes]) -> None:
    view = MemoryView(files)
    for path, data in overlay(files).items():
        if path == RULES or not data:
            continue
        found = metadata.read(data, path)
        home = path.rpartition("/")[0]
        for version in found.versions:
            assert view.has_folder(f"{home}/{version}")
        for build in found.builds:
            classifier = f"-{build.classifier}" if build.classifier else ""
            name = f"{found.artifact}-{build.value}{classifier}.{build.extension}"
            assert view.lookup(f"{home}/{name}") is not None
        for plugin in found.plugins:
            assert view.has_folder(f"{home}/{plugin.artifact}")


def test_only_what_changed_is_looked_at_again() -> None:
    files = {path: data for n in range(50) for path, data in artifact(f"g:a{n}:1").items()}
    files |= maven.plugin("1.0")
    base, over = MemoryView(files), MemoryView(overlay(files))
    view = MemoryView({**files, **artifact("g:a7:2")})
    made = dict(MAVEN.derive(view, Derived(base, over), None))
    assert made.pop("") is Before.REST
    assert set(made) == {"g/a7/maven-metadata.xml"}
    assert {path.rpartition("/")[0] for path in view.opened} <= {"g/a7/1", "g/a7/2"}


def test_other_rules_make_everything_anew() -> None:
    files = artifact(ONE)
    stale = MemoryView({HOME: b"old", RULES: b"0\n"})
    made = dict(MAVEN.derive(MemoryView(files), Derived(MemoryView(files), stale), None))
    assert made == overlay(files)


# --- answers


def served() -> MemoryView:
    files = {**artifact(ONE), **artifact(SNAP, "2.0-20240501.120000-3")}
    files[place(ONE, ".jar.asc")] = b"-----BEGIN PGP SIGNATURE-----"
    return MemoryView({**files, **overlay(files), ".sluice/facts.json": b"{}"})


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256", "sha512"])
@pytest.mark.parametrize("path", [place(ONE, ".jar"), place(ONE, ".jar.asc"), HOME])
def test_every_file_has_every_checksum(path: str, algorithm: str) -> None:
    view = served()
    answer = MAVEN.answer(Request(f"{path}.{algorithm}"), view)
    assert isinstance(answer, SendEntry) and answer.body is not None
    assert answer.immutable == (path != HOME)
    assert answer.body.decode() == hashlib.new(algorithm, view.files[path]).hexdigest()


def test_an_upstreams_own_checksum_file_is_answered_in_our_form() -> None:
    files = artifact(ONE)
    path = place(ONE, ".jar")
    value = hashlib.sha1(files[path]).hexdigest()
    files[f"{path}.sha1"] = f"SHA1({path})= {value.upper()}\n".encode()
    answer = MAVEN.answer(Request(f"{path}.sha1"), MemoryView(files))
    assert isinstance(answer, SendEntry) and answer.body is not None
    assert answer.body.decode() == value


@pytest.mark.parametrize(
    ("path", "kind", "immutable"),
    [
        (place(ONE, ".jar"), "application/java-archive", True),
        (place(ONE, ".pom"), "text/xml", True),
        (place(SNAP, ".jar", "2.0-20240501.120000-3"), "application/java-archive", True),
        (HOME, "text/xml", False),
    ],
)
def test_how_files_are_sent(path: str, kind: str, immutable: bool) -> None:
    answer = MAVEN.answer(Request(path), served())
    assert isinstance(answer, SendEntry)
    assert (answer.content_type, answer.immutable) == (kind, immutable)


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("org/other/lib/3/lib-3.pom", "org.other:lib:3"),
        ("org/other/lib/3/lib-3.jar", "org.other:lib:3"),
        ("org/other/lib/3-SNAPSHOT/lib-3-20240501.120000-1.pom", "org.other:lib:3-SNAPSHOT"),
        ("org/other/lib/3/lib-3-sources.jar", "org.other:lib:jar:sources:3"),
        ("org/other/lib/3/lib-3.jar.sha1", ""),
        ("org/other/lib/3/lib-3.jar.asc", ""),
        ("org/other/lib/maven-metadata.xml", ""),
        ("org/other/lib/maven-metadata.xml.md5", ""),
        ("favicon.ico", ""),
        (".sluice/facts.json", ""),
        (".sluice/facts.json.sha1", ""),
        (RULES, ""),
        ("org/other/../lib/3/lib-3.jar", ""),
    ],
)
def test_only_artifacts_become_wants(path: str, want: str) -> None:
    assert MAVEN.answer(Request(path), served()) == Missing(want=want)


def test_what_a_want_stands_for_is_there_with_all_that_belongs_to_it() -> None:
    files = artifact(ONE) | artifact(SNAP, "2.0-20240501.120000-3")
    files |= {place("org.example:top:3", ".pom"): pom("org.example:top:3", packaging="pom")}
    files |= {place(TWO, ".pom"): pom(TWO), place(TWO, "-tests.jar"): jar()}
    view = MemoryView(files)
    here = [ONE, SNAP, "org.example:top:3", "org.example:app:pom:1.10", "org.example:app:pom:1.0",
            "org.example:app:jar:tests:1.10", "org.example:app:2.0-20240501.120000-3",
            place(ONE, ".jar")]  # fmt: skip
    away = [TWO, "org.example:app:war:1.0", "org.example:app:jar:sources:1.0", "org.example:no:1",
            "org.example:app:2.0-20240501.120000-4", "no coordinates"]  # fmt: skip
    assert [want for want in [*here, *away] if MAVEN.holds(want, view)] == here
