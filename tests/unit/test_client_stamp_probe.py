"""The STAMP probes of a ping: their layout, and how replies of each kind of service are recognized."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.client.stamp_probe import Recognized, Replier, StampProbes
from echod.measurement.clock_quality import CachedClockQuality, ClockQuality
from echod.measurement.stamp import BASE, Authenticated, Unauthenticated
from echod.measurement.stamp_tlvs import DIRECT_MEASUREMENT, EXTRA_PADDING, counters_of, tlvs_of
from echod.measurement.timestamps import estimate_of, from_ntp
from echod.model import Arrival, Context, Peer
from echod.services.reflector import Reflector, ReflectorOptions
from echod.services.udpechoplus import UDPEchoPlus
from echod.socket_names import Inet

NOW = 1_800_000_000_123_456_789
PEER = Peer("udp", Inet("127.0.0.1", 862), Inet("127.0.0.1", 40_000))
KEY = b"sixteen or more bytes"
CONTEXT = Context(clock=lambda: 0.0, wall_clock_ns=lambda: NOW + 5_000_000)


def make(*sizes, key=None, remembered=64, seed=1):
    quality = CachedClockQuality(lambda: 0.0, lambda: ClockQuality(True, 0.001))
    return StampProbes(sizes or (64,), random.Random(seed), quality, remembered=remembered, key=key)


def answered_by(service, data):
    replies = []
    service.datagram(data, PEER, Arrival(ttl=64, received_ns=NOW + 1_000_000), replies.append)
    return replies[0]


@pytest.mark.parametrize("size", [44, 47, 48, 59, 60, 63, 64, 79, 80, 81, 1472])
def test_a_probe_is_a_stamp_packet_of_its_size(size):
    probes = make(size)
    packet = probes.request(1, NOW)
    request = Unauthenticated().parse_request(packet)
    assert len(packet) == size
    assert (request.sequence, request.ssid) == (0, probes.ssid)
    assert from_ntp(request.timestamp, NOW) == NOW
    assert estimate_of(request.error_estimate)[:2] == (True, False)
    assert probes.request(2, NOW)[:4] == bytes([0, 0, 0, 1])
    assert not any(each.is_malformed for each in tlvs_of(packet[BASE:]))


def test_a_probe_counts_what_was_sent_and_fills_the_rest():
    measured, padding = tlvs_of(make(100).request(7, NOW)[BASE:])
    assert (measured.kind, counters_of(measured.value)) == (DIRECT_MEASUREMENT, (7, 0, 0))
    assert (padding.kind, padding.length) == (EXTRA_PADDING, 100 - BASE - 16 - 4)


def test_a_small_probe_is_a_twamp_light_packet():
    for size in range(16, BASE):
        packet = make(size).request(3, NOW)
        assert len(packet) == size
        assert Unauthenticated().parse_request(packet).sequence == 2


def test_sizes_take_turns():
    probes = make(64, 100, 300)
    assert [len(probes.request(number, NOW)) for number in range(1, 5)] == [64, 100, 300, 64]
    assert [probes.size(number) for number in range(1, 5)] == [64, 100, 300, 64]


@pytest.mark.parametrize("size", [16, 43, 44, 50, 64, 1000])
@pytest.mark.parametrize("options", [{}, {"stateful": True}, {"timestamps": "ptp"}], ids=["plain", "stateful", "ptp"])
def test_a_reflector_is_recognized(size, options):
    probes = make(size)
    service = Reflector(ReflectorOptions(**options), CONTEXT)
    for number in (1, 2):
        found = probes.recognize(answered_by(service, probes.request(number, NOW)), sent=number)
        assert (found.replier, found.number) == (Replier.REFLECTOR, number)
        assert found.answer.sender_sequence == number - 1
        has_counters = options.get("stateful") and size >= 64
        assert found.counters == ((number, number) if has_counters else None)


def test_an_authenticated_reflector_is_recognized(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(KEY)
    probes = make(200, key=KEY)
    packet = probes.request(1, NOW)
    assert Authenticated(KEY).parse_request(packet) is not None
    answer = answered_by(Reflector(ReflectorOptions(key=file), CONTEXT), packet)
    assert probes.recognize(answer, sent=1).replier is Replier.REFLECTOR
    assert probes.recognize(answer[:100] + bytes([answer[100] ^ 1]) + answer[101:], sent=1) == "its HMAC is wrong"
    assert probes.recognize(b"an answer", sent=1) == "it belongs to no probe of this ping"


def test_a_twamp_light_reflector_is_recognized():
    """It copies the padding, has no SSID, and answers a short probe with 41 bytes."""
    probes = make(30)
    answer = answered_by(Reflector(context=CONTEXT), probes.request(1, NOW))
    assert probes.recognize(answer[:14] + bytes(2) + answer[16:41], sent=1).replier is Replier.REFLECTOR
    probes = make(64)
    packet = probes.request(1, NOW)
    answer = answered_by(Reflector(context=CONTEXT), packet)
    copied = answer[:14] + bytes(2) + answer[16:BASE] + packet[BASE:]
    found = probes.recognize(copied, sent=1)
    assert (found.replier, found.counters) == (Replier.REFLECTOR, None)


@pytest.mark.parametrize("size", [14, 30, 44, 64, 200])
@pytest.mark.parametrize("padding", [0, 2, 8, 26, 1458])
def test_a_twamp_light_reflector_may_choose_its_padding(size, padding):
    """That of twampy: 38 bytes without a TTL, its own number, and zeros of any length."""
    probes = make(size)
    answer = answered_by(Reflector(context=CONTEXT), probes.request(1, NOW).ljust(BASE, bytes(1)))
    reply = bytes(4) + answer[4:14] + bytes(2) + answer[16:38] + bytes(padding)
    found = probes.recognize(reply, sent=1)
    assert (found.replier, found.number, found.counters) == (Replier.REFLECTOR, 1, None)
    assert found.answer.ttl == (0 if padding > 2 else 255)
    assert isinstance(probes.recognize(reply[:37], sent=1), str)
    if size >= BASE:
        assert isinstance(probes.recognize(reply.ljust(70, bytes(1))[:-1] + b"x", sent=1), str)


@settings(max_examples=200, deadline=None)
@given(st.integers(16, 200), st.integers(1, 2**32 - 1), st.integers(0, 2**62), st.integers(0, 2**32))
def test_echo_and_upper_are_recognized_for_any_number_and_time(size, number, now, seed):
    probes = make(size, seed=seed)
    packet = probes.request(number, now)
    assert probes.recognize(packet, sent=number) == Recognized(Replier.ECHO, number)
    found = probes.recognize(packet.upper(), sent=number)
    assert (found.replier, found.number) == (Replier.ECHO, number)


def test_udpechoplus_is_recognized_with_its_processing_time():
    probes, service = make(64), UDPEchoPlus(context=CONTEXT)
    found = probes.recognize(answered_by(service, probes.request(1, NOW)), sent=1)
    assert (found.replier, found.number, found.processing) == (Replier.UDPECHOPLUS, 1, 0.004)


@pytest.mark.parametrize("size", [20, 64, 200])
def test_a_changed_byte_is_found(size):
    probes = make(size)
    packet = probes.request(1, NOW)
    answer = answered_by(Reflector(context=CONTEXT), packet)
    for at in range(size):
        changed = packet[:at] + bytes([packet[at] ^ 0x81]) + packet[at + 1 :]
        assert isinstance(probes.recognize(changed, sent=1), str), at
    # The reflector's own fields may have any value: its number, its times, their error and the TTL.
    for at in [*range(24, 38), *range(BASE, size)] if size >= BASE else range(24, 38):
        changed = answer[:at] + bytes([answer[at] ^ 0x81]) + answer[at + 1 :]
        in_counters = BASE + 4 <= at < BASE + 16 or at == BASE
        in_flags = at == BASE + 16
        assert isinstance(probes.recognize(changed, sent=1), str) is not (size >= BASE and (in_counters or in_flags)), (
            at
        )


def test_errors_of_an_echo_name_the_byte_or_the_size():
    probes = make(100)
    packet = probes.request(1, NOW)
    assert probes.recognize(packet[:-1], sent=1) == "100 bytes were sent"
    assert probes.recognize(packet + b"!", sent=1) == "100 bytes were sent"
    assert probes.recognize(packet[:90] + b"\0" + packet[91:], sent=1).startswith("byte 90 is 0x00, expected 0x")
    assert probes.is_of(packet[:-1], sent=1) == 1
    for other in (b"", b"x", packet[:13], make(100, seed=2).request(1, NOW), b"\1" + packet[1:]):
        assert probes.recognize(other, sent=1) == "it belongs to no probe of this ping"
        assert probes.is_of(other, sent=1) is None


def test_only_remembered_probes_are_recognized():
    probes = make(64, remembered=8)
    packets = [probes.request(number, NOW + number) for number in range(1, 11)]
    assert isinstance(probes.recognize(packets[1], sent=10), str)
    assert probes.recognize(packets[2], sent=10).number == 3
    assert isinstance(probes.recognize(packets[9], sent=9), str)  # not sent yet


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=150), st.integers(0, 70), st.binary(max_size=10))
def test_any_reply_is_recognized_or_described(data, at, inserted):
    probes = make(64)
    packet = probes.request(1, NOW)
    answer = answered_by(Reflector(context=CONTEXT), packet)
    for reply in (data, answer[:at] + inserted + answer[at:], packet[:at] + data):
        found = probes.recognize(reply, sent=1)
        assert isinstance(found, Recognized) or found.isprintable()
