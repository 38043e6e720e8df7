"""A daemon as a process: its output, signals, and its end by its process id."""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from echod.testing.output import SECONDS, DaemonError, Output


class StartedByWith:
    """Starts at the begin of a `with` block; if that fails, it is closed."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def start(self) -> None:
        """Start it."""
        raise NotImplementedError

    def close(self) -> None:
        """End it in any state."""
        raise NotImplementedError


class DaemonProcess:
    """A process that has been started. Call `close` in any case; it is also called when Python exits.

    `stdin` is a descriptor, or subprocess.PIPE. It inherits `pass_fds`, under the same numbers.
    """

    popen_class: ClassVar[type[subprocess.Popen[bytes]]] = subprocess.Popen  #: what starts the process

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        environ: Mapping[str, str],
        *,
        stdin: int = subprocess.DEVNULL,
        umask: int = -1,
        pass_fds: Iterable[int] = (),
    ) -> None:
        self.popen = self.popen_class(
            command,
            cwd=directory,
            env=environ,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            umask=umask,
            pass_fds=tuple(pass_fds),
        )
        self._owner = os.getpid()
        atexit.register(self._close_at_exit)  # it must not outlive the tests in any case
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        self.stdout = Output(self.popen.stdout)
        self.stderr = Output(self.popen.stderr)
        self.has_ended = False  #: whether `wait` has returned

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self.popen.send_signal(number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Wait until it exits, and return its exit code. Raises DaemonError if it does not in time."""
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise DaemonError(f"echod has not exited after {seconds:g} s\n{self.log()}") from None
        self.has_ended = True
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        self.stdout.close()
        self.stderr.close()
        atexit.unregister(self._close_at_exit)
        return code

    def stop(self, seconds: float = SECONDS) -> int:
        """End it with SIGTERM, if it runs, also if it is suspended; returns the exit code."""
        if self.has_ended:
            return self.popen.returncode
        self.popen.terminate()
        self.resume()
        return self.wait(seconds)

    def close(self) -> None:
        """End it in any state, with SIGKILL if it runs."""
        if not self.has_ended:
            self.popen.kill()
            self.wait()

    def _close_at_exit(self) -> None:
        if os.getpid() == self._owner:  # not in a process that was forked from it
            self.close()

    def suspend(self) -> None:
        """Stop it as SIGSTOP does, and return when it has stopped: its kernel still accepts connections and data."""
        self.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.popen.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Continue it after `suspend`."""
        self.send_signal(signal.SIGCONT)

    def final_counters(self) -> dict[str, dict[str, int]]:
        """The counters of its last log line, by `SERVICE URL`, and by `daemon` those of the process, if any."""
        counters: dict[str, dict[str, int]] = json.loads(self.stderr.wait_for(r" stopped (\{.*\})$")[1])
        return counters

    def bugs(self) -> list[str]:
        """The log lines of unhandled exceptions, and the last line if it counted some."""
        wrong = re.compile(r"^\S+ critical |\"level\": \"critical\"|\"internal_errors\": [1-9]|Traceback")
        return [line for line in self.stderr.text if wrong.search(line)]

    def log(self) -> str:
        """The end of its output, for error messages."""
        return "\n".join(["standard error:", *self.stderr.text[-200:], "standard output:", *self.stdout.text[-50:]])
