"""echoctl ping with echod, and with peers that lose, repeat, delay, reorder and change replies on a schedule."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

import pytest

from echod.client.summary_head import SCHEMA
from echod.testing.output import Output
from echod.version import VERSION
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, free_port, run
from tests.fork_server import Popen
from tests.summaries import check_summary

CONFIG = """
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/echo.sock", "unix-dgram://{dir}/echo.dgram", "unix-seqpacket://{dir}/echo.seq"]
[services.upper]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/upper.sock", "unix-dgram://{dir}/upper.dgram", "unix-seqpacket://{dir}/upper.seq"]
[services.discard]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.ack]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
show = "no"
[services.chargen]
listen = ["tcp://127.0.0.1:0"]
[services.daytime]
listen = ["tcp://127.0.0.1:0"]
"""
SCHEMES = ("tcp", "udp", "unix", "unix-dgram", "unix-seqpacket")
TIME = r"time=\d+\.\d{3} ms"
FIGURES = r"min/avg/median/p99/max/stddev = (\d+\.\d{3}/){5}\d+\.\d{3} ms, jitter \d+\.\d{3} ms"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as daemon:
        yield daemon
        daemon.check()


def ping(*words: str, code: int = 0, says: str = "") -> list[str]:
    """The lines of a ping, which must end with that exit code and that standard error."""
    ended = run(*ECHOCTL, "ping", *words)
    assert (ended.returncode, ended.stderr.decode("utf-8")) == (code, says)
    lines = ended.stdout.decode("utf-8").removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in lines)
    return lines


def figures(*words: str, code: int = 0, says: str = "") -> dict[str, Any]:
    """The object that a ping prints."""
    [line] = ping("--json", *words, code=code, says=says)
    found: dict[str, Any] = json.loads(line)
    check_summary(found)
    return found


@contextmanager
def peer(listening: socket.socket, behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A peer that behaves, in a thread; its URL."""
    scheme = "udp" if listening.type is socket.SOCK_DGRAM else "tcp"
    with listening:
        listening.settimeout(SECONDS)
        thread = threading.Thread(target=behave, args=(listening,), daemon=True)
        thread.start()
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(SECONDS)
        assert not thread.is_alive()


def datagrams() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    return bound


def streams() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def taken(connection: socket.socket, count: int) -> bytes:
    """Receive exactly this many bytes."""
    came = b""
    while len(came) < count:
        piece = connection.recv(count - len(came))
        assert piece
        came += piece
    return came


@contextmanager
def running(*words: str) -> Iterator[tuple["subprocess.Popen[bytes]", Output]]:
    """A ping while it runs, and its lines; it is ended at the end."""
    with Popen([*ECHOCTL, "ping", *words], env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, Output(process.stdout)
        finally:
            process.kill()


# against echod


@pytest.mark.parametrize("service", ["echo", "upper"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_line_a_reply_and_the_summary(service, scheme, daemon):
    url = daemon.url(service, scheme)
    remote = re.escape(url.partition("://")[2])
    lines = ping("-c", "3", "-i", "50ms", url)
    assert lines[0] == f"{url}: 64 bytes every 50ms"
    for number, line in enumerate(lines[1:4], 1):
        assert re.fullmatch(rf"64 bytes from {remote}: seq={number} {TIME}", line)
    assert lines[4:7] == ["", f"--- {url} ---", "3 sent, 3 received, 0 lost (0%), 0 duplicated, 0 reordered, 0 wrong"]
    assert re.fullmatch(FIGURES, lines[7])
    assert len(lines) == 8


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [16, 1000, 65_507])
def test_probes_of_any_size(scheme, size, daemon):
    count = 5 if size < 65_507 else 2  # more of the largest would not fit into the buffer of a socket that is read late
    lines = ping("-c", str(count), "-i", "0.01", "-q", "-s", str(size), daemon.url("echo", scheme))
    assert lines[1] == f"{count} sent, {count} received, 0 lost (0%), 0 duplicated, 0 reordered, 0 wrong"


@pytest.mark.parametrize("size", ["1", "3MiB"])
def test_probes_on_a_stream_may_be_smaller_and_larger_than_datagrams(size, daemon):
    for service in ("echo", "upper"):
        found = figures("-c", "3", "-i", "0.01", "-s", size, daemon.url(service, "tcp"))
        assert (found["sent"], found["received"], found["wrong"]) == (3, 3, 0)


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_connecting_is_timed_with_a_connection_for_each_probe(scheme):
    with Daemon(listen=["echo=tcp://127.0.0.1:0", "echo=unix://{dir}/echo.sock"]) as daemon:
        url = daemon.url("echo", scheme)
        lines = ping("--connect", "-c", "3", "-i", "50ms", url)
        assert lines[0] == f"{url}: a connection every 50ms"
        for number, line in enumerate(lines[1:4], 1):
            assert re.fullmatch(rf"connected to {re.escape(url.partition('://')[2])}: seq={number} {TIME}", line)
        assert lines[4:7] == ["", f"--- {url} ---", "3 tried, 3 connected, 0 lost (0%)"]
        assert re.fullmatch(FIGURES, lines[7])
        counters = daemon.counters()[f"echo {url}"]
        assert counters == {"accepted": 3, "closed:done": 3}  # and none of them was reset


def test_connect_drops_the_greeting_of_the_peer(daemon):
    found = figures("--connect", "-c", "3", "-i", "50ms", daemon.url("daytime", "tcp"))
    assert (found["received"], found["wrong"], found["size_bytes"]) == (3, 0, None)


def test_json_has_everything_and_names_its_units(daemon):
    url = daemon.url("echo", "udp")
    found = figures("-c", "4", "-i", "20ms", "-s", "100", "-W", "2", url)
    times = [found[f"{name}_ms"] for name in ("min", "median", "p99", "max")]
    assert times == sorted(times, key=float)
    assert found["min_ms"] <= found["avg_ms"] <= found["max_ms"]
    assert 60 <= found["duration_ms"] < 1000 * SECONDS
    for name in ("min", "avg", "median", "p99", "max", "stddev", "jitter", "duration", "p50", "p90", "p95", "p999"):
        assert isinstance(found.pop(f"{name}_ms"), float)
    assert set(found.pop("pacing")) == {"median_us", "p99_us", "max_us"}
    assert re.fullmatch(r"127\.0\.0\.1:\d+", found.pop("local"))
    assert found.pop("lost_interval_percent") == [0.0, 48.9891]
    assert sum(count for _, _, count in found.pop("histogram")["buckets"]) == 4
    assert sum(one["received"] for one in found.pop("series")["intervals"]) == 4
    assert {found.pop(name) for name in ("$schema", "program", "version")} == {SCHEMA, "echoctl ping", VERSION}
    assert found.pop("remote") == url.removeprefix("udp://")
    assert found.pop("options") == {"count": 4}
    assert abs(datetime.fromisoformat(found.pop("started")).timestamp() - time.time()) < SECONDS
    assert found == {
        "url": url,
        "connect": False,
        "size_bytes": 100,
        "interval_ms": 20.0,
        "timeout_ms": 2000.0,
        "error": None,
        "exact": True,
        "sent": 4,
        "received": 4,
        "lost": 0,
        "lost_percent": 0.0,
        "awaited": 0,
        "late": 0,
        "duplicated": 0,
        "reordered": 0,
        "wrong": 0,
        "longest_burst": 0,
        "bursts": {},
        "outages": 0,
        "outage_ms": 0.0,
        "service": "echo",
        "forward": None,
        "backward": None,
        "server": None,
        "clock": None,
    }


def test_a_socket_s_name_cannot_reach_the_terminal():
    with Daemon(listen=["echo=unix://{dir}/%1b%5b2J%0aecho.sock"]) as daemon:
        lines = ping("-c", "1", daemon.url("echo", "unix"))
        assert re.fullmatch(rf"64 bytes from \S+/\\x1b\[2J\\x0aecho\.sock: seq=1 {TIME}", lines[1])


# against what does not answer, or not as it should


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_no_reply(scheme, daemon):
    lines = ping("-c", "2", "-i", "50ms", "-W", "200ms", daemon.url("discard", scheme), code=1)
    remote = daemon.url("discard", scheme).partition("://")[2]
    assert lines[1:3] == [f"no reply from {remote}: seq={number} lost: no reply within 200ms" for number in (1, 2)]
    assert lines[5:] == ["2 sent, 0 received, 2 lost (100%), 0 duplicated, 0 reordered, 0 wrong"]


def test_datagrams_with_other_bytes(daemon):
    url = daemon.url("ack", "udp")
    with running("-c", "1", "-W", "1m", url) as (process, lines):
        lines.wait_for(f"^8 bytes from {url.partition('://')[2]}: wrong: it belongs to no probe of this ping$")
        process.send_signal(signal.SIGINT)
        lines.wait_for(r"^1 sent, 0 received, 0 lost \(0%\), 1 awaited, 0 duplicated, 0 reordered, 1 wrong$")
        assert process.wait(SECONDS) == 130


def test_a_stream_with_other_bytes(daemon):
    url = daemon.url("ack", "tcp")
    lines = ping("-c", "2", "-i", "1m", url, code=1, says=f"echoctl: {url}: the peer closed the connection\n")
    assert re.match(r"64 bytes from \S+: seq=1 wrong: byte \d is 0x\w\w, expected 0x\w\w", lines[1])
    assert lines[-1] == "1 sent, 0 received, 1 lost (100%), 0 duplicated, 0 reordered, 1 wrong"


def test_a_stream_that_sends_more_than_requested():
    def talk(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            connection.sendall(taken(connection, 64) + b"\x1b[2J and more")

    with peer(streams(), talk) as url:
        said = ping("-c", "9", "-i", "1m", url, code=1, says=f"echoctl: {url}: more bytes were received than sent\n")
    assert said[2] == f"13 bytes from {url.partition('://')[2]}: wrong: more bytes were received than sent"
    assert said[-2] == "1 sent, 1 received, 0 lost (0%), 0 duplicated, 0 reordered, 1 wrong"


def test_a_stream_that_sends_without_end(daemon):
    url = daemon.url("chargen", "tcp")
    found = figures("-c", "2", url, code=1, says=f"echoctl: {url}: more bytes were received than sent\n")
    assert found["received"] == 0
    assert found["wrong"]


LOST, TWICE, OVERTAKEN, LATE, CHANGED, UNMARKED, SHORT, LONG = 3, 5, 7, 2, 10, 12, 14, 16
COUNT = 24


def trouble(bound: socket.socket) -> None:
    """Replies to each probe by its number."""
    held: dict[int, bytes] = {}
    for number in range(1, COUNT + 1):
        question, asking = bound.recvfrom(65_536)
        assert int.from_bytes(question[:4], "big") == number - 1  # a STAMP packet
        answers = [question]
        if number in (LOST, OVERTAKEN, LATE):
            held[number] = question
            answers = []
        elif number == TWICE:
            answers *= 2
        elif number == OVERTAKEN + 2:
            answers.append(held[OVERTAKEN])
        elif number == COUNT - 1:
            answers.append(held[LATE])
        elif number == CHANGED:
            answers = [question[:20] + bytes([question[20] ^ 1]) + question[21:]]
        elif number == UNMARKED:
            answers = [b"\x1b[2J" + question[4:]]
        elif number == SHORT:
            answers = [question[:-1]]
        elif number == LONG:
            answers = [question + b"!"]
        for answer in answers:
            bound.sendto(answer, asking)


EVERY_TROUBLE = ("-c", str(COUNT), "-i", "250ms", "-W", "3s")
"""The reply to LATE comes after 5.25 s. A reply that is not late arrives in time also after a pause of two seconds."""


def test_every_error_of_a_reply_is_distinguished_and_counted():
    with peer(datagrams(), trouble) as url, peer(datagrams(), trouble) as other, ThreadPoolExecutor() as pool:
        counting = pool.submit(figures, *EVERY_TROUBLE, other, code=1)
        lines = ping(*EVERY_TROUBLE, url, code=1)
        found = counting.result()
    told: dict[str, list[str]] = {}
    for line in lines[1:-4]:
        match = re.fullmatch(rf"(\d+ bytes|no reply) from {re.escape(url.partition('://')[2])}:( seq=\d+)?(.*)", line)
        assert match, line
        rest = re.sub("0x..", "0x..", re.sub(TIME, "time", match[3]))
        told.setdefault(match[2] or "", []).append(f"{match[1].removesuffix(' bytes')}{rest}")
    expected = {f" seq={number}": ["64 time"] for number in range(1, COUNT + 1) if number != UNMARKED}
    expected[f" seq={LOST}"] = expected[f" seq={UNMARKED}"] = ["no reply lost: no reply within 3s"]
    expected[f" seq={TWICE}"] += ["64 time (duplicate)"]
    expected[f" seq={OVERTAKEN}"] = ["64 time (reordered)"]
    expected[f" seq={LATE}"] = ["no reply lost: no reply within 3s", "64 time (late)"]
    expected[f" seq={CHANGED}"] = ["64 wrong: byte 20 is 0x.., expected 0x.."]
    expected[f" seq={SHORT}"] = ["63 wrong: 64 bytes were sent"]
    expected[f" seq={LONG}"] = ["65 wrong: 64 bytes were sent"]
    expected[""] = ["64 wrong: it belongs to no probe of this ping"]
    assert told == expected
    assert lines[-2] == "24 sent, 18 received, 6 lost (25%), 1 late, 1 duplicated, 1 reordered, 4 wrong"
    counts = ("sent", "received", "lost", "awaited", "late", "duplicated", "reordered", "wrong")
    assert [found[name] for name in counts] == [24, 18, 6, 0, 1, 1, 1, 4]
    assert found["max_ms"] < 3000  # the late one is in no figure


@pytest.mark.parametrize("code", [0, 1])
def test_loss_is_a_failure_only_if_all_probes_are_lost(code):
    def lose(bound: socket.socket) -> None:
        for number in range(3):
            question, asking = bound.recvfrom(65_536)
            if number == 1 and not code:
                bound.sendto(question, asking)

    with peer(datagrams(), lose) as url:
        found = figures("-c", "3", "-i", "50ms", "-W", "300ms" if code else "3s", url, code=code)
    assert (found["received"], found["lost"]) == (1 - code, 2 + code)


def test_old_replies_to_another_ping_are_not_counted():
    def mix(bound: socket.socket) -> None:
        for number in range(3):
            question, asking = bound.recvfrom(65_536)
            bound.sendto(question[:5] + bytes([question[5] ^ 1]) + question[6:], asking)  # another timestamp
            if number == 1:
                bound.sendto(question, asking)

    with peer(datagrams(), mix) as url:
        found = figures("-c", "3", "-i", "50ms", "-W", "3s", url, code=1)
    assert (found["received"], found["wrong"], found["duplicated"]) == (1, 3, 0)


def test_a_wrong_byte_on_a_stream_affects_one_reply():
    def change(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            for number in range(1, 6):
                question = bytearray(taken(connection, 64))
                question[63] ^= number == 3
                for piece in (question[:10], question[10:]):
                    connection.sendall(piece)
            assert connection.recv(1) == b""

    with peer(streams(), change) as url:
        lines = ping("-c", "5", "-i", "50ms", url, code=1)
    assert [line.partition(": ")[2][:11] for line in lines[1:6]] == [
        f"seq={number} {what}"
        for number, what in zip(range(1, 6), ["time=", "time=", "wrong", "time=", "time="], strict=True)
    ]
    assert " wrong: byte 63 is 0x" in lines[3]
    assert lines[-2] == "5 sent, 4 received, 1 lost (20%), 0 duplicated, 0 reordered, 1 wrong"


@pytest.mark.parametrize("kind", [datagrams, streams])
def test_a_late_reply_delays_no_probe_and_is_measured_to_its_end(kind):
    held = 0.0

    def hold_back(listening: socket.socket) -> None:
        """Reply only after all probes: a client that waits for the first reply never finishes."""
        nonlocal held
        if kind is datagrams:
            questions = [listening.recvfrom(65_536)]
            begun = time.monotonic()
            questions += [listening.recvfrom(65_536) for _ in range(9)]
            held = time.monotonic() - begun
            for question, asking in questions:
                listening.sendto(question, asking)
        else:
            with listening.accept()[0] as connection:
                questions_ = taken(connection, 64)
                begun = time.monotonic()
                questions_ += taken(connection, 576)
                held = time.monotonic() - begun
                connection.sendall(questions_)
                assert connection.recv(1) == b""

    with peer(kind(), hold_back) as url:
        found = figures("-c", "10", "-i", "50ms", "-W", "1m", url)
    assert (found["sent"], found["received"], found["reordered"]) == (10, 10, 0)
    assert found["max_ms"] >= held * 1000 > 0
    assert found["max_ms"] > found["min_ms"]


# how it ends


REFUSED = "connection refused (ECONNREFUSED)"


def test_no_service_at_the_address(tmp_path):
    url = f"tcp://127.0.0.1:{free_port()}"
    assert ping("-c", "3", url, code=1, says=f"echoctl: {url}: {REFUSED}\n") == [""]
    found = figures("-c", "3", url, code=1, says=f"echoctl: {url}: {REFUSED}\n")
    assert (found["sent"], found["error"], found["avg_ms"]) == (0, f"{url}: {REFUSED}", None)
    for scheme in ("unix", "unix-dgram"):
        url = f"{scheme}://{tmp_path}/none"
        assert ping(url, code=1, says=f"echoctl: {url}: no such file or directory (ENOENT)\n") == [""]


def test_no_service_at_the_address_for_datagrams():
    url = f"udp://127.0.0.1:{free_port()}"
    lines = ping("-c", "3", "-i", "1m", "--exit-on-refusal", url, code=1, says=f"echoctl: {url}: {REFUSED}\n")
    assert lines[1] == f"no reply from {url.partition('://')[2]}: seq=1 lost"  # the error message has the reason
    assert lines[2:] == ["", f"--- {url} ---", "1 sent, 0 received, 1 lost (100%), 0 duplicated, 0 reordered, 0 wrong"]


def test_no_service_to_connect_to():
    url = f"tcp://127.0.0.1:{free_port()}"
    words = ("--connect", "--exit-on-refusal", "-c", "3", "-i", "1m", url)
    lines = ping(*words, code=1, says=f"echoctl: {url}: {REFUSED}\n")
    assert lines[-1] == "1 tried, 0 connected, 1 lost (100%)"


@pytest.mark.parametrize("words", [("--connect", "tcp://"), ("--connect", "tls://"), ("-M", "probe", "udp://")])
def test_an_interface_that_does_not_exist_is_one_line(words):
    *options, scheme = words
    url = f"{scheme}[fe80::1%none]:7"
    says = f"echoctl: {url}: interface none does not exist (ENODEV)\n"
    [line] = ping("--json", *options, url, code=1, says=says)
    found = json.loads(line)
    assert (found["sent"], found["error"]) == (0, says.removeprefix("echoctl: ").rstrip())


def test_every_address_of_a_name_is_tried_to_connect_to(daemon):
    url = daemon.url("echo", "tcp").replace("127.0.0.1", "localhost")
    assert ping("--connect", "-q", "-c", "2", "-i", "50ms", url)[1] == "2 tried, 2 connected, 0 lost (0%)"


@contextmanager
def echoing(kind: socket.SocketKind, address: Any) -> Iterator[None]:
    """An echo of datagrams, or a listener that accepts, during the block."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    stopped = threading.Event()
    with socket.socket(family, kind) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        if kind is socket.SOCK_STREAM:
            bound.listen()
        bound.settimeout(SECONDS)

        def serve() -> None:
            while not stopped.is_set():
                if not select.select([bound], [], [], 0.05)[0]:
                    continue
                try:
                    if kind is socket.SOCK_STREAM:
                        bound.accept()[0].close()
                    else:
                        bound.sendto(*bound.recvfrom(65_536))
                except (ConnectionError, FileNotFoundError):  # its sender has ended
                    continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(SECONDS)
    if isinstance(address, str):
        os.unlink(address)


@pytest.mark.parametrize("how", ["udp", "unix-dgram", "connect", "connect-unix"])
def test_probes_continue_during_an_outage(how, tmp_path):
    """Each refusal is a lost probe; when the peer is back, its replies count again."""
    kind = socket.SOCK_STREAM if how.startswith("connect") else socket.SOCK_DGRAM
    address: Any = ("127.0.0.1", free_port())
    url = f"{'tcp' if kind is socket.SOCK_STREAM else 'udp'}://127.0.0.1:{address[1]}"
    if "unix" in how or how == "unix-dgram":
        address = f"{tmp_path}/echo"
        url = f"{'unix' if kind is socket.SOCK_STREAM else 'unix-dgram'}://{address}"
    words = ("--connect",) if kind is socket.SOCK_STREAM else ()
    refused = r"seq=(\d+) lost: (connection refused \(ECONNREFUSED\)|no such file or directory \(ENOENT\))$"
    first = echoing(kind, address)
    first.__enter__()
    with running("-i", "50ms", "-W", "1m", *words, url) as (process, lines):
        try:
            lines.wait_for(r"seq=2 time=")
        finally:
            first.__exit__(None, None, None)
        gone = int(lines.wait_for(refused)[1])
        lines.wait_for(rf"seq={gone + 3} lost: ")
        with echoing(kind, address):
            back = int(lines.wait_for(rf"seq=({'|'.join(str(gone + n) for n in range(4, 400))}) time=")[1])
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 130
        lost = int(lines.wait_for(r", (\d+) lost \(")[1])
        assert lost == sum(" lost: " in line for line in lines.text)
        assert 4 <= lost < back


def test_the_quit_key_prints_the_figures_and_continues(daemon):
    with Popen(
        [*ECHOCTL, "ping", "-i", "50ms", "-W", "1m", daemon.url("echo", "udp")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            lines, said = Output(process.stdout), Output(process.stderr)
            lines.wait_for(" seq=3 ")
            process.send_signal(signal.SIGQUIT)
            found = said.wait_for(r"^(\d+) sent, \d+ received, 0 lost \(0%\), ")
            said.wait_for(FIGURES)
            assert int(found[1]) >= 3
            lines.wait_for(rf" seq={int(found[1]) + 3} ")
            process.send_signal(signal.SIGINT)
            lines.wait_for(r"^\d+ sent, \d+ received, 0 lost")
            assert process.wait(SECONDS) == 130
        finally:
            process.kill()


def test_a_bug_ends_ping_with_its_traceback_and_the_summary(daemon):
    program = "import sys; from echod.client import ping_run; from echod.client.main import main;"
    program += "ping_run.PingRun._end_if_settled = lambda _run: 1 / 0; sys.exit(main(sys.argv[1:]))"
    ended = run(ECHOCTL[0], "-c", program, "ping", "-i", "1m", daemon.url("echo", "udp"))
    assert ended.returncode == 1
    assert ended.stderr.endswith(b"ZeroDivisionError: division by zero\n\n")
    assert b"\n1 sent, 1 received, " in ended.stdout


def test_a_reset_is_one_line_followed_by_the_summary():
    def break_off(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            connection.sendall(taken(connection, 64))
            taken(connection, 10)  # what is unread makes the close a reset

    with peer(streams(), break_off) as url:
        says = f"echoctl: {url}: connection reset by peer (ECONNRESET)\n"
        lines = ping("-c", "9", "-i", "100ms", url, code=1, says=says)
    assert re.match(r"[2-9] sent, 1 received, [1-8] lost ", lines[-2])  # a busy machine reads the reset late


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_interrupt_prints_the_summary(scheme, daemon):
    with running("-i", "50ms", "-W", "1m", daemon.url("echo", scheme)) as (process, lines):
        lines.wait_for(" seq=3 ")
        process.send_signal(signal.SIGINT)
        lines.wait_for(r"^\d+ sent, \d+ received, 0 lost \(0%\), (\d+ awaited, )?0 duplicated, 0 reordered, 0 wrong$")
        lines.wait_for(FIGURES)
        assert process.wait(SECONDS) == 130


def test_sigterm_prints_the_summary_too(daemon):
    with running("-i", "50ms", daemon.url("echo", "tcp")) as (process, lines):
        lines.wait_for(" seq=3 ")
        process.send_signal(signal.SIGTERM)
        lines.wait_for(FIGURES)
        assert process.wait(SECONDS) == 130
        assert not [line for line in lines.text if line.startswith("echoctl:") or "Traceback" in line]


def test_the_interrupt_before_any_reply(daemon):
    with running("-i", "50ms", "-W", "1m", daemon.url("discard", "udp")) as (process, lines):
        lines.wait_for(" bytes every 50ms")
        threading.Event().wait(0.5)
        process.send_signal(signal.SIGINT)
        match = lines.wait_for(r"^(\d+) sent, 0 received, 0 lost \(0%\), (\d+) awaited, ")
        assert match[1] == match[2]
        assert process.wait(SECONDS) == 130


def test_the_interrupt_prints_the_object():
    asked = threading.Event()

    def listen(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            taken(connection, 64)
            asked.set()
            assert connection.recv(1) == b""

    with peer(streams(), listen) as url, running("--json", "-i", "1m", url) as (process, lines):
        assert asked.wait(SECONDS)
        process.send_signal(signal.SIGINT)
        found = json.loads(lines.wait_for("{.*}")[0])
        assert (found["sent"], found["awaited"], found["error"]) == (1, 1, None)
        assert process.wait(SECONDS) == 130


def test_a_closed_pipe_ends_ping_quietly(daemon):
    url = daemon.url("echo", "tcp")
    with Popen(
        [*ECHOCTL, "ping", "-i", "20ms", url], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(SECONDS) == -signal.SIGPIPE
        assert process.stderr.read() == b""


@pytest.mark.parametrize("words", [(), ("-s", "65508"), ("-s", "15"), ("-c", "0"), ("-i", "0"), ("--connect",)])
def test_wrong_usage_is_one_line(words):
    url = ("udp://127.0.0.1:7",) if words else ()
    ended = run(*ECHOCTL, "ping", *words, *url)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert re.fullmatch(r"echoctl ping: .*; see echoctl ping --help\n", ended.stderr.decode())


def test_services_are_listed_without_a_reactor():
    program = "import sys; from echod.client.main import main; code = main(['services']); "
    program += "sys.exit(code or 'twisted.internet.reactor' in sys.modules)"
    ended = run(ECHOCTL[0], "-W", "error", "-c", program)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"\n\necho\n    sends everything back unchanged (RFC 862)\n" in ended.stdout
    assert max(map(len, ended.stdout.decode().split("\n"))) <= 80


def test_a_plot_of_the_times(daemon, tmp_path):
    file = tmp_path / "times.svg"
    ping("-c", "3", "-i", "10ms", "--plot", str(file), daemon.url("echo", "udp"))
    paths = [path.attrib["d"] for path in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}path")]
    assert any(path.count("h0") in (1, 2, 3) for path in paths)  # a dot for each interval: a busy machine sends late
    assert "3 sent, 3 received" in file.read_text()


def test_a_plot_as_a_page_has_each_loss(daemon, tmp_path):
    file = tmp_path / "times.html"
    ping("-c", "3", "-i", "50ms", "-W", "300ms", "--plot", str(file), daemon.url("discard", "udp"), code=1)
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', file.read_text())
    assert sum(json.loads(data)["time"][5]) == 3


def test_a_plot_in_the_terminal_follows_the_summary(daemon):
    lines = ping("-q", "-c", "3", "-i", "10ms", "--plot", "-", daemon.url("echo", "udp"))
    assert lines[0] == f"--- {daemon.url('echo', 'udp')} ---"
    assert lines[3] == daemon.url("echo", "udp")
    assert [line.split()[0] for line in lines[-3:]] == ["min", "p50", "max"]
    assert max(map(len, lines[3:])) <= 80


def test_an_unwritable_plot_is_reported_before_the_first_probe(daemon, tmp_path):
    file = tmp_path / "none" / "times.svg"
    says = f"echoctl: {file}: no such file or directory (ENOENT)\n"
    assert ping("--plot", str(file), daemon.url("echo", "udp"), code=1, says=says) == [""]


def test_the_percentiles_in_a_file(daemon, tmp_path):
    file = tmp_path / "times.hgrm"
    found = figures("-c", "7", "-i", "10ms", "--hgrm", str(file), daemon.url("echo", "udp"))
    heading, _, *lines = file.read_text().splitlines()
    assert heading.split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    percentiles = [line.split() for line in lines if not line.startswith("#")]
    assert percentiles[-1] == [f"{found['max_ms']:.3f}", "1.000000000000", "7"]


def test_an_unwritable_file_of_percentiles_is_an_error_after_the_summary(daemon):
    url, file = daemon.url("echo", "udp"), "/dev/full"
    says = "echoctl: /dev/full: no space left on device (ENOSPC)\n"
    lines = ping("-q", "-c", "1", "--hgrm", file, url, code=1, says=says)
    assert lines[1] == "1 sent, 1 received, 0 lost (0%), 0 duplicated, 0 reordered, 0 wrong"


def test_several_targets_are_one_object(daemon):
    urls = [daemon.url("echo", "udp"), daemon.url("echo", "tcp")]
    assert [one["url"] for one in figures("-c", "1", *urls)["targets"]] == urls


def test_colors_follow_the_option(daemon):
    words = ("-c", "1", "-W", "100ms", daemon.url("discard", "udp"))
    for color, marked in (("always", True), ("never", False), ("auto", False)):  # a pipe has none
        ended = run(*ECHOCTL, "ping", *words, "--color", color)
        assert ended.returncode == 1
        assert ended.stdout.count(b"\x1b[31m1 sent, 0 received") == marked
