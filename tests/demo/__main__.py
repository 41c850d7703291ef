"""Runs the parts one after the other on one stage."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests import demo
from tests.demo.images import ImagesPart
from tests.demo.maven import MavenPart
from tests.demo.stage import Stage
from tests.demo.yum import YumPart
from tests.support import tools


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=demo.__doc__)
    parser.add_argument("--folder", type=Path, help="work there and keep it (default: temporary)")
    parser.add_argument("--port", type=int, default=0, help="of the inside server (default: free)")
    parser.add_argument(
        "--maven-upstream",
        metavar="URL|system",
        help="ask this Maven repository; `system`: the one that this machine's Maven is set to"
        " (default: Debian's own, which needs no network; elsewhere `system`)",
    )
    options = parser.parse_args()
    started = time.monotonic()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sluice-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stage = Stage(folder.resolve(), options.port or tools.free_port())
    try:
        with YumPart(stage) as yum:
            yum.first_crossing()
            with stage.server():
                yum.install()
                yum.second_crossing()
                with MavenPart(stage, options.maven_upstream) as maven:
                    maven.capture()
                    maven.build_inside()
                    maven.want_and_get()
                with ImagesPart(stage) as images:
                    images.first_crossing()
                    images.pull()
                    images.second_crossing()
                stage.sluice("-z", stage.inside, "status")
                stage.farewell(time.monotonic() - started)
    except KeyboardInterrupt:
        print("\nstopped")
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
