"""A daemon for tests of network clients: docs/TESTING.md. In a Twisted program, use `echod.testing.in_process`."""

from echod.testing.admin_client import Received
from echod.testing.announced import Listener
from echod.testing.daemon import Daemon
from echod.testing.output import DaemonError

__all__ = ["Daemon", "DaemonError", "Listener", "Received"]
