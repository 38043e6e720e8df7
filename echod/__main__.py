"""`python -m echod`: the same as `twistd -n --pidfile= echod`, for people who do not know twistd."""

from __future__ import annotations

import os
import signal
import sys

from echod.stdio import open_standard_streams


def _leave(_number: int, _frame: object) -> None:
    os._exit(0)  # an exception could be taken for one of the import that it comes in


def main() -> None:
    """Run the daemon in the foreground with the command line's options."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the daemon takes them: nothing is open yet
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    open_standard_streams()
    from twisted.scripts.twistd import run

    sys.argv[:] = ["echod", "--nodaemon", "--pidfile=", "echod", *sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
