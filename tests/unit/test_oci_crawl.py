"""What a crawl of a registry asks for, and what becomes of images that fail."""

from __future__ import annotations

import json

import pytest

from manifests.errors import ConfigError
from manifests.formats import format_named
from manifests.formats.base import Absent, Found, Spec, Wanted
from manifests.formats.oci import media
from manifests.formats.oci.asking import following
from manifests.formats.oci.crawl import OciCrawl
from manifests.formats.oci.layout import FACTS, blob_path, manifest_path, tag_path
from manifests.formats.oci.outcome import Outcome
from manifests.formats.oci.rules import Asked, ImageRule, rule_of
from manifests.formats.oci.tags import select
from tests.support.formats import Answer, MemoryBody, MemoryView, drive
from tests.support.ociregistry import MemoryRegistry, described, digest, index, manifest, row

CONFIG = b'{"architecture": "amd64"}'


def mirror(
    registry: MemoryRegistry, *images: ImageRule | str, previous: MemoryView | None = None,
    **more: object,
) -> tuple[Outcome, MemoryView]:  # fmt: skip
    """One run; the tree that it makes is proved complete."""
    rules = tuple(rule_of(each) if isinstance(each, str) else each for each in images)
    asked = Asked(images=rules, **more)  # type: ignore[arg-type]
    spec = Spec("r", options=json.loads(json.dumps(asked.options)))
    crawl = OciCrawl(spec, previous)
    registry.asked.clear()
    run = drive(crawl, registry, previous)
    arrived = {e.path: e for e in run.view.entries() if e.path != FACTS}
    outcome = crawl.outcome(arrived)
    known = {digest(data): data for data in run.files.values()}
    known |= {} if previous is None else {digest(d): d for d in previous.files.values()}
    files = {path: known[f"sha256:{entry.digest}"] for path, entry in outcome.entries.items()}
    files |= dict(crawl.facts())
    view = MemoryView(files)
    problems = format_named("oci").check(Spec("r"), view)
    assert [one for one in problems if one.severity.value == "required"] == []
    return outcome, view


def test_a_tag_leads_to_everything_that_it_names() -> None:
    registry = MemoryRegistry()
    one = registry.image("team/app", "amd", b"layer of amd", b"shared")
    other = registry.image("team/app", "arm", b"layer of arm", b"shared")
    both = index(row(one, "linux/amd64"), row(other, "linux/arm64"))
    registry.push("team/app", "v1", both)
    outcome, view = mirror(registry, ImageRule("team/app", tags=("v1",)))
    assert outcome.problems == []
    assert view.files[tag_path("team/app", "v1")] == both
    for each in (one, other, both):
        assert view.files[manifest_path("team/app", digest(each))] == each
    for layer in (b"layer of amd", b"layer of arm", b"shared"):
        assert view.files[blob_path("team/app", digest(layer))] == layer
    assert tag_path("team/app", "amd") not in view.files
    assert len(registry.asked) == len(set(registry.asked))


def test_what_is_here_is_asked_of_nobody() -> None:
    registry = MemoryRegistry()
    registry.image("app", "v1", b"one")
    rule = ImageRule("app", tags=("v1",))
    _, before = mirror(registry, rule)
    _, after = mirror(registry, rule, previous=before)
    assert registry.asked == ["v2/app/manifests/v1"]
    assert after.files == before.files


def told(outcome: Outcome) -> dict[str, str]:
    return {problem.path: problem.what for problem in outcome.problems}


def tags_of(view: MemoryView) -> set[str]:
    return {path.replace("/_tags/", ":") for path in view.files if "/_tags/" in path}


def test_lists_are_read_to_their_last_page() -> None:
    registry = MemoryRegistry(page=2)
    for name in ("a/one", "a/two", "b/one", "a/three", "c"):
        for tag in ("v1", "v2", "v3", "x"):
            registry.image(name, tag, b"layer")
    _, view = mirror(registry, ImageRule("a/*", tags=("v*",)))
    assert tags_of(view) == {
        f"a/{name}:{tag}" for name in ("one", "two", "three") for tag in ("v1", "v2", "v3")
    }
    assert [url for url in registry.asked if "v2/c/" in url or "v2/b/" in url] == []


def test_a_list_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manifests.formats.oci.crawl.MOST_PAGES", 20)
    registry = MemoryRegistry()
    registry.image("app", "v1", b"layer")

    def endless(url: str, wanted: Wanted) -> Answer | None:
        if "/tags/list" in url:
            registry.asked.append(url)
            return b'{"tags": ["v1"]}', {"link": f'<{url}x>; rel="next"'}
        return registry(url, wanted)

    crawl = OciCrawl(Spec("r", options=Asked(images=(ImageRule("app"),)).options), None)
    drive(crawl, endless)
    outcome = crawl.outcome({})
    assert outcome.failed["app"].startswith("its list of tags: it has more than 20 pages")
    assert len([url for url in registry.asked if "tags/list" in url]) == 20


def test_platforms_leave_an_index_sparse_and_attestations_follow_their_image() -> None:
    registry = MemoryRegistry()
    images = {
        name: registry.image("app", "", name.encode()) for name in ("amd64", "arm64", "s390x")
    }
    rows = [row(data, f"linux/{name}") for name, data in images.items()]
    for name, data in list(images.items()):
        attested = manifest(CONFIG, b"attests " + name.encode())
        registry.push("app", "", attested, CONFIG, b"attests " + name.encode())
        images[f"attests {name}"] = attested
        rows.append(
            row(
                attested, "unknown/unknown",
                annotations={"vnd.docker.reference.digest": digest(data)},
            )
        )  # fmt: skip
    registry.push("app", "v1", index(*rows))
    rule = ImageRule("app", tags=("v1",), platforms=("linux/amd64", "linux/arm64/v8"))
    outcome, view = mirror(registry, rule)
    assert outcome.failed == {}
    kept = {name for name, d in images.items() if manifest_path("app", digest(d)) in view.files}
    assert kept == {"amd64", "arm64", "attests amd64", "attests arm64"}
    assert json.loads(view.files[FACTS])["left_out"]["app"] == sorted(
        digest(images[name]) for name in ("s390x", "attests s390x")
    )

    none = ImageRule("app", tags=("v1",), platforms=("linux/mips",))
    registry.push("app", "v1", index(*rows[:3]))
    assert told(mirror(registry, none)[0]) == {
        "app:v1": "nothing that its index names can be had; it is not mirrored"
    }


def test_an_index_that_is_sparse_upstream_stays_so() -> None:
    registry = MemoryRegistry()
    here = registry.image("app", "", b"here")
    absent = manifest(CONFIG, b"absent")
    registry.push("app", "v1", index(row(here, "linux/amd64"), row(absent, "linux/arm64")))
    outcome, view = mirror(registry, "app")
    assert outcome.problems == []
    assert json.loads(view.files[FACTS])["left_out"] == {"app": [digest(absent)]}


def test_referrers_by_the_api_and_what_refers_to_them() -> None:
    registry = MemoryRegistry(api=True)
    data = registry.image("app", "v1", b"layer")
    subject = {"mediaType": media.OCI_MANIFEST, "digest": digest(data), "size": len(data)}
    sbom = registry.push("app", "", manifest(b"{}", b"sbom", subject=subject), b"{}", b"sbom")
    above = {"mediaType": media.OCI_MANIFEST, "digest": digest(sbom), "size": len(sbom)}
    seal = registry.push("app", "", manifest(b"{}", b"seal", subject=above), b"{}", b"seal")
    _, plain = mirror(registry, "app")
    assert manifest_path("app", digest(sbom)) not in plain.files
    _, view = mirror(registry, "app", referrers=True)
    for each in (sbom, seal):
        assert manifest_path("app", digest(each)) in view.files
    assert blob_path("app", digest(b"seal")) in view.files


def test_a_registry_without_the_api_is_asked_once() -> None:
    registry = MemoryRegistry()
    rows = [row(registry.image("app", "", name), "linux/amd64") for name in (b"a", b"b", b"c")]
    data = registry.push("app", "v1", index(*rows))
    seal = registry.image("app", f"sha256-{digest(data)[7:]}.sig", b"signature")
    _, view = mirror(registry, ImageRule("app", tags=("v1",)), referrers=True)
    assert len([url for url in registry.asked if "/referrers/" in url]) == 1
    assert manifest_path("app", digest(seal)) in view.files


def test_a_referrer_that_fails_keeps_its_last_good_state_and_the_image_moves_on() -> None:
    registry = MemoryRegistry()
    data = registry.image("app", "v1", b"layer")
    tag = f"sha256-{digest(data)[7:]}.sig"
    registry.image("app", tag, b"signature one")
    _, before = mirror(registry, "app", referrers=True)
    registry.image("app", tag, b"signature two")
    del registry.blobs["app", digest(b"signature two")]
    outcome, view = mirror(registry, "app", referrers=True, previous=before)
    assert list(outcome.failed) == [f"app:{tag}"]
    assert view.files[tag_path("app", tag)] == before.files[tag_path("app", tag)]
    assert blob_path("app", digest(b"signature one")) in view.files


def test_a_list_of_tags_that_fails_keeps_the_tags_of_the_last_time() -> None:
    registry = MemoryRegistry()
    for tag in ("v1", "v2"):
        registry.image("app", tag, tag.encode())
    registry.image("other", "v1", b"other")
    _, before = mirror(registry, "app", "other")
    registry.answers["v2/app/tags/list?n=1000"] = (b"<html>", {})
    registry.image("other", "v2", b"new")
    outcome, view = mirror(registry, "app", "other", previous=before)
    assert told(outcome) == {"app": "its list of tags: not JSON; its last good state stays"}
    assert tags_of(view) == {"app:v1", "app:v2", "other:v1", "other:v2"}


def test_a_catalog_that_fails_keeps_the_images_of_the_last_time() -> None:
    registry = MemoryRegistry()
    for name in ("team/a", "team/b", "c"):
        registry.image(name, "v1", name.encode())
    _, before = mirror(registry, "team/*", "c")
    registry.answers["v2/_catalog?n=1000"] = None
    outcome, view = mirror(registry, "team/*", "c", previous=before)
    assert list(outcome.failed) == ["team/*"]
    assert tags_of(view) == {"team/a:v1", "team/b:v1", "c:v1"}


def test_what_the_registry_has_no_more_is_gone() -> None:
    registry = MemoryRegistry()
    for tag in ("v1", "v2"):
        registry.image("app", tag, tag.encode())
    registry.image("other", "v1", b"other")
    _, before = mirror(registry, "app:v1", "app:v2", "other", previous=None)
    del registry.tags["app"]["v2"], registry.tags["other"]
    outcome, view = mirror(registry, "app:v1", "app:v2", "other", previous=before)
    assert tags_of(view) == {"app:v1"}
    assert outcome.failed == {}
    assert told(outcome) == {
        "app:v2": "the registry does not have it", "other": "the registry does not have it",
    }  # fmt: skip


def test_tags_that_are_no_longer_asked_for_are_no_loss() -> None:
    registry = MemoryRegistry()
    for tag in ("v1", "v2", "v3"):
        registry.image("app", tag, tag.encode())
    _, before = mirror(registry, "app")
    registry.image("app", "v4", b"v4")
    del registry.tags["app"]["v1"]
    outcome, view = mirror(registry, ImageRule("app", newest=2), previous=before)
    assert tags_of(view) == {"app:v3", "app:v4"}
    assert outcome.expected == {tag_path("app", "v2")}, "v1 was lost upstream"


def test_digests_are_wanted_without_a_tag() -> None:
    registry = MemoryRegistry()
    data = registry.image("app", "v1", b"layer")
    _, view = mirror(registry, f"app@{digest(data)}")
    assert tags_of(view) == set()
    assert view.files[manifest_path("app", digest(data))] == data
    assert registry.asked[0] == f"v2/app/manifests/{digest(data)}"


def test_schema_1_and_foreign_layers_are_refused_by_name() -> None:
    registry = MemoryRegistry()
    registry.image("good", "v1", b"layer")
    old = b'{"schemaVersion": 1, "name": "old", "tag": "v1", "fsLayers": []}'
    registry.tags["old"] = {"v1": old}
    registry.answers["v2/old/manifests/v1"] = (
        old, {"content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
    )  # fmt: skip
    foreign = described(b"x", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    registry.push("windows", "v1", manifest(CONFIG, layers=[foreign]), CONFIG)
    outcome, view = mirror(registry, "good", "old", "windows")
    assert "schema 1" in outcome.failed["old:v1"]
    assert "may not be passed on" in outcome.failed["windows:v1"]
    assert tags_of(view) == {"good:v1"}


def test_indexes_nested_without_end_are_refused() -> None:
    registry = MemoryRegistry()
    data = registry.image("app", "", b"layer")
    for _ in range(7):
        data = registry.push("app", "v1", index(row(data)))
    outcome, view = mirror(registry, "app")
    assert "nested more than" in outcome.failed["app:v1"]
    assert tags_of(view) == set()


def test_nothing_to_ask_for_is_a_mistake_of_the_settings() -> None:
    with pytest.raises(ConfigError, match="no images"):
        OciCrawl(Spec("r"), None)


def test_versions_order_tags() -> None:
    tags = ["v1.10.0", "1.9", "v1.2-rc10", "v1.2-rc2", "v1.2", "2", "latest", "v1.10"]
    rule = ImageRule("x", tags=("*",), newest=4)
    assert set(select(rule, tags)) == {"2", "v1.10.0", "v1.10", "1.9", "v1.2"}
    five = select(ImageRule("x", tags=("*",), newest=5), tags)
    assert "v1.2-rc10" in five and "v1.2-rc2" not in five
    assert select(ImageRule("x", newest=9), tags) == ["1.9", "2", "v1.10", "v1.10.0", "v1.2"]
    assert select(ImageRule("x", tags=("latest", "v*"), newest=1), tags) == [
        "latest", "v1.10", "v1.10.0",
    ]  # fmt: skip
    assert select(ImageRule("x", tags=("/rc[0-9]+$/",)), tags) == ["v1.2-rc10", "v1.2-rc2"]


def test_images_that_nobody_asks_for_any_more_are_no_loss() -> None:
    registry = MemoryRegistry()
    for name in ("one", "two"):
        registry.image(name, "v1", name.encode())
    _, before = mirror(registry, "one", "two")
    outcome, view = mirror(registry, "one", previous=before)
    assert tags_of(view) == {"one:v1"}
    assert outcome.expected == {tag_path("two", "v1")}


def test_a_layer_that_many_images_share_is_asked_for_once() -> None:
    registry = MemoryRegistry()
    for name in ("one", "two", "three"):
        registry.image(name, "v1", b"shared", name.encode())
    outcome, view = mirror(registry, "one", "two", "three")
    assert outcome.problems == []
    assert len([url for url in registry.asked if digest(b"shared") in url]) == 1
    for name in ("one", "two", "three"):
        assert view.files[blob_path(name, digest(b"shared"))] == b"shared"


def test_a_shared_layer_that_one_image_does_not_give_comes_from_another() -> None:
    registry = MemoryRegistry()
    for name in ("one", "two", "three"):
        registry.image(name, "v1", b"shared", name.encode())
    for name in ("one", "two"):
        registry.answers[f"v2/{name}/blobs/{digest(b'shared')}"] = None
    outcome, view = mirror(registry, "one", "two", "three")
    assert outcome.problems == []
    assert tags_of(view) == {"one:v1", "two:v1", "three:v1"}
    registry.answers[f"v2/three/blobs/{digest(b'shared')}"] = (b"forged", {})
    outcome, view = mirror(registry, "one", "two", "three")
    assert set(outcome.failed) == {"one:v1", "two:v1", "three:v1"}


def test_what_docker_1_13_cannot_pull_is_told_of_lists_too() -> None:
    registry = MemoryRegistry()
    docker = registry.push(
        "app", "docker", manifest(CONFIG, b"l", media_type=media.DOCKER_MANIFEST), CONFIG, b"l"
    )
    oci = registry.image("app", "oci", b"layer")
    for tag, child in (("good", docker), ("bad", oci)):
        registry.push("app", tag, index(row(child), media_type=media.DOCKER_LIST))
    outcome, _ = mirror(registry, "app", clients=("docker-1.13",))
    assert set(told(outcome)) == {"app:oci", "app:bad"}


def test_a_maze_of_indexes_is_walked_once() -> None:
    registry = MemoryRegistry()
    leaf = registry.image("app", "", b"layer")
    level = [leaf]
    for depth in range(4):
        level = [
            registry.push(
                "app",
                "",
                index(*[row(data) for data in level] * 3, annotations={"n": f"{depth}{n}"}),
            )
            for n in range(25)
        ]
    for number, data in enumerate(level):
        registry.push("app", f"v{number}", data)
    outcome, view = mirror(registry, "app")
    assert outcome.problems == []
    assert len(tags_of(view)) == 25


def test_chains_of_tagged_indexes_are_refused_where_they_get_too_deep() -> None:
    registry = MemoryRegistry()
    data = registry.image("app", "t000", b"layer")
    for number in range(1, 200):
        data = registry.push("app", f"t{number:03}", index(row(data)))
    outcome, view = mirror(registry, "app")
    assert tags_of(view) == {f"app:t{number:03}" for number in range(5)}
    assert len(outcome.failed) == 195


def test_one_image_without_an_answer_about_referrers_says_nothing_of_the_others() -> None:
    registry = MemoryRegistry(api=True)
    made = {}
    for name in ("a", "b", "c"):
        data = registry.image(name, "v1", name.encode())
        subject = {"mediaType": media.OCI_MANIFEST, "digest": digest(data), "size": len(data)}
        made[name] = registry.push(name, "", manifest(b"{}", b"s", subject=subject), b"{}", b"s")
    first = digest(registry.tags["a"]["v1"])
    registry.answers[f"v2/a/referrers/{first}"] = (b"<html>", {})
    outcome, view = mirror(registry, "a", "b", "c", referrers=True)
    assert list(outcome.failed) == [f"a@{first}"]
    for name in ("b", "c"):
        assert manifest_path(name, digest(made[name])) in view.files


def test_what_one_index_leaves_out_another_may_want() -> None:
    registry = MemoryRegistry()
    amd, arm = (registry.image("app", "", name) for name in (b"amd", b"arm"))
    registry.push("app", "v1", index(row(amd, "linux/amd64"), row(arm, "linux/arm64")))
    registry.push("app", "v2", index(row(arm)))
    rule = ImageRule("app", platforms=("linux/amd64",))
    outcome, view = mirror(registry, rule)
    assert outcome.failed == {}
    assert manifest_path("app", digest(arm)) in view.files


def test_a_registry_that_wants_smaller_pages_is_asked_without_a_number() -> None:
    registry = MemoryRegistry(page=2)
    for number in range(5):
        registry.image("app", f"v{number}", b"layer")

    def picky(url: str, wanted: Wanted) -> Answer | None:
        return None if "n=1000" in url else registry(url, wanted)

    crawl = OciCrawl(Spec("r", options=Asked(images=(ImageRule("a*"),)).options), None)
    queue, tags = list(crawl.start()), set()
    while queue:
        wanted = queue.pop(0)
        assert isinstance(wanted, Wanted)
        answer = picky(wanted.url, wanted)
        if answer is None:
            queue += crawl.feed(wanted, Absent(400))
        elif wanted.parse:
            queue += crawl.feed(wanted, Found(MemoryBody(answer[0]), answer[1]))
            tags |= {wanted.path} if "/_tags/" in wanted.path else set()
    assert tags == {tag_path("app", f"v{number}") for number in range(5)}


def test_the_next_page_stands_among_other_links() -> None:
    url = "v2/app/tags/list?n=5"
    assert following(url, '</x?a>; rel="prev", </y?b=1>; rel="next"') == "v2/app/tags/list?b=1"
    assert following(url, "<https://h/z?c>;rel=next") == "v2/app/tags/list?c"
    for link in (
        "",
        '</y?b>; rel="last"',
        '<http://[/?x>; rel="next"',
        '</y>; rel="next"',
        "</y?b",
    ):
        assert following(url, link) == ""
