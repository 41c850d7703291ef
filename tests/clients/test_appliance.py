"""The archive of ``make dist`` on a machine without a network, under the real systemd."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

import sluice
from tests.support import tools
from tests.support.dist import build_archive
from tests.support.drive import ROOT
from tests.support.manual import Block, blocks
from tests.support.systemd import Machine
from tests.support.zones import Zones

RHEL_8 = 28
"""The minor version of its glibc 2."""
VERSION = {"VERSION": sluice.__version__}
"""What the document leaves open."""
AS_SLUICE = "setpriv --reuid sluice --regid sluice --init-groups"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_archive(tmp_path_factory.mktemp("dist") / "checkout")


def test_its_wheels_fit_rhel_8(archive: Path) -> None:
    """By their names, and by the versions of glibc's symbols that their libraries ask for."""
    with tarfile.open(archive) as packed:
        wheels = [packed.extractfile(m) for m in packed if m.name.endswith(".whl")]
        assert len(wheels) > 20
        for wheel in wheels:
            assert wheel is not None
            with zipfile.ZipFile(wheel) as members:
                for name in members.namelist():
                    if name.endswith("/WHEEL"):
                        tags = re.findall(rb"(?m)^Tag: \S+-(\S+)$", members.read(name))
                        assert any(_fits(tag.decode()) for tag in tags), (name, tags)
                    elif ".so" in PurePath(name).name:
                        asked = re.findall(rb"GLIBC_2\.([0-9]+)", members.read(name))
                        assert max(map(int, asked), default=0) <= RHEL_8, name


def _fits(tag: str) -> bool:
    found = re.match(r"manylinux_2_([0-9]+)_", tag)
    return (
        tag == "any"
        or tag.startswith("manylinux2014_")
        or (found is not None and int(found[1]) <= RHEL_8)
    )


@pytest.fixture(scope="module")
def machine(archive: Path) -> Iterator[Machine]:
    with Machine() as made:
        for file in (archive, archive.with_name(f"{archive.name}.sha256")):
            made.copy(file, f"/srv/{file.name}")
        yield made


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Zones:
    folder = tmp_path_factory.mktemp("zones")
    (folder / "vendor").mkdir()
    (folder / "vendor" / "a.txt").write_text("first")
    upstream = {"format": "files", "upstream": f"file://{folder}/vendor"}
    return Zones(folder / "zones", {"tools": upstream})


def follow(machine: Machine, heading: str) -> None:
    """Do what docs/operations.md says below ``heading``, in the folder with the archive."""
    ran, said = 0, ""
    for block in blocks(ROOT / "docs/operations.md", heading):
        if block.mark == "run: appliance as root":
            ran, said = ran + 1, machine.run(f"cd /srv\n{block.filled(VERSION)}").stdout
        elif said and block.mark == "prints":
            assert Block("", "prints", block.filled(VERSION)).printed(said), said
            said = ""
        else:
            said = ""
    assert ran


def cross(zones: Zones, machine: Machine, content: str, then: str = "true") -> str:
    """Mirror a change outside and put the parts into the machine's inbox.

    ``then`` runs there at once; what it printed is returned.
    """
    (zones.folder.parent / "vendor" / "a.txt").write_text(content)
    for words in (["sync"], ["pack"], ["send"]):
        zones.out(*words)
    said = ""
    for part in sorted((zones.outside / "outbox").iterdir()):
        machine.copy(part, f"/var/lib/sluice/hq/inbox/.{part.name}")
        said += machine.run(
            f"cd /var/lib/sluice/hq/inbox && chown sluice: .{part.name}"
            f" && mv .{part.name} {part.name} && {then}"
        ).stdout
        part.unlink()
    return said


def served(machine: Machine, content: str) -> None:
    machine.until(f"curl -fsS http://127.0.0.1:8080/files/tools/a.txt | grep -x {content}")


def main_pid(machine: Machine) -> int:
    return int(machine.run("systemctl show -P MainPID sluice@hq").stdout)


def test_it_installs_runs_and_serves_without_a_network(machine: Machine, zones: Zones) -> None:
    refused = machine.run(
        "mkdir /srv/damaged && tar xzf /srv/sluice-*.gz -C /srv/damaged --strip-components 1 &&"
        " echo >> /srv/damaged/VERSION && /srv/damaged/install.sh",
        check=False,
    )
    assert refused.returncode == 1 and "carry it over again" in refused.stderr
    follow(machine, "## Installing without a network")
    machine.run("ln -s /srv/sluice-*/ /srv/archive")
    assert "installed already" in machine.run("/srv/archive/install.sh").stdout

    machine.copy(zones.folder / "root.json", "/srv/root.json")
    machine.run(
        "install -o sluice /srv/root.json /var/lib/sluice/root.json &&"
        f" {AS_SLUICE} sluice"
        " init inside /var/lib/sluice/hq --root /var/lib/sluice/root.json --stream hq"
    )
    follow(machine, "## As a service")
    cross(zones, machine, "first")
    served(machine, "first")
    fields = machine.run(
        "journalctl -t sluice SLUICE_DUTY=receive -o json --output-fields=MESSAGE,SLUICE_DUTY"
    ).stdout.splitlines()
    assert any("published tools" in json.loads(line)["MESSAGE"] for line in fields)
    # The children that parse hostile indexes run under the unit's rules as elsewhere.
    assert "HELD" not in machine.journal()
    checked = machine.run(f"{AS_SLUICE} sluice -z /var/lib/sluice/hq check").stdout
    assert checked.endswith("all is well\n"), checked
    assert "service: sluice@hq.service: it runs; watchdog fed at " in checked
    as_root = machine.run("sluice -z /var/lib/sluice/hq check --quiet").stdout
    assert "warning owners: /var/lib/sluice/hq: belongs to sluice, and this is root" in as_root


def test_it_survives_what_happens_to_services(machine: Machine, zones: Zones) -> None:
    before = main_pid(machine)
    machine.run("systemctl kill -s KILL --kill-who=main sluice@hq")
    machine.until(f"test $(systemctl show -P MainPID sluice@hq) -gt 0 -a "
                  f"$(systemctl show -P MainPID sluice@hq) -ne {before}")  # fmt: skip
    machine.until("systemctl is-active sluice@hq")
    served(machine, "first")

    # A process that hangs is noticed by the watchdog.
    machine.run(
        "mkdir -p /etc/systemd/system/sluice@.service.d &&"
        " printf '[Service]\\nWatchdogSec=3s\\nTimeoutAbortSec=2s\\n'"
        " > /etc/systemd/system/sluice@.service.d/test.conf &&"
        " systemctl daemon-reload && systemctl restart sluice@hq"
    )
    before = main_pid(machine)
    machine.run(f"kill -STOP {before}")
    machine.until("journalctl -u sluice@hq | grep -i 'watchdog timeout'")
    machine.until("systemctl is-active sluice@hq")
    served(machine, "first")
    assert main_pid(machine) != before

    machine.run("sed -i 's/8080/8081/' /var/lib/sluice/hq/zone.yaml && systemctl reload sluice@hq")
    machine.until("curl -fsS http://127.0.0.1:8081/files/tools/a.txt")
    machine.run("sed -i 's/8081/8080/' /var/lib/sluice/hq/zone.yaml && systemctl reload sluice@hq")
    served(machine, "first")


def test_it_is_stopped_in_the_middle_of_an_import(machine: Machine, zones: Zones) -> None:
    many = zones.folder.parent / "vendor" / "many"
    many.mkdir()
    for turn in range(3):
        for number in range(1500):
            (many / f"{number}").write_text(f"{turn} {number}")
        said = cross(
            zones, machine, f"many{turn}",
            "cd ../blobs && for pause in $(seq 3000); do"
            " ! find .tmp -type f | grep -q . || break; sleep 0.01; done;"
            " systemctl stop sluice@hq; systemctl show -P Result sluice@hq;"
            " ps -o pid= -u sluice || true",
        )  # fmt: skip
        assert said.split() == ["success"], "it was killed, or left something behind"
        live = json.loads(
            machine.run(f"{AS_SLUICE} sluice -z /var/lib/sluice/hq status --json || true").stdout
        )["repositories"]["tools"]["publication"]["serial"]
        machine.run("systemctl start sluice@hq")
        served(machine, f"many{turn}")
        if live < turn + 2:
            return
    raise AssertionError("every import had ended before it could be stopped")


OUTSIDE = """
cd /srv && mkdir vendor && head -c 3000000 /dev/urandom > vendor/large.bin
setpriv --reuid sluice --regid sluice --init-groups sluice \\
    init outside /var/lib/sluice/out --stream hq > /dev/null
cat > /var/lib/sluice/out/zone.yaml <<'end'
zone: outside
reserve_free: 1MiB
repositories:
  tools: {format: files, upstream: "file:///srv/vendor", bandwidth: 64KiB, schedule: "0 3 * * *"}
streams: {hq: {carrier: file, outbox: outbox}}
end
cat > overdue.py <<'end'
from datetime import UTC, datetime
from pathlib import Path, PurePath
from sluice.running.history import note
from store.store import Store
with Store.open(Path("/var/lib/sluice/out")) as store:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    note(store, "sync tools", then, then, 0)
end
"""
OVERDUE = f"{AS_SLUICE} /opt/sluice/current/bin/python /srv/overdue.py"


def test_an_outside_is_stopped_in_the_middle_of_a_sync(machine: Machine) -> None:
    machine.run(f"{OUTSIDE} {OVERDUE} && systemctl start sluice@out")
    machine.until("find /var/lib/sluice/out/work -name '.large.bin.*' | grep .")
    said = machine.run(
        "systemctl stop sluice@out; systemctl show -P Result sluice@out; pgrep -x rsync || true"
    ).stdout
    assert said.split() == ["success"]
    machine.run(f"sed -i 's/bandwidth: 64KiB, //' /var/lib/sluice/out/zone.yaml && {OVERDUE}")
    machine.run("systemctl start sluice@out")
    machine.until("ls /var/lib/sluice/out/outbox/*.tar")
    machine.run("systemctl stop sluice@out")


def test_an_upgrade_brings_older_zones_along_and_back(machine: Machine, zones: Zones) -> None:
    """The same archive with another version number stands for the next release."""
    machine.run(
        "cp -r /srv/archive /srv/next && cd /srv/next && echo 9.9.9 > VERSION &&"
        " find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum > SHA256SUMS"
    )
    before = machine.run("curl -fsS http://127.0.0.1:8080/files/tools/a.txt").stdout
    machine.copy(ROOT / "tests" / "support" / "oldledger.py", "/srv/oldledger.py")
    machine.run(
        "systemctl stop sluice@hq && cd /srv && /opt/sluice/current/bin/python -c"
        " 'import oldledger, pathlib;"
        ' oldledger.make_old(pathlib.Path("/var/lib/sluice/hq/ledger.sqlite"))\' &&'
        " chown sluice: /var/lib/sluice/hq/ledger.sqlite*"
    )
    said = machine.run("/srv/next/install.sh").stdout
    assert "restart" in said and "to go back" in said
    copy = re.search(r"upgrade --back (/var\S+)", said)
    assert copy, said
    assert machine.run("readlink /opt/sluice/current").stdout.strip() == "9.9.9"
    machine.run("systemctl start sluice@hq")
    cross(zones, machine, "second")
    served(machine, "second")
    back = re.search(r"ln -sfn (\S+) /opt/sluice/current", said)
    assert back
    machine.run(
        f"systemctl stop sluice@hq && {AS_SLUICE} sluice -z /var/lib/sluice/hq upgrade"
        f" --back {copy[1]} && {back[0]} && systemctl start sluice@hq"
    )
    # The older program is of the same code here: its unit has upgraded the zone again.
    served(machine, before)
    machine.run("systemctl stop sluice@hq")
    assert machine.run("systemctl show -P Result sluice@hq").stdout.strip() == "success"


def test_the_units_are_hardened() -> None:
    unit = ROOT / "systemd" / "sluice@.service"
    said = subprocess.run(
        [tools.need("systemd-analyze"), "security", "--offline=yes", unit],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert found and float(found[1]) < 3.0, said
