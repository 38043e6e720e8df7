"""`echod.testing.Daemon`, as the tests of other projects use it."""

import gc
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, suppress

import pytest

from echod.testing import Daemon, DaemonError, Received
from tests.daemon import SECONDS, environment
from tests.websocket import WebSocketClient

CRASHES = """
import os, signal, sys
from echod.testing import Daemon
daemon = Daemon("echo=tcp://127.0.0.1:0")
daemon.start()
print(daemon.dir, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


OWN = "echo=tcp://127.0.0.42:0"  #: no other test uses this address, and can get its port during a restart


def exchanged(address, text=b"hello"):
    """The reply of an echo service."""
    with socket.create_connection(address, SECONDS) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65_536), b""))


@pytest.fixture(scope="module")
def daemon():
    with Daemon(
        "echo=tcp://127.0.0.1:0",
        "echo=udp://127.0.0.1:0",
        "echo=tls://127.0.0.1:0",
        "echo=ws://127.0.0.1:0/",
        "ack=unix://{dir}/ack.sock",
        timeout=SECONDS,
    ) as daemon:
        yield daemon


def test_addresses(daemon):
    assert [(one.service, one.scheme) for one in daemon.listeners] == [
        *(("echo", scheme) for scheme in ("tcp", "udp", "tls", "ws")),
        ("ack", "unix"),
    ]
    host, port = daemon.address
    assert (host, port) == ("127.0.0.1", daemon.port)
    assert daemon.url() == daemon.url("echo", "tcp") == f"tcp://127.0.0.1:{port}"
    assert daemon.url(scheme="udp").startswith("udp://127.0.0.1:")
    assert daemon.path_of("ack") == str(daemon.dir / "ack.sock")
    with pytest.raises(LookupError, match=r"^tcp://\S+ is not a Unix socket; expected \.address"):
        daemon.path_of("echo", "tcp")
    with pytest.raises(LookupError, match=r"ack.sock has no host and port; expected \.path"):
        daemon.address_of("ack")
    with pytest.raises(LookupError, match=r"no listener for service 'upper' and scheme None; served are echo=tcp://"):
        daemon.url("upper")


def test_received_has_whole_streams_and_messages(daemon):
    daemon.forget_received()
    assert exchanged(daemon.address, b"x" * 100_000) == b"x" * 100_000
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"datagram", daemon.address_of("echo", "udp"))
        received = daemon.received(at_least=100_008)
    web = WebSocketClient(daemon.address_of("echo", "ws"))
    web.send(b"message", text=True)
    received = daemon.received("echo", at_least=100_015)
    web.close()
    assert [(one.transport, one.data, one.text) for one in received] == [
        ("tcp", b"x" * 100_000, None),
        ("udp", b"datagram", None),
        ("ws", b"message", True),
    ]
    assert isinstance(received[0], Received)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(daemon.path_of("ack"))
        client.sendall(b"one")
        assert client.recv(9) == b"received"
    assert [one.data for one in daemon.received("ack")] == [b"one"]


def test_counters_and_connections(daemon):
    before = daemon.counters("ack").get("accepted", 0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(daemon.path_of("ack"))
        daemon.wait_until(lambda: daemon.counters("ack").get("accepted", 0) == before + 1)
        [connection] = [one for one in daemon.connections() if one["service"] == "ack"]
        assert connection["bytes_in"] == 0
    daemon.wait_until(lambda: daemon.counters("ack").get("closed:done", 0) == before + 1, "the connection is closed")


def test_a_tls_client_can_verify_it(daemon):
    context = ssl.create_default_context(cafile=daemon.ca_file)
    with (
        socket.create_connection(daemon.address_of("echo", "tls"), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(b"hello")
        assert client.recv(9) == b"hello"


def test_an_http_client_chooses_its_fault():
    with Daemon("bin=http://127.0.0.1:0/", timeout=SECONDS) as daemon:
        with urllib.request.urlopen(f"{daemon.url()}/size=10", timeout=SECONDS) as response:
            assert len(response.read()) == 10
        assert daemon.received()[0].data.startswith(b"GET /size=10 HTTP/1.1\r\n")


def test_a_restart_has_the_same_ports_and_begins_again():
    with (
        Daemon(OWN, OWN.replace("tcp", "udp"), timeout=SECONDS) as daemon,
        socket.socket(type=socket.SOCK_DGRAM) as guard,  # no client of UDP gets the port at every address meanwhile
    ):
        guard.bind(("127.0.0.43", daemon.address_of(scheme="udp")[1]))
        urls = [one.url for one in daemon.listeners]
        exchanged(daemon.address)
        assert daemon.stop() == 0
        assert daemon.counters() == {"accepted": 1, "bytes_in": 5, "bytes_out": 5, "closed:done": 1}
        assert [one.data for one in daemon.received()] == [b"hello"]
        with pytest.raises(ConnectionRefusedError):
            exchanged(daemon.address)
        with pytest.raises(DaemonError, match="echod has exited with 0"):
            daemon.connections()
        daemon.restart()
        assert [one.url for one in daemon.listeners] == urls
        assert daemon.received() == []
        assert exchanged(daemon.address) == b"hello"


def test_a_stop_ends_the_connections_that_clients_keep():
    with (
        Daemon("discard=tcp://127.0.0.1:0", timeout=SECONDS) as daemon,
        socket.create_connection(daemon.address, SECONDS) as client,
    ):
        client.sendall(b"hello")
        daemon.received(at_least=5)
        assert daemon.stop() == 0
        assert daemon.counters()["closed:drain"] == 1
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_a_killed_daemon_can_be_restarted():
    with Daemon(OWN, timeout=SECONDS) as daemon:
        with socket.create_connection(daemon.address, SECONDS) as client:
            client.sendall(b"x")
            assert client.recv(9) == b"x"
            daemon.kill()
            assert client.recv(9) == b""
        daemon.restart()
        assert exchanged(daemon.address) == b"hello"


def test_a_suspended_daemon_accepts_and_does_not_answer():
    with Daemon("echo=tcp://127.0.0.1:0", timeout=SECONDS) as daemon:
        daemon.suspend()
        with socket.create_connection(daemon.address, SECONDS) as client:
            client.sendall(b"hello")
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(9)
            daemon.resume()
            client.settimeout(SECONDS)
            assert client.recv(9) == b"hello"
        daemon.suspend()
        assert daemon.stop() == 0
        assert [one.data for one in daemon.received()] == [b"hello"]


def test_settings_and_a_whole_configuration():
    config = '[services.mine]\nkind = "ack"\nlisten = ["unix://{dir}/mine.sock"]\n'
    with Daemon(config=config, settings={"close": False, "limits": {"idle": "1h"}}, timeout=SECONDS) as daemon:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(daemon.path_of())
            for _ in range(2):
                client.sendall(b"x")
                assert client.recv(99) == b"received"
        assert [one.data for one in daemon.received()] == [b"xx"]
        assert daemon.path == str(daemon.dir / "mine.sock")
    assert not daemon.dir.exists()


@pytest.mark.parametrize(
    ("listen", "options", "right"),
    [
        (["ecko=tcp://127.0.0.1:0"], {}, 'unknown kind "ecko"; did you mean echo'),
        (["echo=tcp://192.0.2.1:7"], {}, "tcp://192.0.2.1:7: cannot assign requested address"),
        (["echo=tcp://127.0.0.1:0"], {"settings": {"shwo": "no"}}, "shwo: unknown key; did you mean show?"),
        ([], {"config": "[services"}, "echod.toml:1: not TOML"),
    ],
    ids=["kind", "address", "key", "toml"],
)
def test_a_daemon_that_does_not_start_says_why(listen, options, right):
    daemon = Daemon(*listen, **options, timeout=SECONDS)
    with pytest.raises(DaemonError, match=r"echod did not start: exit code (78|71)\n") as caught, daemon:
        pass
    assert right.lower() in str(caught.value).lower()
    assert not daemon.dir.exists()


def test_addresses_that_are_not_kind_and_url_are_refused_at_once():
    with pytest.raises(ValueError, match="'tcp://127.0.0.1:0' is not KIND=URL; expected an address such as echo=tcp"):
        Daemon("tcp://127.0.0.1:0")
    with pytest.raises(ValueError, match="expected addresses such as .* and not both"):
        Daemon()
    with pytest.raises(DaemonError, match="was not started: use `with`"):
        Daemon("echo=tcp://127.0.0.1:0").counters()


def test_faults_change_while_it_runs_also_for_open_connections_and_over_a_restart():
    with Daemon(OWN, OWN.replace("echo", "upper"), timeout=SECONDS) as daemon:
        with socket.create_connection(daemon.address, SECONDS) as client:
            client.sendall(b"one")
            assert client.recv(9) == b"one"
            daemon.set_faults(silent=True)
            client.sendall(b"unanswered")
            daemon.received(at_least=13)
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(9)
        daemon.set_faults(truncate="2")
        assert exchanged(daemon.address) == b"he"
        assert exchanged(daemon.address_of("upper")) == b"HELLO"
        daemon.restart()
        assert exchanged(daemon.address) == b"he"
        with pytest.raises(DaemonError, match=r"faults\.dleay: unknown key; did you mean delay\?"):
            daemon.set_faults(dleay="1s")


def test_faults_from_the_start():
    with Daemon("echo=tcp://127.0.0.1:0", faults={"close-after": "3"}, timeout=SECONDS) as daemon:
        assert exchanged(daemon.address) == b"hel"
        running = daemon.counters()
        daemon.stop()
        assert running == daemon.counters()
        assert running["fault:close-after"] == 1


def aborted(daemon):
    with daemon:
        os.kill(daemon.pid, signal.SIGABRT)
        daemon.wait_until(lambda: daemon._process.popen.poll() is not None)


def test_a_daemon_that_exits_by_itself_fails_the_test():
    with pytest.raises(DaemonError, match=f"echod has exited with -{signal.SIGABRT.value}"):
        aborted(Daemon("echo=tcp://127.0.0.1:0", timeout=SECONDS))


def test_the_log_is_a_note_of_a_failure():
    with pytest.raises(ZeroDivisionError) as caught, Daemon("echo=tcp://127.0.0.1:0", timeout=SECONDS):
        raise ZeroDivisionError
    assert "ready: 2 listeners" in caught.value.__notes__[0]


def test_more_than_is_kept_is_an_error():
    with Daemon("echo=tcp://127.0.0.1:0", record="1KiB", timeout=SECONDS) as daemon:
        exchanged(daemon.address, b"x" * 2000)
        with pytest.raises(DaemonError, match=r"clients sent more than is kept; use Daemon\(…, record=…\)"):
            daemon.received()
        daemon.forget_received()
        daemon.timeout = 0
        with pytest.raises(DaemonError, match="0 bytes were received, expected at least 1"):
            daemon.received(at_least=1)
        daemon.timeout = SECONDS


def test_without_record_the_fast_path_serves():
    with Daemon("echo=tcp://127.0.0.1:0", record=None, timeout=SECONDS) as daemon:
        assert exchanged(daemon.address) == b"hello"
        with pytest.raises(DaemonError, match="echo records nothing"):
            daemon.received()
        assert daemon.wait_for_log(r"ready: \d+") == "ready: 2"


def test_a_forked_process_does_not_end_it():
    with Daemon("echo=tcp://127.0.0.1:0", timeout=SECONDS) as daemon:
        if (child := os.fork()) == 0:
            try:
                daemon._process._close_at_exit()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert exchanged(daemon.address) == b"hello"
        with pytest.raises(DaemonError, match="started already"):
            daemon.start()


def test_a_missing_counter_is_0_and_a_long_folder_of_temporary_files_is_not_used(monkeypatch, tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with Daemon("echo=unix://{dir}/echo.sock", timeout=SECONDS) as daemon:
        assert daemon.counters()["accepted"] == 0
        assert str(daemon.dir).startswith("/tmp/echod-")
    assert not list(long.iterdir())


def test_a_daemon_that_was_not_started_leaves_no_folder():
    directory = Daemon("echo=tcp://127.0.0.1:0").dir
    gc.collect()
    assert not directory.exists()


def test_no_descriptor_and_no_process_is_left():
    def descriptors():
        return sorted(os.listdir("/proc/self/fd"))

    gc.collect()  # what other tests have left
    before = descriptors()
    with ExitStack() as stack:
        pids = [stack.enter_context(Daemon("echo=tcp://127.0.0.1:0", timeout=SECONDS)).pid for _ in range(2)]
    assert descriptors() == before
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_it_ends_with_a_program_that_was_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", CRASHES], stdout=subprocess.PIPE, env=environment(TMPDIR=str(tmp_path))
    )
    [line] = process.stdout.read().splitlines()  # up to the end of the program
    process.stdout.close()
    assert process.wait(SECONDS) == -signal.SIGKILL
    admin = os.fsdecode(line) + "/admin.sock"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        try:
            client.connect(admin)
            assert client.recv(1) == b""
        except (FileNotFoundError, ConnectionError):
            pass
