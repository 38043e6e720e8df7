"""`echod --until-eof`: stops the daemon when its standard input ends, which also happens if its parent crashes."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

_STDIN: Final = 0


def refused(until_eof: object, *, daemonised: bool, console: object) -> str:
    """Why `--until-eof` cannot be used; "" if it can, or is not set."""
    if not until_eof:
        return ""
    if daemonised:
        return "--until-eof: a daemon in the background has no standard input; expected twistd --nodaemon"
    if console:
        return "--until-eof and --console cannot be used together: both read standard input"
    mode = os.fstat(_STDIN).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(_STDIN)):
        return "--until-eof: standard input is not a pipe, a socket or a terminal"
    return ""


@implementer(IReadDescriptor)
class StopAtEof:
    """Discards standard input. At its end the process gets SIGTERM, and so drains its connections."""

    def __init__(self, reactor: Any, say: Callable[[str], object]) -> None:
        self._reactor = reactor
        self._say = say

    def begin(self) -> None:
        """Start to read, until the daemon stops."""
        self._reactor.addReader(self)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._reactor.removeReader, self)

    def fileno(self) -> int:
        """As IFileDescriptor."""
        return _STDIN

    def logPrefix(self) -> str:
        """As ILoggingContext."""
        return "standard input"

    def doRead(self) -> None:
        """Discard what can be read without blocking; stop at the end."""
        try:
            ended = not os.read(_STDIN, 65_536)
        except BlockingIOError:
            return
        except OSError:  # a terminal that has been closed
            ended = True
        if ended:
            self._reactor.removeReader(self)
            self._stop()

    def connectionLost(self, reason: Failure) -> None:
        """As IFileDescriptor: the end of a pipe without data, which epoll reports as a hang-up."""
        self._stop()

    def _stop(self) -> None:
        self._say("standard input has ended: stopping")
        os.kill(os.getpid(), signal.SIGTERM)
