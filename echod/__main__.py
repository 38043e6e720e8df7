"""`python -m echod`: the same as `twistd -n --pidfile= echod`, for people who do not know twistd."""

from __future__ import annotations

import signal
import sys

from echod.stdio import open_standard_streams


def main() -> None:
    """Run the daemon in the foreground with the command line's options."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the daemon takes it: no traceback of half an import
    open_standard_streams()
    from twisted.scripts.twistd import run

    sys.argv[:] = ["echod", "--nodaemon", "--pidfile=", "echod", *sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
