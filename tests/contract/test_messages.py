"""The contracts of every kind over connections that keep message boundaries."""

import json
import socket
import struct
import time

from tests.contract.matrix import MESSAGE, Contract, data, everywhere
from tests.daemon import SECONDS
from tests.websocket import WebSocketClient

LARGE = 200_000  #: bytes that fit the kernel's default send buffer (212,992, its own overhead included)


Client = socket.socket | WebSocketClient


def message(client: Client) -> bytes | None:
    """The next message, which may be empty; None is the end."""
    if isinstance(client, WebSocketClient):
        return client.receive()
    came, credentials, flags, _ = client.recvmsg(1 << 20, socket.CMSG_SPACE(12))
    assert not flags & socket.MSG_TRUNC
    return came if came or credentials else None


def rest(client: Client) -> list[bytes]:
    """Every message until the end."""
    found = []
    while (one := message(client)) is not None:
        found.append(one)
    return found


class Answering(Contract):
    """Each message gets one reply of the same length."""

    def test_boundaries_and_order_are_kept(self) -> None:
        client = self.connect()
        sent = [data()[:size] for size in (1, 0, 2, 0, 0, 65_536, LARGE, 3)]
        for one in sent:
            client.send(one)
            self.assertEqual(message(client), self._due(one))
        for one in sent[:6]:
            client.send(one)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(rest(client), [self._due(one) for one in sent[:6]])

    def test_an_empty_message_is_not_the_end(self) -> None:
        client = self.connect()
        client.send(b"")
        self.assertEqual(message(client), b"")
        client.send(b"on")
        self.assertEqual(message(client), self._due(b"on"))

    def test_a_peer_that_does_not_read_loses_nothing(self) -> None:
        client = self.connect()
        client.settimeout(0.5)
        sent = 0
        try:
            while sent < 4000:
                client.send(b"%08d" % sent * 1000)
                sent += 1
        except TimeoutError:
            pass
        self.assertLess(sent, 4000)
        client.settimeout(SECONDS)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(rest(client), [b"%08d" % number * 1000 for number in range(sent)])

    def _due(self, sent: bytes) -> bytes:
        return sent.upper() if self.service == "upper" else sent


class Discarding(Contract):
    def test_no_message_comes_back_except_the_end(self) -> None:
        client = self.connect()
        for size in (0, 1, LARGE):
            client.send(data()[:size])
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(rest(client), [])


class Receipts(Contract):
    def test_the_first_message_has_a_reply_followed_by_the_end(self) -> None:
        client = self.connect()
        client.send(b"here")
        self.assertEqual(message(client), b"received")
        if self.service == "ack-stays":
            client.send(b"again")
            self.assertEqual(message(client), b"received")
            client.shutdown(socket.SHUT_WR)
        self.assertEqual(rest(client), [])


class Speaking(Contract):
    def test_one_message_and_the_end(self) -> None:
        [said] = rest(self.connect())
        if self.service == "time":
            self.assertLess(abs(struct.unpack("!I", said)[0] - 2_208_988_800 - time.time()), 60)
        elif self.service == "whoami":
            self.assertEqual(json.loads(said)["protocol"], self.name)
        else:
            self.assertTrue(said.endswith(b"\n"), said)


class Choosing(Contract):
    def test_the_first_message_is_a_request(self) -> None:
        client = self.connect()
        client.send(b"duplicate=1")
        client.send(b"hello")
        self.assertEqual([message(client), message(client)], [b"hello", b"hello"])

    def test_an_error_is_a_message_followed_by_the_end(self) -> None:
        client = self.connect()
        client.send(b"duplicate=2")
        [said] = rest(client)
        self.assertTrue(said.startswith(b"error: duplicate: "), said)


class Talking(Contract):
    def test_each_line_is_a_message(self) -> None:
        client = self.connect()
        if self.service == "console":
            client.send(b"hello, operators?")
            self.assertIn(b"back at nine", message(client) or b"")
            return
        self.assertIn(b"welcome", message(client) or b"")
        client.send(b"/who")
        self.assertIn(b"-- ", message(client) or b"")
        client.send(b"/quit")
        self.assertIn(b"goodbye", rest(client)[-1])


globals().update(
    everywhere(Answering, MESSAGE, "echo", "upper")
    | everywhere(Discarding, MESSAGE, "discard", "discard-text", "discard-hex")
    | everywhere(Receipts, MESSAGE, "ack", "ack-text", "ack-stays")
    | everywhere(Speaking, MESSAGE, "daytime", "time", "qotd", "whoami")
    | everywhere(Choosing, MESSAGE, "bin")
    | everywhere(Talking, MESSAGE, "chat", "console")
)
