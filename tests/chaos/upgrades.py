"""Reloads that must be refused, and restarts that exchange the program: what clients notice of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from echod.address import parse
from echod.client.admin import Administrator, RequestRefused
from tests.activation import activated
from tests.chaos.exchanges import ADMIN, HTTP, STREAMS, TCP, answers, haproxy, nginx, visited
from tests.chaos.lab import Lab
from tests.chaos.network import Lacking
from tests.chaos.report import Figure, Scenario, Subject
from tests.daemon import SECONDS, Daemon, eventually, free_port
from tests.manager import Held, Manager

ECHOD, WORKERS, HAPROXY, NGINX = Subject.ECHOD, Subject.WORKERS, Subject.HAPROXY, Subject.NGINX

# 30

BAD: Final = 20  #: reloads
BAD_SECONDS: Final = 10.0


def bad_reloads(_lab: Lab) -> Iterator[Figure]:
    """Twenty configurations of four kinds that cannot be served, under visits and with open streams."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        for subject, workers in ((ECHOD, 1), (WORKERS, 2)):
            text = f"[daemon]\nworkers = {workers}\n{ADMIN}{TCP}"
            refused: list[bool] = []
            with Daemon(text) as daemon, ExitStack() as stack:
                place = daemon.inet("echo", "tcp")
                streams = [stack.enter_context(socket.create_connection(place)) for _ in range(STREAMS)]
                written = (daemon.dir / "echod.toml").read_text()
                spoil = partial(_reload, daemon, list(_wrong(written, busy.getsockname()[1])), refused)
                figures = visited(place, "hello", spoil, BAD, BAD_SECONDS)
                whole = sum(answers(client) for client in streams)
                daemon.check_for_bugs()
            more = f"; {sum(refused)} of {BAD} refused with the key or the line; {whole} of {STREAMS} streams continue"
            kept = not figures["wrong"] and all(refused) and whole == STREAMS
            yield _figure(subject, figures, more, kept)
    for subject, serve in ((HAPROXY, haproxy), (NGINX, nginx)):
        try:
            with serve() as (place, process, number):
                file = _configuration_of(process)
                text = file.read_text()
                spoil = partial(_spoil, process, number, file, text)
                figures = visited(place, HTTP, spoil, BAD, BAD_SECONDS)
                lives = process.poll() is None
        except Lacking:
            continue
        yield _figure(subject, figures, "" if lives else "; it has ended", None)


def _wrong(text: str, port: int) -> Iterator[tuple[str, str]]:
    """Wrong configurations, each with what its error must name."""
    yield f"{text}\n[services.more\n", f"echod.toml:{len(text.splitlines()) + 2}:"
    missing = '[services.safe]\nkind = "echo"\nlisten = ["tls://127.0.0.1:0"]\n'
    yield f'{text}\n{missing}tls = {{ certificate = "/nowhere.pem", key = "/nowhere.key" }}\n', "/nowhere.pem"
    yield f'{text}\n[services.busy]\nkind = "echo"\nlisten = ["tcp://127.0.0.1:{port}"]\n', str(port)
    without = text.partition("[services.echo]")[0]
    yield f'{without}\n[services.other]\nkind = "nothing"\nlisten = ["tcp://127.0.0.1:0"]\n', "services.other.kind"


def _reload(daemon: Daemon, wrong: Sequence[tuple[str, str]], refused: list[bool], turn: int) -> None:
    """Reload one of the wrong configurations; `refused` receives whether that is an error with the expected text."""
    text, named = wrong[turn % len(wrong)]
    (daemon.dir / "echod.toml").write_text(text)
    with Administrator(parse(f"unix://{daemon.dir}/admin.sock")) as administrator:
        try:
            administrator.ask("/api/reload", "POST")
        except RequestRefused as error:
            refused.append(named in json.dumps(error.answer))
        else:
            refused.append(False)


def _configuration_of(process: subprocess.Popen[bytes]) -> Path:
    assert isinstance(process.args, list)
    return next(Path(word) for word in process.args if str(word).endswith("/conf"))


def _spoil(process: subprocess.Popen[bytes], number: int, file: Path, text: str, _turn: int) -> None:
    file.write_text(f"{text}\nnonsense\n")
    process.send_signal(number)


def _figure(subject: Subject, figures: dict[str, float], more: str, kept: bool | None) -> Figure:
    text = f"{figures['well']:,.0f} visits, {figures['wrong']:,.0f} failed, the longest {figures['longest']:g} ms"
    return Figure(subject, text + more, kept, figures)


# 31

UPGRADES: Final = 5
UPGRADE_SECONDS: Final = 12.0
OPEN: Final = 20  #: connections with bytes in flight at each upgrade
EACH: Final = 256 * 1024  #: bytes of each
ASKED: Final = 0.02
"""Seconds between two datagrams, and two visits of the Unix socket: the receive buffer keeps 277 datagrams, so that
those of five seconds fit."""


def upgrades(_lab: Lab) -> Iterator[Figure]:
    """Five exchanges of the program under visits over TCP, a Unix socket and UDP, with bytes in flight."""
    for subject, workers in ((ECHOD, 1), (WORKERS, 2)):
        with (
            tempfile.TemporaryDirectory(prefix="upgrades-") as name,
            Manager(Path(name)) as manager,
            ExitStack() as stack,
        ):
            place, path = ("127.0.0.1", free_port()), f"{name}/echo"
            addresses = f'"tcp://{place[0]}:{place[1]}", "udp://{place[0]}:{place[1]}", "unix://{path}"'
            config = f"[daemon]\nworkers = {workers}\n[services.echo]\nlisten = [{addresses}]\n"
            running = [stack.enter_context(Daemon(config, environ={"NOTIFY_SOCKET": manager.where}))]
            upgrade = Upgrade(stack, manager, config, running, place)
            with beside(partial(_over_unix, path)) as unix, beside(partial(_over_udp, place)) as udp:
                figures = visited(place, "hello", upgrade, UPGRADES, UPGRADE_SECONDS)
        text = f"; over a Unix socket {unix.well:,} and {unix.wrong:,} failed; {udp.wrong:,} of "
        text += f"{udp.well + udp.wrong:,} datagrams without a reply; {upgrade.lost:,} of {upgrade.sent:,} bytes in"
        kept = not (figures["wrong"] or unix.wrong or udp.wrong or upgrade.lost)
        yield _figure(subject, figures, f"{text} flight lost", kept)
    try:
        with haproxy() as (place, process, number):
            figures = visited(place, HTTP, lambda _turn: process.send_signal(number), UPGRADES, UPGRADE_SECONDS)
        yield _figure(HAPROXY, figures, "", None)
    except Lacking:
        pass
    try:
        with _nginx() as (place, pid_file):
            figures = visited(place, HTTP, partial(_upgrade_nginx, pid_file), UPGRADES, UPGRADE_SECONDS)
        yield _figure(NGINX, figures, "", None)
    except Lacking:
        pass


class Upgrade:
    """Stops a daemon with bytes of open connections in flight, and starts the next one with its sockets."""

    def __init__(
        self, stack: ExitStack, manager: Manager, config: str, running: list[Daemon], place: tuple[str, int]
    ) -> None:
        self.sent = self.lost = 0
        self._stack = stack
        self._manager = manager
        self._config = config
        self._running = running
        self._place = place

    def __call__(self, _turn: int) -> None:
        """Exchange it once."""
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(self._place, SECONDS)) for _ in range(OPEN)]
            for client in clients:
                client.sendall(b"x")
                client.recv(1)
            sending = [threading.Thread(target=_send, args=(client,)) for client in clients]
            for one in sending:
                one.start()
            stopping = threading.Thread(target=self._running[-1].stop)
            stopping.start()
            self.sent += EACH * OPEN
            self.lost += sum(EACH - _received(client) for client in clients)
            for one in (*sending, stopping):
                one.join(SECONDS)
        passed = [(name, Held(number)) for name, number in self._manager.stored]
        environ = {"NOTIFY_SOCKET": self._manager.where}
        self._running.append(self._stack.enter_context(activated(passed, self._config, environ=environ)))


def _send(client: socket.socket) -> None:
    """Send EACH bytes, and half-close."""
    try:
        client.sendall(bytes(EACH))
        client.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _received(client: socket.socket) -> int:
    """The bytes that come back until the end, at most EACH."""
    received = 0
    try:
        while received < EACH and (piece := client.recv(65_536)):
            received += len(piece)
    except OSError:
        pass
    return received


@contextmanager
def _nginx() -> Iterator[tuple[tuple[str, int], Path]]:
    """nginx in the background: it exchanges its program only if its parent has ended. Yields its pidfile, too."""
    path = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    if path is None:
        raise Lacking("nginx is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        os.chmod(folder, 0o755)
        config, pid_file = Path(folder, "conf"), Path(folder, "pid")
        server = f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 hello; }} }}"
        config.write_text(
            f"worker_processes 1; pid {pid_file}; error_log {folder}/errors crit;\n"
            f"events {{}} http {{ access_log off; {server} }}\n"
        )
        subprocess.run([path, "-c", str(config), "-p", folder], check=True, timeout=SECONDS)
        try:
            if not eventually(lambda: _pid_in(pid_file) > 0):
                raise Lacking("nginx does not become ready")
            yield ("127.0.0.1", port), pid_file
        finally:
            os.kill(_pid_in(pid_file), signal.SIGTERM)


def _upgrade_nginx(file: Path, _turn: int) -> None:
    """SIGUSR2 starts the new program beside the old one, and SIGQUIT ends that."""
    old = _pid_in(file)
    os.kill(old, signal.SIGUSR2)
    if not eventually(lambda: _pid_in(file) not in (0, old), 5):
        raise Lacking("nginx did not exchange its program")
    os.kill(old, signal.SIGQUIT)
    eventually(lambda: not Path(f"/proc/{old}").exists(), 5)


def _pid_in(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


@dataclass
class Beside:
    """The results of a client that runs beside the visits."""

    well: int = 0
    wrong: int = 0
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def beside(client: Callable[[Beside], None]) -> Iterator[Beside]:
    """Run a client in a thread until the end of the block."""
    found = Beside()
    thread = threading.Thread(target=client, args=(found,))
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        thread.join(SECONDS)


def _over_unix(path: str, found: Beside) -> None:
    """Visit a Unix socket repeatedly."""
    while not found.over.wait(ASKED):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            try:
                client.connect(path)
                client.sendall(b"hello")
                good = client.recv(5) == b"hello"
            except OSError:
                good = False
        found.well, found.wrong = found.well + good, found.wrong + (not good)


def _over_udp(place: tuple[str, int], found: Beside) -> None:
    """Send numbered datagrams, whether or not replies arrive; then wait for the replies that are missing."""
    sent, replies = 0, set[bytes]()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(place)
        client.setblocking(False)
        while not found.over.wait(ASKED):
            client.send(b"%d" % sent)
            sent += 1
            _drain(client, replies)
        eventually(lambda: _drain(client, replies) == sent, 5)
    found.well, found.wrong = len(replies), sent - len(replies)


def _drain(client: socket.socket, replies: set[bytes]) -> int:
    """Receive what has arrived; returns the number of different replies."""
    try:
        while True:
            replies.add(client.recv(100))
    except BlockingIOError:
        return len(replies)


SCENARIOS = (
    Scenario(
        30,
        f"{BAD} reloads of configurations that cannot be served",
        f"each is refused with the key or the line, no visit fails, {STREAMS} streams continue",
        bad_reloads,
    ),
    Scenario(
        31,
        f"{UPGRADES} exchanges of the program through the descriptor store",
        "no visit fails over TCP or a Unix socket, every datagram that fits the buffer has a reply, no byte is lost",
        upgrades,
    ),
)
