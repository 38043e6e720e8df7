"""The outputs of a daemon: its log, and standard output for what services print."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from echod.config.settings import Configuration
from echod.daemon.local_console import shares_the_terminal
from echod.daemon.privileges import Identity
from echod.daemon.root_log_and_pidfile import open_log
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.log import Log


def outputs_of(
    twistd: Mapping[str, Any], configuration: Configuration, reactor: Any, identity: Identity | None, *, console: bool
) -> tuple[Log, BackgroundWriter | None]:
    """The log at the destination of twistd's options, and standard output, which does not exist in the background.

    With a console both are the same output if both are the terminal of the operator. Raises OSError if the log cannot
    be opened.
    """
    daemonised = not twistd.get("nodaemon", True)
    path = twistd.get("logfile") or ("twistd.log" if daemonised else None)
    if path in (None, "-"):
        output = BackgroundWriter(sys.stderr.fileno())
    else:
        output = BackgroundWriter(str(path), opened=open_log(os.path.abspath(path), identity))
    daemon_settings = configuration.daemon
    log = Log(output, daemon_settings.log_format, daemon_settings.log_level, os.environ, later=reactor.callLater)
    if console and path in (None, "-") and shares_the_terminal():
        return log, output
    return log, None if daemonised else BackgroundWriter(sys.stdout.fileno())
