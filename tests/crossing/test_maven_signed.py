"""Signed artifacts: what is captured brings its signature, which both sides check."""

from __future__ import annotations

from pathlib import Path

from tests.support.gpg import GpgHome
from tests.support.maven import artifact, place
from tests.support.mavenweb import MavenWeb
from tests.support.zones import Zones

ONE, TWO = "org.example:one:1", "org.example:two:1"
FETCH = (
    "import os, sys, urllib.request as r\n"
    "for p in sys.argv[1:]: r.urlopen(os.environ['SLUICE_URL'] + p)"
)


def signed(folder: Path, files: dict[str, bytes], key: GpgHome) -> dict[str, bytes]:
    """``files`` and their signatures."""
    found = dict(files)
    for number, (path, data) in enumerate(files.items()):
        place = folder / f"{number}"
        place.write_bytes(data)
        found[f"{path}.asc"] = key.detach_sign(place).read_bytes()
    return found


def test_signatures_of_captured_artifacts_are_checked_on_both_sides(
    tmp_path: Path, vendor_key: GpgHome, foreign_key: GpgHome
) -> None:
    web = MavenWeb(signed(tmp_path, artifact(ONE), vendor_key))
    with web.serving():
        demand = {"signed_by": "keys/vendor.asc", "check_packages": True}
        central = {"format": "maven", "upstream": web.url, **demand}
        zones = Zones(tmp_path / "zones", {"central": central}, inside={
            "require": {"central": demand},
        })  # fmt: skip
        for zone in (zones.outside, zones.inside):
            (zone / "keys").mkdir(exist_ok=True)
            vendor_key.export(zone / "keys" / "vendor.asc")
        zones.out("capture", "central", "--", "python3", "-c", FETCH, *artifact(ONE))
        zones.cross()
        live = zones.status()["repositories"]["central"]["publication"]
        assert live["serial"] == 1

        # Signed by somebody else: held, and what is here stays.
        web.files = {**web.files, **signed(tmp_path, artifact(TWO), foreign_key)}
        zones.out("capture", "central", "--", "python3", "-c", FETCH, *artifact(TWO))
        refused = zones.out("sync", expect=1)
        assert place(TWO, ".jar") in refused.err or place(TWO, ".pom") in refused.err
        kinds = {hold["kind"] for hold in zones.status(inside=False)["holds"]}
        assert kinds == {"signature"}

        # An outside that looks away convinces nobody inside.
        del central["check_packages"], central["signed_by"]
        zones.repositories["central"] = central
        zones.configure_outside()
        zones.cross(expect=3)
        status = zones.status()
        assert status["repositories"]["central"]["publication"]["serial"] == 1
        assert any(hold["repository"] == "central" for hold in status["holds"])
