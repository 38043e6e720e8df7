"""The reflector: replies to STAMP and TWAMP Light requests, with and without state and key."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.measurement.stamp import BASE, Answer, Authenticated, Request, Unauthenticated
from echod.measurement.stamp_tlvs import (
    TOKEN,
    answered_tlvs,
    class_of_service,
    counters_of,
    direct_measurement,
    hmac_tlv,
    tlv,
    token_in,
)
from echod.measurement.timestamps import A_SECOND, estimate_of, from_ntp, from_ptp, ntp
from echod.model import Arrival, Context, Peer
from echod.services.reflector import Reflector, ReflectorOptions, WrongKey, read_key
from echod.shape import Shape
from echod.socket_names import Inet

NOW = 1_800_000_000 * A_SECOND
HERE = Inet("192.0.2.1", 862)
PEER = Peer("udp", HERE, Inet("192.0.2.7", 40_000))
OTHER = Peer("udp", HERE, Inet("192.0.2.7", 40_001))
ARRIVAL = Arrival(ttl=61, traffic_class=46 << 2, received_ns=NOW)
REQUEST = Request(41, ntp(NOW - 5_000), 0x8001, 0xABCD)
KEY = b"sixteen or more bytes"


def service(**options):
    return Reflector(ReflectorOptions(**options), Context(clock=lambda: 0.0, wall_clock_ns=lambda: NOW + 1_000))


def ask(reflector, data, peer=PEER, arrival=ARRIVAL):
    replies = []
    reflector.datagram(data, peer, arrival, replies.append)
    assert len(replies) <= 1
    return replies[0] if replies else None


def parsed(data) -> Answer:
    answer = Unauthenticated().parse_answer(data)
    assert answer is not None
    return answer


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "stamp.key"
    file.write_bytes(KEY + b"\n")
    return file


def test_a_reply_has_the_request_and_the_times_of_arrival_and_reply():
    data = ask(service(), Unauthenticated().request(REQUEST))
    answer = parsed(data)
    assert len(data) == BASE
    assert (answer.sequence, answer.ssid) == (41, 0xABCD)
    assert (answer.sender_sequence, answer.sender_timestamp, answer.sender_error_estimate) == REQUEST[:3]
    assert from_ntp(answer.received, NOW) == NOW
    assert from_ntp(answer.timestamp, NOW) == NOW + 1_000
    assert answer.ttl == 61
    assert estimate_of(answer.error_estimate).is_valid


def test_ptp_timestamps_are_marked_as_such():
    answer = parsed(ask(service(timestamps="ptp"), Unauthenticated().request(REQUEST)))
    assert estimate_of(answer.error_estimate).is_ptp
    assert (from_ptp(answer.received, NOW), from_ptp(answer.timestamp, NOW)) == (NOW, NOW + 1_000)


def test_without_facts_of_the_kernel_the_clock_and_an_unknown_ttl_are_used():
    answer = parsed(ask(service(), Unauthenticated().request(REQUEST), arrival=Arrival()))
    assert (from_ntp(answer.received, NOW), answer.ttl) == (NOW + 1_000, 255)
    assert parsed(service().answer(Unauthenticated().request(REQUEST), PEER)).ttl == 255


def test_a_stateless_reflector_copies_the_sequence_number():
    reflector = service()
    numbers = [7, 7, 0, 2**32 - 1]
    packets = [Unauthenticated().request(REQUEST._replace(sequence=number)) for number in numbers]
    assert [parsed(ask(reflector, packet)).sequence for packet in packets] == numbers


def test_a_stateful_reflector_counts_the_packets_of_each_session():
    reflector = service(stateful=True)
    first, second = (Unauthenticated().request(REQUEST._replace(ssid=ssid)) for ssid in (1, 2))
    asked = [(first, PEER), (first, PEER), (second, PEER), (first, OTHER), (first, PEER)]
    assert [parsed(ask(reflector, data, peer)).sequence for data, peer in asked] == [0, 1, 0, 0, 2]
    assert parsed(ask(reflector, first)).sender_sequence == 41


def test_a_reload_continues_the_sessions_of_a_stateful_reflector():
    old, new = service(stateful=True), service(stateful=True)
    ask(old, Unauthenticated().request(REQUEST))
    new.take_over_from(old)
    assert parsed(ask(new, Unauthenticated().request(REQUEST))).sequence == 1
    new.take_over_from(service())  # a stateless one has none
    assert parsed(ask(new, Unauthenticated().request(REQUEST))).sequence == 2


def test_counters_of_a_session_reach_a_direct_measurement():
    reflector = service(stateful=True)
    for number in (1, 2, 3):
        data = ask(reflector, Unauthenticated().request(REQUEST) + direct_measurement(number))
        [found] = answered_tlvs(data[BASE:])
        assert counters_of(found.value) == (number, number, number)


def test_a_short_request_of_twamp_light_gets_a_base_packet():
    for size in range(60):
        data = ask(service(), (Unauthenticated().request(REQUEST)[:14] + bytes(46))[:size])
        assert (None if data is None else len(data)) == (None if size < 14 else max(size, BASE))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_datagram_gets_a_reply_of_its_size_or_the_base_packet(data, stateful):
    answer = ask(service(stateful=stateful), data)
    assert (answer is None) == (len(data) < 14)
    assert answer is None or len(answer) == max(len(data), BASE)


def test_a_reply_is_sent_with_the_requested_dscp_if_that_is_permitted():
    """RFC 8972 4.4: otherwise with that of the request."""
    classes = []
    peer = Peer("udp", HERE, Inet("192.0.2.7", 40_000), set_traffic_class=classes.append)
    arrival = Arrival(ttl=61, traffic_class=10 << 2, received_ns=NOW)
    for dscp in (20, 63):
        ask(service(largest_dscp=46), Unauthenticated().request(REQUEST) + class_of_service(dscp), peer, arrival)
    ask(service(largest_dscp=46), Unauthenticated().request(REQUEST) + tlv(1, b"padding"), peer, arrival)
    assert classes == [20 << 2, 10 << 2]


def test_padding_is_copied():
    padding = bytes(range(1, 101))
    assert ask(service(), Unauthenticated().request(REQUEST) + padding)[BASE:] == padding


def test_authenticated_mode_answers_only_packets_with_the_right_hmac(key_file):
    reflector, signing = service(key=key_file), Authenticated(KEY)
    right = signing.request(REQUEST)
    answer = signing.parse_answer(ask(reflector, right))
    assert answer is not None
    assert answer[5:8] == REQUEST[:3]
    for wrong in (
        Unauthenticated().request(REQUEST) + bytes(68),
        Authenticated(KEY + b"x").request(REQUEST),
        right[:-1],
        right[:95] + b"x" + right[96:],
        b"",
    ):
        assert ask(reflector, wrong) is None
    before = tlv(1, b"padding")
    data = ask(reflector, right + before + hmac_tlv(KEY, REQUEST.sequence, before))
    assert [each.flags for each in answered_tlvs(data[112:])] == [0, 0]


@pytest.mark.parametrize("content", [b"", b"short\n", b"fifteen bytes..\r\n"], ids=["empty", "short", "fifteen"])
def test_a_key_has_at_least_16_bytes(tmp_path, content):
    file = tmp_path / "key"
    file.write_bytes(content)
    size = len(content.rstrip(b"\r\n"))
    expected = [("key", f"{file}: has a key of {size} bytes; expected at least 16")]
    assert list(Reflector.configuration_errors(ReflectorOptions(key=file))) == expected


def test_a_file_that_cannot_be_read_is_an_error_of_the_configuration(tmp_path):
    missing = tmp_path / "missing"
    [(key, why)] = Reflector.configuration_errors(ReflectorOptions(key=missing))
    assert (key, why) == ("key", f"{missing}: no such file or directory (ENOENT)")
    [(_, why)] = Reflector.configuration_errors(ReflectorOptions(key=tmp_path))
    assert "EISDIR" in why
    with pytest.raises(WrongKey, match="is not a regular file"):
        read_key(Path("/dev/null"))


def test_right_options_are_no_error(key_file):
    assert not list(Reflector.configuration_errors(ReflectorOptions()))
    assert not list(Reflector.configuration_errors(ReflectorOptions(key=key_file)))


def test_it_is_served_over_datagrams_only():
    assert [shape for shape in Shape if Reflector.is_served_over(shape)] == [Shape.DATAGRAM]


def test_with_tokens_only_proven_senders_get_the_whole_reply():
    reflector = service(tokens=True, stateful=True)
    request = Unauthenticated().request(REQUEST)
    padding = tlv(1, bytes(500))
    assert ask(reflector, request + padding) is None  # no token TLV
    first = ask(reflector, request + tlv(TOKEN, bytes(8)) + padding)
    assert len(first) == BASE + 12 <= len(request + tlv(TOKEN, bytes(8)))
    token = token_in(answered_tlvs(first[BASE:])) or b""
    second = ask(reflector, request + tlv(TOKEN, token) + padding)
    assert len(second) == len(request + padding) + 12
    assert [each.flags for each in answered_tlvs(second[BASE:])] == [0, 0]
    assert parsed(second).sequence == 0  # the packet that was not proven is in no session
    stranger = PEER._replace(remote=Inet("192.0.2.8", 40_000))
    assert len(ask(reflector, request + tlv(TOKEN, token) + padding, stranger)) == BASE + 12
    assert ask(reflector, request + tlv(TOKEN, bytes(7)) + padding) is None
    assert len(ask(reflector, request + tlv(TOKEN, token) + padding, OTHER)) == len(second)  # another port


def test_tokens_do_not_fit_a_key(key_file):
    [(key, why)] = Reflector.configuration_errors(ReflectorOptions(key=key_file, tokens=True))
    assert (key, why) == (
        "tokens",
        "true does not fit key, whose HMAC identifies senders already; expected one of them",
    )
