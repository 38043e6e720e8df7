"""Sockperf: messages of a client that requests a reply, and all others."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from echod.model import Peer
from echod.services.sockperf import Sockperf
from echod.socket_names import Inet

PEER = Peer("udp", Inet("127.0.0.1", 11_111), Inet("192.0.2.7", 40_000))


def message(flags: int, body: bytes = b"") -> bytes:
    return struct.pack("!QHI", 7, flags, 14 + len(body)) + body


def test_the_flag_of_the_client_is_removed():
    for flags in (3, 7):
        assert Sockperf().answer(message(flags, b"body"), PEER) == message(flags - 1, b"body")


def test_other_datagrams_get_no_reply():
    for data in (b"", bytes(13), message(0), message(1), message(2), message(3)[:-1], message(3) + b"x"):
        assert Sockperf().answer(data, PEER) is None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_a_reply_is_never_answered_again(data):
    answer = Sockperf().answer(data, PEER)
    assert answer is None or (len(answer) == len(data) and Sockperf().answer(answer, PEER) is None)
