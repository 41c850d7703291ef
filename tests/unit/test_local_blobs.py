"""What is particular to blobs in a local folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from manifests.digest import sha256_of
from store.blobs import LocalBlobs
from store.seam import Kind, Operation, Seam
from tests.support import scratch


def test_blobs_lie_by_prefix_and_are_read_only(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs", Seam())
    (tmp_path / "own").write_bytes(b"own")
    with blobs.batch() as batch:
        digests = [batch.put_bytes(b"a")[0], batch.put_stream([b"b"])[0]]
        digests.append(batch.adopt(tmp_path / "own")[0])
    for digest in digests:
        place = tmp_path / "blobs" / digest[:2] / digest
        assert blobs.path(digest) == place
        assert place.stat().st_mode & 0o777 == 0o444
    assert (tmp_path / "own").stat().st_ino == blobs.path(digests[2]).stat().st_ino
    assert os.listdir(tmp_path / "blobs" / ".tmp") == []


def test_a_store_that_is_only_read_is_not_touched(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs", Seam())
    assert not blobs.has(sha256_of(b"a"))
    assert list(blobs.digests()) == []
    assert not (tmp_path / "blobs").exists()


def test_what_a_dead_process_left_is_removed_and_a_live_one_is_not_disturbed(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from store.blobs import LocalBlobs\n"
        "from store.seam import Seam\n"
        "batch = LocalBlobs(Path(sys.argv[1]), Seam()).batch().__enter__()\n"
        "batch.put_bytes(b'lost')\n"
        "os._exit(9)\n"
    )
    root = tmp_path / "blobs"
    died = subprocess.run([sys.executable, "-c", code, str(root)], env={"PYTHONPATH": os.getcwd()})
    assert died.returncode == 9
    left = set(os.listdir(root / ".tmp"))
    assert len(left) == 2
    (root / ".tmp" / "1-0.7").write_bytes(b"its lock was lost in a power cut")
    with LocalBlobs(root, Seam()).batch() as living:
        digest, _ = living.put_bytes(b"alive")
        here = set(os.listdir(root / ".tmp"))
        assert len(here) == 2
        assert not here & left
        with LocalBlobs(root, Seam()).batch():
            assert here < set(os.listdir(root / ".tmp"))
    assert list(LocalBlobs(root, Seam()).digests()) == [digest]


def test_foreign_files_among_the_blobs_are_passed_over(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs", Seam())
    with blobs.batch() as batch:
        digest, _ = batch.put_bytes(b"a")
    (tmp_path / "blobs" / digest[:2] / "README").touch()
    (tmp_path / "blobs" / digest[:2] / ("f" * 64)).touch()
    assert list(blobs.digests()) == [digest]


def test_a_file_on_another_file_system_is_copied(tmp_path: Path) -> None:
    with scratch.elsewhere(tmp_path) as folder:
        elsewhere = folder / "file"
        elsewhere.write_bytes(b"elsewhere")
        blobs = LocalBlobs(tmp_path / "blobs", Seam())
        with blobs.batch() as batch:
            digest, size = batch.adopt(elsewhere)
        assert (digest, size) == (sha256_of(b"elsewhere"), 9)
        assert elsewhere.stat().st_mode & 0o200


def test_a_file_that_grows_while_it_is_adopted_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_bytes(b"own")

    def grow(operation: Operation) -> None:
        if operation.kind is Kind.CHMOD:
            with own.open("ab") as more:
                more.write(b"more")

    blobs = LocalBlobs(tmp_path / "blobs", Seam(grow))
    with blobs.batch() as batch, pytest.raises(Exception, match="changed while it was read"):
        batch.adopt(own)
    assert list(blobs.digests()) == []


def test_fsyncs_are_not_repeated_for_blobs_that_share_a_folder(tmp_path: Path) -> None:
    seen: list[Operation] = []
    blobs = LocalBlobs(tmp_path / "blobs", Seam(seen.append))
    with blobs.batch() as batch:
        for n in range(600):
            batch.put_bytes(b"%d" % n)
    folders = [op.path for op in seen if op.kind is Kind.SYNC_DIR and len(op.path.name) == 2]
    assert len(folders) == len(set(folders))


def test_memory_stays_flat_however_large_a_blob_is(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from store.blobs import LocalBlobs\n"
        "from store.seam import Seam\n"
        "blobs = LocalBlobs(Path(sys.argv[1]), Seam())\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "with blobs.batch() as batch:\n"
        "    before = peak()\n"
        "    block = bytes(range(256)) * 256\n"
        "    digest, size = batch.put_stream(bytes(block) + b'.' for _ in range(3200))\n"
        "print(size >> 20, peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "blobs")],
        env={"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    size, grown = map(int, done.stdout.split())
    assert size == 200
    assert grown < 40  # MiB
