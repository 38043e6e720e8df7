"""echo and upper over streams: every byte comes back, in order, for any chunks, including the last byte."""

import hashlib
import socket
import struct
from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.matrix import (
    MIB,
    STREAM,
    Contract,
    answer,
    anything,
    data,
    everywhere,
    exactly,
    fill,
    pieces,
    rest,
)

ORACLE = {"echo": lambda asked: asked, "upper": bytes.upper}
FLAT = 8 * MIB
"""Memory growth within measurement noise: what an allocator takes at once. A peer that does not read can send some
600 MiB in a second."""
BLOCKED = 48 * MIB
"""More than the buffers of both kernels and of the daemon hold for one connection."""


@cache
def expected(service: str, size: int) -> tuple[int, str]:
    """The digest of the right reply to `data(size)`."""
    return size, hashlib.sha256(ORACLE[service](data(size))).hexdigest()


class Answering(Contract):
    def oracle(self, asked: bytes) -> bytes:
        said: bytes = ORACLE[self.service](asked)
        return said

    def assert_served(self) -> None:
        """A new client is served."""
        client = self.connect()
        client.sendall(b"still there?")
        assert exactly(client, 12) == self.oracle(b"still there?")
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b""
        client.close()

    def test_every_byte_value(self) -> None:
        asked = bytes(range(256)) * 3
        client = self.connect()
        client.sendall(asked)
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == self.oracle(asked)

    def test_each_reply_comes_at_once(self) -> None:
        client = self.connect()
        for asked in (b"a", b"\r", b"\n", b"\0", b"hello, W\xf6rld", bytes(1000), b"z" * 65_536):
            client.sendall(asked)
            assert exactly(client, len(asked)) == self.oracle(asked)

    @anything
    @given(st.lists(st.integers(1, 70_000) | st.integers(1, 40), max_size=40))
    def test_any_chunking(self, sizes: list[int]) -> None:
        size = sum(sizes)
        client = self.connect()
        assert answer(client, pieces(data(3 * MIB)[:size], sizes)) == (
            size,
            hashlib.sha256(self.oracle(data(3 * MIB)[:size])).hexdigest(),
        )
        client.close()

    def test_half_close_loses_nothing(self) -> None:
        for size in (0, 1, 65_535, 65_536, MIB):
            client = self.connect()
            assert answer(client, [data(size)]) == expected(self.service, size), size
            client.close()

    def test_64_mib(self) -> None:
        assert answer(self.connect(), [data(64 * MIB)]) == expected(self.service, 64 * MIB)

    def test_everything_is_sent_before_anything_is_read(self) -> None:
        for size in (1, 65_535, 65_536, 128 * 1024):
            client = self.connect()
            client.sendall(data(size))
            client.shutdown(socket.SHUT_WR)
            assert hashlib.sha256(rest(client)).hexdigest() == expected(self.service, size)[1], size
            client.close()

    def test_every_buffer_is_full_before_anything_is_read(self) -> None:
        client = self.connect()
        sent = fill(client, self.daemon.process.pid, data(64 * MIB))
        assert sent < BLOCKED, "the sender is not paused"
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == self.oracle(data(64 * MIB)[:sent])

    def test_a_peer_that_does_not_read_is_paused_and_delays_no_other(self) -> None:
        self.assert_served()
        before = self.daemon.memory()
        stuck = [self.connect() for _ in range(2)]
        sent = [fill(client, self.daemon.process.pid, data(64 * MIB)) for client in stuck]
        assert max(sent) < BLOCKED, "the sender is not paused"
        self.assert_served()
        assert self.daemon.memory() - before <= FLAT
        for client in stuck:
            client.close()
        self.assert_served()

    def test_fifty_clients_at_once(self) -> None:
        clients = [self.connect() for _ in range(50)]
        for turn in range(4):
            for number, client in enumerate(clients):
                client.sendall(f"client {number} asks {turn} ".encode() * 50)
            for number, client in enumerate(clients):
                asked = f"client {number} asks {turn} ".encode() * 50
                assert exactly(client, len(asked)) == self.oracle(asked)
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        assert [rest(client) for client in clients] == [b""] * 50

    def test_a_reset_affects_no_other_client(self) -> None:
        client = self.connect()
        client.sendall(b"before ")
        for unread in (False, True):
            rude = self.connect()
            rude.sendall(data(MIB)[: 100 * 1024])
            if not unread:
                rude.recv(10)
            reset(rude)
        client.sendall(b"after")
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == self.oracle(b"before after")
        self.assert_served()


def reset(client: Any) -> None:
    """Close with RST, if the transport has one: unsent data is dropped."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


globals().update(everywhere(Answering, STREAM, "echo", "upper"))
