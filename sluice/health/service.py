"""The unit that runs the zone, where there is systemd."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from sluice.health.finding import Finding, ok, problem, warning
from sluice.health.site import Site

_HOME = Path("/var/lib/sluice")
"""Where the unit looks for zones."""
_ASKED = ("LoadState", "ActiveState", "SubState", "Result", "NRestarts", "UnitFileState",
          "WatchdogTimestamp")  # fmt: skip
_RESTARTS = 3


def service(site: Site) -> Iterator[Finding]:
    """Whether `sluice run` is kept running."""
    unit = unit_of(site.folder)
    if unit is None:
        yield ok(site.folder, f"not below {_HOME}, so no unit runs it: call `run` or use cron")
        return
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        yield ok(unit, "there is no systemd here: call `run` or use cron")
        return
    try:
        done = subprocess.run(
            [systemctl, "show", unit, f"--property={','.join(_ASKED)}"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=site.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield problem(unit, "systemd does not answer", "see `journalctl -b`")
        return
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        yield ok(unit, "systemd does not run here: call `run` or use cron")
        return
    yield judge(unit, dict(line.partition("=")[::2] for line in said.splitlines()))


def unit_of(folder: Path) -> str | None:
    """The unit of a zone's folder; None where the unit does not look."""
    name = folder.name
    plain = name.replace("_", "").replace(".", "").isalnum() and name.isascii()
    return f"sluice@{name}.service" if folder.parent == _HOME and plain else None


def judge(unit: str, state: Mapping[str, str]) -> Finding:
    """Pure: what `systemctl show` said (systemd.unit(5), org.freedesktop.systemd1(5))."""
    start = f"systemctl enable --now {unit}"
    if state.get("LoadState") == "not-found":
        return ok(unit, "the unit is not installed: call `run` or use cron, or use install.sh")
    active = state.get("ActiveState", "")
    if active == "failed":
        why = state.get("Result", "failed")
        return problem(unit, f"it failed ({why})", f"journalctl -u {unit}; then {start}")
    if active != "active":
        what = f"it does not run ({active or 'unknown'})"
        return problem(unit, what, start)
    restarts = state.get("NRestarts", "0")
    if restarts.isdecimal() and int(restarts) > _RESTARTS:
        return warning(unit, f"it was restarted {restarts} times", f"journalctl -u {unit}")
    if state.get("UnitFileState") not in ("enabled", "static", "linked", "", None):
        return warning(unit, "it runs, but does not start with the machine", start)
    fed = state.get("WatchdogTimestamp", "")
    return ok(unit, f"it runs; watchdog fed at {fed}" if fed else "it runs")
