"""PROXY headers of both versions: split anywhere, hostile, and as the specification's text has them."""

import socket
import struct
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.socket_names import Inet, UnixName, inet
from echod.transports.layers import proxy_header
from echod.transports.layers.proxy_header import SIGNATURE, V1_MOST, V2_MOST, Header, HeaderError, parse
from echod.transports.layers.proxy_tlvs import CRC32C, TLVError, crc32c, described, records

PORTS = st.integers(0, 65_535)
IPV4 = st.builds(Inet, st.ip_addresses(v=4).map(str), PORTS)
IPV6 = st.builds(inet, st.binary(min_size=16, max_size=16).map(partial(socket.inet_ntop, socket.AF_INET6)), PORTS)
IPV6 = IPV6.filter(lambda one: ":" in one.host)  # not a mapped one
PAIRS = st.one_of(st.tuples(IPV4, IPV4), st.tuples(IPV6, IPV6))
A, B = Inet("192.0.2.1", 5000), Inet("198.51.100.2", 7)


def v2(command=0x21, kind=0x11, rest=b"", length=None):
    return struct.pack("!12sBBH", SIGNATURE, command, kind, len(rest) if length is None else length) + rest


def ends(source="192.0.2.1", destination="198.51.100.2", ports=(5000, 7)):
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", *ports)


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def refused(data, *arguments, **keywords):
    with pytest.raises(HeaderError) as wrong:
        parse(data, *arguments, **keywords)
    assert str(wrong.value).isprintable()
    return str(wrong.value)


@given(PAIRS, st.binary(max_size=20), st.sampled_from([proxy_header.version_1, proxy_header.version_2]))
def test_a_header_reads_back_as_written_and_needs_each_of_its_bytes(pair, rest, write):
    data = write(*pair)
    header = parse(data + rest)
    assert (header.source, header.destination, header.size) == (*pair, len(data))
    assert all(parse(data[:length]) is None for length in range(len(data)))
    assert not header.local


@given(PAIRS, st.lists(st.tuples(st.integers(6, 0x1F), st.binary(max_size=40)), max_size=5))
def test_the_records_of_version_2_read_back(pair, tlvs):
    data = proxy_header.version_2(*pair, tlvs=tuple(tlvs))
    *found, (last, _) = parse(data).tlvs
    assert (found, last) == (tlvs, CRC32C)


@given(PAIRS, st.data())
def test_a_changed_bit_of_a_header_with_a_checksum_is_refused(pair, data):
    header = bytearray(proxy_header.version_2(*pair, tlvs=((1, b"h2"),)))
    at = data.draw(st.integers(14 * 8, len(header) * 8 - 1))
    header[at // 8] ^= 1 << at % 8
    try:
        found = parse(header)
    except HeaderError:
        return
    assert found is None or CRC32C not in dict(found.tlvs)  # a longer header, or a record of another type


@given(st.binary(max_size=200), st.sampled_from(["v1", "v2", "any"]), st.booleans())
def test_any_bytes_are_refused_or_parsed_alike_for_any_split(data, versions, datagrams):
    """The result for a prefix is None, or that of the whole."""

    def result(length):
        try:
            return parse(data[:length], versions, datagrams=datagrams)
        except HeaderError:
            return "refused"

    results = [result(length) for length in range(len(data) + 1)]
    final = next((one for one in results if one is not None), None)
    at = results.index(final)
    assert all(one is None for one in results[:at])
    assert all(one == final for one in results[at:])


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535", None),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 0 7\r\n", "192.0.2.1:0", "198.51.100.2:7"),
        (b"PROXY TCP6 2001:DB8:0::1 ::2 1 2\r\n", "[2001:db8::1]:1", "[::2]:2"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::2 1 2\r\n", "192.0.2.1:1", "[::2]:2"),
        (b"PROXY TCP6 %s %s 65535 65535\r\n" % ((b":".join([b"ffff"] * 8),) * 2), None, None),
    ],
)
def test_version_1(line, source, destination):
    header = parse(line + b"rest")
    assert (header.version, header.size) == (1, len(line))
    assert source in (None, str(header.source))
    assert destination in (None, str(header.destination))


@pytest.mark.parametrize(
    "line", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN a b \xff\0 c\r\n", b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n"]
)
def test_unknown_keeps_the_addresses_of_the_socket(line):
    assert parse(line) == Header(1, len(line))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "expected TCP4 or TCP6, 2 addresses and 2 ports"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", "2 addresses and 2 ports"),
        (b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "2 addresses and 2 ports"),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", "expected TCP4 or TCP6"),
        (b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", "expected TCP4 or TCP6"),
        (b"PROXY TCP4 999.1.1.1 1.2.3.4 1 2\r\n", "999.1.1.1 is not an IP address"),
        (b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", "01.2.3.4 is not an IP address"),
        (b"PROXY TCP4 ::1 1.2.3.4 1 2\r\n", "::1 is not an address of TCP4"),
        (b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n", "1.2.3.4 is not an address of TCP6"),
        (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "is not an address of TCP6"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", "port -1 is not a number from 0 to 65535"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "port 01 is not"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "port 65536 is not"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 \xb2 2\r\n", "port ² is not"),
        (b"PROXY TCP4 1.2.3.4 \x1b[2J 1 2\r\n", r"\x1b[2J is not an IP address"),
        (b"PROXY TCP4 1.2.3.4\n", "a CR or LF alone"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n", "a CR or LF alone"),
        (b"PROXY UNKNOWN \rx", "a CR or LF alone"),
        (b"PROXY " + b"x" * (V1_MOST - 6), "no CRLF within 107 bytes"),
        (b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n", "no CRLF within 107 bytes"),
    ],
)
def test_a_wrong_line_of_version_1_is_refused(line, reason):
    assert reason in refused(line)


@pytest.mark.parametrize(
    ("data", "versions", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "any", "no PROXY header of version 1 or 2, but 'GET / HTTP/1"),
        (b"\x16\x03\x01", "any", r"but '\x16\x03\x01'"),
        (b"PRoXY", "any", "version 1 or 2"),
        (b"\r\n\r\n\0\r\nQUIX", "any", "version 1 or 2"),
        (proxy_header.version_1(A, B), "v2", "no PROXY header of version 2, but 'PROXY TCP4 1'"),
        (proxy_header.version_2(A, B), "v1", "no PROXY header of version 1,"),
    ],
)
def test_other_bytes_and_the_other_version_are_refused(data, versions, reason):
    assert reason in refused(data, versions)


def test_datagrams_have_version_2_only():
    assert "no PROXY header" in refused(proxy_header.version_1(A, B), datagrams=True)
    header = parse(proxy_header.version_2(A, B, datagrams=True), datagrams=True)
    assert (header.source, header.destination) == (A, B)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (v2(command=0x22), "0x22 is not version 2 with the command LOCAL or PROXY"),
        (v2(command=0x11)[:13], "0x11 is not version 2"),
        (v2(kind=0x13), "family and protocol 0x13 do not exist"),
        (v2(kind=0x41), "family and protocol 0x41 do not exist"),
        (v2(rest=ends()[:-1]), "11 bytes are too few for the addresses of 0x11"),
        (v2(kind=0x21, rest=ends()), "12 bytes are too few"),
        (v2(length=V2_MOST + 1), "4097 bytes of addresses and records; at most 4096"),
        (v2(rest=ends() + b"\1"), "cut off after its type"),
        (v2(rest=ends() + b"\1\0\5abc"), "record 0x01 has a length of 5, but 3 bytes are left"),
        (v2(rest=ends() + tlv(3, b"abc")), "the checksum has 3 bytes, expected 4"),
        (v2(rest=ends() + tlv(3, bytes(4))), "the checksum is 0x00000000, expected 0x"),
        (v2(rest=ends() + tlv(5, bytes(129))), "the unique ID has 129 bytes"),
        (v2(rest=ends() + tlv(0x20, b"abcd")), "the SSL record has 4 bytes"),
        (v2(rest=ends() + tlv(0x20, b"\1\0\0\0\0\x21\0\5abc")), "record 0x21 has a length of 5"),
    ],
)
def test_a_wrong_header_of_version_2_is_refused(data, reason):
    assert reason in refused(data)


@pytest.mark.parametrize(
    "data",
    [
        v2(0x20, 0x00),
        v2(0x20, 0xFF, b"\1\2\3 anything"),
        proxy_header.local(),
    ],
)
def test_local_is_skipped_with_any_content(data):
    assert parse(data + b"x") == Header(2, len(data), local=True)


@pytest.mark.parametrize("kind", [0x00, 0x01, 0x10, 0x20, 0x12, 0x22, 0x32])
def test_unspec_and_unsupported_combinations_keep_the_addresses_of_the_socket(kind):
    rest = {0x00: b"", 0x12: ends(), 0x22: bytes(36), 0x32: bytes(216)}.get(kind, b"?")
    data = v2(kind=kind, rest=rest + (tlv(1, b"h2") if rest != b"?" else b""))
    assert parse(data) == Header(2, len(data), tlvs=((1, b"h2"),) if rest != b"?" else ())


def test_a_client_on_a_unix_socket_has_its_path():
    names = b"/run/a.sock".ljust(108, b"\0"), b"\0abstract".ljust(108, b"\0")
    header = parse(v2(kind=0x31, rest=b"".join(names)))
    assert (header.source, header.destination) == (UnixName("/run/a.sock"), UnixName("@abstract"))


def test_addresses_of_two_families_and_zones_are_written():
    for write in (proxy_header.version_1, proxy_header.version_2):
        header = parse(write(A, Inet("fe80::1%eth0", 7)))
        assert (header.source, header.destination) == (A, Inet("fe80::1", 7))


def test_the_checksum_is_castagnolis():
    """RFC 3720 B.4: the values for 32 zeroes and for the bytes 0 to 31."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_every_known_record_has_its_name():
    ssl = b"\7" + bytes(4) + tlv(0x21, b"TLSv1.3") + tlv(0x22, "é\x1b".encode()) + tlv(0x23, b"AES") + tlv(0x24, b"SHA")
    ssl += tlv(0x25, b"RSA2048") + tlv(0x26, b"x25519") + tlv(0x27, b"ed25519") + tlv(0x28, b"der") + tlv(0x29, b"\1")
    data = tlv(1, b"h2") + tlv(2, b"echo.example") + tlv(3, bytes(4)) + tlv(4, b"pad") + tlv(5, b"id\xff")
    data += tlv(0x20, ssl) + tlv(0x30, b"blue") + tlv(0xEA, b"\1vpce-08d2") + tlv(0xEE, b"\1\x0a\0\0\1")
    data += tlv(0xE0, b"\0\1") + tlv(0xEA, b"\2x")
    assert described(records(data)) == {
        "alpn": "h2",
        "authority": "echo.example",
        "unique_id": r"id\xff",
        "ssl": {
            "tls": True,
            "certificate_on_connection": True,
            "certificate_in_session": True,
            "verify": 0,
            "version": "TLSv1.3",
            "common_name": "é\x1b",
            "cipher": "AES",
            "signature_algorithm": "SHA",
            "key_algorithm": "RSA2048",
            "group": "x25519",
            "signature_scheme": "ed25519",
            "certificate_sha256": "5050d80d22ecd471ea55df7034042c1e041341ff4066e7f6ff38e20b720df8ea",
            "tlvs": {"0x29": "01"},
        },
        "netns": "blue",
        "aws_vpce_id": "vpce-08d2",
        "azure_private_link_id": 0x0100000A,
        "tlvs": {"0xe0": "0001", "0xea": "0278"},
    }


def test_records_that_do_not_fit_are_refused():
    with pytest.raises(TLVError, match="cut off"):
        list(records(b"\1\0"))
