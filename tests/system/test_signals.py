"""A daemon stops in order and with exit code 0, and no client with a pending reply loses a byte."""

import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.matrix import PLANES, data, exactly, fill, rest
from tests.daemon import ECHOCTL, ECHOD, SECONDS, Daemon, environment, eventually, run

ECHO = ["echo=tcp://127.0.0.1:0"]
# No other test uses this address, so the port is not used when the daemon has closed it.
SLOW = '[daemon]\ndrain = "60s"\n[services.echo]\nlisten = ["tcp://127.0.0.41:0"]\n'


def connected(daemon: Daemon) -> socket.socket:
    return socket.create_connection(daemon.inet("echo", "tcp"), SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_at_any_moment(number):
    """The signal arrives with the first line of output, before anything else has happened."""
    with Daemon(listen=ECHO) as daemon:
        daemon.send_signal(signal.SIGHUP)  # a terminal that closes: the daemon must continue
        daemon.send_signal(number)
        assert daemon.wait() == 0
        assert all(line.isprintable() for line in daemon.stderr.text)
        daemon.stderr.wait_for(" stopped ")
        daemon.check()


EARLY = """
import os, signal, sys, types
twistd = types.ModuleType("twisted.scripts.twistd")
twistd.run = lambda: (os.kill(os.getpid(), signal.{}), print("goes on"))
sys.modules["twisted.scripts.twistd"] = twistd
from echod.__main__ import main
main()
"""
"""A signal while Twisted is being imported."""

BOUND = """
import os, signal, sys
from echod import tap
told = tap.start_warnings
def tell(bound):
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.{})
    return told(bound)
tap.start_warnings = tell
from echod.__main__ import main
main()
"""
"""And a signal while everything is bound, and nothing is served yet."""


@pytest.mark.parametrize(
    ("name", "said"), [("SIGTERM", b""), ("SIGINT", b""), ("SIGHUP", b"goes on\n"), ("SIGUSR1", b"goes on\n")]
)
def test_a_signal_before_anything_is_open(name, said):
    ended = run(ECHOD[0], "-c", EARLY.format(name))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, said, b"")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_once_everything_is_bound(name, tmp_path):
    path = tmp_path / "echo.sock"
    ended = run(ECHOD[0], "-c", BOUND.format(name), "--listen", f"echo=unix://{path}")
    assert ended.returncode == 0
    assert b" stopped" in ended.stderr
    assert not path.exists()


def test_the_second_signal_ends_it_at_once_with_clients_that_do_not_read():
    with Daemon(SLOW) as daemon, connected(daemon) as stuck, connected(daemon) as silent:
        fill(stuck, daemon.process.pid, data())
        silent.sendall(b"!")
        assert exactly(silent, 1) == b"!"
        daemon.send_signal(signal.SIGINT)
        daemon.stderr.wait_for("stopping: 2 connections have 60 s to end")
        daemon.send_signal(signal.SIGINT)
        assert daemon.wait(30) == 0  # of 60
        daemon.check()


def test_a_client_with_a_reply_in_flight_gets_all_of_it():
    with Daemon(SLOW) as daemon, connected(daemon) as client:
        sent = fill(client, daemon.process.pid, data())
        daemon.send_signal(signal.SIGTERM)
        daemon.stderr.wait_for("stopping: 1 connection ")
        with pytest.raises(ConnectionRefusedError):
            connected(daemon)
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == data()[:sent]
        assert daemon.wait() == 0
        assert next(iter(daemon.counters().values()))["closed:done"] == 1


def test_an_idle_client_gets_a_fin_and_may_still_send():
    with Daemon(SLOW) as daemon, connected(daemon) as client:
        client.sendall(b"hello")
        assert exactly(client, 5) == b"hello"
        daemon.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
        client.sendall(b"oh, goodbye")
        client.shutdown(socket.SHUT_WR)
        assert daemon.wait() == 0


def test_connections_in_the_backlog_are_served():
    """A connection that the kernel completed before the stop is in the backlog; its client cannot know it."""
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(SLOW))
        daemon.send_signal(signal.SIGSTOP)
        clients = [stack.enter_context(connected(daemon)) for _ in range(200)]
        for client in clients:
            client.sendall(b"I was in time")
            client.shutdown(socket.SHUT_WR)
        daemon.send_signal(signal.SIGTERM)
        daemon.send_signal(signal.SIGCONT)
        assert [rest(client) for client in clients] == [b"I was in time"] * 200
        for client in clients:
            client.close()
        assert daemon.wait() == 0


def test_a_hangup_does_not_end_it():
    with Daemon(listen=ECHO) as daemon, connected(daemon) as client:
        daemon.send_signal(signal.SIGHUP)
        client.sendall(b"still there?")
        assert exactly(client, 12) == b"still there?"
        client.close()
        assert daemon.stop() == 0


@pytest.mark.parametrize("plane", PLANES)
def test_a_datagram_sent_before_the_stop_has_a_reply(plane):
    """A datagram in the socket's queue was delivered, as far as its sender can know."""
    config = f'[daemon]\nplane = "{plane}"\n[services.echo]\nlisten = ["udp://127.0.0.1:0"]\n'
    with Daemon(config) as daemon, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(daemon.place("echo", "udp"))
        daemon.send_signal(signal.SIGSTOP)
        questions = [f"question {number}".encode() for number in range(200)]
        for question in questions:
            client.send(question)
        daemon.send_signal(signal.SIGTERM)
        daemon.send_signal(signal.SIGCONT)
        assert [client.recv(100) for _ in questions] == questions
        assert daemon.wait() == 0


@pytest.mark.parametrize(
    "words",
    [(*ECHOD, "--listen", "echo=tcp://127.0.0.1:0"), (*ECHOCTL, "send", "--keep-open", "{url}", "?")],
    ids=["echod", "echoctl"],
)
def test_an_interruption_of_the_start_prints_no_traceback(words):
    """Ctrl-C right after the start is not a bug. A fast program may have begun its work: the daemon has logged that."""
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        subprocess.Popen(
            [word.replace("{url}", f"tcp://127.0.0.1:{mute.getsockname()[1]}") for word in words],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        maps = Path(f"/proc/{process.pid}/maps")
        assert eventually(lambda: process.poll() is not None or "/zope/" in maps.read_text())  # half way
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert [line for line in said.splitlines() if b" info  " not in line] == []


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT])
def test_any_number_of_signals_end_it_with_0(number):
    """Python restores the default action of signals before it exits."""
    for _ in range(3):
        with Daemon(listen=ECHO) as daemon:
            while daemon.process.poll() is None:
                daemon.send_signal(number)
                time.sleep(0.0005)
            assert daemon.wait() == 0


UNANSWERED = """
import ctypes, os
from echod.transports import sockets
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
def hosts_of(name):
    os.write(1, b"asking\\n")  # twistd takes sys.stdout for its log
    libc.pthread_mutex_lock(mutex)  # for ever, in spite of signals, as the C library waits for a name server
sockets.hosts_of = hosts_of
from echod.__main__ import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_name_server_without_a_reply_does_not_delay_the_stop_of_a_start(number):
    words = (ECHOD[0], "-c", UNANSWERED, "--listen", "echo=tcp://unanswered.invalid:0")
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"asking\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, said) == (0, b"")


def test_a_name_server_without_a_reply_does_not_delay_the_stop_of_a_reload():
    config = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
    with Daemon(config, command=(ECHOD[0], "-c", UNANSWERED)) as daemon:
        (daemon.dir / "echod.toml").write_text('[services.echo]\nlisten = ["tcp://nobody.answers.invalid:0"]\n')
        daemon.send_signal(signal.SIGHUP)
        daemon.stdout.wait_for("asking")
        assert daemon.stop() == 0
        daemon.stderr.wait_for(" stopped ")


NO_THREADS = """
import threading
from echod import tap
def refuse(thread):
    raise RuntimeError("can't start new thread")
{}
from echod.__main__ import main
main()
"""


def test_a_start_without_threads_is_one_line_and_71():
    code = NO_THREADS.format("threading.Thread.start = refuse")
    ended = run(ECHOD[0], "-c", code, "--listen", "echo=tcp://127.0.0.1:0")
    assert ended.returncode == 71
    [line] = ended.stderr.decode().splitlines()
    assert line.startswith("echod: no thread can be started (EAGAIN): ")


def test_a_reload_without_threads_is_refused_and_the_next_one_is_not():
    code = NO_THREADS.format("""
begun, start = [], threading.Thread.start
def start_others(thread):
    begun.extend([thread] * (thread.name == "reading"))
    (refuse if len(begun) == 2 else start)(thread)
threading.Thread.start = start_others
""")
    with Daemon(SLOW, command=(ECHOD[0], "-c", code)) as daemon:
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for("error not reloaded, the old configuration stays: no thread can be started")
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for("reloaded: ")
        assert daemon.stop() == 0


def test_a_full_standard_error_changes_no_exit_code():
    with open("/dev/full", "wb") as full:
        for address, code in (("wrong", 78), ("echo=unix:///tmp/there/is/nothing", 71)):
            words = [*ECHOD, "--listen", address]
            ended = subprocess.run(words, check=False, stderr=full, env=environment(), timeout=SECONDS)
            assert ended.returncode == code
