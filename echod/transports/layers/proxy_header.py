"""The PROXY header, versions 1 and 2: the address of a client, as a proxy sends it before the client's bytes.

The source of every rule is proxy-protocol.txt of HAProxy, sections 2.1 (version 1) and 2.2 (version 2). Pure: bytes in,
a `Header` out, and the reverse for clients.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from typing import Final, Literal, NamedTuple

from echod.escaping import clipped
from echod.socket_names import Inet, SocketAddress, UnixName, inet
from echod.transports.layers.proxy_tlvs import CRC32C, TLVError, checked, crc32c, records

Versions = Literal["v1", "v2", "any"]
"""The values of the option `proxy` of an address: the versions that a listener accepts."""

V1_MOST: Final = 107  #: bytes of a version 1 header, with its CRLF (2.1)
V2_MOST: Final = 4096
"""Bytes after the first 16 of a version 2 header: addresses and a client certificate fit. The field allows 65,535."""

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V1: Final = b"PROXY "
_FIXED: Final = struct.Struct("!12sBBH")  # signature, version and command, family and protocol, length
_INET4, _INET6, _UNIX = struct.Struct("!4s4sHH"), struct.Struct("!16s16sHH"), struct.Struct("!108s108s")
_STREAM, _DATAGRAM = 1, 2
_FAMILIES: Final = {1: _INET4, 2: _INET6, 3: _UNIX}
_LOCAL, _PROXY = 0x20, 0x21
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


class HeaderError(ValueError):
    """The bytes are not a PROXY header that the listener accepts; the message gives the reason, escaped."""


class Header(NamedTuple):
    """One header. Without `source`, the connection keeps the addresses of its socket: LOCAL, UNSPEC or UNKNOWN."""

    version: int
    size: int  #: bytes of the header; the client's bytes follow
    source: SocketAddress | None = None  #: the client
    destination: SocketAddress | None = None  #: where the client connected to
    local: bool = False  #: LOCAL: the proxy itself has connected, for a health check
    tlvs: tuple[tuple[int, bytes], ...] = ()  #: type and value of each record, in their order


def parse(data: bytes | bytearray, versions: Versions = "any", *, datagrams: bool = False) -> Header | None:
    """The header at the beginning of `data`; None if more bytes are needed.

    `datagrams` is whether the listener receives datagrams. A valid header of the other protocol counts as UNSPEC, as
    section 2.2 permits. Raises HeaderError as soon as the bytes cannot become an accepted header.
    """
    first = bytes(data[:12])
    if versions != "v1" and SIGNATURE.startswith(first):
        return _version_2(data, _DATAGRAM if datagrams else _STREAM)
    if versions != "v2" and not datagrams and first and _V1.startswith(first[:6]):
        return _version_1(data)
    if not first:
        return None
    expected = {"v1": "version 1", "v2": "version 2", "any": "version 1 or 2"}[versions]
    raise HeaderError(f"no PROXY header of {expected}, but {_shown(first)}")


def _version_1(data: bytes | bytearray) -> Header | None:
    line, end, _ = bytes(data[:V1_MOST]).partition(b"\r\n")
    broken = re.search(rb"[\r\n]", line if end else line.removesuffix(b"\r"))
    if broken or (not end and len(data) >= V1_MOST):
        reason = "a CR or LF alone" if broken else f"no CRLF within {V1_MOST} bytes"
        raise HeaderError(f"version 1: {reason}, in {_shown(line)}")
    if not end:
        return None
    size = len(line) + 2
    words = line.decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return Header(1, size)
    family = {"TCP4": 4, "TCP6": 6}.get(words[1])
    if family is None or len(words) != 6:
        raise HeaderError(f"version 1: expected TCP4 or TCP6, 2 addresses and 2 ports, or UNKNOWN, not {_shown(line)}")
    source, destination, *ports = words[2:]
    return Header(1, size, _end(source, ports[0], family), _end(destination, ports[1], family))


def _end(host: str, port: str, family: int) -> Inet:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise HeaderError(f"version 1: {clipped(host)} is not an IP address") from None
    if address.version != family or "%" in host:
        raise HeaderError(f"version 1: {clipped(host)} is not an address of TCP{family}")
    if not _PORT.fullmatch(port) or int(port) > 65_535:
        raise HeaderError(f"version 1: port {clipped(port)} is not a number from 0 to 65535")
    return inet(socket.inet_ntop(socket.AF_INET if family == 4 else socket.AF_INET6, address.packed), int(port))


def _version_2(data: bytes | bytearray, protocol: int) -> Header | None:
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise HeaderError(f"version 2: 0x{data[12]:02x} is not version 2 with the command LOCAL or PROXY")
    if len(data) < _FIXED.size:
        return None
    _, command, kind, length = _FIXED.unpack_from(data)
    if length > V2_MOST:
        raise HeaderError(f"version 2: {length} bytes of addresses and records; at most {V2_MOST} are accepted")
    size = _FIXED.size + length
    if len(data) < size:
        return None
    if command == _LOCAL:  # the receiver must ignore family, addresses and records
        return Header(2, size, local=True)
    family, transport = kind >> 4, kind & 15
    if family > max(_FAMILIES) or transport > _DATAGRAM:
        raise HeaderError(f"version 2: family and protocol 0x{kind:02x} do not exist")
    if kind and not (family and transport):  # UNSPEC in part: where the records begin is not defined
        return Header(2, size)
    addresses = _FAMILIES[family].size if kind else 0
    if length < addresses:
        raise HeaderError(f"version 2: {length} bytes are too few for the addresses of 0x{kind:02x}")
    found: tuple[tuple[int, bytes], ...] = ()
    if length > addresses:
        try:
            found = tuple(records(bytes(data[_FIXED.size + addresses : size])))
            checked(found, bytes(data[:size]), _FIXED.size + addresses)
        except TLVError as wrong:
            raise HeaderError(f"version 2: {wrong}") from None
    if transport != protocol:
        return Header(2, size, tlvs=found)
    return Header(2, size, *_ends(data, family), tlvs=found)


def _ends(data: bytes | bytearray, family: int) -> tuple[SocketAddress, SocketAddress]:
    ends = _FAMILIES[family].unpack_from(data, _FIXED.size)
    if family == 3:
        source, destination = (UnixName(_path(name)) for name in ends)
        return source, destination
    version = socket.AF_INET if family == 1 else socket.AF_INET6
    hosts = [socket.inet_ntop(version, host) for host in ends[:2]]
    return inet(hosts[0], ends[2]), inet(hosts[1], ends[3])


def _path(name: bytes) -> str:
    """The path of a Unix socket; an abstract name begins with @."""
    text = (name[:1] + name[1:].partition(b"\0")[0]).rstrip(b"\0").decode("utf-8", "surrogateescape")
    return "@" + text[1:] if text.startswith("\0") else text


def _shown(data: bytes) -> str:
    return f"'{clipped(data.decode('utf-8', 'surrogateescape'), 32)}'"


def version_1(source: Inet, destination: Inet) -> bytes:
    """A header of version 1. If one address is IPv4 and the other IPv6, the IPv4 one is written as IPv4-mapped."""
    family, hosts = _hosts(source, destination)
    line = f"PROXY TCP{family} {hosts[0]} {hosts[1]} {source.port} {destination.port}\r\n"
    return line.encode("ascii")


def version_2(
    source: Inet, destination: Inet, *, datagrams: bool = False, tlvs: tuple[tuple[int, bytes], ...] = ()
) -> bytes:
    """A header of version 2 with a checksum; addresses as in version 1."""
    family, hosts = _hosts(source, destination)
    version = socket.AF_INET if family == 4 else socket.AF_INET6
    packed = [socket.inet_pton(version, host) for host in hosts]
    block = (_INET4 if family == 4 else _INET6).pack(*packed, source.port, destination.port)
    kind = (1 if family == 4 else 2) << 4 | (_DATAGRAM if datagrams else _STREAM)
    values = b"".join(struct.pack("!BH", one, len(value)) + value for one, value in tlvs)
    length = len(block) + len(values) + 7  # 7: the record of the checksum
    whole = _FIXED.pack(SIGNATURE, _PROXY, kind, length) + block + values + struct.pack("!BHI", CRC32C, 4, 0)
    return whole[:-4] + crc32c(whole).to_bytes(4, "big")


def local() -> bytes:
    """A header of version 2 with the command LOCAL, as a proxy sends it for a health check."""
    return _FIXED.pack(SIGNATURE, _LOCAL, 0, 0)


def _hosts(source: Inet, destination: Inet) -> tuple[int, list[str]]:
    """The IP version of a header, and its addresses without zones."""
    hosts = [one.host.partition("%")[0] for one in (source, destination)]
    if all(":" in host for host in hosts) or not any(":" in host for host in hosts):
        return (6 if ":" in hosts[0] else 4), hosts
    return 6, [host if ":" in host else f"::ffff:{host}" for host in hosts]
