"""`Daemon`: an echod for the tests of a network client, as a process of its own.

with Daemon("echo=tcp://127.0.0.1:0") as daemon:
client = MyClient(*daemon.address)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from echod.testing.admin_client import AdminClient, Received, RequestRefused
from echod.testing.announced import Served, listeners_of
from echod.testing.configuration import ConfigurationFiles
from echod.testing.daemon_process import DaemonProcess, StartedByWith
from echod.testing.output import SECONDS, DaemonError

RECORD: Final = "1MiB"  #: of what clients send to each service
POLL: Final = 0.01  #: seconds between two checks of a condition

_OF_THE_PARENT: Final = (
    *("ECHOD_CONFIG", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"),
    *("WATCHDOG_PID", "WATCHDOG_USEC", "FDSTORE", "JOURNAL_STREAM"),
)
"""Variables for another daemon: those of the program that runs the tests."""


class Daemon(StartedByWith, Served):
    """A daemon that serves from `start` to `close`, which `with` calls. It also ends if the test program is killed.

    `listen` are addresses as KIND=URL, such as "echo=tcp://127.0.0.1:0"; with port 0 the system chooses a free port.
    Instead of them, `config` is the text of a configuration; in both, `{dir}` is a private directory. `faults` and
    `settings` are keys of every service: those of `[services.NAME.faults]` and of `[services.NAME]`. `record` is how
    much of what clients send is kept; None keeps nothing, and permits the fast path. `arguments` are further words of
    the command line, and `environ` further variables. `timeout` is the limit in seconds of each wait.
    Raises ValueError for an address that is not KIND=URL, or without any; and `start` raises DaemonError.
    """

    def __init__(
        self,
        *listen: str,
        config: str | None = None,
        faults: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        record: str | None = RECORD,
        arguments: Iterable[str] = (),
        environ: Mapping[str, str] | None = None,
        timeout: float = SECONDS,
    ) -> None:
        super().__init__()
        self.timeout = timeout
        self._arguments = tuple(arguments)
        self._environ = dict(environ or {})
        self._process: DaemonProcess | None = None
        self._admin: AdminClient | None = None
        self._recorded: dict[str, tuple[list[Received], int]] = {}  # what clients had sent until the stop
        try:
            self._files = ConfigurationFiles(self.dir, listen, config, settings or {}, record)
            if faults:
                self._files.settings["faults"] = dict(faults)
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.close()
            error.add_note(f"the log of echod:\n{self.log}")
            return
        try:
            self._check()
        finally:
            self.close()

    # its life

    def start(self) -> None:
        """Start it, and return when it serves every address.

        Raises DaemonError if it does not start, or already runs.
        """
        if self._process is not None and not self._process.has_ended:
            raise DaemonError("echod has been started already")
        self._files.write()
        command = [sys.executable, "-m", "echod", "--config", str(self._files.file)]
        command += ["--announce", "json", "--until-eof", *self._arguments]
        process = DaemonProcess(command, self.dir, self._environment(), stdin=subprocess.PIPE)
        self._process = process
        try:
            line = process.stdout.wait_for(r"^\{\"version\": .*", self.timeout)[0]
        except DaemonError:
            why = f"not ready after {self.timeout:g} s"
            if process.stdout.has_ended:
                why = f"exit code {process.wait(self.timeout)}"
            process.close()
            raise DaemonError(f"echod did not start: {why}\n{self.log}") from None
        found = listeners_of(line)
        self.listeners = tuple(one for one in found if one.kind != "admin")
        admin = [one.path for one in found if one.kind == "admin" and one.is_path]
        self._admin = AdminClient(admin[0]) if admin else None

    def stop(self) -> int:
        """Stop it gracefully, if it runs, and return its exit code. Its log, counters and `received` can still be read.

        It sends pending output first, for at most `[daemon] drain` (100 ms if `config` does not set it), and ends
        the connections that are left. Raises DaemonError if it does not exit in time.
        """
        process = self._started()
        process.resume()
        if process.popen.poll() is None and self._admin is not None:
            for name in self._files.names:
                try:
                    self._recorded[name] = self._admin.received(name)
                except RequestRefused:
                    continue  # nothing is recorded
        return process.stop(self.timeout)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash does: the kernel closes or resets its connections."""
        self._started().close()

    def restart(self) -> None:
        """Stop it, if it runs, and start it on the same ports. Counters, log and `received` begin again."""
        self.stop()
        urls: dict[str, list[str]] = {}
        for one in self.listeners:
            urls.setdefault(one.service, []).append(one.url)
        self._files.fix_ports(urls)
        self._recorded.clear()
        self.start()

    def suspend(self) -> None:
        """Suspend the process until `resume`: its host still accepts connections and data, but nothing is answered."""
        self._started().suspend()

    def resume(self) -> None:
        """Continue it after `suspend`."""
        self._started().resume()

    def close(self) -> None:
        """Stop it if it runs, with SIGKILL if it does not stop in time, and remove its directory."""
        try:
            if self._process is not None:
                self._process.stop(self.timeout)
        finally:
            if self._process is not None:
                self._process.close()
            self._remove_dir()

    # what it did

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._started().popen.pid

    @property
    def log(self) -> str:
        """Its log so far, and then what its services have printed."""
        if self._process is None:
            return "it was not started"
        return "\n".join([*self._process.stderr.text, *self._process.stdout.text[1:]])

    def counters(self, service: str | None = None) -> Counter[str]:
        """The counters (docs/ADMIN.md): of one service over all its addresses, or of all services.

        Those that are 0 are left out; the Counter returns 0 for them.
        """
        if self._started().has_ended:
            found = [
                (name.partition(" ")[0], of_one)
                for name, of_one in self._started().final_counters().items()
                if name != "daemon"
            ]
        else:
            services = self._asked().status()["services"]
            found = [(one["name"], _flat(listener)) for one in services for listener in one["listeners"]]
        total: Counter[str] = Counter()
        for name, of_one in found:
            if service in (None, name) and name != "admin":
                total.update(of_one)
        return +total

    def connections(self) -> list[dict[str, Any]]:
        """The open connections, as GET /api/connections lists them."""
        return self._asked().connections()

    def received(self, service: str | None = None, *, at_least: int = 0) -> list[Received]:
        """The bytes that clients sent to a service (default: the first), once they are at least so many.

        Raises DaemonError if they do not arrive in time, or if more than `record` arrived.
        """
        name = self._name(service)
        ends = time.monotonic() + self.timeout
        while True:
            found, dropped = self._received(name)
            if dropped:
                raise DaemonError(f"{name}: clients sent more than is kept; use Daemon(…, record=…) with more")
            size = sum(len(one.data) for one in found)
            if size >= at_least:
                return found
            if time.monotonic() > ends or self._started().has_ended:
                raise DaemonError(f"{name}: {size} bytes were received, expected at least {at_least}\n{self.log}")
            time.sleep(POLL)  # noqa: TID251 - the test waits, not the daemon

    def forget_received(self, service: str | None = None) -> None:
        """Forget what clients sent so far to a service, by default the first one."""
        self._asked().forget_received(self._name(service))

    def wait_until(self, condition: Callable[[], Any], what: str = "the condition is true") -> None:
        """Wait until `condition()` is true. Raises DaemonError, with `what` and the log, if it does not in time."""
        ends = time.monotonic() + self.timeout
        while not condition():
            if time.monotonic() > ends:
                raise DaemonError(f"not in {self.timeout:g} s: {what}\n{self.log}")
            time.sleep(POLL)  # noqa: TID251 - the test waits, not the daemon

    def wait_for_log(self, pattern: str) -> str:
        """Wait for a line of the log that matches a regular expression, and return the match. Raises DaemonError."""
        return self._started().stderr.wait_for(pattern, self.timeout)[0]

    # its settings

    def set_faults(self, service: str | None = None, **faults: Any) -> None:
        """Replace the faults of a service, by default the first one; without `faults` it has none any more.

        The names are those of `[services.NAME.faults]`, with `_` for `-`. Raises DaemonError if they are wrong.
        """
        keys = {name.replace("_", "-"): value for name, value in faults.items()}
        self._files.of_one.setdefault(self._name(service), {})["faults"] = keys
        self._files.write()
        try:
            self._asked().reload()
        except RequestRefused as refused:
            raise DaemonError(f"echod refused the faults:\n{refused}") from None

    def _received(self, name: str) -> tuple[list[Received], int]:
        """The recording of a service until now, or until the stop."""
        try:
            return self._recorded[name] if self._started().has_ended else self._asked().received(name)
        except (RequestRefused, KeyError):
            raise DaemonError(f"{name} records nothing, or echod did not stop gracefully; expected record=…") from None

    def _started(self) -> DaemonProcess:
        if self._process is None:
            raise DaemonError("echod was not started: use `with`, or call start()")
        return self._process

    def _asked(self) -> AdminClient:
        if self._started().popen.poll() is not None:
            raise DaemonError(f"echod has exited with {self._started().popen.returncode}\n{self.log}")
        if self._admin is None:
            raise DaemonError("the configuration has [admin] without a Unix socket; expected one, or no [admin]")
        return self._admin

    def _check(self) -> None:
        """Raise DaemonError if it has exited by itself, or had an unhandled exception."""
        process = self._started()
        code = process.popen.poll()
        if code not in (None, 0, -signal.SIGKILL):
            raise DaemonError(f"echod has exited with {code}\n{self.log}")
        if bugs := process.bugs():
            raise DaemonError("\n".join(["echod has logged an internal error:", *bugs]))

    def _environment(self) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if name not in _OF_THE_PARENT}
        home = Path(__file__).parents[2]
        if home.name not in ("site-packages", "dist-packages"):  # a source tree, which the child must find too
            environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(home), environ.get("PYTHONPATH", ""))))
        return {**environ, "RUNTIME_DIRECTORY": str(self.dir), **self._environ}


def _flat(listener: Mapping[str, Any]) -> dict[str, int]:
    """The counters of a listener: `refused:REASON`, `closed:REASON` and `fault:KEY` are groups of them."""
    counters = {name: value for name, value in listener.items() if isinstance(value, int)}
    for group, name in (("refused", "refused"), ("closed", "closed"), ("faults", "fault")):
        counters |= {f"{name}:{reason}": count for reason, count in listener[group].items()}
    return counters
