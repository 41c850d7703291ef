"""Maven through the real parts around a format: the mirror's crawl, and the confined child."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import UpstreamUnreachable
from manifests.formats import format_named
from manifests.formats.base import Severity, Spec, Wanted
from manifests.tree import PRIVATE
from mirror.crawl import CrawlSource
from mirror.near import FolderTransport
from mirror.report import Quiet
from mirror.transport import Got
from store.checks import check_tree, derive_overlay
from store.records import Validator
from store.store import KeptTree, Store
from store.views import laid_over
from tests.support.maven import artifact, jar, place, with_checksums

ONE, TWO = "org.example:app:1.0", "org.example:lib:2"


class Silent:
    """An upstream that never answers for some files, a folder for the others."""

    def __init__(self, inner: FolderTransport, silent: str) -> None:
        self.inner, self.silent = inner, silent
        self.source, self.capacity = inner.source, inner.capacity
        self.waiting: list[Got] = []

    def submit(self, wanted: Wanted, known: Validator | None = None) -> None:
        if self.silent in (wanted.url or wanted.path):
            error = UpstreamUnreachable("no answer: timed out", where=self.source)
            self.waiting.append(Got(wanted, error=error))
        else:
            self.inner.submit(wanted, known)

    def collect(self) -> list[Got]:
        found, self.waiting = self.waiting, []
        return found or self.inner.collect()

    def close(self) -> None:
        self.inner.close()


def gather(
    store: Store, tmp_path: Path, files: dict[str, bytes], roots: list[str], silent: str = "nothing"
) -> tuple[KeptTree, dict[str, str]]:
    """Mirror the roots; the tree, and what was reported as advice."""
    upstream = tmp_path / "upstream"
    for path, data in files.items():
        (upstream / path).parent.mkdir(parents=True, exist_ok=True)
        (upstream / path).write_bytes(data)
    (tmp_path / "work").mkdir(exist_ok=True)
    spec = Spec("central", options={"roots": roots})
    source = CrawlSource(
        store, "central", lambda view: format_named("maven").crawl(spec, view),
        Silent(FolderTransport(f"file://{upstream}/", tmp_path / "work"), silent),
        previous=None, accepted=lambda path: False, progress=Quiet(), clean=lambda: None,
    )  # fmt: skip
    with store.blobs.batch() as batch:
        gathered = source.gather(batch, [], lambda plan: None)
        entries = list(gathered.entries)
        facts = sorted((path, batch.put_bytes(data)) for path, data in gathered.facts())
        private = [entries[0]._replace(path=path, digest=d, size=s) for path, (d, s) in facts]
        tree = store.keep_tree(laid_over(entries, private), batch)
    assert all(problem.severity is Severity.ADVICE for problem in gathered.problems)
    return tree, {problem.path: problem.what for problem in gathered.problems}


@pytest.mark.parametrize("wrong", ["checksum", "page", "silence", "absence"])
def test_one_bad_file_is_reported_and_the_others_come(tmp_path: Path, wrong: str) -> None:
    files = with_checksums(artifact(ONE) | artifact(TWO), "sha1")
    path, silent = place(TWO, ".jar"), "nothing"
    if wrong == "checksum":
        files[path] = jar({"other": b"1"})
    elif wrong == "page":
        files[path] = files[f"{path}.sha1"] = b"<html>Please sign in</html>"
    elif wrong == "silence":
        silent = path
    else:
        del files[path]
    with Store.open(tmp_path / "store") as store, store.locks.shared():
        tree, reported = gather(store, tmp_path, files, [ONE, TWO], silent)
        assert {e.path for e in store.tree(tree.digest).entries() if PRIVATE not in e.path} == {
            *artifact(ONE),
            place(TWO, ".pom"),
        }
        assert list(reported) == [path]
        assert TWO in reported[path]
        assert check_tree(store, "maven", Spec("central"), tree.digest).complete


def test_an_upstream_that_never_answers_is_no_empty_repository(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store, pytest.raises(UpstreamUnreachable):
        gather(store, tmp_path, artifact(ONE), [ONE], silent="org")


def test_publishing_again_takes_what_did_not_change_from_the_overlay(tmp_path: Path) -> None:
    spec = Spec("central")
    with Store.open(tmp_path / "store") as store, store.locks.shared():
        first, _ = gather(store, tmp_path, artifact(ONE) | artifact(TWO), [ONE, TWO])
        newer = artifact("org.example:app:1.1")
        second, _ = gather(store, tmp_path, newer, [ONE, TWO, "org.example:app:1.1"])
        before = derive_overlay(store, "maven", spec, first.digest)
        assert before is not None
        step = derive_overlay(
            store, "maven", spec, second.digest, previous=(first.digest, before.digest)
        )
        whole = derive_overlay(store, "maven", spec, second.digest)
        assert step is not None
        assert step == whole
        kept = "org/example/lib/maven-metadata.xml"
        assert store.tree(step.digest).lookup(kept) == store.tree(before.digest).lookup(kept)
        assert step.digest != before.digest
