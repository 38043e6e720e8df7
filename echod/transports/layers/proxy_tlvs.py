"""The records of a PROXY header of version 2 (proxy-protocol.txt, 2.2.1 to 2.2.7), and their meaning for people.

A record has a type, a length and a value. Types that this module does not know are reported in hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

CRC32C: Final = 0x03
NOOP: Final = 0x04
_UNIQUE_ID, _SSL, _AWS, _AZURE = 0x05, 0x20, 0xEA, 0xEE
_UNIQUE_ID_MOST: Final = 128  # bytes (2.2.5)
_HEAD: Final = struct.Struct("!BH")
_SSL_HEAD: Final = struct.Struct("!BI")


class TLVError(ValueError):
    """A record is cut off, too long, or the checksum is wrong; the message gives the reason."""


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and the value of each record. Raises TLVError if one does not fit."""
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size:
            raise TLVError("a record is cut off after its type")
        kind, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if length > len(data) - at:
            raise TLVError(f"record 0x{kind:02x} has a length of {length}, but {len(data) - at} bytes are left")
        yield kind, data[at : at + length]
        at += length


def checked(found: Iterable[tuple[int, bytes]], header: bytes, at: int) -> None:
    """Verify the records whose form the specification fixes. The first begins at byte `at` of `header`.

    Raises TLVError. A checksum covers the whole header, with zeroes in its own place (2.2.3).
    """
    for kind, value in found:
        begin, at = at + _HEAD.size, at + _HEAD.size + len(value)
        if kind == CRC32C:
            if len(value) != 4:
                raise TLVError(f"the checksum has {len(value)} bytes, expected 4")
            right = crc32c(header[:begin] + bytes(4) + header[at:])
            if int.from_bytes(value, "big") != right:
                raise TLVError(f"the checksum is 0x{value.hex()}, expected 0x{right:08x}")
        elif kind == _UNIQUE_ID and len(value) > _UNIQUE_ID_MOST:
            raise TLVError(f"the unique ID has {len(value)} bytes; at most {_UNIQUE_ID_MOST} are allowed")
        elif kind == _SSL:
            _ssl(value)


def _table() -> tuple[int, ...]:
    def entry(byte: int) -> int:
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        return byte

    return tuple(map(entry, range(256)))


_CRC: Final = _table()  # RFC 3720 B.4: Castagnoli's polynomial, the lowest bit first


def crc32c(data: bytes) -> int:
    """The CRC32C of the bytes, as iSCSI and SCTP use it (RFC 3720 12.1)."""
    value, table = 0xFFFFFFFF, _CRC
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def described(found: Iterable[tuple[int, bytes]]) -> dict[str, object]:
    """The records as values for JSON. Of records with the same type, the last counts. A checksum is left out."""
    facts: dict[str, object] = {}
    unknown: dict[str, str] = {}
    for kind, value in found:
        if kind in (CRC32C, NOOP):
            continue
        if kind == _AWS and value[:1] == b"\1":
            facts["aws_vpce_id"] = _text(value[1:])
        elif kind == _AZURE and value[:1] == b"\1" and len(value) == 5:
            facts["azure_private_link_id"] = int.from_bytes(value[1:], "little")
        elif kind == _SSL:
            facts["ssl"] = _ssl(value)
        elif (known := _KNOWN.get(kind)) is not None:
            facts[known] = _text(value)
        else:
            unknown[f"0x{kind:02x}"] = value.hex()
    return facts | ({"tlvs": unknown} if unknown else {})


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _fingerprint(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


_KNOWN: Final = {0x01: "alpn", 0x02: "authority", _UNIQUE_ID: "unique_id", 0x30: "netns"}
_KNOWN_SSL: Final[Mapping[int, tuple[str, Callable[[bytes], str]]]] = {
    0x21: ("version", _text),
    0x22: ("common_name", _text),
    0x23: ("cipher", _text),
    0x24: ("signature_algorithm", _text),
    0x25: ("key_algorithm", _text),
    0x26: ("group", _text),
    0x27: ("signature_scheme", _text),
    0x28: ("certificate_sha256", _fingerprint),
}


def _ssl(value: bytes) -> dict[str, object]:
    """The record of the client's TLS connection to the proxy (2.2.6). Raises TLVError."""
    if len(value) < _SSL_HEAD.size:
        raise TLVError(f"the SSL record has {len(value)} bytes, expected {_SSL_HEAD.size} or more")
    client, verify = _SSL_HEAD.unpack_from(value)
    facts: dict[str, object] = {
        "tls": bool(client & 1),
        "certificate_on_connection": bool(client & 2),
        "certificate_in_session": bool(client & 4),
        "verify": verify,  # 0: the proxy has verified a certificate of the client
    }
    unknown: dict[str, str] = {}
    for kind, data in records(value[_SSL_HEAD.size :]):
        if kind in _KNOWN_SSL:
            name, show = _KNOWN_SSL[kind]
            facts[name] = show(data)
        else:
            unknown[f"0x{kind:02x}"] = data.hex()
    return facts | ({"tlvs": unknown} if unknown else {})
