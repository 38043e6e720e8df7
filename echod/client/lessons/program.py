"""The program of the learner, if the command runs it: its output, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor

PIECE: Final = 65_536  #: bytes of a read
KEPT: Final = 65_536  #: bytes of the output that are kept: the rest is read and dropped
LINES: Final = 200  #: lines of the output that are shown
DRAINED: Final = 16  #: reads after the end: a child of the program may still have the pipe, and write without end
PATIENCE: Final = 1.0  #: seconds between SIGTERM and SIGKILL


class Program:
    """Runs a command in a process group of its own, without input. Raises OSError.

    `line` gets each line of its output, up to LINES. `ended` is called once, after its output, with the exit code,
    which is negative for a signal. A child of the program that has the same group ends with it.
    """

    def __init__(
        self, reactor: Any, command: Sequence[str], line: Callable[[bytes], None], ended: Callable[[int], None]
    ) -> None:
        self._reactor, self._line, self._ended = reactor, line, ended
        self.kept = bytearray()  #: the output
        self.code: int | None = None  #: the exit code, after its end
        self._rest = b""  # an unfinished line
        self._lines = 0
        self._kill: Any = None
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            process_group=0,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._reader = Readable(reactor, self._output, self._read)
        self._exit = os.pidfd_open(self._process.pid)
        self._watch = Readable(reactor, self._exit, self._has_ended)

    @property
    def output(self) -> str:
        """Its output so far, up to KEPT bytes."""
        return self.kept.decode("utf-8", "surrogateescape")

    def terminate(self) -> None:
        """Send SIGTERM to its process group, and SIGKILL after PATIENCE."""
        if self.code is None and self._kill is None:
            self._signal(signal.SIGTERM)
            self._kill = self._reactor.callLater(PATIENCE, self._signal, signal.SIGKILL)

    def kill(self) -> None:
        """End it now. `ended` is not called."""
        if self.code is None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._close()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _read(self) -> int:
        """Read a piece. Returns its length, 0 at the end of the output or if nothing is there."""
        try:
            data = os.read(self._output, PIECE)
        except BlockingIOError:
            return 0
        if not data:
            self._reader.stop()
        self.kept += data[: KEPT - len(self.kept)]
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:PIECE]
        for line in lines:
            self._show(line)
        return len(data)

    def _show(self, line: bytes) -> None:
        self._lines += 1
        if self._lines <= LINES:
            self._line(line)

    def _has_ended(self) -> int:
        for _ in range(DRAINED):
            if not self._read():
                break
        if self._rest:
            self._show(self._rest)
        self._signal(signal.SIGKILL)  # its children
        self.code = self._process.wait()
        self._close()
        self._ended(self.code)
        return 0

    def _close(self) -> None:
        self.code = self._process.returncode
        if self._kill is not None and self._kill.active():
            self._kill.cancel()
        self._reader.stop()
        self._watch.stop()
        os.close(self._exit)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Readable(FileDescriptor):
    """Calls a function when a descriptor can be read, until `stop`."""

    def __init__(self, reactor: Any, descriptor: int, call: Callable[[], object]) -> None:
        super().__init__(reactor)
        self._descriptor, self._call = descriptor, call
        self.connected = 1
        self.startReading()

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self._descriptor

    def doRead(self) -> None:
        """Handle input, or its end."""
        self._call()

    def stop(self) -> None:
        """Watch no longer."""
        if self.connected:
            self.connected = 0
            self.stopReading()

    def connectionLost(self, reason: object) -> None:
        """The other end has closed a pipe, or the reactor ends: the last output is read."""
        if self.connected:
            self._call()
            self.stop()


def command_line(command: Sequence[str], names: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The command with values in place of its placeholders; without any, the values of `names` are appended."""
    if not any(f"{{{name}}}" in word for word in command for name in values):
        return [*command, *(values[name] for name in names)]
    found = []
    for word in command:
        for name, value in values.items():
            word = word.replace(f"{{{name}}}", value)
        found.append(word)
    return found
