"""echoctl with hostile peers and with other programs: one line, an exit code, and an end."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, run

CONFIG = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services]
echo.listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
upper.listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
discard.listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
discard.show = "no"
daytime.listen = ["tcp://127.0.0.1:0"]
ack.listen = ["tcp://127.0.0.1:0"]
ack.show = "no"
chat.listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
console.listen = ["tcp://127.0.0.1:0"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as running:
        yield running
        running.check()


@contextmanager
def interface(said: bytes, endless: bytes = b"", *, again: bool = False) -> Iterator[str]:
    """The URL of a server that answers the first request with this, and then with endless data.

    With `again` it answers each request with the same.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)

        def serve() -> None:
            with listening.accept()[0] as client, suppress(OSError):
                client.recv(65_536)
                client.sendall(said)
                while endless:
                    client.sendall(endless)
                while again and client.recv(65_536):
                    client.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(SECONDS)
        assert not thread.is_alive()


HERE = {"event": "here", "operator": 1, "operators": 1, "clients": []}
OK = b"HTTP/1.1 200 OK\r\n\r\n"
EVENTS = {
    "no object": b"[]",
    "no JSON either": b"{",
    "nothing in it": b'{"event": "here"}',
    "clients that are none": json.dumps({**HERE, "clients": [7]}).encode(),
    "a time that is none": b'{"event": "said", "time": "x", "client": 1, "peer": "p", "text": "t"}',
    "no time that there is": b'{"event": "said", "time": 1e400, "client": 1, "peer": "p", "text": "t"}',
    "nested deeply": b"[" * 100_000 + b"]" * 100_000,
}


def seat(url: str) -> subprocess.CompletedProcess[bytes]:
    """Run `echoctl console` with empty input, and return the result."""
    nothing, ours = os.pipe()
    try:
        return run(*ECHOCTL, "console", "--admin", url, "x", stdin=nothing)
    finally:
        os.close(ours)
        os.close(nothing)


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_of_another_program_ends_the_console(name):
    with interface(OK + EVENTS[name] + b"\n") as url:
        ended = seat(url)
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"echoctl: {url}: the response is not from an echod of this version\n"


def test_an_endless_event_line_is_refused():
    with interface(OK, b"x" * 1_000_000) as url:
        ended = seat(url)
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"echoctl: {url}: the response is not from an echod of this version\n"


@pytest.mark.parametrize("body", [EVENTS["nested deeply"], b"[]"], ids=["nested deeply", "an array"])
def test_a_refusal_of_another_program_is_one_line(body):
    with interface(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as url:
        ended = seat(url)
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"echoctl: {url}: the response is not from an echod of this version\n"


def asked(url: str, *words: str) -> tuple[int, str]:
    """The exit code and the errors of a command that asks this admin interface."""
    ended = run(*ECHOCTL, words[0], "--admin", url, *words[1:])
    assert not ended.stdout
    return ended.returncode, ended.stderr.decode()


def test_a_status_that_is_no_object_is_one_line():
    with interface(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", again=True) as url:
        assert asked(url, "status", "--connections", "1") == (
            1,
            f"echoctl: {url}: the response is not from an echod of this version\n",
        )


@pytest.mark.parametrize("words", [("status",), ("reload",), ("faults", "echo")], ids=lambda words: words[0])
def test_a_long_error_of_another_program_is_cut(words):
    body = json.dumps({"error": "e" * 100_000, "errors": ["f" * 100_000]}).encode()
    for status, text in (("403 Forbidden", "e"), ("422 Unprocessable Content", "e" if words == ("status",) else "f")):
        with interface(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body)) + body) as url:
            _, errors = asked(url, *words)
        assert errors.splitlines()[0] == f"echoctl: {text * 1_000}…"


BROKEN_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nx"


def test_a_wrong_chunk_ends_the_console():
    with interface(BROKEN_CHUNK) as url:
        ended = seat(url)
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"echoctl: {url}: the response is not from an echod of this version\n"


def test_a_page_in_place_of_events_is_an_error():
    with interface(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>\n") as url:
        assert asked(url, "events") == (1, f"echoctl: {url}: the response is not from an echod of this version\n")


def test_a_proxy_may_add_a_charset_to_the_type_of_events():
    with interface(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n") as url:
        ended = run(*ECHOCTL, "events", "--json", "--admin", url)
    assert (ended.returncode, json.loads(ended.stdout)) == (0, {"events": [], "dropped": 0})


def test_events_as_one_object_are_bounded():
    event = b"data: %s\n\n" % json.dumps({"event": "x" * 1_000_000}).encode()
    with interface(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", event) as url:
        assert asked(url, "events", "--json") == (
            1,
            f"echoctl: {url}: the response is not from an echod of this version\n",
        )


def test_repeated_welcomes_do_not_repeat_the_introduction_each_time():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(SECONDS)
        url = f"udp://127.0.0.1:{server.getsockname()[1]}"
        words = [*ECHOCTL, "chat", "--nick", "x", "--room", "y", url]
        with subprocess.Popen(
            words, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as member:
            assert member.stdin is not None
            _, peer = server.recvfrom(65_536)
            begun = time.monotonic()
            for _ in range(200):
                server.sendto(b"-- welcome: you are x\n", peer)
            member.stdin.write(b"the end\n")
            member.stdin.flush()
            came = []
            while b"the end" not in came:
                came.append(server.recv(65_536))
            took = time.monotonic() - begun
            member.kill()
    assert came.count(b"/nick x") <= 1 + took


def piped(daemon: Daemon, *words: str, typed: str) -> tuple[int, str]:
    ended = run(*ECHOCTL, *words, input=typed.encode())
    return ended.returncode, ended.stderr.decode()


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_chat_with_an_echo_service_is_an_error(scheme, daemon):
    url = daemon.url("echo", scheme)
    assert piped(daemon, "chat", url, typed="hello\n") == (
        1,
        f"echoctl: {url} is not a chat service: it sent no welcome\n",
    )


def test_a_refused_name_is_reported(daemon):
    url = daemon.url("chat", "tcp")
    assert piped(daemon, "chat", "--nick", "a b", url, typed="/who\n") == (
        1,
        f"echoctl: {url}: the service refused /nick a b\n",
    )
    code, said = piped(daemon, "chat", "--nick", "anna", "--room", "no room", url, typed="")
    assert (code, said) == (1, f"echoctl: {url}: the service refused /join no room\n")
    assert piped(daemon, "chat", "--nick", "anna", "--room", "lobby", url, typed="/who\n") == (0, "")


def test_lines_of_talk_without_a_reply_are_counted(daemon):
    for service, scheme, typed, code, said in (
        ("discard", "tcp", "a\nb\n", 1, "2 of 2 lines got no reply"),
        ("discard", "udp", "a\n", 1, "the line got no reply"),
        ("daytime", "tcp", "a\nb\n", 1, "1 of 2 lines got no reply"),
        ("ack", "tcp", "a\nb\n", 0, ""),
        ("upper", "tcp", "a\n\nb", 0, ""),
        ("upper", "udp", "a\n\nb", 0, ""),
    ):
        url = daemon.url(service, scheme)
        ended, words = piped(daemon, "talk", url, typed=typed)
        assert ended == code, url
        told = words.removeprefix(f"{url} has ended the conversation\n")  # if the peer closed before all was read
        assert told == (f"echoctl: {url}: {said}\n" if said else ""), url


def test_undelivered_lines_of_an_operator_are_counted(daemon):
    words = ("console", "--admin", f"unix://{daemon.dir}/admin.sock")
    assert piped(daemon, *words, typed="hello\n") == (1, "echoctl: 1 line was not sent\n")
    assert piped(daemon, *words, typed="hello\n/who\n\n@7 you\n//x\n") == (1, "echoctl: 3 lines were not sent\n")
    assert piped(daemon, *words, typed="/who\n/help\n") == (0, "")


def test_lines_wait_until_the_clients_are_known():
    """Input of a pipe is there at once, and the event stream begins later."""
    here = {**HERE, "clients": [{"client": 1, "peer": "tcp 192.0.2.1:9"}]}
    asked = b""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)

        def serve() -> None:
            nonlocal asked
            with listening.accept()[0] as events:
                events.recv(65_536)
                events.sendall(OK)
                select.select([], [], [], 0.5)
                events.sendall(json.dumps(here).encode() + b"\n")
                with listening.accept()[0] as answers:
                    while b"good morning" not in asked:
                        asked += answers.recv(65_536)
                    answers.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    answers.recv(65_536)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        ended = run(*ECHOCTL, "console", "--admin", url, "front", input=b"@1 good morning\n")
        thread.join(SECONDS)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert asked
