"""Servers over TLS for tests of the client, with the standard library's blocking sockets."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.daemon import SECONDS


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Call `serve` in a thread for each connection, one after another. Yields the port on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.settimeout(SECONDS)
                with connection, suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)


def echo(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """Serve one connection over TLS: everything back, then close_notify after the peer's."""

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            while data := tls.recv(65_536):
                tls.sendall(data)
            tls.unwrap()

    return serve


def echo_after_the_end(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """Serve one connection over TLS: read until close_notify, and only then send everything back."""

    def serve(connection: socket.socket) -> None:
        from_client, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(from_client, to_client, server_side=True)
        received = bytearray()
        shaken = ended = False
        while not ended:
            try:
                if not shaken:
                    tls.do_handshake()
                    shaken = True
                while piece := tls.read(16_384):
                    received += piece
                ended = True
            except ssl.SSLWantReadError:
                connection.sendall(to_client.read())
                from_client.write(connection.recv(65_536))
        for at in range(0, len(received), 16_384):
            tls.write(received[at : at + 16_384])
            connection.sendall(to_client.read())
        with suppress(ssl.SSLError):
            tls.unwrap()
        connection.sendall(to_client.read())
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass

    return serve
