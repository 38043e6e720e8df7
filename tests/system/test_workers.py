"""Worker processes: the end of one costs its own connections only, and the rest works as with one process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import pytest

from tests.activation import activated
from tests.contract.matrix import PLANES, data, exactly, rest
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually, free_port, run
from tests.manager import Held, Manager
from tests.unit.test_daemon_landlock import there_is_landlock

ECHO = '"tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/stream", "unix-dgram://{dir}/datagram"'
FLOWS = 24  #: UDP flows: that all of them belong to one of two workers has a probability of 2**-23


def configuration(plane: str = "auto", *, drain: str = "60s", services: str = "", workers: str = "2") -> str:
    return f"""
[daemon]
workers = {workers}
plane = "{plane}"
drain = "{drain}"
[admin]
listen = ["unix://{{dir}}/admin.sock"]
[services.echo]
listen = [{ECHO}]
{services}"""


def asked(daemon: Daemon, *words: str, code: int = 0) -> str:
    """The output of echoctl with this daemon, which must end with this code."""
    done = run(*ECHOCTL, *words, "--admin", f"unix://{daemon.dir}/admin.sock")
    assert done.returncode == code, done
    return done.stdout.decode()


def status(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asked(daemon, "status", "--json"))
    return found


def fetched(daemon: Daemon, path: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(f"{daemon.dir}/admin.sock")
        admin.sendall(b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % path.encode())
        return rest(admin)


def pids(daemon: Daemon) -> list[int]:
    return [one["pid"] for one in status(daemon)["workers"]]


def shares(daemon: Daemon, connections: int) -> list[int]:
    """The connections of each worker, once all are reported: a worker that the kernel suspends now replies late."""
    found: list[int] = []

    def are_complete() -> bool:
        found[:] = (one["connections"] for one in status(daemon)["workers"])
        return sum(found) == connections

    assert eventually(are_complete), found
    return found


def is_replaced(daemon: Daemon, pid: int) -> bool:
    now = [one["pid"] for one in status(daemon)["workers"] if one["serving"]]
    return pid not in now and len(now) == 2


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def has_a_spare(daemon: Daemon) -> bool:
    return len(children(daemon.process.pid)) == 3


def connected(daemon: Daemon) -> socket.socket:
    return socket.create_connection(daemon.inet("echo", "tcp"), SECONDS)


def is_closed(place: tuple[str, int]) -> bool:
    with socket.socket() as client:
        return client.connect_ex(place) != 0


def echoed(client: socket.socket, message: bytes = b"hello") -> bool:
    """Whether the connection still echoes; False if it was reset or closed."""
    try:
        client.sendall(message)
        return exactly(client, len(message)) == message
    except (OSError, AssertionError):
        return False


def flows(daemon: Daemon, stack: ExitStack) -> Iterator[socket.socket]:
    for _ in range(FLOWS):
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.settimeout(SECONDS)
        client.connect(daemon.inet("echo", "udp"))
        yield client


@pytest.mark.parametrize("plane", PLANES)
def test_a_killed_worker_costs_its_own_connections_only(plane):
    with ExitStack() as stack, Daemon(configuration(plane)) as daemon:
        assert eventually(lambda: has_a_spare(daemon))
        before = status(daemon)["workers"]
        clients = [stack.enter_context(connected(daemon)) for _ in range(40)]
        assert all(echoed(one) for one in clients)
        udp = list(flows(daemon, stack))
        assert all(echoed(one) for one in udp)
        lost, _kept = shares(daemon, len(clients))
        first = before[0]["pid"]
        os.kill(first, signal.SIGKILL)
        assert eventually(partial(is_replaced, daemon, first))
        alive = [echoed(one) for one in clients]
        assert alive.count(False) == lost
        assert all(echoed(one) for one in udp)  # also those of the dead worker's socket
        with connected(daemon) as later:
            assert echoed(later)
        daemon.stderr.wait_for(f" error worker 0, process {first}, has ended: signal SIGKILL$")
        assert [one["worker"] for one in status(daemon)["workers"]] == [one["worker"] for one in before]
        for client in clients:
            client.close()
        assert eventually(lambda: all(not one["connections"] for one in status(daemon)["workers"]))
        counters = daemon.counters()[f"echo {daemon.url('echo', 'tcp')}"]
        assert counters.get("closed:worker", 0) == lost
        assert counters["accepted"] == len(clients) + 1 == sum(counters[key] for key in counters if "closed" in key)
        assert "open" not in counters


def test_a_worker_that_hangs_is_replaced_and_delays_no_connection():
    with ExitStack() as stack, Daemon(configuration()) as daemon:
        assert eventually(lambda: has_a_spare(daemon))
        udp = list(flows(daemon, stack))
        stopped, _other = pids(daemon)
        os.kill(stopped, signal.SIGSTOP)
        for client in udp:
            client.send(b"waits in the queue, if its worker is stopped")
        for _ in range(50):
            with connected(daemon) as client:
                assert echoed(client)
        assert eventually(
            lambda: not any(one["responding"] for one in status(daemon)["workers"] if one["pid"] == stopped)
        )
        daemon.stderr.wait_for(f"process {stopped}, has ended: it did not respond")
        assert all(client.recv(100) == b"waits in the queue, if its worker is stopped" for client in udp)


def test_workers_end_with_their_parent_and_drain_before():
    config = configuration(drain="60s").replace("127.0.0.1:0", f"127.0.0.1:{free_port()}")
    with Daemon(config, bugs=True) as daemon, connected(daemon) as client:
        assert echoed(client)
        assert eventually(lambda: has_a_spare(daemon))
        *workers, _spare = everyone = children(daemon.process.pid)
        os.kill(workers[0], signal.SIGSTOP)
        daemon.process.kill()
        place = daemon.inet("echo", "tcp")
        assert eventually(lambda: is_closed(place))
        if any(is_running(one) for one in everyone):  # the worker of the connection drains it
            echoed(client, data(100_000))
        client.close()
        assert eventually(lambda: not any(is_running(one) for one in everyone))
        with Daemon(f'[services.echo]\nlisten = ["tcp://{place[0]}:{place[1]}"]\n') as again, connected(again) as other:
            assert echoed(other)


def test_a_reload_changes_all_workers_or_none():
    upper = '[services.upper]\nlisten = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]\n'
    with ExitStack() as stack, Daemon(configuration()) as daemon:
        file = daemon.dir / "echod.toml"
        old = file.read_text()
        clients = [stack.enter_context(connected(daemon)) for _ in range(20)]
        assert all(echoed(one) for one in clients)
        file.write_text(old + upper)
        assert "+ upper tcp://" in asked(daemon, "reload")
        host, port = daemon.stderr.wait_for(r"\+ upper tcp://(\S+):(\d+)").groups()
        for _ in range(20):
            with socket.create_connection((host, int(port)), SECONDS) as client:
                client.sendall(b"hello")
                assert exactly(client, 5) == b"HELLO"
        workers = pids(daemon)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            busy = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            for wrong in ("[services.x", f'[services.discard]\nlisten = ["{busy}"]\n'):
                file.write_text(old + wrong)
                asked(daemon, "reload", code=78)
        file.write_text(old)
        assert "- upper tcp://" in asked(daemon, "reload")
        assert eventually(lambda: is_closed((host, int(port))))
        assert all(echoed(one) for one in clients)
        assert pids(daemon) == workers
        daemon.stderr.wait_for("not reloaded")


@pytest.mark.slow
def test_a_reload_reports_that_workers_change_at_the_next_start():
    with Daemon(configuration()) as daemon:
        file = daemon.dir / "echod.toml"
        file.write_text(file.read_text().replace("workers = 2", "workers = 3"))
        asked(daemon, "reload")
        daemon.stderr.wait_for("daemon.workers: 3 takes effect at the next start")
        assert len(pids(daemon)) == 2


@pytest.mark.parametrize("plane", PLANES)
def test_a_stop_loses_no_byte(plane):
    with ExitStack() as stack, Daemon(configuration(plane)) as daemon:
        clients = [stack.enter_context(connected(daemon)) for _ in range(8)]
        sent = data(300_000)
        for client in clients:
            client.sendall(sent[:200_000])
        daemon.send_signal(signal.SIGTERM)
        for client in clients:
            client.sendall(sent[200_000:])
            client.shutdown(socket.SHUT_WR)
        assert [rest(client) for client in clients] == [sent] * len(clients)
        assert daemon.wait() == 0
        assert not os.listdir(daemon.dir) or sorted(os.listdir(daemon.dir)) == ["echod.toml"]


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once():
    with ExitStack() as stack, Daemon(configuration(drain="1h")) as daemon:
        everyone = children(daemon.process.pid)
        for _ in range(8):
            client = stack.enter_context(connected(daemon))
            assert echoed(client)
            client.sendall(data(100_000))  # it reads nothing, and does not end
        daemon.send_signal(signal.SIGTERM)
        daemon.stderr.wait_for(" stopping: ")
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert not any(is_running(one) for one in everyone)


@pytest.mark.slow
def test_signals_that_a_terminal_sends_to_all_processes_are_for_the_parent():
    with Daemon(configuration()) as daemon, connected(daemon) as client:
        assert echoed(client)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            for pid in pids(daemon):
                os.kill(pid, number)
        assert echoed(client)
        assert status(daemon)["ready"]
        daemon.check()


def test_the_admin_interface_shows_the_sums():
    with ExitStack() as stack, Daemon(configuration()) as daemon:
        clients = [stack.enter_context(connected(daemon)) for _ in range(30)]
        assert all(echoed(one) for one in clients)

        def sums() -> list[int]:
            counters = status(daemon)["services"][0]["listeners"][0]
            return [counters[name] for name in ("accepted", "open", "bytes_in")]

        assert eventually(lambda: sums() == [30, 30, 150])  # a worker that the kernel suspends now replies late
        assert eventually(lambda: fetched(daemon, "/api/connections").count(b'"peer"') == len(clients))
        assert eventually(lambda: fetched(daemon, "/api/connections?limit=7").count(b'"peer"') == 7)
        assert b"\nechod_workers 2.0\n" in fetched(daemon, "/metrics")


@pytest.mark.slow
@pytest.mark.parametrize("plane", PLANES)
def test_connections_are_shared_between_the_workers(plane):
    with ExitStack() as stack, Daemon(configuration(plane)) as daemon:
        for _ in range(200):
            assert echoed(stack.enter_context(connected(daemon)))
        assert min(shares(daemon, 200)) > 0


def test_a_limit_counts_the_connections_of_all_workers():
    limits = "[services.echo.limits]\nconnections = 10\n"
    with ExitStack() as stack, Daemon(configuration(services=limits)) as daemon:
        clients = []
        for _ in range(30):
            with suppress(ConnectionResetError):  # the daemon may refuse it before connect() returns
                clients.append(stack.enter_context(connected(daemon)))
        admitted = [echoed(one) for one in clients].count(True)
        assert 10 <= admitted <= 11  # two workers may admit one at the same moment


@pytest.mark.slow
def test_a_restart_through_the_descriptor_store_refuses_no_client(tmp_path):
    """The next daemon has another number of workers; the sockets are the same."""
    tcp, udp = free_port(), free_port()
    listen = f'listen = ["tcp://127.0.0.1:{tcp}", "udp://127.0.0.1:{udp}", "unix://{tmp_path}/s"]\n'
    configs = [f'[daemon]\nworkers = {number}\ndrain = "1s"\n[services.echo]\n{listen}' for number in (2, 3, 1)]
    with Manager(tmp_path) as manager, ExitStack() as stack:
        environ = {"NOTIFY_SOCKET": manager.where}
        waiting: list[socket.socket] = []
        for config in configs:
            passed = [(name, Held(number)) for name, number in manager.stored]
            made = activated(passed, config, environ=environ) if passed else Daemon(config, environ=environ)
            with made as daemon:
                assert [client.recv(100) for client in waiting] == [b"hello"] * len(waiting)
                waiting = []
                for family, kind, place in (
                    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", tcp)),
                    (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", udp)),
                    (socket.AF_UNIX, socket.SOCK_STREAM, f"{tmp_path}/s"),
                ):
                    client = stack.enter_context(socket.socket(family, kind))
                    client.settimeout(SECONDS)
                    client.connect(place)
                    assert echoed(client)
                assert daemon.stop() == 0
                daemon.check()
            for family, place in ((socket.AF_INET, ("127.0.0.1", tcp)), (socket.AF_UNIX, f"{tmp_path}/s")):
                client = stack.enter_context(socket.socket(family))
                client.settimeout(SECONDS)
                client.connect(place)
                client.sendall(b"hello")
                waiting.append(client)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (
            '[services.discard]\nlisten = ["tcp://127.0.0.1:0", "tcp:0"]\n',
            "listen[1]: tcp:0: workers cannot share an endpoint string;"
            " expected an address such as tcp://*:7, or workers = 1",
        ),
        (
            '[services.discard]\nlisten = ["tcp://127.0.0.1:0"]\nrecord = "1MiB"\n',
            "record: each worker would keep its own messages; expected no record, or workers = 1 in [daemon]",
        ),
    ],
    ids=["endpoint", "record"],
)
def test_what_workers_cannot_share_is_an_error_of_the_start(more, error):
    daemon = Daemon(configuration(services=more))
    try:
        daemon.launch()
        assert daemon.wait() == 78
        assert re.search(rf"echod\.toml:[0-9]+: services\.discard\.{re.escape(error)}\n", daemon.log())
    finally:
        daemon.close()


@pytest.mark.slow
@pytest.mark.skipif(not there_is_landlock(), reason="this kernel has no Landlock")
def test_a_confined_parent_can_replace_workers():
    with Daemon(configuration().replace("workers = 2", "workers = 2\nlandlock = true")) as daemon:
        assert eventually(lambda: has_a_spare(daemon))
        daemon.stderr.wait_for("confined by Landlock, version")
        for _ in range(3):
            first = pids(daemon)[0]
            os.kill(first, signal.SIGKILL)
            assert eventually(partial(is_replaced, daemon, first))
        with connected(daemon) as client:
            assert echoed(client)


@pytest.mark.slow
def test_addresses_that_differ_in_their_schemes_only_have_their_own_sockets():
    more = """[services.whoami]
listen = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0", "ws://127.0.0.1:0/a", "ws://127.0.0.1:0/b", "tcp://127.0.0.1:0"]
[services.whoami.tls]
certificate = "self-signed"
"""
    with Daemon(configuration(services=more)) as daemon:
        urls = [url for name, url in daemon.urls if name == "whoami"]
        assert len(urls) == 5
        for url in urls:
            insecure = ["--insecure"] if url.startswith("tls") else []
            done = run(*ECHOCTL, "send", *insecure, url, "hello")
            assert (done.returncode, b"127.0.0.1" in done.stdout) == (0, True), done
        assert len(pids(daemon)) == 2
        daemon.check()


def test_all_workers_answer_for_the_same_test_authority():
    more = '[services.revocation]\nlisten = ["http://127.0.0.1:0"]\n'
    with Daemon(configuration(services=more)) as daemon:
        place = daemon.inet("revocation", "http")
        authorities = set()
        for _ in range(20):
            with socket.create_connection(place, SECONDS) as client:
                client.sendall(b"GET /ca.pem HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                authorities.add(rest(client).partition(b"\r\n\r\n")[2])
        assert len(authorities) == 1


def test_it_needs_no_working_folder_and_no_module_path():
    """A worker finds the modules of its parent, and not those of the working folder."""
    with Daemon(configuration(), environ=environment()) as daemon:
        assert len(pids(daemon)) == 2
