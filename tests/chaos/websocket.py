"""Attacks with WebSocket: endless messages, enormous frames, floods of pings, compressed bombs, foreign pages."""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from echod.testing.announced import inet_of
from tests.chaos.lab import Lab, Server
from tests.chaos.report import Figure, Scenario, Subject
from tests.daemon import SECONDS

KIB, MIB = 1 << 10, 1 << 20
SERVICE: Final = """
[services.echo]
listen = ["ws://127.0.0.1:0/"]
limits.message = "1MiB"
websocket.compression = "on"
"""
HELD: Final = 40  #: connections that hold an unfinished message
PER_CONNECTION: Final = 1.1  #: MiB of memory for a message of 1 MiB that is not complete
PROCESSOR: Final = 50.0  #: milliseconds of the processor for 1 MiB in fragments of FRAGMENT bytes
FRAGMENT: Final = 256
REQUEST: Final = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


def _frame(first: int, data: bytes) -> bytes:
    """A masked frame; the mask is zero."""
    size = len(data)
    head = bytes((first, 0x80 | size)) if size < 126 else struct.pack("!BBH", first, 0xFE, size)
    return head + bytes(4) + data


def _bomb() -> bytes:
    """2 MiB of zeros, compressed."""
    deflate = zlib.compressobj(wbits=-12)
    return (deflate.compress(bytes(2 * MIB)) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


ATTACKS: Final = {
    "2^62 bytes": (1009, b"\x82\xff" + struct.pack("!Q", 1 << 62)),
    "bomb": (1009, _frame(0xC2, _bomb())),
    "endless fragments": (1009, _frame(0x02, b"") + _frame(0x00, bytes(60_000)) * 18),
    "UTF-8": (1007, _frame(0x81, b"\xff")),
    "opcode": (1002, _frame(0x83, b"")),
    "no mask": (1002, b"\x81\x01a"),
    "close code": (1002, _frame(0x88, b"\x03\xed")),
    "pings": (1008, _frame(0x89, b"") * 1_500),
}


def _connected(server: Server, more: str = "") -> tuple[socket.socket, bytes]:
    """A client that has sent its request, and the first bytes of the response."""
    assert server.daemon is not None
    client = socket.create_connection(inet_of(server.daemon.url("echo", "ws")), SECONDS)
    client.sendall(REQUEST.format(more=more).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(4096)
    return client, head


def _code(server: Server, data: bytes) -> int:
    """The code of the Close frame that follows this input."""
    more = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" if data[0] & 0x40 else ""
    client, _ = _connected(server, more)
    with client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        came = b""
        while piece := client.recv(65_536):
            came += piece
    at = came.rindex(b"\x88")
    return int(struct.unpack("!H", came[at + 2 : at + 4])[0])


def hostile_websocket(lab: Lab) -> Iterator[Figure]:
    for server in lab.each(Subject.ECHOD, Subject.PLAIN, services=SERVICE):
        _code(server, ATTACKS["UTF-8"][1])  # what the first connection needs is not the attack's
        codes = {name: _code(server, data) for name, (_, data) in ATTACKS.items()}
        wrong = {name: code for name, code in codes.items() if code != ATTACKS[name][0]}
        client, head = _connected(server, "Origin: http://evil.example\r\n")
        client.close()
        before, busy = server.memory(), server.cpu()
        with ExitStack() as stack:
            for _ in range(HELD):
                client, _ = _connected(server)
                stack.enter_context(client)
                client.sendall(_frame(0x02, b""))
                client.sendall(_frame(0x00, bytes(FRAGMENT)) * ((MIB - KIB) // FRAGMENT))
                client.sendall(_frame(0x89, b"done"))
                while b"done" not in client.recv(64):
                    pass
            held = (server.memory() - before) / HELD / MIB
            used = (server.cpu() - busy) * 1000 / HELD
        text = f"{len(codes) - len(wrong)} of {len(codes)} attacks end with the right code, a foreign page with "
        text += f"{head[9:12].decode()}; an unfinished message of 1 MiB takes {held:.2f} MiB and {used:.0f} ms"
        kept = not wrong and head.startswith(b"HTTP/1.1 403") and held <= PER_CONNECTION and used <= PROCESSOR
        yield Figure(server.subject, text, kept, {"wrong": wrong, "held": held, "milliseconds": used})


SCENARIOS: Final = (
    Scenario(
        25,
        "hostile WebSocket clients",
        "each attack ends with its code (1002, 1007, 1008, 1009, 403); an unfinished message of 1 MiB takes "
        "at most 1.1 MiB and 50 ms of the processor",
        hostile_websocket,
    ),
)
