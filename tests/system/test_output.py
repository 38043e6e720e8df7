"""Output never stops the daemon: readers that are slow, that have exited, and streams that are closed."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from echod.testing.announced import inet_of
from echod.testing.output import Output
from tests.contract.matrix import exactly
from tests.daemon import ECHOD, SECONDS, TWISTD, Daemon, Place, environment, eventually, place_of, run
from tests.fork_server import Popen

CONFIG = """
[services.echo]
listen = ["tcp://127.0.0.1:0"]
[services.printer]
kind = "discard"
show = "text"
listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
"""


def assert_served(place: Place) -> None:
    with socket.socket() as client:
        client.settimeout(SECONDS)
        client.connect(place)
        client.sendall(b"hello")
        assert exactly(client, 5) == b"hello"


def print_many(place: Place, count: int) -> None:
    """Send so many datagrams to be printed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(place)
        for number in range(count):
            client.send(f"line {number}".encode())


def all_is_read(port: int) -> bool:
    """Whether no byte waits in the UDP socket of a port (proc(5)). A reading may miss its row; then it is False."""
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    waiting = [int(row[4].rpartition(":")[2], 16) for row in rows if int(row[1].rpartition(":")[2], 16) == port]
    return waiting != [] and not any(waiting)


def test_printed_lines_are_limited_and_the_rest_is_counted():
    with Daemon(CONFIG) as daemon:
        begun = time.monotonic()
        for _ in range(30):  # a hundred fit into the buffer of the socket, also if the daemon reads none meanwhile
            print_many(daemon.place("printer", "udp"), 100)
            assert eventually(lambda: all_is_read(daemon.inet("printer", "udp")[1]))
        counted = daemon.counters()
        seconds = int(time.monotonic() - begun) + 2  # of a clock that began anywhere
        taken = counted[f"printer {daemon.url('printer', 'udp')}"]["datagrams_in"]

        def lines_and_others() -> tuple[int, int]:
            text = daemon.stdout.text
            others = re.findall(r"^… (\d+) more lines in that second$", "\n".join(text), re.MULTILINE)
            return sum(": line " in line for line in text), sum(map(int, others))

        assert taken == 3000
        assert eventually(lambda: sum(lines_and_others()) == taken), lines_and_others()  # a thread writes them
        assert 1000 <= lines_and_others()[0] <= 1000 * seconds


@contextmanager
def printing(stdout: int) -> Iterator[tuple[list[Place], "subprocess.Popen[bytes]"]]:
    """A daemon with this as its standard output, and its addresses."""
    directory = tempfile.TemporaryDirectory(prefix="echod-")
    (Path(directory.name) / "echod.toml").write_text(CONFIG)
    words = [*ECHOD, "--config", f"{directory.name}/echod.toml"]
    process = Popen(words, env=environment(), stdout=stdout, stderr=subprocess.PIPE)
    os.close(stdout)
    try:
        lines = [b""]
        while b" ready: " not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        yield [place_of(line.split()[-1].decode()) for line in lines if b"://" in line], process
        process.terminate()
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait(SECONDS)
        process.stderr.close()
        directory.cleanup()


def test_a_reader_that_has_exited_loses_only_the_lines():
    reading, writing = os.pipe()
    with printing(writing) as ((echo, printer, _), process):
        os.close(reading)
        process.stderr.close()
        print_many(printer, 500)
        assert_served(echo)


def test_a_reader_that_does_not_read_delays_no_client():
    reading, writing = os.pipe()
    try:
        with printing(writing) as ((echo, printer, _), _):
            for _ in range(3):
                print_many(printer, 1000)
                assert_served(echo)
    finally:
        os.close(reading)


def test_streams_that_are_closed():
    """The parent closed them. The daemon serves, and does not use its sockets as output."""
    with tempfile.TemporaryDirectory(prefix="echod-") as directory:
        path = f"{directory}/echo.sock"
        words = [*ECHOD, "--listen", f"echo=unix://{path}"]
        process = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words], env=environment())
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(SECONDS)
                assert eventually(lambda: not client.connect_ex(path) or process.poll() is not None)
                client.sendall(b"hello")
                assert exactly(client, 5) == b"hello"
            process.terminate()
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
            process.wait(SECONDS)


def test_a_log_pipe_without_a_reader_does_not_block(tmp_path):
    log = tmp_path / "log"
    os.mkfifo(log)
    command = [*TWISTD, "-n", "--pidfile=", f"--logfile={log}", "echod", "--listen", "echo=tcp://127.0.0.1:0"]
    refused = run(*command)
    assert refused.returncode == 73
    assert refused.stderr.decode() == f"echod: {log}: no process reads from it (ENXIO)\n"
    with reading(log) as first:
        process = Popen(command, env=environment(), cwd=tmp_path)
        place = place_of(first.wait_for(r" info +echo  (\S+)$")[1])
        first.wait_for(" ready: ")
    try:
        process.send_signal(signal.SIGHUP)  # it opens its log again
        assert_served(place)
        with reading(log) as second:
            process.send_signal(signal.SIGHUP)
            second.wait_for(" reloaded: ")
            assert_served(place)
            process.terminate()
            assert process.wait(SECONDS) == 0
            second.wait_for(" stopped ")
    finally:
        process.kill()
        process.wait(SECONDS)


@contextmanager
def reading(pipe: Path) -> Iterator[Output]:
    """The data of a named pipe while the daemon writes into it."""
    opened = os.open(pipe, os.O_RDWR)  # with O_RDONLY it would wait for a writer
    reader = subprocess.Popen(["cat"], stdin=opened, stdout=subprocess.PIPE)
    os.close(opened)
    assert reader.stdout is not None
    lines = Output(reader.stdout)
    try:
        yield lines
    finally:
        reader.kill()
        reader.wait(SECONDS)
        lines.close()


def test_printed_lines_have_a_budget_of_bytes():
    """Each datagram becomes a line of 4 KiB and more."""
    with Daemon(CONFIG) as daemon, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(daemon.place("printer", "udp"))
        begun = time.monotonic()
        for _ in range(2000):
            client.send(b"\0" * 1024)
        assert eventually(lambda: all_is_read(daemon.inet("printer", "udp")[1]))
        assert daemon.stop() == 0
        seconds = int(time.monotonic() - begun) + 2
        written = sum(len(line) + 1 for line in daemon.stdout.raw if b"more lines" not in line)
        assert 60 << 10 <= written <= seconds * (64 << 10)


@contextmanager
def at_a_terminal(*words):
    """A daemon whose standard output and error are a terminal, and the lines that it shows."""
    ours, theirs = os.openpty()
    process = Popen([*ECHOD, *words], env=environment(), stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    lines = Output(os.fdopen(ours, "rb"))
    try:
        yield process, lines
    finally:
        process.kill()
        process.wait(SECONDS)
        lines.close()


def test_services_print_messages_by_default_only_on_a_terminal():
    listen = ["ack=udp://127.0.0.1:0"]
    with at_a_terminal("--listen", *listen) as (process, lines):
        place = inet_of(lines.wait_for(r" (udp://\S+)")[1])
        lines.wait_for(" ready: ")
        print_many(place, 1)
        lines.wait_for("^udp 127.0.0.1:[0-9]+: line 0")
        process.terminate()
        assert process.wait(SECONDS) == 0
    with Daemon(listen=listen) as daemon:
        print_many(daemon.place("ack", "udp"), 100)
        assert daemon.stop() == 0
        assert daemon.stdout.raw == []


def test_at_a_terminal_the_start_is_a_line_for_each_service_and_a_hint():
    words = [f"--listen=echo={scheme}://127.0.0.1:0" for scheme in ("tcp", "udp")]
    with at_a_terminal(*words, "--listen", "upper=tcp://127.0.0.1:0") as (process, lines):
        hint = lines.wait_for(r" info +from another terminal: \S*echoctl send (\S+) hello")
        process.terminate()
        lines.wait_for(r" info +stopped: 0 connections, 0 datagrams, 0 bytes received, 0 sent")
        assert process.wait(SECONDS) == 0
    said = [line.split(maxsplit=2)[2].strip() for line in lines.text]
    start = said.index(next(line for line in said if line.startswith("echo ")))
    assert re.fullmatch(r"echo  tcp://127\.0\.0\.1:\d+  udp://127\.0\.0\.1:\d+", said[start])
    assert said[start + 1] == f"upper  {hint[1]}"
    assert said[start + 2] == "ready: 3 listeners"
    assert said[start + 3].startswith("from another terminal: ")
    assert "{" not in "".join(said)


def threads(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/task"))


def test_no_thread_is_kept_for_logging():
    with Daemon(CONFIG) as daemon:
        assert eventually(lambda: threads(daemon) == 1)
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for(" reloaded: ")
        print_many(daemon.place("printer", "udp"), 1)
        daemon.stdout.wait_for(": line 0$")
        assert eventually(lambda: threads(daemon) == 1)


def test_the_first_denied_client_is_logged_with_the_option_that_allows_it():
    config = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\nallow = ["192.0.2.0/24"]\n'
    with Daemon(config) as daemon:
        for _ in range(5):
            with suppress(ConnectionError), socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
                assert client.recv(1) == b""
        daemon.stderr.wait_for(
            r" info +echo  \S+ denied 127.0.0.1:\d+; to allow it: --allow 127.0.0.1, or the keys allow and deny$"
        )
        assert daemon.stop() == 0
        assert sum(" denied " in line for line in daemon.stderr.text) == 1
