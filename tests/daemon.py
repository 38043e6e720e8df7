"""A daemon process for our own tests, on `echod.testing`: with any command, and with no key that a test did not set.

    with Daemon(listen=["echo=tcp://127.0.0.1:0"]) as daemon:
        host, port = daemon.place("echo", "tcp")

Everything is bounded: output that does not appear within SECONDS is a failure that shows the log.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import cycle, islice
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from echod.testing import output
from echod.testing.announced import inet_of
from echod.testing.daemon_process import DaemonProcess, StartedByWith
from tests.fork_server import Popen

TOP: Final = Path(__file__).parents[1]
SECONDS: Final = output.SECONDS  #: the time limit of every wait of a test
PLANE: Final = os.environ.get("PLANE", "auto")  #: "python": the fast path without its native loop
ECHOD: Final = (sys.executable, "-W", "error", "-m", "echod")
TWISTD: Final = (sys.executable, "-W", "error", "-c", "from twisted.scripts.twistd import run; run()")
ECHOCTL: Final = (sys.executable, "-W", "error", "-m", "echod.client.main")

OF_THE_CALLER: Final = frozenset(
    {
        *("ECHOD_CONFIG", "ECHOD_ADMIN", "RUNTIME_DIRECTORY", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"),
        *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"),
        *("WATCHDOG_PID", "WATCHDOG_USEC", "FDSTORE", "JOURNAL_STREAM"),
    }
)
"""Variables of a terminal, a service manager or another daemon, which would change what the programs do."""

Place = tuple[str, int] | str  # what a socket connects to: host and port, or a path


def environment(**more: str) -> dict[str, str]:
    """The environment of every process of the tests: it finds this tree, and no other configuration."""
    path = os.pathsep.join(part for part in (str(TOP), os.environ.get("PYTHONPATH", "")) if part)
    ours = {name: value for name, value in os.environ.items() if name not in OF_THE_CALLER}
    return ours | {"PYTHONPATH": path} | more


class _Process(DaemonProcess):
    """A daemon that the fork server starts."""

    popen_class = Popen


class Daemon(StartedByWith):
    """A daemon that serves, from `with` to the end of the block; it must log no bug, unless `bugs` are expected.

    `config` is the text of its configuration; without one, `listen` are the KIND=URL of `--listen`. In both, `{dir}`
    is a private directory of the daemon. `options` are further arguments, and `command` replaces `python -m echod`.
    It inherits `pass_fds`, under the same numbers. `files` are written to its directory.
    """

    def __init__(
        self,
        config: str | None = None,
        *,
        listen: Iterable[str] = (),
        options: Iterable[str] = (),
        command: Sequence[str] = ECHOD,
        environ: Mapping[str, str] | None = None,
        umask: int = -1,
        pass_fds: Iterable[int] = (),
        stdin: int = subprocess.DEVNULL,
        bugs: bool = False,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        self.urls: list[tuple[str, str]] = []
        self._config = config and config.replace('plane = "auto"', f'plane = "{PLANE}"')
        self._listen = tuple(listen)
        self._options = tuple(options)
        self._command = tuple(command)
        self._environ = dict(environ or {})
        self._umask = umask
        self._bugs = bugs
        self._pass_fds = tuple(pass_fds)
        self._stdin = stdin
        self._temporary = tempfile.TemporaryDirectory(prefix="echod-")
        self.dir = Path(self._temporary.name).resolve()
        self._process: DaemonProcess | None = None
        for name, content in (files or {}).items():
            (self.dir / name).write_bytes(content)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            print(self.log(), file=sys.stderr)
        self.close()
        if kind is None and not self._bugs:
            self.check_for_bugs()

    def start(self) -> None:
        """Start the process and wait until it reports that it is ready."""
        self.launch()
        self.stderr.wait_for(r" ready: \d+ listeners?$")
        found = (re.search(r" info +(\S+)  (\S+)$", line) for line in self.stderr.text)
        self.urls = [(match[1], match[2].partition("?proxy=")[0]) for match in found if match]

    def launch(self) -> None:
        """Start the process without waiting."""
        words = [*self._command]
        if self._config is not None:
            file = self.dir / "echod.toml"
            file.write_text(self._config.replace("{dir}", str(self.dir)), "utf-8")
            words += ["--config", str(file)]
        for text in self._listen:
            words += ["--listen", text.replace("{dir}", str(self.dir))]
        self._process = _Process(
            [*words, *self._options],
            self.dir,
            environment(**{"RUNTIME_DIRECTORY": str(self.dir), **self._environ}),
            stdin=self._stdin,
            umask=self._umask,
            pass_fds=self._pass_fds,
        )
        self.process, self.stdout, self.stderr = self._process.popen, self._process.stdout, self._process.stderr

    def url(self, service: str, start: str) -> str:
        """The first URL of a service that begins with `start`: a scheme, or a scheme and the begin of a host."""
        start = start if "://" in start else start + "://"
        for name, url in self.urls:
            if name == service and url.startswith(start):
                return url
        raise AssertionError(f"{service} is not served on {start}: {self.urls}")

    def place(self, service: str, start: str) -> Place:
        """The address for a socket to connect to that URL."""
        return place_of(self.url(service, start))

    def inet(self, service: str, start: str) -> tuple[str, int]:
        """The same, for a URL with a host and a port."""
        return inet_of(self.url(service, start))

    @property
    def ports(self) -> set[int]:
        """Every port that it listens on."""
        return {port for _, url in self.urls if (port := urlsplit(url).port)}

    def memory(self) -> int:
        """Bytes of resident memory of the process."""
        return memory(self.process.pid)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running.send_signal(number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Wait until it exits; returns the exit code."""
        return self._running.wait(seconds)

    def stop(self) -> int:
        """End it with SIGTERM, if it runs; returns the exit code."""
        return self._running.stop(SECONDS)

    @property
    def _running(self) -> DaemonProcess:
        assert self._process is not None, "it never started"
        return self._process

    def counters(self) -> dict[str, dict[str, int]]:
        """Its final counters, by `SERVICE URL`; it is stopped if it still runs."""
        assert self.stop() == 0, self.log()
        counters = self._running.final_counters()
        counters.pop("daemon", None)  # its counters about itself, see `check_for_bugs`
        return counters

    def check(self) -> None:
        """Fail if the daemon has exited, or has logged an error."""
        wrong = re.search(r"^\S+ (error|critical)|Traceback", "\n".join(self.stderr.text), re.MULTILINE)
        assert wrong is None, self.log()
        assert self._running.has_ended or self.process.poll() is None, self.log()

    def check_for_bugs(self) -> None:
        """Fail if it had an unhandled exception: a log line, or a counter in its last line."""
        assert not self._running.bugs(), self.log()

    def log(self) -> str:
        """Its whole output, for error reports."""
        return "it never started" if self._process is None else self._process.log()

    def close(self) -> None:
        """End the process in any state, and remove its directory."""
        if self._process is not None:
            self._process.close()
        self._temporary.cleanup()


def place_of(url: str) -> Place:
    """The address for a socket to connect to a URL."""
    return unquote(urlsplit(url).path) if url.startswith("unix") else inet_of(url)


def memory(pid: int, what: str = "VmRSS") -> int:
    """Bytes of memory of a process now, or at most (`VmHWM`); proc(5)."""
    match = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def is_waiting(pid: int) -> bool:
    """Whether a process waits for an event: it does not run, is not ready to run, and is not stopped (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def run(*words: str | bytes | Path, seconds: float = SECONDS, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a process to its end, with an empty standard input unless `input` is given."""
    given = more.pop("input", None)
    more.setdefault("stdin", subprocess.DEVNULL if given is None else subprocess.PIPE)
    options = {"env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    with Popen(words, **options) as process:
        try:
            output, errors = process.communicate(given, seconds)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(words, process.returncode, output, errors)


def free_port(count: int = 1) -> int:
    """The first of `count` ports that no socket of this machine uses at any address, for streams and for datagrams.

    They are outside of the range that the kernel chooses from (ip(7)), each worker of pytest has a part of its own, and
    no port comes twice before all of the part were given: no other test can take one before the caller binds it.
    """
    found: list[int] = []
    for port in islice(_candidates, 5000):
        if found and port != found[-1] + 1:
            found = []
        found = [*found, port] if _is_free(port) else []
        if len(found) == count:
            return found[0]
    raise AssertionError("no port is free")


def _is_free(port: int) -> bool:
    """Whether a socket of each type can be bound to every address of this machine."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with suppress(OSError), ExitStack() as probes:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            probe = probes.enter_context(socket.socket(family, kind))
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind(("", port))
        return True
    return False


def _ports_of_this_worker() -> Iterator[int]:
    """The ports of this worker's part in order, from a random one, for ever: several runs share a machine."""
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    outside = [port for port in range(20_000, 65_500) if not lowest <= port <= highest]
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(outside) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    part = deque(outside[worker * size : (worker + 1) * size])
    part.rotate(SystemRandom().randrange(size))
    return cycle(part)


_candidates: Final = _ports_of_this_worker()


def accepts(place: tuple[str, int]) -> bool:
    """Whether a server accepts connections at a host and port."""
    try:
        socket.create_connection(place, 1).close()
    except OSError:
        return False
    return True


def eventually(what: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Whether a condition becomes true in time."""
    ends = time.monotonic() + seconds
    while not what():
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True
