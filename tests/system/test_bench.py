"""The load generator detects wrong replies, and a complete run goes from the command line to its files."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from bench.build import build_load, build_peer
from bench.machine import program
from bench.measure import tree
from bench.servers import PEERS
from tests.daemon import SECONDS, eventually, free_port, is_waiting

pytestmark = pytest.mark.skipif(program("cc", "gcc", "clang") is None, reason="no C compiler is installed")

ROOT = Path(__file__).parents[2]
LONG = "--seconds=30"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def binary(built):
    """The load generator."""
    return build_load(built)


@pytest.fixture(scope="module")
def load(binary):
    """Calls the load generator; its standard input is at its end, so it does not wait for a driver.

    At a wrong byte it ends at once, so a test that expects one gives it much time to come to it.
    """

    def run(mode, port, *options):
        command = [binary, mode, f"--port={port}", "--seconds=0.2", "--warm=0.05", *options]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    return run


@contextmanager
def peer(built, source, *words):
    port = free_port()
    command = [build_peer(PEERS / source, built), "127.0.0.1", str(port), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def stream_that(answers):
    """A server for one connection: each chunk gets the reply that `answers` makes from its offset and bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                offset = 0
                while data := connection.recv(65536):
                    try:
                        connection.sendall(answers(offset, data))
                    except OSError:
                        return  # the generator has closed
                    offset += len(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(SECONDS)
        assert not thread.is_alive()


@contextmanager
def datagrams_that(answers, seen=None):
    """A server that sends the datagrams that `answers` makes from each datagram's number in order.

    Its clients are added to `seen`.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        over = threading.Event()

        def serve():
            count = 0
            while not over.is_set():
                if not select.select([bound], [], [], 0.05)[0]:
                    continue
                data, address = bound.recvfrom(65536)
                if seen is not None:
                    seen.add(address)
                for answer in answers(count, data):
                    bound.sendto(answer, address)
                count += 1

        thread = threading.Thread(target=serve)
        thread.start()
        yield bound.getsockname()[1]
        over.set()
        thread.join(SECONDS)


def verified(done):
    """The report of a run that must succeed."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("warm\n")
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["messages"] > 0
    assert sum(count for _, count in report["latency"]) == report["messages"]
    return report


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "size", "options", "words"),
    [
        ("stream", 64, ["--connections=8"], []),
        ("stream", 64, ["--connections=8", "--upper"], ["upper"]),
        ("stream", 65536, ["--depth=8"], []),
        ("stream", 999, ["--connections=20", "--depth=3"], []),
        ("connect", 64, ["--connections=4"], []),
    ],
)
def test_every_byte_of_a_stream_is_compared(built, load, mode, size, options, words):
    with peer(built, "c_echo.c", *words) as port:
        report = verified(load(mode, port, f"--size={size}", *options))
    assert report["verified"] == report["messages"] * size


@pytest.mark.slow
@pytest.mark.parametrize("way", ["recvfrom", "recvmmsg"])
@pytest.mark.parametrize("options", [[], ["--depth=64"], ["--depth=32", "--flows=8"]])
def test_every_byte_of_a_datagram_is_compared(built, load, way, options):
    with peer(built, "c_udp.c", way) as port:
        report = verified(load("datagram", port, *options, "--seconds=1"))  # a reply after 0.25 s is lost
    number = 8  # bytes of the number, which are checked separately
    compared, rest = divmod(report["verified"], 64 - number)
    assert rest == 0
    # On a busy machine a reply may be late: it is compared, although it counts as lost.
    assert report["messages"] <= compared <= report["messages"] + report["lost"]


def test_idle_connections_are_opened_used_and_closed(built, load):
    with peer(built, "c_echo.c") as port:
        done = load("idle", port, "--connections=200")
    assert (done.returncode, done.stdout) == (0, "open\nused\n"), done.stderr


def flipped(offset, data, at=10_000):
    """One bit of one byte far into the stream."""
    changed = bytearray(data)
    if offset <= at < offset + len(data):
        changed[at - offset] ^= 1
    return bytes(changed)


def dropped(offset, data):
    return data[:-1] if offset == 0 else data


def doubled(offset, data):
    return data + data[-1:] if offset == 0 else data


@pytest.mark.parametrize("answers", [flipped, doubled])
def test_a_wrong_byte_of_a_stream_is_detected(load, answers):
    with stream_that(answers) as port:
        done = load("stream", port, LONG)
    assert done.returncode == 1
    assert done.stderr.startswith("load: wrong byte: ")
    assert done.stderr.count("\n") == 1


def test_a_missing_byte_of_a_stream_is_detected(load):
    with stream_that(dropped) as port:
        done = load("stream", port, "--depth=4", LONG)
    assert done.returncode == 1
    assert done.stderr.startswith("load: wrong byte: ")


def test_a_reply_that_is_not_in_upper_case_is_detected(load):
    with stream_that(lambda offset, data: data) as port:
        done = load("stream", port, "--upper", LONG)
    assert done.returncode == 1
    assert "wrong byte" in done.stderr


@contextmanager
def websocket_that(answers, **options):
    """A WebSocket server: each message gets the reply that `answers` makes from its number and bytes."""

    def converse(connection):
        try:
            for number, message in enumerate(connection):
                connection.send(answers(number, message))
        except ConnectionClosed:
            pass  # the generator has closed

    with serve(converse, "127.0.0.1", 0, compression=None, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join(SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--size=64"], ["--size=4096", "--connections=3", "--depth=2"], ["--size=70000"]])
def test_every_byte_of_a_websocket_is_compared(load, options):
    with websocket_that(lambda number, message: message) as port:
        report = verified(load("websocket", port, *options))
        idle = load("websocket-idle", port, "--connections=20", options[0])
    assert report["verified"] == report["messages"] * int(options[0].partition("=")[2])
    assert (idle.returncode, idle.stdout) == (0, "open\nused\n"), idle.stderr


@pytest.mark.parametrize("mode", ["idle", "websocket-idle"])
def test_a_generator_that_was_stopped_continues(binary, mode):
    """SIGCONT interrupts recv(2) with a timeout, also without a handler of the signal (signal(7))."""
    begun = Queue()

    def interrupted(*_):
        process = begun.get(timeout=SECONDS)
        assert eventually(lambda: is_waiting(process.pid))
        process.send_signal(signal.SIGSTOP)
        assert os.waitid(os.P_PID, process.pid, os.WSTOPPED) is not None
        process.send_signal(signal.SIGCONT)
        begun.put(process)

    def answer(_, message):
        interrupted()
        return message

    server = stream_that(answer) if mode == "idle" else websocket_that(answer, process_request=interrupted)
    with server as port:
        process = subprocess.Popen(
            [binary, mode, f"--port={port}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        begun.put(process)
        output, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, output) == (0, b"open\nused\n"), errors


@pytest.mark.parametrize(
    "answers",
    [
        lambda number, message: message[:-1] + bytes([message[-1] ^ 1]) if number == 5 else message,
        lambda number, message: message + b"x" if number == 5 else message,
        lambda number, message: [message[:9], message[9:]] if number == 5 else message,
    ],
    ids=["changed", "longer", "fragmented"],
)
def test_a_wrong_websocket_message_is_detected(load, answers):
    with websocket_that(answers) as port:
        done = load("websocket", port, LONG)
    assert done.returncode == 1
    assert done.stderr.startswith("load: wrong byte: ")


@pytest.mark.parametrize(
    "answers",
    [
        lambda count, data: [data[:-1] + bytes([data[-1] ^ 1])] if count == 50 else [data],
        lambda count, data: [data[:-1]] if count == 50 else [data],
        lambda count, data: [data + b"x"] if count == 50 else [data],
        lambda count, data: [data, data] if count == 50 else [data],
        lambda count, data: [b"\xff" * len(data)] if count == 50 else [data],
    ],
    ids=["changed", "cut", "longer", "doubled", "unknown"],
)
def test_a_wrong_datagram_is_detected(load, answers):
    with datagrams_that(answers) as port:
        done = load("datagram", port, LONG)
    assert done.returncode == 1
    assert done.stderr.startswith("load: wrong byte: ")


def slowly(data):
    """The same bytes, after a pause: a load of seconds then costs little processor time."""
    time.sleep(0.002)
    return [data]


def test_more_flows_than_open_files_share_sockets(built, load):
    seen = set()
    options = ["datagram", "--flows=150", "--depth=8", "--seconds=3", "--warm=0"]
    with datagrams_that(lambda _count, data: slowly(data), seen) as port:
        limited = ["sh", "-c", 'ulimit -n 160; exec "$@"', "sh", str(built / "load"), *options, f"--port={port}"]
        done = subprocess.run(
            limited, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    assert verified(done)["messages"] > 150
    assert len(seen) == 150
    assert len({number for _, number in seen}) == 60, "the sockets, by their ports"


def test_a_lost_datagram_is_counted_and_is_not_an_error(load):
    with datagrams_that(lambda count, data: [] if count % 500 == 4 else slowly(data)) as port:
        done = load("datagram", port, "--depth=4", "--seconds=3", "--warm=0")
    assert verified(done)["lost"] > 0


def test_a_server_that_does_not_listen_is_one_line(load):
    done = load("stream", free_port())
    assert (done.returncode, done.stderr) == (1, "load: connect: Connection refused\n")


@pytest.mark.slow
def test_a_run_prints_its_table_and_writes_its_files(tmp_path):
    command = [sys.executable, "-m", "bench", "--subject=c", "--peers=asyncio", "--only=tcp-64,memory", "--rounds=2"]
    files = [f"--json={tmp_path}/b.json", f"--svg={tmp_path}/b.svg"]
    done = subprocess.run(
        [*command, "--seconds=0.1", "--idle=100", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "TCP echo 64 B × 64 connections" in done.stdout
    assert "user memory per connection, 100 idle" in done.stdout
    document = json.loads((tmp_path / "b.json").read_text())
    assert set(document["workloads"]["tcp-64"]) == {"c", "asyncio"}
    assert set(document["memory"]["memory"]) == {"c", "asyncio"}
    assert (tmp_path / "b.svg").read_text().startswith("<svg ")


def measuring(pid):
    """The server and the load generator of a run, once it measures."""
    found = {}
    for child in tree(pid)[1:]:
        try:
            found[Path(f"/proc/{child}/comm").read_text().rstrip()] = child
        except OSError:
            continue  # such as a compiler that has ended meanwhile
    return [found[name] for name in ("c_echo", "load") if name in found]


def has_ended(pid):
    """Whether a process does not run; a child of init may not have been collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGHUP, signal.SIGINT))]
)
def test_a_signal_ends_a_run_with_its_servers(number):
    command = [
        sys.executable,
        "-m",
        "bench",
        "--subject=c",
        "--peers=c",
        "--only=tcp-64",
        "--rounds=1",
        "--seconds=60",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert eventually(lambda: len(measuring(process.pid)) == 2 or process.poll() is not None)
        started = measuring(process.pid)
        process.send_signal(number)
        output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert ("interrupted: these are the results until then" in output) == (number == signal.SIGINT)
    assert eventually(lambda: all(map(has_ended, started)))


@pytest.mark.slow
def test_a_peer_that_does_not_start_is_named_and_left_out():
    command = [sys.executable, "-m", "bench", "--peers=c", "--only=tcp-1", "--rounds=1", "--seconds=0.1"]
    done = subprocess.run(
        [*command, "--echod=sh -c 'echo no such thing >&2; exit 78'"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "echod left out: it exited at its start: no such thing (exit code 78)" in done.stdout
    assert "TCP echo 64 B × 1" in done.stdout
