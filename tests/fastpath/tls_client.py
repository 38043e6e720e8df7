"""A client over TLS of a listener of tests.fastpath, in the same thread."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from time import monotonic

from tests.daemon import SECONDS
from tests.fastpath.listener import Listener
from tests.tls import V13, client_context


class Client:
    """A client over TLS whose turns the test makes. `output` is what it has not sent, and `heard` what it received."""

    def __init__(
        self, made: Listener, version: ssl.TLSVersion = V13, *, narrow: bool = False, first: bytes = b""
    ) -> None:
        self.made, self.socket = made, made.connect(narrow=narrow)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context(version).wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.output, self.heard = bytearray(first), bytearray()
        self.ended, self.end = False, b""  # close_notify was received; what follows the FIN or reset

    def shake(self, *, send_last: bool = True) -> Client:
        """Complete the handshake; the last message may stay in `output`."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.output += self.outgoing.read()
                self.turn()
            else:
                break
        self.output += self.outgoing.read()
        if send_last:
            self.until(lambda: not self.output)
            self.made.turn()
        return self

    def write(self, plain: bytes) -> None:
        for at in range(0, len(plain), 16_384):
            self.tls.write(plain[at : at + 16_384])
        self.output += self.outgoing.read()

    def finish(self) -> None:
        """close_notify."""
        unread = self.incoming.read()
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self.incoming.write(unread)
        self.output += self.outgoing.read()

    def turn(self, *, read: bool = True) -> None:
        """Send and receive what is possible."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            if self.output:
                del self.output[: self.socket.send(self.output)]
        self.made.turn(2)
        if not read or self.end:
            return
        try:
            piece = self.socket.recv(1 << 18)
            self.end = b"" if piece else b"FIN"
            self.incoming.write(piece)
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.end = b"RST"
        with contextlib.suppress(ssl.SSLWantReadError):
            while self.tls.version() and not self.ended:
                try:
                    piece = self.tls.read(16_384)
                except ssl.SSLZeroReturnError:
                    piece = b""
                self.ended = not piece
                self.heard += piece

    def until(self, what: Callable[[], object]) -> None:
        ends = monotonic() + SECONDS
        while not what():
            assert monotonic() < ends, "it does not happen"
            self.turn()

    def rest(self) -> bytes:
        """Everything until the end of the connection."""
        self.until(lambda: self.end)
        return bytes(self.heard)
