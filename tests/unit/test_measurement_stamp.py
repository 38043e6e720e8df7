"""STAMP packets: the layouts of RFC 8762, byte by byte, and hostile bytes."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from echod.measurement.stamp import (
    AUTHENTICATED_BASE,
    BASE,
    REPLY_WITHOUT_TTL,
    TWAMP_LIGHT_REQUEST,
    Answer,
    Authenticated,
    Request,
    Unauthenticated,
    truncated_hmac,
)

KEY = b"sixteen or more bytes"
FORMATS = (Unauthenticated(), Authenticated(KEY))
WORD, LONG, HALF = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**16 - 1)
REQUESTS = st.builds(Request, WORD, LONG, HALF, HALF)
ANSWERS = st.builds(Answer, WORD, LONG, HALF, HALF, LONG, WORD, LONG, HALF, st.integers(0, 255))
REQUEST = Request(0x01020304, 0x1112131415161718, 0x8001, 0x2122)
ANSWER = Answer(0x01020304, 0x1112131415161718, 0x8001, 0x2122, 0x3132333435363738, 0x41424344, 2**64 - 1, 0x8002, 63)


def reference_hmac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256 by its definition (RFC 2104), without the library under test."""
    padded = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + data).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()[:16]


def test_the_layout_of_an_unauthenticated_request():
    assert Unauthenticated().request(REQUEST).hex() == ("01020304111213141516171880012122" + "00" * 28)


def test_the_layout_of_an_unauthenticated_reply():
    assert Unauthenticated().answer(ANSWER).hex() == (
        "01020304111213141516171880012122313233343536373841424344ffffffffffffffff800200003f000000"
    )


def test_the_layout_of_an_authenticated_request():
    packet = Authenticated(KEY).request(REQUEST)
    assert packet[:96].hex() == "01020304" + "00" * 12 + "111213141516171880012122" + "00" * 68
    assert packet[96:] == reference_hmac(KEY, packet[:96])


def test_the_layout_of_an_authenticated_reply():
    packet = Authenticated(KEY).answer(ANSWER)
    assert packet[:96].hex() == (
        "01020304" + "00" * 12 + "1112131415161718"
        "8001"
        "2122"
        "00000000"
        "3132333435363738" + "00" * 8 + "41424344" + "00" * 12 + "ffffffffffffffff"
        "8002" + "00" * 6 + "3f" + "00" * 15
    )
    assert packet[96:] == reference_hmac(KEY, packet[:96])


def test_the_hmac_of_rfc_4231():
    """Test case 1, 2 and 6 of RFC 4231, truncated."""
    for key, data, expected in (
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
        (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f"),
    ):
        assert truncated_hmac(key, data[:3], data[3:]).hex() == expected
        assert reference_hmac(key, data).hex() == expected


@settings(max_examples=100, deadline=None)
@given(REQUESTS, ANSWERS, st.binary(max_size=50))
def test_packets_survive_both_modes_with_anything_behind_them(request, answer, rest):
    for format_ in FORMATS:
        assert format_.parse_request(format_.request(request) + rest) == request
        assert format_.parse_answer(format_.answer(answer) + rest) == answer
        assert len(format_.request(request)) == len(format_.answer(answer)) == format_.base


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_none(data):
    request, answer = (Unauthenticated().parse_request(data), Unauthenticated().parse_answer(data))
    assert (request is None) == (len(data) < TWAMP_LIGHT_REQUEST)
    assert (answer is None) == (len(data) < REPLY_WITHOUT_TTL)
    assert Authenticated(KEY).parse_request(data) is None
    assert Authenticated(KEY).parse_answer(data) is None


def test_bytes_that_must_be_zero_are_ignored():
    for format_ in FORMATS[:1]:
        packet = bytearray(format_.request(REQUEST))
        packet[16:44] = b"\xff" * 28
        assert format_.parse_request(bytes(packet)) == REQUEST


def test_a_twamp_light_request_has_14_bytes_and_padding():
    for size in range(TWAMP_LIGHT_REQUEST, BASE):
        packet = Unauthenticated().request(REQUEST)[:14] + b"\xff" * (size - 14)
        assert Unauthenticated().parse_request(packet) == REQUEST._replace(ssid=0)
    assert Unauthenticated().parse_answer(Unauthenticated().answer(ANSWER)[:41]) == ANSWER


def test_one_changed_bit_makes_an_authenticated_packet_invalid():
    for format_, parse in ((Authenticated(KEY), "parse_request"), (Authenticated(KEY), "parse_answer")):
        whole = format_.request(REQUEST) if parse == "parse_request" else format_.answer(ANSWER)
        for at in range(8 * AUTHENTICATED_BASE):
            packet = bytearray(whole)
            packet[at // 8] ^= 1 << at % 8
            assert getattr(format_, parse)(bytes(packet)) is None, at
    assert Authenticated(KEY + b"x").parse_request(Authenticated(KEY).request(REQUEST)) is None
    assert Authenticated(KEY).parse_request(Authenticated(KEY).request(REQUEST)[:-1]) is None
