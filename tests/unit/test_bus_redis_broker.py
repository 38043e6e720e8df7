"""The connection to Redis, on a transport in memory: how it begins, and the words for its end."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from echod.bus.redis_broker import RedisBroker
from echod.gate.work_budget import WorkBudget

SUBSCRIBED = b">3\r\n$9\r\nsubscribe\r\n$7\r\nchannel\r\n:1\r\n"


class Client:
    """Keeps what a broker reports."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.ends: list[str] = []

    def say(self, _level: str, text: str) -> None:
        self.said.append(text)

    def opened(self) -> None:
        pass

    def received(self, _message: bytes) -> int:
        return 1

    def closed(self, reason: str) -> None:
        self.ends.append(reason)


def begun(login: tuple[str, str] | None = None) -> tuple[Client, Any, Deferred[Any]]:
    """A client, the factory of its first connection, and the Deferred of that attempt."""
    clock, client, factories, attempt = Clock(), Client(), [], Deferred[Any]()

    def connect(factory: Any) -> Deferred[Any]:
        factories.append(factory)
        return attempt

    RedisBroker(clock, connect, "channel", login, "redis://r", WorkBudget(clock.callLater)).start(client)
    return client, factories[0], attempt


ENDS = {
    "closed": (error.ConnectionDone(), "the server has closed the connection"),
    "reset": (error.ConnectionLost(), "the connection was reset, or the server did not respond"),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_end_of_a_connection_is_named_in_the_words_of_the_system(name: str) -> None:
    """Twisted's own text does not name the error."""
    client, factory, _attempt = begun()
    connection = factory.buildProtocol(None)
    connection.makeConnection(StringTransport())
    connection.dataReceived(SUBSCRIBED)
    assert client.said == ["the bus redis://r is connected"]
    connection.connectionLost(Failure(ENDS[name][0]))
    assert client.ends == [f"the bus redis://r is disconnected: {ENDS[name][1]}"]
    assert connection._broker.outages == 1


def refused(error_reply: bytes, login: tuple[str, str] | None = None) -> list[str]:
    """The log lines, if the server replies with this error, and then to SUBSCRIBE."""
    client, factory, attempt = begun(login)
    connection = factory.buildProtocol(None)
    connection.makeConnection(StringTransport())
    attempt.callback(connection)
    connection.dataReceived(b"-%s\r\n" % error_reply + SUBSCRIBED)
    connection.connectionLost(Failure(error.ConnectionAborted()))
    assert client.ends == []
    return client.said


def test_a_refused_login_is_reported_once_also_if_the_server_continues() -> None:
    assert refused(b"ERR no") == [
        "the bus redis://r cannot be used: the server refuses it: ERR no; trying again",
    ]


def test_a_long_error_of_the_server_is_cut() -> None:
    [line] = refused(b"ERR \x1b[2J" + b"y" * 3000)
    assert "\\x1b[2J" in line
    assert len(line) < 300


@pytest.mark.parametrize(
    "password", ["p", "passw\u00f6rd", "p" * 200], ids=["short", "not ASCII", "longer than is sent back"]
)
def test_no_part_of_the_password_is_logged(password: str) -> None:
    """A server that does not know HELLO sends back the first 128 bytes of its arguments."""
    arguments = f"'3' 'AUTH' 'u' '{password}'"[:128]
    [line] = refused(f"ERR unknown command 'HELLO', with args beginning with: {arguments}".encode(), ("u", password))
    assert "'u' '***" in line.replace("\\'", "'")
    assert password[:8] not in line.partition("'u' ")[2]


def test_an_empty_password_changes_no_error() -> None:
    [line] = refused(b"ERR no", ("u", ""))
    assert "the server refuses it: ERR no;" in line


def test_messages_and_outages_are_counted() -> None:
    _client, factory, _attempt = begun()
    connection = factory.buildProtocol(None)
    broker = connection._broker
    broker.publish(b"without a connection")
    connection.makeConnection(StringTransport())
    connection.dataReceived(SUBSCRIBED)
    broker.publish(b"hello")
    connection.dataReceived(b">3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n$5\r\nhello\r\n")
    assert (broker.published, broker.arrived, broker.outages) == (1, 1, 0)
    broker.drop("it does not respond")
    broker.drop("again")
    assert broker.outages == 1


REFUSALS = {
    "route": (error.ConnectError(osError=errno.EHOSTUNREACH), "no route to host (EHOSTUNREACH)"),
    "refused": (error.ConnectionRefusedError(osError=errno.ECONNREFUSED), "connection refused (ECONNREFUSED)"),
    "timeout": (error.TimeoutError(), "connection timed out (ETIMEDOUT)"),
    "name": (error.DNSLookupError("no results"), "no such host (EAI_NONAME)"),
    "resolver": (
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        "temporary failure in name resolution (EAI_AGAIN)",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_connection_that_cannot_be_made_is_named_in_the_words_of_the_system(name: str) -> None:
    client, _factory, attempt = begun()
    attempt.errback(Failure(REFUSALS[name][0]))
    assert client.said == [f"the bus redis://r cannot be used: {REFUSALS[name][1]}; trying again"]
