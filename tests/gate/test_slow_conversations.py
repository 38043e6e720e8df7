"""Floods of lines at chat and console, and operators and members that do not read: counts and bytes."""

import json
import socket
from contextlib import ExitStack

import pytest

from echod.address import parse
from echod.client.admin import Administrator
from echod.services.outbox import WAITING
from tests.daemon import SECONDS, Daemon, eventually

MIB = 1 << 20
LINES = """
[services.echo]
listen = ["tcp://127.0.0.1:0"]
[services.chat]
lines-per-second = 0
room-lines-per-second = 0
listen = ["tcp://127.0.0.1:0"]
[services.console]
unanswered = 10000
unanswered-in-all = 100000
listen = ["tcp://127.0.0.1:0"]
[admin]
listen = ["unix://{dir}/admin.sock"]
"""


def connected(stack, daemon, service):
    client = stack.enter_context(socket.create_connection(daemon.inet(service, "tcp"), SECONDS))
    client.settimeout(SECONDS)
    return client


def status(daemon):
    with Administrator(parse(f"unix://{daemon.dir}/admin.sock")) as administrator:
        return administrator.ask("/api/status")


def until(client, last):
    """Everything received, up to this text."""
    whole = b""
    while last not in whole:
        piece = client.recv(1 << 18)
        assert piece, whole[-200:]
        whole += piece
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("service", ["chat", "console"])
def test_twenty_floods_of_line_ends_delay_no_client_and_lose_no_line(service):
    with Daemon(LINES) as daemon, ExitStack() as stack:
        echo = connected(stack, daemon, "echo")
        seat = _seat(stack, daemon)
        hearer = connected(stack, daemon, "chat")
        flooders = [connected(stack, daemon, service) for _ in range(20)]
        for flooder in flooders:
            flooder.sendall(b"\n" * 100_000)
        for number, flooder in enumerate(flooders):
            flooder.sendall(b"the last line of %d" % number)  # a half-close ends it
            flooder.shutdown(socket.SHUT_WR)
        for number in range(100):
            echo.sendall(b"%08d" % number)
            assert echo.recv(8) == b"%08d" % number
        heard = b""
        for number in range(20):
            text = b"the last line of %d" % number
            while text + b"\n" not in heard and text + b'"' not in heard:
                heard += (hearer if service == "chat" else seat).recv(1 << 18)
        daemon.check()


def _seat(stack, daemon):
    seat = stack.enter_context(socket.socket(socket.AF_UNIX))
    seat.settimeout(SECONDS)
    seat.connect(str(daemon.dir / "admin.sock"))
    seat.sendall(b"GET /api/console/console HTTP/1.1\r\nHost: localhost\r\n\r\n")
    until(seat, b'"here"')
    return seat


def test_a_seat_that_does_not_read_is_bounded_notified_and_counted():
    with Daemon(LINES) as daemon, ExitStack() as stack:
        seat = _seat(stack, daemon)
        client = connected(stack, daemon, "console")
        before = daemon.memory()
        for _ in range(1000):
            client.sendall(b"\xff" * 4000 + b"\n")  # 24 kB as JSON
        assert eventually(lambda: status(daemon)["missed"] > 500)
        now = status(daemon)
        assert now["unsent"] <= 2 * WAITING + 1000 * 8200  # the messages that wait count as well
        assert daemon.memory() - before < 16 * MIB + 1000 * 8000 * 2  # unanswered messages are kept as text
        heard, missed = b"", []
        while not missed:
            heard += seat.recv(1 << 18)
            missed = [event["events"] for event in events(heard) if event["event"] == "missed"]
        assert missed[0] > 0
        daemon.check()


def events(heard):
    """The complete events of a chunked response."""
    for line in heard.split(b"\n"):
        if line.startswith(b'{"event"') and line.endswith(b"}"):
            yield json.loads(line)


CROWD = """
[defaults.limits]
total-buffer = "2MiB"
[services.chat]
lines-per-second = 0
room-lines-per-second = 0
listen = ["tcp://127.0.0.1:0"]
[admin]
listen = ["unix://{dir}/admin.sock"]
"""
SILENT = 60


def test_silent_members_stay_within_the_budget_and_release_it():
    with Daemon(CROWD) as daemon, ExitStack() as stack:
        with ExitStack() as silent:
            for _ in range(SILENT):
                member = silent.enter_context(socket.socket())
                member.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                member.connect(daemon.inet("chat", "tcp"))
            talker = connected(stack, daemon, "chat")
            for _ in range(1000):
                talker.sendall(b"x" * 4000 + b"\n")
            talker.sendall(b"/who\n")
            until(talker, b"-- in lobby")
            assert eventually(lambda: status(daemon)["missed"] > 0)
            now = status(daemon)
            # `buffer` of each may be in flight when the sum passes the limit; without it 256 KiB of each would wait
            assert now["unsent"] <= 2 * MIB + SILENT * 65_536
            talker.sendall(b"/nick talker\n")
            until(talker, b"you are now talker")
        assert eventually(lambda: status(daemon)["unsent"] == 0)
        daemon.check()
