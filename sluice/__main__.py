"""The program: ``sluice``, and ``python -m sluice``."""

# Built in: nothing has to be loaded before Ctrl-C is seen to.
import _signal  # type: ignore[import-not-found]
import sys


def main() -> int:
    """Run the command that the program was called with; returns the exit code."""
    # Until the command heeds it, Ctrl-C ends the process as SIGTERM does. Python's own way
    # would be a traceback through whatever library is being loaded.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from sluice import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
