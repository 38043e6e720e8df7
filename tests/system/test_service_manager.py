"""Notifications to a service manager: ready, alive, reloading, stopping."""

import os
import signal
import socket

import pytest

from tests.contract.matrix import exactly
from tests.daemon import ECHOD, SECONDS, Daemon, environment, run


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    where = str(tmp_path / "notify") if request.param == "path" else f"@echod-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(SECONDS)
        listening.bind(where.replace("@", "\0", 1))
        yield where, lambda: listening.recv(4096).decode().splitlines()


def test_from_ready_to_stopped(manager):
    where, hear = manager
    with Daemon(listen=["echo=tcp://127.0.0.1:0"], environ={"NOTIFY_SOCKET": where}) as daemon:
        assert hear() == ["READY=1", "STATUS=serving 1 listener"]
        with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
            daemon.process.terminate()
            assert hear() == [
                "STOPPING=1",
                "EXTEND_TIMEOUT_USEC=15000000",
                "STATUS=stopping: 1 connection has 10 s to end",
            ]
        assert hear() == ["STOPPING=1", "STATUS=stopped"]
        assert daemon.wait() == 0


def test_watchdog_messages_until_it_hangs(manager):
    """A stopped process sends nothing, so the manager kills it."""
    where, hear = manager
    environ = {"NOTIFY_SOCKET": where, "WATCHDOG_USEC": "100000"}
    with Daemon(listen=["echo=tcp://127.0.0.1:0"], environ=environ) as daemon:
        assert hear()[0] == "READY=1"
        for _ in range(5):
            assert hear() == ["WATCHDOG=1"]
        daemon.send_signal(signal.SIGSTOP)
        daemon.send_signal(signal.SIGCONT)
        assert hear() == ["WATCHDOG=1"]
        daemon.check()


def test_a_reload_is_reported_before_and_after(manager):
    where, hear = manager
    config = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
    with Daemon(config, environ={"NOTIFY_SOCKET": where}) as daemon:
        assert hear() == ["READY=1", "STATUS=serving 1 listener"]
        file = daemon.dir / "echod.toml"
        for text, said in (
            (config + '[services.upper]\nlisten = ["tcp://127.0.0.1:0"]\n', "serving 2 listeners"),
            (config, "serving 1 listener"),
            ("junk", f"the new configuration is refused: {file}:1: not TOML"),
        ):
            file.write_text(text)
            daemon.send_signal(signal.SIGHUP)
            reloading, since = hear()
            assert reloading == "RELOADING=1"
            assert since.startswith("MONOTONIC_USEC=")
            ready, status = hear()
            assert ready == "READY=1"
            assert status.startswith(f"STATUS={said}")


def test_ready_is_never_sent_by_a_daemon_that_does_not_start(manager, tmp_path):
    where, _ = manager
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"echo=tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert run(*ECHOD, "--listen", listen, env=environment(NOTIFY_SOCKET=where)).returncode == 71
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.sendto(b"the end", where.replace("@", "\0", 1))
    assert manager[1]() == ["the end"]


def test_a_manager_that_never_reads_stops_nothing(manager):
    where, _ = manager
    environ = {"NOTIFY_SOCKET": where, "WATCHDOG_USEC": "2000"}
    with Daemon(listen=["echo=tcp://127.0.0.1:0"], environ=environ) as daemon:
        for _ in range(30):
            with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
                client.sendall(b"hello")
                assert exactly(client, 5) == b"hello"
        assert daemon.stop() == 0
        daemon.check()


def test_a_wrong_notify_socket_is_one_warning():
    with Daemon(listen=["echo=tcp://127.0.0.1:0"], environ={"NOTIFY_SOCKET": "vsock:2:1"}) as daemon:
        daemon.stderr.wait_for(r"warn +NOTIFY_SOCKET=vsock:2:1 is neither a path nor an abstract socket")
