"""The first messages of a TLS server as bytes, for servers that misbehave on purpose. Pure.

A ServerHello is written or changed (RFC 8446 4.1.3, RFC 5246 7.4.1.3). Nothing is encrypted
here: the handshake of a changed ServerHello fails at the latest when the two sides compare what they have seen.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from echod.tls.client_hello import TLS12

HANDSHAKE, ALERT = 22, 21  #: types of records
SERVER_HELLO: Final = 2
RENEGOTIATION_INFO: Final = 0xFF01
GREASE: Final = 0x0A0A  #: a reserved number that no client knows (RFC 8701)
_RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446 4.1.3


def server_hello(version: int, suite: int) -> bytes:
    """A record with a ServerHello without extensions, as a server from before TLS 1.2 sends it."""
    body = version.to_bytes(2, "big") + secrets.token_bytes(32) + b"\0" + suite.to_bytes(2, "big") + b"\0"
    message = bytes([SERVER_HELLO]) + len(body).to_bytes(3, "big") + body
    return _record(HANDSHAKE, version, message)


def with_extensions(flight: bytes, change: Callable[[Mapping[int, bytes]], Mapping[int, bytes]]) -> tuple[bytes, bool]:
    """The first records of a server with other extensions in their ServerHello, and whether another one follows.

    A request for another ClientHello is returned as it is. So are records that do not begin with a ServerHello.
    """
    size = 5 + int.from_bytes(flight[3:5], "big")
    record = flight[:size]
    if record[:1] != bytes([HANDSHAKE]) or record[5:6] != bytes([SERVER_HELLO]):
        return flight, False
    if record[11:43] == _RETRY:
        return flight, True
    end = 9 + int.from_bytes(record[6:9], "big")
    at = 43
    at += 1 + record[at] + 3  # session, suite, compression
    changed = change(dict(_extensions(record[at + 2 : end])))
    extensions = b"".join(
        number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for number, value in changed.items()
    )
    body = record[9:at] + (len(extensions).to_bytes(2, "big") + extensions if changed else b"")
    message = bytes([SERVER_HELLO]) + len(body).to_bytes(3, "big") + body + record[end:]
    return _record(HANDSHAKE, int.from_bytes(record[1:3], "big"), message) + flight[size:], False


def in_single_bytes(flight: bytes) -> tuple[bytes, bool]:
    """Records of a server with the same messages, one byte in each, and whether further records may be cut like this.

    Only records that are not encrypted are cut: those before the first of another type. After a request for another
    ClientHello, further ones follow.
    """
    retry = flight[11:43] == _RETRY
    cut: list[bytes] = []
    at = 0
    while flight[at : at + 1] == bytes([HANDSHAKE]):
        size = int.from_bytes(flight[at + 3 : at + 5], "big")
        version = int.from_bytes(flight[at + 1 : at + 3], "big")
        cut += [_record(HANDSHAKE, version, flight[byte : byte + 1]) for byte in range(at + 5, at + 5 + size)]
        at += 5 + size
    return b"".join(cut) + flight[at:], retry or at == len(flight)


def alert(description: int, version: int = TLS12) -> bytes:
    """A record with a fatal alert."""
    return _record(ALERT, version, bytes([2, description]))


def _record(kind: int, version: int, content: bytes) -> bytes:
    return bytes([kind]) + version.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and the value of each extension."""
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        yield int.from_bytes(data[at : at + 2], "big"), data[at + 4 : at + 4 + size]
        at += 4 + size
