"""Responses of other programs at the admin address: one error line, with terminal sequences escaped."""

from __future__ import annotations

import json
import select
import socket
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from unittest.mock import patch

import pytest

from echod.address import Address, parse
from echod.client.admin import Administrator, Unanswered, parsing_response
from echod.client.commands import events, reload, status
from echod.client.commands.console import _only
from echod.transports.sockets import KEEPALIVE

RIGHT = {
    "version": "1",
    "ready": True,
    "pid": 1,
    "uptime": 1.5,
    "files": [],
    "last_reload": None,
    "lines_lost": 0,
    "events_lost": 0,
    "services": [],
}
LISTENER = {
    "address": "tcp://127.0.0.1:7",
    "open": 1,
    "accepted": 2,
    "datagrams_in": 0,
    "bytes_in": 5,
    "bytes_out": 5,
    "refused": {"denied": 1},
}
WRONG = [
    *("null", "[]", "{}", "7", '"x"', "[[[[", "[" * 100_000, "9" * 5_000, "\x00", ""),
    *(json.dumps({name: value for name, value in RIGHT.items() if name != left_out}) for left_out in RIGHT),
    *(json.dumps({**RIGHT, name: "\x1b[2J"}) for name in ("pid", "uptime", "services", "lines_lost")),
    *(json.dumps({**RIGHT, name: 7.5}) for name in ("pid", "files", "services", "last_reload")),
    json.dumps({**RIGHT, "uptime": float("inf")}),
    json.dumps({**RIGHT, "services": [{"name": "x", "listeners": [{**LISTENER, "open": "\x1b[2J"}]}]}),
    json.dumps({**RIGHT, "services": [{"name": "x", "listeners": [{**LISTENER, "refused": None}]}]}),
]


@pytest.fixture
def answering(tmp_path):
    """A server that sends the same response to every request."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    said = [b""]

    def answer() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                client.recv(65_536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said[0]), said[0]))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()

    def set_answer(text: str) -> str:
        said[0] = text.encode("utf-8", "surrogatepass")
        return f"unix://{tmp_path}/s"

    yield set_answer
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(10)


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_response_of_another_program_is_reported_in_one_line(answering, capsys, text):
    asked = Namespace(admin=parse(answering(text)), json=False, color="never", sort=None, connections=None)
    assert status.run(asked) == 1
    assert reload.run(asked) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("echoctl: unix://")
        assert "the response is not from an echod" in line
        assert line.isprintable()


def test_the_text_of_another_program_is_cut(answering, capsys):
    asked = Namespace(admin=parse(answering("[" * 36_000)), json=False, color="never", sort=None, connections=None)
    with patch("echod.client.admin.json.loads", side_effect=ValueError("x" * 36_000)):
        assert status.run(asked) == 1
    assert len(capsys.readouterr().err) < 1_000


def test_terminal_sequences_in_a_status_are_escaped(answering, capsys):
    hostile = "\x1b[2J\udc80"
    services = [{"name": hostile, "listeners": [{**LISTENER, "address": hostile, "refused": {hostile: 1}}]}]
    text = json.dumps({**RIGHT, "version": hostile, "files": [hostile], "services": services})
    assert (
        status.run(Namespace(admin=parse(answering(text)), json=False, color="never", sort=None, connections=None)) == 0
    )
    assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_an_endless_response_is_refused(answering, monkeypatch):
    monkeypatch.setattr("echod.client.admin.LARGEST", 1_000)
    with (
        Administrator(parse(answering(" " * 1_001 + "{}"))) as administrator,
        pytest.raises(Unanswered, match="more than 1000 bytes"),
    ):
        administrator.ask("/")


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"H"),
    ],
)
def test_a_slow_response_has_the_same_deadline(start, again):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gone = threading.Event()

        def drip() -> None:
            with listening.accept()[0] as client, suppress(OSError):
                client.sendall(start)
                while not gone.wait(0.05):
                    client.sendall(again)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            address = parse(f"tcp://127.0.0.1:{listening.getsockname()[1]}", client=True)
            with Administrator(address, patience=0.5) as administrator, pytest.raises(Unanswered):
                administrator.ask("/")
        finally:
            gone.set()
            thread.join(10)


def test_a_console_list_of_another_program_is_refused(answering):
    for text in ("[]", '{"services": 7}', '{"services": [1]}', '{"services": [{"name": "x"}]}'):
        with Administrator(parse(answering(text))) as administrator, pytest.raises(Unanswered, match="from an echod"):
            _only(administrator)


def test_a_response_of_the_wrong_form_is_reported():
    with pytest.raises(Unanswered), parsing_response(parse("unix:///x")):
        raise KeyError
    with pytest.raises(OSError, match="mine"), parsing_response(parse("unix:///x")):
        raise OSError("mine")


def test_a_connection_that_the_daemon_closed_is_opened_again(answering):
    """The daemon closes a connection without requests after 75 s, for example that of a paused `echoctl top`."""
    with Administrator(parse(answering("{}"))) as administrator:
        for _ in range(2):
            assert administrator.ask("/") == {}
            waiting = select.poll()
            waiting.register(administrator._connection.sock, select.POLLIN)
            assert waiting.poll(30_000)  # the server closes after each response


@contextmanager
def streaming(*pieces: bytes) -> Iterator[Address]:
    """A server that sends these pieces to its first client, one each 0.4 s, and closes when the block ends."""
    over = threading.Event()

    def stream(listening: socket.socket) -> None:
        with listening.accept()[0] as client:
            client.recv(65_536)
            for piece in pieces:
                client.sendall(piece)
                over.wait(0.4)
            over.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=stream, args=(listening,), daemon=True)
        thread.start()
        try:
            yield parse(f"tcp://127.0.0.1:{listening.getsockname()[1]}", client=True)
        finally:
            over.set()
            thread.join(30)


def test_a_stream_has_a_deadline_for_its_head_only():
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with streaming(head, b"one\n", b"two\n") as address, Administrator(address, patience=0.3) as administrator:
        response = administrator.open("/")
        administrator.remove_deadline()
        assert [response.readline(), response.readline()] == [b"one\n", b"two\n"]


def test_a_daemon_that_hangs_ends_a_follower(monkeypatch, capsys):
    monkeypatch.setattr(Administrator.__init__, "__defaults__", (0.3,))
    options = {"name": None, "service": None, "severity": "info", "since": None, "json": False, "json_lines": False}
    with streaming() as address:
        assert events.run(Namespace(admin=address, follow=True, color="never", **options)) == 1
    assert capsys.readouterr().err == f"echoctl: {address.label}: timed out\n"


def test_a_daemon_that_has_disappeared_is_detected():
    """The kernel does it by keepalive probes."""
    with streaming() as address, Administrator(address) as administrator:
        administrator.connect()
        opened = administrator._connection.sock
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert {option: opened.getsockopt(socket.IPPROTO_TCP, option) for option in KEEPALIVE} == KEEPALIVE
