"""The laboratory of the attacks: its own network if possible, and servers to attack, one at a time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from echod.testing.announced import inet_of
from tests.chaos import faults
from tests.chaos.connect_burst import served
from tests.chaos.network import Lacking, Network
from tests.chaos.report import OURS, Subject
from tests.daemon import ECHOD, SECONDS, TOP, Daemon, environment, eventually, free_port, memory

LOOPBACK: Final = "127.0.0.1"
OPENBSD_HOST: Final = "192.0.2.2"  #: it does not reply to datagrams of 127.0.0.0/8
STOCK: Final = TOP / "tests/chaos/peers/stock_twisted.py"
WELL_KNOWN: Final = {"echo": 7, "daytime": 13, "chargen": 19, "time": 37}

Place = tuple[str, int]

_XINETD: Final = """
service {name}
{{
    type = INTERNAL UNLISTED
    id = {name}-{port}-{transport}
    port = {port}
    bind = {host}
    socket_type = {shape}
    protocol = {transport}
    wait = {wait}
    user = {user}
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 1000000 1
}}
"""


class Server:
    """A server under attack. `udp`, `tcp` and `tls` are its addresses, by the kind of service."""

    def __init__(
        self,
        subject: Subject,
        pid: int,
        tcp: Mapping[str, Place],
        udp: Mapping[str, Place],
        tls: Mapping[str, Place] = MappingProxyType({}),
    ) -> None:
        self.subject = subject
        self.pid = pid
        self.tcp = tcp
        self.udp = udp
        self.tls = tls
        self.daemon: Daemon | None = None  #: set if it is echod
        self._counted = 0
        self._file: Path | None = None

    @property
    def ours(self) -> bool:
        """Whether it has a promise to keep: it is echod."""
        return self.daemon is not None

    def lines(self) -> int:
        """The number of lines that it has logged."""
        if self.daemon is not None:
            return len(self.daemon.stderr.raw)
        in_file = self._file.read_bytes().count(b"\n") if self._file and self._file.exists() else 0
        return self._counted + in_file

    def cpu(self) -> float:
        """Processor seconds so far, of all its processes."""
        return sum(faults.processor_seconds(pid) for pid in self._processes())

    def waited(self) -> float:
        """Seconds that its first thread was ready to run and had no processor, so far: what other processes delayed."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9

    def memory(self) -> int:
        """Bytes of memory of all its processes."""
        return sum(memory(pid) for pid in self._processes())

    def descriptors(self) -> int:
        """The number of its open descriptors."""
        return len(faults.descriptors(self.pid))

    def count_lines_of(self, pipe: IO[bytes]) -> None:
        """Read its log and keep only the number of lines: a server may log without end."""

        def count() -> None:
            while piece := pipe.read1(65_536):  # type: ignore[attr-defined]  # a BufferedReader
                self._counted += piece.count(b"\n")

        threading.Thread(target=count, daemon=True).start()

    def log_is(self, file: Path) -> None:
        """Log into a file."""
        self._file = file

    def _processes(self) -> list[int]:
        return [pid for pid in faults.family(self.pid) if Path(f"/proc/{pid}").exists()]


class Lab:
    """`network` is None without the privilege to make one; an attack that needs it raises Lacking."""

    def __init__(self, network: Network | None, why: str) -> None:
        self._network = network
        self._why = why

    @property
    def network(self) -> Network:
        """The network of the attacks. Raises Lacking."""
        if self._network is None:
            raise Lacking(self._why)
        return self._network

    def each(self, *subjects: Subject, services: str) -> Iterator[Server]:
        """Run one server after the other, each for one pass of the loop; those that are not installed are left out."""
        for subject in subjects:
            try:
                with self.server(subject, services) as server:
                    yield server
            except Lacking:
                if subject in OURS:
                    raise

    @contextmanager
    def server(
        self,
        subject: Subject,
        services: str = "",
        *,
        command: Sequence[str] = (),
        host: str = LOOPBACK,
        stock: Sequence[str] = (),
    ) -> Iterator[Server]:
        """A server that is ready. Raises Lacking.

        `services` is echod's configuration; other servers have fixed services. `command` runs it in another way,
        `host` is the address of stock Twisted, and `stock` its further arguments.
        """
        with ExitStack() as stack:
            if subject in OURS:
                yield stack.enter_context(_echod(subject, services, command))
            elif subject is Subject.STOCK:
                yield stack.enter_context(_stock(command, host, stock))
            elif subject is Subject.XINETD:
                yield stack.enter_context(_xinetd())
            else:
                yield stack.enter_context(_openbsd(self.network))


@contextmanager
def _echod(subject: Subject, services: str, command: Sequence[str]) -> Iterator[Server]:
    plane = "off" if subject is Subject.PLAIN else "auto"
    workers = 2 if subject is Subject.WORKERS else 1
    config = f'[daemon]\nplane = "{plane}"\nworkers = {workers}\ndrain = "1s"\n{services}'
    with Daemon(config, command=command or ECHOD) as daemon:
        places: dict[str, dict[str, Place]] = {"tcp": {}, "udp": {}, "tls": {}}
        for name, url in daemon.urls:
            if (transport := url.partition(":")[0]) in places:
                places[transport].setdefault(name, inet_of(url))
        server = Server(subject, daemon.process.pid, **places)
        server.daemon = daemon
        yield server
        if subject is not Subject.WORKERS:  # an attack may kill a worker, which is logged as an error
            daemon.check()


@contextmanager
def _stock(command: Sequence[str], host: str, more: Sequence[str]) -> Iterator[Server]:
    port = free_port()
    words = [*(command or (sys.executable, "-W", "error")), str(STOCK), host, str(port), *more]
    with tempfile.TemporaryDirectory(prefix="stock-") as folder, _running(words, Path(folder)) as process:
        places = {"echo": (host, port)}
        server = Server(Subject.STOCK, process.pid, places, places)
        assert process.stderr is not None
        server.count_lines_of(process.stderr)
        _await(server)
        yield server


@contextmanager
def _xinetd() -> Iterator[Server]:
    path = shutil.which("xinetd") or shutil.which("xinetd", path="/usr/sbin:/sbin")
    if path is None:
        raise Lacking("xinetd is not installed")
    user = "root" if os.geteuid() == 0 else str(os.geteuid())
    with tempfile.TemporaryDirectory(prefix="xinetd-") as name:
        folder = Path(name)
        places: dict[str, dict[str, Place]] = {"tcp": {}, "udp": {}}
        text = "defaults\n{\n}\n"
        for kind in (*WELL_KNOWN, "echo-too"):
            port = free_port()
            for transport, shape, wait in (("tcp", "stream", "no"), ("udp", "dgram", "yes")):
                places[transport][kind] = (LOOPBACK, port)
                form = {"name": kind.partition("-")[0], "transport": transport, "shape": shape, "wait": wait}
                text += _XINETD.format(host=LOOPBACK, port=port, user=user, **form)
        (folder / "conf").write_text(text)
        log = folder / "log"
        words = [path, "-dontfork", "-pidfile", str(folder / "pid"), "-filelog", str(log), "-f", str(folder / "conf")]
        with _running(words, folder) as process:
            server = Server(Subject.XINETD, process.pid, places["tcp"], places["udp"])
            server.log_is(log)
            _await(server)
            yield server


@contextmanager
def _openbsd(network: Network) -> Iterator[Server]:
    unpacked = TOP / "build/superservers/openbsd-inetd/usr/sbin/inetd"
    installed = Path("/var/lib/dpkg/info/openbsd-inetd.list").exists() and Path("/usr/sbin/inetd").exists()
    if not unpacked.exists() and not installed:
        raise Lacking("openbsd-inetd is not installed")
    try:
        network.add(OPENBSD_HOST)
    except Lacking:  # the network has the address already
        pass
    with tempfile.TemporaryDirectory(prefix="inetd-") as name:
        file = Path(name, "conf")
        forms = ("stream tcp nowait", "dgram udp wait")
        file.write_text(
            "".join(f"{OPENBSD_HOST}:{kind} {form} root internal\n" for kind in WELL_KNOWN for form in forms)
        )
        with _running(
            [str(unpacked if unpacked.exists() else "/usr/sbin/inetd"), "-i", str(file)], Path(name)
        ) as process:
            places = {kind: (OPENBSD_HOST, port) for kind, port in WELL_KNOWN.items()}
            server = Server(Subject.OPENBSD, process.pid, places, places)
            _await(server)
            yield server


@contextmanager
def _running(words: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads its own group; at the end of the block the group is terminated."""
    with subprocess.Popen(
        words,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    break
                try:
                    process.wait(2)
                except subprocess.TimeoutExpired:
                    continue
            process.wait(SECONDS)


def _await(server: Server) -> None:
    if not eventually(lambda: _answers(server.tcp["echo"])):
        raise Lacking(f"{server.subject} does not become ready")


def _answers(place: Place) -> bool:
    try:
        return served(place, 1)
    except OSError:
        return False
