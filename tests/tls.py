"""TLS for tests: contexts of both sides, and a socket of a client that can half-close."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from echod.tls import issuing
from echod.tls.certificate_facts import facts_of
from echod.tls.certificates import Certificate, self_signed
from echod.tls.server import ServerContexts

RECORD: Final = 16_384
V12: Final = ssl.TLSVersion.TLSv1_2
V13: Final = ssl.TLSVersion.TLSv1_3


@cache
def server_contexts() -> ServerContexts:
    """Contexts with a certificate for localhost."""
    return ServerContexts([self_signed(("localhost",))])


@cache
def authority() -> issuing.Issued:
    """An authority for servers and clients."""
    return issuing.authority(datetime.now(UTC))


def issued(*names: str) -> Certificate:
    """A server's certificate for these names, of the authority."""
    made = issuing.server(authority(), names, datetime.now(UTC))
    return Certificate("issued", made.certificate_pem + made.key_pem, facts_of(made.certificate))


def client_context(version: ssl.TLSVersion = V13) -> ssl.SSLContext:
    """A context of a client that accepts any server, and offers one version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


class TlsSocket:
    """A blocking client over TLS with the methods of a socket. One thread may send while another one receives.

    An SSLSocket cannot half-close: its `unwrap` waits for the peer's close_notify, and loses what arrives before it.
    """

    def __init__(
        self,
        opened: socket.socket,
        context: ssl.SSLContext | None = None,
        name: str | None = "localhost",
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.socket = opened
        self.truncated = False  #: the peer's FIN came without close_notify
        self._lock = threading.Lock()
        self._unsent = self._read = b""
        self._ending = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or client_context()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name, session=session)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                opened.sendall(self._outgoing.read())
                self._incoming.write(self._received())
            except ssl.SSLError:
                opened.sendall(self._outgoing.read())
                raise
        opened.sendall(self._outgoing.read())

    def _received(self) -> bytes:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError("a FIN without close_notify")
        return data

    def _flush(self) -> None:
        while self._unsent:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]

    def send(self, data: memoryview, /) -> int:
        """Send one record. After a timeout, its rest is sent by the next call."""
        self._flush()
        piece = data[:RECORD]
        with self._lock:
            self.tls.write(piece)
            self._unsent = self._outgoing.read()
        with suppress(TimeoutError):
            self._flush()
        return len(piece)

    def sendall(self, data: bytes | memoryview, /) -> None:
        view = memoryview(data)
        while view:
            view = view[self.send(view) :]
        self._flush()

    def recv(self, size: int, /) -> bytes:
        """Received bytes; none after the peer's close_notify or FIN."""
        if not self._read:  # `unwrap` loses the rest of a record that is read in parts
            self._read = self._record()
        data, self._read = self._read[:size], self._read[size:]
        return data

    def _record(self) -> bytes:
        while True:
            try:
                with self._lock:
                    return self.tls.read(RECORD)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                pass
            while self._ending and not select.select([self.socket], [], [], 0)[0]:
                self._end()
            try:
                data = self._received()
            except EOFError:
                self.truncated = True
                return b""
            with self._lock:
                self._incoming.write(data)

    def shutdown(self, _how: int, /) -> None:
        """Send close_notify and a FIN; `recv` sends the rest if the peer does not read now."""
        with self._lock:
            unread = self._incoming.read()
            with suppress(ssl.SSLError):
                self.tls.unwrap()
            self._incoming.write(unread)
            self._unsent += self._outgoing.read()
        self._ending = True
        while self._ending and select.select([], [self.socket], [], 0.5)[1]:
            self._end()

    def _end(self) -> None:
        with self._lock:
            if self._ending and select.select([], [self.socket], [], 0.01)[1]:
                self._unsent = self._unsent[self.socket.send(self._unsent) :] if self._unsent else b""
                if not self._unsent:
                    self._ending = False
                    self.socket.shutdown(socket.SHUT_WR)

    @property
    def family(self) -> socket.AddressFamily:
        return self.socket.family

    def getsockname(self) -> Any:
        return self.socket.getsockname()

    def getpeername(self) -> Any:
        return self.socket.getpeername()

    def settimeout(self, seconds: float | None, /) -> None:
        self.socket.settimeout(seconds)

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        self.socket.setsockopt(level, option, value)

    def close(self) -> None:
        self.socket.close()
