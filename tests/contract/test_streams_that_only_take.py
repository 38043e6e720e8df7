"""discard and ack over streams: the data they read, the lines they print, and the end of the conversation."""

import contextlib
import re
import socket
from functools import partial
from typing import Any

from tests.contract.matrix import MIB, STREAM, Contract, data, everywhere, exactly, rest
from tests.daemon import eventually
from tests.tls import TlsSocket


class Taking(Contract):
    """discard, with every value of `show`."""

    def test_no_data_comes_back_and_a_fin_gets_a_fin(self) -> None:
        for size in (0, 1, 65_536, MIB):
            client = self.connect()
            client.sendall(data(MIB)[:size])
            client.shutdown(socket.SHUT_WR)
            assert rest(client) == b""
            client.close()

    def test_it_stays_open_until_the_peer_has_closed(self) -> None:
        client = self.connect()
        client.sendall(b"hello")
        client.settimeout(0.05)
        self.assertRaises(TimeoutError, client.recv, 1)
        client.sendall(b"still there?")


class TakingALot(Contract):
    def test_it_reads_everything_and_keeps_nothing(self) -> None:
        client = self.connect()
        client.sendall(b"begin")
        before = self.daemon.memory()
        client.sendall(data(64 * MIB))
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b""
        assert self.daemon.memory() - before <= 8 * MIB


class Showing(Contract):
    def test_received_data_is_one_line_that_is_safe_to_print(self) -> None:
        for sent, shown in (
            ("Grüße, 世界\n".encode(), "Grüße, 世界"),
            (b"\x1b]0;owned\x07 \0\xff\xfe \r\n\t.", r"\x1b]0;owned\x07 \x00\xff\xfe \x0d\x0a\x09."),
        ):
            assert eventually(partial(self.shows, sent, shown))

    def shows(self, sent: bytes, shown: str) -> bool:
        """Whether it is printed: the tests before may have used up the lines of the current second."""
        client = self.connect()
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == (b"received" if self.service.startswith("ack") else b"")
        with contextlib.suppress(AssertionError):
            return bool(self.daemon.stdout.wait_for(f"^{client_of(client)}: {re.escape(shown)}$", 1.0))
        return False


class Acknowledging(Contract):
    """ack: one receipt, then the close."""

    def test_the_receipt_and_the_close(self) -> None:
        client = self.connect()
        client.sendall(b"here you are")
        assert rest(client) == b"received"

    def test_no_receipt_before_any_data(self) -> None:
        client = self.connect()
        client.settimeout(0.05)
        self.assertRaises(TimeoutError, client.recv, 1)

    def test_no_receipt_without_data(self) -> None:
        client = self.connect()
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b""

    def test_only_the_first_data_has_a_receipt(self) -> None:
        client = self.connect()
        client.sendall(b"here you are")
        assert exactly(client, 8) == b"received"
        client.sendall(b"and this?")
        assert client.recv(1) == b""

    def test_the_receipt_survives_unread_data(self) -> None:
        client = self.connect()
        client.sendall(data(MIB))
        assert rest(client) == b"received"
        client.sendall(b"are you still there?")

    def test_the_receipt_survives_the_half_close(self) -> None:
        client = self.connect()
        client.sendall(data(MIB))
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b"received"


class AcknowledgingAndStaying(Contract):
    """ack with `close = false`."""

    def test_each_read_has_a_receipt(self) -> None:
        client = self.connect()
        for number in range(10):
            client.sendall(f"message {number}".encode())
            assert exactly(client, 8) == b"received"
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b""

    def test_receipts_are_complete_for_any_data(self) -> None:
        client = self.connect()
        client.sendall(data(MIB))
        client.shutdown(socket.SHUT_WR)
        came = rest(client)
        assert came
        assert came == b"received" * (len(came) // 8)


def client_of(client: Any) -> str:
    """The name of this client in a printed line, as a pattern."""
    name = client.getsockname()
    if client.family == socket.AF_UNIX:
        return re.escape("unix (unnamed)")
    scheme = "tls" if isinstance(client, TlsSocket) else "tcp"
    return re.escape(f"{scheme} [{name[0]}]:{name[1]}" if ":" in name[0] else f"{scheme} {name[0]}:{name[1]}")


for _contract, *_services in (
    (Taking, "discard", "discard-text", "discard-hex"),
    (TakingALot, "discard"),
    (Showing, "discard-text", "ack-text"),
    (Acknowledging, "ack", "ack-text"),
    (AcknowledgingAndStaying, "ack-stays"),
):
    globals().update(everywhere(_contract, STREAM, *_services))
