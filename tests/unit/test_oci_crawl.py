"""What a crawl of a registry asks for, and what becomes of images that fail."""

from __future__ import annotations

import json

from manifests.formats import format_named
from manifests.formats.base import Spec
from manifests.formats.oci.crawl import OciCrawl
from manifests.formats.oci.layout import FACTS, blob_path, manifest_path, tag_path
from manifests.formats.oci.outcome import Outcome
from manifests.formats.oci.rules import Asked, ImageRule
from tests.support.formats import MemoryView, drive
from tests.support.ociregistry import MemoryRegistry, digest, index, row

CONFIG = b'{"architecture": "amd64"}'


def mirror(
    registry: MemoryRegistry, *images: ImageRule | str, previous: MemoryView | None = None,
    **more: object,
) -> tuple[Outcome, MemoryView]:  # fmt: skip
    """One run; the tree that it makes is proved complete."""
    rules = tuple(ImageRule(each) if isinstance(each, str) else each for each in images)
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
