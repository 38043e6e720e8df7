"""Clients over TLS that connect and close in every way. Each byte is compared."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from contextlib import closing, suppress
from enum import StrEnum
from itertools import cycle
from typing import Final

from tests.chaos.connect_burst import RESET
from tests.daemon import SECONDS
from tests.soak.load import MESSAGE, PATTERN, STUCK, Place, Wrong
from tests.tls import V12, V13, TlsSocket, client_context

LARGE: Final = 1 << 16  #: bytes: more than a read of the server


class TlsWay(StrEnum):
    """The ways of using a connection over TLS."""

    ECHO = "echo and close_notify"
    RESUMED = "the same, session resumed"
    LARGE = "64 KiB and close_notify"
    FIN = "echo and a FIN alone"
    RESET = "echo and reset"
    DAMAGED = "a damaged record"
    HALF_A_HELLO = "half a hello and reset"
    STUCK = "stuck and reset"


MIX: Final = (*TlsWay, TlsWay.ECHO, TlsWay.RESUMED)


class TlsCycles:
    """Connections to an echo over TLS 1.2 and 1.3."""

    def __init__(self, place: Place) -> None:
        self.done: Counter[TlsWay] = Counter()
        self._place = place
        self._contexts = [client_context(version) for version in (V12, V13)]
        self._sessions: dict[ssl.SSLContext, ssl.SSLSession | None] = dict.fromkeys(self._contexts)
        self._next = cycle((context, way) for way in MIX for context in self._contexts)
        self._hello = _hello(self._contexts[1])

    @property
    def count(self) -> int:
        """The number of connections."""
        return self.done.total()

    def batch(self) -> None:
        """One connection. Raises Wrong, or OSError if no reply arrives."""
        context, way = next(self._next)
        with closing(socket.create_connection(self._place, SECONDS)) as opened:
            if way is TlsWay.HALF_A_HELLO:
                opened.sendall(self._hello[: len(self._hello) // 2])
            else:
                self._use(
                    way, TlsSocket(opened, context, session=self._sessions[context] if way is TlsWay.RESUMED else None)
                )
            if way in (TlsWay.RESET, TlsWay.HALF_A_HELLO, TlsWay.STUCK):
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.done[way] += 1

    def _use(self, way: TlsWay, client: TlsSocket) -> None:
        if way is TlsWay.STUCK:
            client.socket.setblocking(False)
            with suppress(BlockingIOError):
                client.sendall(PATTERN[:STUCK])
            return
        if way is TlsWay.RESUMED and not client.tls.session_reused:
            raise Wrong("the session was not resumed")
        at = self.count % 251
        due = PATTERN[at : at + (LARGE if way is TlsWay.LARGE else MESSAGE)]
        client.sendall(due)
        self._compare(client, due)
        if way is TlsWay.ECHO:
            self._sessions[client.tls.context] = client.tls.session
        if way is TlsWay.DAMAGED:
            client.socket.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
            with suppress(ssl.SSLError):
                raise Wrong(f"a damaged record: {len(client.recv(1))} bytes, expected an alert")
        elif way is TlsWay.FIN:
            client.socket.shutdown(socket.SHUT_WR)
        elif way is not TlsWay.RESET:
            client.shutdown(socket.SHUT_WR)
        if way in (TlsWay.FIN, TlsWay.ECHO, TlsWay.RESUMED, TlsWay.LARGE) and (client.recv(1) or client.truncated):
            raise Wrong(f"{way}: expected close_notify after the last byte")

    def _compare(self, client: TlsSocket, due: bytes) -> None:
        came = b""
        while len(came) < len(due) and (part := client.recv(len(due) - len(came))):
            came += part
        if came != due:
            raise Wrong(f"{len(came)} bytes, expected {len(due)}, or different bytes")


def _hello(context: ssl.SSLContext) -> bytes:
    unused, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(unused, sent, server_hostname="localhost").do_handshake()
    return sent.read()
