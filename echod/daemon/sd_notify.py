"""Reports the daemon's state to the service manager (sd_notify(3)), from the daemon's events.

A message that a busy manager does not accept is sent again later. If the manager is gone, messages are dropped.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from echod.escaping import counted, escaped

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
WAITING: Final = 256  #: the most messages that are queued for a busy manager: more than one for each listener
AGAIN: Final = 0.1  #: seconds until a message that was not accepted is sent again
GRACE: Final = 5.0  #: seconds that a stop may take beyond `drain`
LONGEST_STATUS: Final = 300  #: characters of the one line that `systemctl status` shows

BUSY: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EINTR})


class Notify:
    """Sends messages to the manager that `environ` names, if any; `event` is the sink to subscribe.

    The variables are removed, so that no child process uses them. If one is wrong, `error` has the error.
    """

    def __init__(self, environ: MutableMapping[str, str], reactor: IReactorTime) -> None:
        where, interval, pid = (environ.pop(name, None) for name in VARIABLES)
        self.error: str | None = None
        self._reactor = reactor
        self._listeners = 0
        self._socket: socket.socket | None = None
        self._waiting: deque[tuple[bytes, Sequence[int]]] = deque(maxlen=WAITING)
        self._retrying = False
        self._watchdog = LoopingCall(self.send, "WATCHDOG=1")
        self._watchdog.clock = reactor
        self._every = 0.0
        if where is not None:
            self._open(where)
        if self.there and interval is not None and pid in (None, str(os.getpid())):
            self._every = self._half(interval)

    @property
    def there(self) -> bool:
        """Whether a manager is known."""
        return self._socket is not None

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Report one event of the daemon, if the manager needs it."""
        match name:
            case "listener.opened":
                self._listeners += 1
            case "listener.closed":
                self._listeners -= 1
            case "daemon.ready":
                self._listeners = fields["listeners"]
                self.send("READY=1", self._serving())
                if self._every:
                    self._watchdog.start(self._every)
            case "daemon.reloading":
                self.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
            case "daemon.reloaded":
                self.send("READY=1", self._serving())
            case "daemon.refused":
                self.send("READY=1", _status(f"the new configuration is refused: {fields['errors']}"))
            case "daemon.draining":
                connections, seconds = fields["connections"], fields["seconds"]
                some = counted(connections, "connection has", "connections have")
                status = _status(f"stopping: {some} {seconds:g} s to end")
                self.send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round((seconds + GRACE) * 1e6)}", status)
            case "daemon.stopped":
                self.send("STOPPING=1", _status("stopped"))
                self.close()

    def send(self, *lines: str, descriptors: Sequence[int] = ()) -> None:
        """Send these lines in one message, with copies of these descriptors, or queue it if the manager is busy."""
        if self._socket is not None:
            self._waiting.append(("\n".join(lines).encode("utf-8", "backslashreplace"), descriptors))
            self._flush()

    def barrier(self, seconds: float) -> bool:
        """Block until the manager has processed all messages, for at most `seconds`. Returns whether it has."""
        if self._socket is None:
            return False
        ours, theirs = os.pipe()
        try:
            self.send("BARRIER=1", descriptors=[theirs])
            waiting = select.poll()
            waiting.register(ours, 0)  # POLLHUP is always reported: the manager has closed its copy
            ends = time.monotonic() + seconds
            while self._waiting and time.monotonic() < ends:
                waiting.poll(10)
                self._flush()
            os.close(theirs)
            theirs = -1
            return bool(waiting.poll(max(0, round((ends - time.monotonic()) * 1000))))
        finally:
            os.close(ours)
            if theirs >= 0:
                os.close(theirs)

    def close(self) -> None:
        """Send nothing more, and drop queued messages."""
        if self._watchdog.running:
            self._watchdog.stop()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _serving(self) -> str:
        return _status(f"serving {counted(self._listeners, 'listener', 'listeners')}")

    def _open(self, where: str) -> None:
        if not where.startswith(("/", "@")) or len(where) < 2:
            self.error = (
                f"NOTIFY_SOCKET={escaped(where)} is neither a path nor an abstract socket; the manager is not notified"
            )
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._name = "\0" + where[1:] if where.startswith("@") else where

    def _half(self, interval: str) -> float:
        """Seconds between two watchdog messages: half of the interval, as sd_watchdog_enabled(3) recommends."""
        if not interval.isascii() or not interval.isdecimal() or len(interval) > 20 or int(interval) == 0:
            self.error = f"WATCHDOG_USEC={escaped(interval[:40])} is not a number of microseconds above 0"
            return 0.0
        return int(interval) / 2e6

    def _again(self) -> None:
        self._retrying = False
        self._flush()

    def _flush(self) -> None:
        while self._waiting and self._socket is not None:
            message, descriptors = self._waiting[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
            try:
                self._socket.sendmsg([message], rights, socket.MSG_NOSIGNAL, self._name)
            except OSError as error:
                if error.errno in BUSY:
                    if not self._retrying:
                        self._retrying = True
                        self._reactor.callLater(AGAIN, self._again)
                    return
            self._waiting.popleft()


def _status(text: str) -> str:
    """The line that `systemctl status` shows, escaped and cut."""
    return f"STATUS={escaped(text)[:LONGEST_STATUS]}"
