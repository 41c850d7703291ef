"""The command line and the wiring: the only package that imports all others."""

from manifests.version import VERSION

__version__ = VERSION
