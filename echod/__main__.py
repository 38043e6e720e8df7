"""`python -m echod`: the same as `twistd -n --pidfile= echod`, for people who do not know twistd."""

import sys

# -m puts the working folder first on the path, and its files would replace the standard library's. Therefore this comes
# before any other import, `__future__` included. A folder that contains this file itself is intended.
if __name__ == "__main__" and not sys.flags.safe_path and not __file__.startswith(f"{sys.path[0]}/echod/"):
    del sys.path[0]

from echod.early_signals import until_the_daemon_takes_them
from echod.startup_heap import freeze_startup_heap, pause_collection
from echod.stdio import open_standard_streams


def main() -> None:
    """Run the daemon in the foreground with the command line's options."""
    until_the_daemon_takes_them()
    pause_collection()
    open_standard_streams()
    from twisted.scripts.twistd import run

    sys.argv[:] = ["echod", "--nodaemon", "--pidfile=", "echod", *sys.argv[1:]]
    try:
        run()
    except SystemExit:  # --help, or an error at the start: otherwise the end is a collection of all modules
        freeze_startup_heap()
        raise


if __name__ == "__main__":
    main()
