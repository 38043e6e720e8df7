"""One worker process, as the parent sees it: its start, its messages, its silence and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final

import twisted
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from echod.daemon.config_diff import ConfigurationRefused
from echod.daemon.privileges import Identity, user_name
from echod.escaping import escaped, system_error
from echod.shared_memory.memory import SharedMemory
from echod.transports.effective_user import acting_as
from echod.workers.bus_hub import EX_CONFIG
from echod.workers.control_channel import ControlChannel, open_channel

ENTRY: Final = "echod.workers.worker_process"
EX_OSERR: Final = 71  #: sysexits(3)
SILENT: Final = 4.5
"""Seconds without a message after which a worker that serves counts as hung. It sends one each second."""
MISSED: Final = 1.5  #: seconds without a message after which its answers are not waited for
BUILDING: Final = 60.0
"""The same while it imports modules, or builds what serves a configuration. That takes seconds with hundreds of
addresses and certificates, or on a loaded machine."""

_ACCESS: Final = {os.X_OK: "execute", os.R_OK: "read"}

Handle = Callable[["Worker", str, Mapping[str, Any]], None]


@implementer(IReadDescriptor)
class Worker:
    """A process. `handle` gets its messages, and `ended` is called once, when it has ended.

    Raises OSError if no process can be started.
    """

    def __init__(self, reactor: Any, handle: Handle, ended: Callable[[Worker], None]) -> None:
        self.number: int | None = None  #: the place that it serves; None: it is spare
        self.ready = False  #: it has imported everything, and waits for an assignment
        self.serving = False
        self.prepared = True  #: the daemon does not reload, or this process has built its part
        self._builds = False  # it has begun to build its part: it sends nothing until it has ended
        self.column = 0  #: of the shared memory; 0: it has none yet
        self.bus: socket.socket | None = None  #: its end of a connection to the bus, until it has received it
        self.figures: dict[str, int] = {}  #: the last report of its process counters
        self.connections: list[dict[str, Any]] = []  #: of the last `collect`
        self.collecting: set[int] = set()
        self.why = ""  #: why the parent has killed it
        self.began = reactor.seconds()
        self._heard = self.began
        self._was_silent = False
        self._reactor = reactor
        self._handle = handle
        self._ended = ended
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    _command(theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                )
            except BaseException:
                ours.close()
                raise
        self._pidfd = os.pidfd_open(self._process.pid)
        self.channel: ControlChannel = open_channel(reactor, ours, self._received, lambda: None)
        reactor.addReader(self)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def name(self) -> str:
        """Its number as text for the log, or `spare`."""
        return "spare" if self.number is None else str(self.number)

    @property
    def reason(self) -> str:
        """Why it has ended, as text for the log."""
        code = self._process.returncode
        if self.why:
            return self.why
        return f"signal {_signal(-code)}" if code < 0 else f"exit code {code}"

    def is_silent(self, now: float) -> bool:
        """Whether it has missed a message: it may hang."""
        return bool(now - self._heard > MISSED)

    def check(self, now: float) -> None:
        """Kill it if it has been silent for too long. Call it twice a second.

        Silence must be seen twice: if this process was stopped, the messages wait to be read.
        """
        silent = now - self._heard > (SILENT if self.serving and not self._builds else BUILDING)
        if silent and self._was_silent and not self.why:
            self.kill("it did not respond")
        self._was_silent = silent

    def kill(self, why: str) -> None:
        """End it with SIGKILL."""
        self.why = self.why or why
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close_bus(self) -> None:
        """Close the copy of its end of the bus."""
        if self.bus is not None:
            self.bus.close()
            self.bus = None

    def fileno(self) -> int:
        """Readable when the process has ended (pidfd_open(2))."""
        return self._pidfd

    def doRead(self) -> None:
        """The process has ended."""
        self._reactor.removeReader(self)
        self._process.wait()
        signal.raise_signal(signal.SIGCHLD)  # process 1 reaps the orphans that ended after it (`daemon.signals`)
        # Its last messages may still be in the socket: the reactor reads them before it calls this.
        self._reactor.callLater(0, self._end)

    def connectionLost(self, _reason: object) -> None:
        """The reactor ends."""

    def logPrefix(self) -> str:
        """The name in Twisted's own messages."""
        return f"worker {self.pid}"

    def _end(self) -> None:
        os.close(self._pidfd)  # not before: a timer of the same turn may call `kill`
        self.channel.abort()
        self._ended(self)

    def _received(self, name: str, fields: Mapping[str, Any], _data: bytes, descriptors: list[int]) -> None:
        self._heard = self._reactor.seconds()
        self._builds = name == "preparing"
        for descriptor in descriptors:  # a worker sends none
            os.close(descriptor)
        self._handle(self, name, fields)


def _command(descriptor: int) -> list[str]:
    """The command of a worker: the same interpreter and options. It never searches the working folder for modules."""
    warnings = [f"-W{option}" for option in sys.warnoptions]
    return [sys.executable, *warnings, "-P", "-m", ENTRY, str(descriptor), str(os.getpid())]


def programs() -> list[str]:
    """The files that are executed to start a worker: the interpreter, and the loader of its libraries (ld.so(8))."""
    found = {os.path.realpath(sys.executable)}
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if os.path.basename(path).startswith("ld-"):
                found.add(os.path.realpath(f"/{path}"))
    return sorted(found)


def check_programs(identity: Identity | None) -> None:
    """Check that the user that will serve can start workers. Call it as root if that is another user.

    Raises ConfigurationRefused if that user cannot execute the interpreter, or not read the modules.
    """
    user = os.geteuid() if identity is None else identity.user
    other = identity is not None and os.geteuid() == 0 and user != 0
    with acting_as(identity.user, identity.group, identity.groups) if identity and other else nullcontext():
        for path, mode in (sys.executable, os.X_OK), (__file__, os.R_OK), (twisted.__file__, os.R_OK):
            if not os.access(path, mode, effective_ids=True):
                wrong = f"user {user_name(user)} cannot {_ACCESS[mode]} {escaped(path)}, which a worker needs"
                right = "an installation that this user can read, or workers = 1"
                raise ConfigurationRefused(EX_CONFIG, [f"daemon.workers: {wrong}; expected {right}"])


def shared_memory(count: int) -> SharedMemory:
    """The memory of a parent and `count` workers. Raises ConfigurationRefused if the kernel refuses it."""
    try:
        return SharedMemory.create(count)
    except OSError as error:
        text = f"daemon.workers: the memory that workers share cannot be created: {system_error(error)}"
        raise ConfigurationRefused(EX_OSERR, [f"{text}; workers = 1 needs none"]) from error


def start_error(error: OSError) -> str:
    """The line for the log if no process can be started: the reason, the program and the user."""
    user, program = user_name(os.geteuid()), escaped(sys.executable)
    return f"no worker process can be started: user {user}, {program}: {system_error(error)}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
