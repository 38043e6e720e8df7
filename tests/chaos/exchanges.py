"""Changes while the server runs: reloads under load, a stop with replies in flight, and admin requests under load."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from echod.address import parse
from echod.client.admin import Administrator, RequestRefused, Unanswered
from tests.chaos import probe
from tests.chaos.lab import Lab, Server
from tests.chaos.network import Lacking
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import SECONDS, TOP, accepts, environment, eventually, free_port

ECHOD, PLAIN, WORKERS, STOCK = Subject.ECHOD, Subject.PLAIN, Subject.WORKERS, Subject.STOCK
ADMIN = '[admin]\nlisten = ["unix://{dir}/admin.sock?mode=0666", "tcp://127.0.0.1:0"]\n'
TCP = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
HTTP = "GET / HTTP/1.0\\r\\n\\r\\n"

# 29

RELOADS, RELOAD_SECONDS, VISITORS, STREAMS = 12, 10.0, 2, 100


def reloads(lab: Lab) -> Iterator[Figure]:
    """Continuous visits, a hundred long-lived streams, and twelve reloads in ten seconds."""
    for server in lab.each(ECHOD, PLAIN, WORKERS, services=TCP + ADMIN):
        assert server.daemon is not None
        daemon = server.daemon
        file = daemon.dir / "echod.toml"
        text = file.read_text()
        with ExitStack() as stack:
            streams = [stack.enter_context(socket.create_connection(server.tcp["echo"])) for _ in range(STREAMS)]
            administrator = stack.enter_context(administrator_of(server))
            figures = visited(server.tcp["echo"], "hello", partial(_reload, file, text, administrator))
            whole = sum(answers(client) for client in streams)
        good = not figures["wrong"] and whole == STREAMS and figures["longest"] <= 50
        yield _figure(server.subject, figures, f"; {whole} of {STREAMS} streams continue", good)
    for subject, serve in ((Subject.HAPROXY, haproxy), (Subject.NGINX, nginx)):
        try:
            with serve() as (place, process, number):
                figures = visited(place, HTTP, partial(_signal, process, number))
        except Lacking:
            continue
        yield _figure(subject, figures, "", None)


def _signal(process: subprocess.Popen[bytes], number: int, _turn: int) -> None:
    process.send_signal(number)


def _reload(file: Path, text: str, administrator: Administrator, turn: int) -> None:
    file.write_text(f"{text}\n[services.echo.limits]\nidle = '{turn + 60}s'\n")
    administrator.ask("/api/reload", "POST")


def _figure(subject: Subject, figures: dict[str, float], more: str, kept: bool | None) -> Figure:
    text = f"{figures['well']:,.0f} visits, {figures['wrong']:,.0f} failed, the longest {figures['longest']:g} ms"
    return Figure(subject, text + more, kept, figures)


def visited(
    place: tuple[str, int],
    text: str,
    disturb: Callable[[int], object],
    times: int = RELOADS,
    seconds: float = RELOAD_SECONDS,
) -> dict[str, float]:
    """The results of visits while the server is disturbed so many times."""
    words = [sys.executable, "-m", "tests.chaos.visits", str(seconds), place[0], str(place[1]), text]
    with ExitStack() as stack:
        visitors = [
            stack.enter_context(subprocess.Popen(words, cwd=TOP, env=environment(), stdout=subprocess.PIPE, text=True))
            for _ in range(VISITORS)
        ]
        for visitor in visitors:
            assert visitor.stdout is not None
            visitor.stdout.readline()
        for turn in range(times):
            time.sleep(seconds / (times + 1))
            disturb(turn)
        found = [json.loads(visitor.communicate(timeout=SECONDS + seconds)[0]) for visitor in visitors]
    return {
        "well": sum(one["well"] for one in found),
        "wrong": sum(one["wrong"] for one in found),
        "longest": max(one["longest"] for one in found),
    }


def answers(client: socket.socket) -> bool:
    client.settimeout(SECONDS)
    try:
        client.sendall(b"still here?")
        return client.recv(100) == b"still here?"
    except OSError:
        return False


@contextmanager
def haproxy() -> Iterator[tuple[tuple[str, int], subprocess.Popen[bytes], int]]:
    config = "global\n  master-worker\ndefaults\n  mode http\n  timeout client 5s\n  timeout connect 5s\n"
    config += "  timeout server 5s\nfrontend f\n  bind {place}\n"
    config += "  http-request return status 200 content-type text/plain string hello\n"
    with _other("haproxy", config, ("-W", "-f", "{file}", "-S", "{dir}/master.sock")) as (place, process):
        yield place, process, signal.SIGUSR2


@contextmanager
def nginx(workers: int = 1) -> Iterator[tuple[tuple[str, int], subprocess.Popen[bytes], int]]:
    config = f"worker_processes {workers}; "
    config += "daemon off; pid {dir}/pid; error_log stderr crit; events {{}} http {{ access_log off;\n"
    config += " server {{ listen {place}; location / {{ return 200 hello; }} }} }}\n"
    with _other("nginx", config, ("-c", "{file}", "-p", "{dir}")) as (place, process):
        yield place, process, signal.SIGHUP


@contextmanager
def _other(name: str, config: str, words: Sequence[str]) -> Iterator[tuple[tuple[str, int], subprocess.Popen[bytes]]]:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise Lacking(f"{name} is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        file = Path(folder, "conf")
        known = {"dir": folder, "file": file, "place": f"127.0.0.1:{port}"}
        file.write_text(config.format(**known))
        os.chmod(folder, 0o755)
        with subprocess.Popen(
            [path, *(word.format(**known) for word in words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                if not eventually(lambda: accepts(("127.0.0.1", port))):
                    raise Lacking(f"{name} does not become ready")
                yield ("127.0.0.1", port), process
            finally:
                process.terminate()
                try:
                    process.wait(3)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)


# 33

FINISHERS, EACH, STUCK, DRAIN = 10, 4 * 1024 * 1024, 20, 1.0


def stop(lab: Lab) -> Iterator[Figure]:
    """Ten clients have 4 MiB in flight each when the stop begins; twenty others never read."""
    for server in lab.each(ECHOD, PLAIN, WORKERS, STOCK, services=TCP):
        place = server.tcp["echo"]
        with ExitStack() as stack:
            for _ in range(STUCK):
                stuck = stack.enter_context(socket.create_connection(place))
                stuck.setblocking(False)
                with _until_full():
                    while True:
                        stuck.send(bytes(65_536))
            finishers = [stack.enter_context(socket.create_connection(place)) for _ in range(FINISHERS)]
            heard = [0] * FINISHERS
            half = threading.Barrier(FINISHERS + 1)
            threads = [
                threading.Thread(target=_finish, args=(client, heard, at, half)) for at, client in enumerate(finishers)
            ]
            for thread in threads:
                thread.start()
            half.wait(SECONDS)
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            for thread in threads:
                thread.join(SECONDS)
            ended = eventually(partial(_is_over, server.pid), 5)
            seconds = time.monotonic() - began
            code = server.daemon.wait() if server.daemon is not None and ended else None
        lost = FINISHERS * EACH - sum(heard)
        text = f"{lost / 2**20:.1f} of {FINISHERS * EACH / 2**20:.0f} MiB lost, exit after {seconds:.2f} s"
        text += f" with code {code}" if code is not None else ""
        kept = not lost and ended and seconds <= DRAIN + 1 and code == 0 if server.ours else None
        yield Figure(server.subject, text, kept, {"lost": lost, "seconds": round(seconds, 2), "code": code})


def _finish(client: socket.socket, heard: list[int], at: int, half: threading.Barrier) -> None:
    """Send everything while reading half of it; then the stop begins, and the rest is read."""
    client.settimeout(SECONDS)

    def send() -> None:
        try:
            client.sendall(bytes(EACH))
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    sender = threading.Thread(target=send)
    sender.start()
    told = False
    try:
        while piece := client.recv(65_536):
            heard[at] += len(piece)
            if heard[at] >= EACH // 2 and not told:
                told = True
                sender.join(0.2)
                half.wait(SECONDS)
    except OSError:
        pass
    sender.join(SECONDS)


@contextmanager
def _until_full() -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        pass


def _is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# 44

NOBODY, IDLE, ASKED, NOISE = 65_534, 100, 4.0, 2.0


def administrator(lab: Lab) -> Iterator[Figure]:
    """Idle clients, malformed requests and a scrape ten times a second during a conversation; then a flood."""
    for server in lab.each(ECHOD, PLAIN, services=TCP + ADMIN):
        place = server.tcp["echo"]
        quiet = probe.stream(place, ASKED)
        with ExitStack() as stack:
            path = _socket(server)
            for _ in range(IDLE):
                idle = stack.enter_context(socket.socket(socket.AF_UNIX))
                idle.connect(path)
            over = threading.Event()
            scraped: list[float] = []
            stack.callback(over.set)
            scraper = threading.Thread(target=_scrape, args=(server, over, scraped, 0.1))
            scraper.start()
            beside = probe.stream(place, ASKED)
            before = len(scraped)
            flooding = [threading.Thread(target=_flood, args=(place, over)) for _ in range(8)]
            for one in flooding:
                one.start()
            time.sleep(ASKED)
            slowest = max(scraped[before:], default=float("inf"))
            over.set()
            for one in (*flooding, scraper):
                one.join(SECONDS)
        refused = _as_nobody(path)
        ratio = beside.p99 / quiet.p99 if quiet.p99 else 0.0
        text = (
            f"another client's p99 {quiet.p99} ms before, {beside.p99} ms during it ({ratio:.1f}×); a reply under load"
        )
        text += f" within {slowest * 1000:.0f} ms; another user refused in {refused * 1000:.1f} ms"
        kept = (ratio <= 2 or beside.p99 <= NOISE) and slowest <= 0.25 and refused <= 0.01 and not beside.lost
        values = {"quiet": vars(quiet), "beside": vars(beside), "slowest": slowest, "refused": refused}
        yield Figure(server.subject, text, kept, values)


def _socket(server: Server) -> str:
    assert server.daemon is not None
    return str(server.daemon.dir / "admin.sock")


def administrator_of(server: Server) -> Administrator:
    return Administrator(parse(f"unix://{_socket(server)}"))


def _scrape(server: Server, over: threading.Event, took: list[float], every: float) -> None:
    """Request /metrics repeatedly; `took` receives the seconds of each request."""
    while not over.is_set():
        with administrator_of(server) as asking:
            began = time.monotonic()
            try:
                asking.open("/metrics").read()
            except (Unanswered, RequestRefused):
                took.append(float("inf"))
            else:
                took.append(time.monotonic() - began)
        over.wait(every)


def _flood(place: tuple[str, int], over: threading.Event) -> None:
    """Send as much as the connection accepts."""
    with socket.create_connection(place, SECONDS) as client:
        while not over.is_set():
            client.sendall(bytes(65_536))
            left = 65_536
            while left:
                left -= len(client.recv(left))


_ASK = """
import os, socket, sys, time
os.setgroups([]); os.setgid({id}); os.setuid({id})
with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(5)
    began = time.monotonic()
    client.connect(sys.argv[1])
    client.sendall(b"POST /api/reload HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 0\\r\\n\\r\\n")
    assert b" 403 " in client.recv(4096)
    print(time.monotonic() - began)
"""


def _as_nobody(path: str) -> float:
    """The seconds until another user's request was refused."""
    if os.geteuid() != 0:
        raise Lacking("a request as another user needs root")
    os.chmod(Path(path).parent, 0o755)
    words = [sys.executable, "-c", _ASK.format(id=NOBODY), path]
    said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=SECONDS).stdout
    return float(said)


SCENARIOS = (
    Scenario(
        29,
        f"{many(RELOADS, 'reload')} under load",
        f"no visit fails, {STREAMS} streams continue, no visit takes longer than 50 ms",
        reloads,
    ),
    Scenario(33, "a stop with 40 MiB in flight", "nothing is lost, and it takes at most `drain` plus 1 s", stop),
    Scenario(
        44,
        "admin requests under load, and load under admin requests",
        f"another client's p99 at most 2×, or {NOISE:g} ms; a reply within 250 ms; another user refused within 10 ms",
        administrator,
    ),
)
