"""The command line and the wiring: the only package that imports all others."""
