"""docs/operations.md followed to the letter on empty machines, up to a real dnf."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import samples
from tests.support.emptymachine import EmptyMachine, Terminal, Typed
from tests.support.gpg import GpgHome
from tests.support.images import Layout
from tests.support.manual import BELOW, FOLLOWED, RUN, Block, blocks
from tests.support.rpms import RpmCache
from tests.support.yumrepo import YumRepo

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs/operations.md"

FIRST, *REST = FOLLOWED

# All that stands between the document and this machine. Its host names are names of the
# machines themselves, and its media are folders that the machines share.
HOSTS = {"outside": "mirror.example.org", "inside": "packages.example.org", "spare": "spare"}
MEDIA = {
    "/media/usb": ("outside", "inside"),
    "/media/out": ("outside", "inside"),
    "/media/rootkey": ("outside",),
    "/media/backup": ("inside", "spare"),
    "/mnt/mirror": ("outside", "inside"),
}
# What the document cannot know: by the pattern of what was printed last in its place.
PLACEHOLDERS = {"0123456789abcdef" * 4: "[0-9a-f]{64}"}
# The mirror that is adopted is what the vendor's rsync gives out, too.
UPSTREAM = "/mnt/mirror"
IMAGES = f'platform: {{format: oci, upstream: "file://{UPSTREAM}/images", images: ["team/app"]}}'
WANTED = "/v2/platform/team/tool/manifests/1"
# The client is a further shell on the inside's network, and Debian's dnf set as RHEL's is.
CLIENT = (
    "mkdir -p /etc/yum.repos.d /etc/dnf && printf '%%_dbpath /var/lib/rpm\\n' > ~/.rpmmacros"
    " && printf '[main]\\ngpgcheck=1\\nplugins=0\\nmodule_platform_id=platform:el9\\n'"
    " > /etc/dnf/dnf.conf"
)


class Reader:
    """Who follows the document: a terminal for each machine and account."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.machines: dict[str, EmptyMachine] = {}
        self._terminals: dict[tuple[str, str], Terminal] = {}
        self.typed: list[Typed] = []

    def __enter__(self) -> Reader:
        for medium in MEDIA:
            self._medium(medium).mkdir(exist_ok=True)
            self._medium(medium).chmod(0o777)
        for name, host in HOSTS.items():
            shared = {self._medium(m): m for m, there in MEDIA.items() if name in there}
            machine = EmptyMachine((host,), shared)
            self.machines[name] = self._stack.enter_context(machine)
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def _medium(self, name: str) -> Path:
        return self._folder / name.strip("/").replace("/", "-")

    def follow(self, heading: str) -> None:
        """Do all that stands below ``heading``, in its order."""
        waiting: Block | None = None
        for block in [*blocks(OPERATIONS, heading), None]:
            shown = block if block is not None and block.mark == "prints" else None
            if waiting is not None:
                self._run(waiting, shown)
                waiting = None
            if block is None or shown is not None:
                continue
            mark = RUN.fullmatch(block.mark)
            if mark and mark["machine"] != "appliance":  # that: tests/clients/test_appliance.py
                waiting = block
            elif BELOW.fullmatch(block.mark):
                self._insert(block)

    def _run(self, block: Block, shown: Block | None) -> None:
        mark = RUN.fullmatch(block.mark)
        assert mark
        names = ["outside", "inside"] if mark["machine"] == "both" else [mark["machine"]]
        for name in names:
            until = time.monotonic() + (60 if mark["patient"] else 0)
            while True:
                ended = self._type(name, mark["account"], block.lines)
                code = int(mark["code"] or 0)
                well = len(ended) == len(block.lines) and ended[-1].code == code
                said = "".join(each.said for each in ended)
                if well and (shown is None or shown.printed(said)):
                    break
                report = "\n".join(map(str, ended))
                expected = f"\n--- the document shows\n{shown.text}" if shown else ""
                assert time.monotonic() < until, f"{block.where} on {name}:\n{report}{expected}"
                time.sleep(0.5)

    def _type(self, machine: str, account: str, lines: list[str]) -> list[Typed]:
        if machine == "client":  # a client is one more shell on the server's own network
            machine = "inside"
        key = (machine, account)
        if key not in self._terminals:
            self._terminals[key] = self.machines[machine].terminal()
        terminal = self._terminals[key]
        ended: list[Typed] = []
        while len(ended) < len(lines) and all(each.code == 0 for each in ended):
            ended.append(terminal.type(self._filled(lines[len(ended)])))
            self.typed.append(ended[-1])
        who = terminal.type("id -un").said.strip()
        assert who == account, f"the document says {account} and the shell {who}: {lines}"
        return ended

    def happens(self, machine: str, line: str) -> None:
        """What the document does not tell of, in the zone's folder."""
        done = self._terminals[machine, "sluice"].type(f"(cd $SLUICE_ZONE && {line})")
        assert done.code == 0, done

    def _filled(self, line: str) -> str:
        for placeholder, pattern in PLACEHOLDERS.items():
            if placeholder in line:
                said = "".join(each.said for each in self.typed)
                line = line.replace(placeholder, re.findall(pattern, said)[-1])
        return line

    def _insert(self, block: Block) -> None:
        mark = BELOW.fullmatch(block.mark)
        assert mark
        terminal = self._terminals[mark["machine"], "sluice"]
        text = terminal.type(f"cat {mark['file']}").said
        assert text.count(f"\n{mark['line']}\n") == 1, block.where
        text = text.replace(f"\n{mark['line']}\n", f"\n{mark['line']}\n{block.text}\n")
        done = terminal.type(f"printf %s {_quoted(text)} > {mark['file']}")
        assert done.code == 0, done


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


@pytest.fixture
def vendor(tmp_path: Path, rpm_cache: RpmCache, vendor_key: GpgHome) -> YumRepo:
    upstream = tmp_path / "mnt-mirror"
    repo = samples.vendor_repo(upstream / "baseos", rpm_cache, vendor_key)
    (upstream / "rsyncd.conf").write_text(
        "use chroot = no\nuid = root\ngid = root\nreverse lookup = no\n"
        f"[baseos]\n  path = {UPSTREAM}/baseos\n"
    )
    return repo


@pytest.fixture
def reader(tmp_path: Path, vendor: YumRepo, vendor_key: GpgHome) -> Iterator[Reader]:
    """With the vendor's repository before the outside, and its key on the medium."""
    tmp_path.chmod(0o755)
    with Reader(tmp_path) as made:
        vendor_key.export(tmp_path / "media-usb" / "vendor.asc")
        made.machines["outside"].do(
            f"rsync --daemon --address=127.0.0.1 --config={UPSTREAM}/rsyncd.conf"
        )
        made.machines["inside"].do(CLIENT)
        yield made


@pytest.mark.timeout(900)
def test_the_document_leads_to_a_served_repository_and_beyond(
    reader: Reader, vendor: YumRepo, rpm_cache: RpmCache, tmp_path: Path
) -> None:
    reader.follow(FIRST)
    # The vendor's next day, a repository of images, and a bundle that is lost.
    samples.release_update(vendor, rpm_cache)
    layout = Layout(tmp_path / "mnt-mirror" / "images")
    layout.tag("team/app:1", layout.image())
    reader.happens("outside", f"sed -i '/^repositories:/a\\  {IMAGES}' zone.yaml")
    reader.happens("outside", "sluice sync && sluice pack && sluice send && rm outbox/*")
    for heading in REST:
        if heading == "## Wants":
            reader.happens("inside", f"curl -sS http://packages.example.org:8080{WANTED}")
        reader.follow(heading)
