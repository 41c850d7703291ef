"""``sluice metrics``: a zone's figures for Prometheus."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from manifests.durable import publish_file
from sluice.context import Context
from sluice.metrics import zone_metrics

_READABLE = 0o644


def register(commands: Any) -> None:
    metrics = commands.add_parser("metrics")
    metrics.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="replace FILE at once, for node_exporter's textfile collector; default: print",
    )
    metrics.set_defaults(command=write_metrics)


def write_metrics(options: argparse.Namespace) -> int:
    """Ends with 0 also while something is held: that is among the figures."""
    context = Context.open(options.zone)
    text = zone_metrics(context)
    if options.file is None:
        sys.stdout.write(text)
        return 0
    target = options.file.absolute()
    publish_file(context.files, target, text.encode())
    context.files.chmod(target, _READABLE)  # whatever our umask: another user reads it
    return 0
