"""The headers of proxies as a target: bytes that may be a PROXY header of either version, in any chunks."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

from echod.socket_names import Inet, UnixName
from echod.transports.layers.layer_interface import Facts, ProtocolError
from echod.transports.layers.proxy import Proxy
from echod.transports.layers.proxy_header import (
    SIGNATURE,
    V1_MOST,
    V2_MOST,
    HeaderError,
    Versions,
    parse,
    version_1,
    version_2,
)
from echod.transports.layers.proxy_tlvs import crc32c, described
from tests.fuzz.draw import Draw
from tests.fuzz.target import Target, assert_plain
from tests.wire import Wire

VERSIONS: Final[tuple[Versions, ...]] = ("any", "v1", "v2")


def _headers(data: bytes) -> bool:
    draw = Draw(data)
    versions, datagrams = draw.choice(VERSIONS), draw.byte() % 4 == 1
    cut, fix = draw.below(65_536), draw.byte() % 2
    whole = draw.rest()
    if fix:
        whole = _completed(whole)
    if not datagrams:
        _through_the_layer(whole, versions, [cut % 97 + 1, cut % 13 + 1])
    try:
        header = parse(whole, versions, datagrams=datagrams)
    except HeaderError as error:
        assert_plain(str(error))
        _prefix_agrees(whole, cut, versions, datagrams)
        return False
    if header is None:
        assert len(whole) < (V1_MOST if whole[:1] == b"P" else 16 + V2_MOST)
        return False
    assert 0 < header.size <= len(whole)
    _prefix_agrees(whole, header.size + cut % (1 + len(whole) - header.size), versions, datagrams)
    assert parse(whole[: cut % header.size], versions, datagrams=datagrams) is None
    assert json.dumps(described(header.tlvs)).isascii()
    for name in (header.source, header.destination):
        assert name is None or str(name).isprintable()
        assert not isinstance(name, UnixName) or len(name.path.encode("utf-8", "surrogateescape")) <= 108
    source, destination = header.source, header.destination
    if isinstance(source, Inet) and isinstance(destination, Inet) and (":" in source.host) == (":" in destination.host):
        for again in (version_1(source, destination), version_2(source, destination)):
            found = parse(again)
            assert found is not None
            assert (found.source, found.destination) == (source, destination)
    return True


class _Above:
    """The receiver above the layer: it keeps the client's bytes."""

    def __init__(self) -> None:
        self.came = b""

    def begin(self, below: Any) -> None:
        self.facts = below.facts

    def received(self, data: bytes, arrival: object = None) -> None:
        self.came += data

    def ended(self) -> None: ...

    def stuck(self) -> None: ...

    def drained(self) -> None: ...

    def lost(self, reason: Exception) -> None: ...


def _through_the_layer(whole: bytes, versions: Versions, sizes: list[int]) -> None:
    """The same bytes in pieces: the level above gets exactly the bytes after the header, or the connection is reset."""
    above: list[_Above] = []
    wire = Wire(Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000)))

    def build() -> Any:
        above.append(_Above())
        return above[0]

    wire.receiver = Proxy(build, versions, None, 0)
    wire.receiver.begin(wire)
    at = 0
    while at < len(whole) and not wire.ended:
        size = sizes[at % 2]
        wire.receiver.received(whole[at : at + size])
        at += size
    try:
        header = parse(whole, versions)
    except HeaderError:
        assert wire.ended == "reset"
        assert isinstance(wire.facts.error, ProtocolError)
        assert_plain(str(wire.facts.error))
        assert not above
        return
    assert not wire.ended
    if header is None:
        assert not above
        return
    assert above[0].came == whole[header.size :]
    assert wire.facts.remote == (header.source or Inet("127.0.0.1", 40_000))
    assert json.dumps(wire.facts.learned).isascii()


def _prefix_agrees(whole: bytes, cut: int, versions: Versions, datagrams: bool) -> None:
    """The result for a part of the bytes is that of all, or None."""

    def result(data: bytes) -> object:
        try:
            return parse(data, versions, datagrams=datagrams)
        except HeaderError:
            return HeaderError

    part = result(whole[:cut])
    assert part is None or part == result(whole), "the result depends on the chunks"


def _completed(data: bytes) -> bytes:
    """A header of version 2 around the bytes, with the right length and a right checksum."""
    command, kind, rest = data[:1] or b"\x21", data[1:2] or b"\x11", data[2:]
    checksum = b"\x03\0\4" + bytes(4)
    whole = SIGNATURE + command + kind + struct.pack("!H", len(rest) + len(checksum)) + rest + checksum
    return whole[:-4] + crc32c(whole).to_bytes(4, "big")


_TOKENS: Final = (
    *(b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"\r\n", b" ", b"127.0.0.1 ", b"::1 ", b"65535", b"0", b"%lo"),
    *(
        SIGNATURE,
        b"\x20",
        b"\x21",
        b"\x11",
        b"\x12",
        b"\x22",
        b"\x31",
        b"\0\x0c",
        b"\xff\xff",
        b"\x03\0\4",
        b"\x20\0\5",
    ),
    *(b"\xea\0\5\1", b"\xee\0\5\1", b"\x28\0\1", b"\x05\0\x81", b"\x7f\0\0\1", bytes(16), b"\x1b[2J"),
)

TARGETS: Final = (Target("PROXY headers", "a header, the same for any chunks, or one line", lambda: _headers, _TOKENS),)
