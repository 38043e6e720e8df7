"""Replies that are written over their requests: they equal those of the reflector."""

from hypothesis import given, settings
from hypothesis import strategies as st

from echod.in_place_replies import Placed
from echod.measurement.stamp import BASE
from echod.measurement.stamp_tlvs import CLASS_OF_SERVICE, MOST, class_of_service, has_tlv, tlv, tlvs_of
from echod.measurement.timestamps import A_SECOND
from echod.model import Arrival, Context, Peer
from echod.services.reflector import Reflector, ReflectorOptions
from echod.socket_names import Inet

PEER = Peer("udp", Inet("192.0.2.1", 862), Inet("192.0.2.7", 40_000))
SENT = 1_800_000_000 * A_SECOND + 1
NEVER_WRITTEN = b"\xee" * 8

KINDS = st.one_of(st.sampled_from([1, 3, 4, 5, 8, 253]), st.integers(0, 255))
FLAGS = st.sampled_from([0x80, 0, 0xE0])
TLVS = st.builds(tlv, KINDS, st.one_of(st.binary(min_size=4, max_size=4), st.binary(max_size=20)), FLAGS)
TAILS = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda first, more, padding: tlv(*first) + b"".join(more) + padding,
              st.tuples(KINDS, st.binary(max_size=16)), st.lists(TLVS, max_size=4), st.binary(max_size=5)),
)  # fmt: skip
REQUESTS = st.one_of(
    st.binary(max_size=BASE + 4),
    st.builds(bytes.__add__, st.binary(min_size=BASE, max_size=BASE), TAILS),
)
ARRIVALS = st.tuples(st.integers(0, 2**32 * A_SECOND), st.integers(0, 255))


def reflector(**options):
    return Reflector(ReflectorOptions(**options), Context(clock=lambda: 0.0, wall_clock_ns=lambda: SENT))


@settings(max_examples=150)
@given(
    st.lists(st.tuples(REQUESTS, ARRIVALS), min_size=1, max_size=4),
    st.sampled_from([{}, {"timestamps": "ptp"}, {"stateful": True}]),
)
def test_replies_in_place_equal_those_of_the_reflector(requests, options):
    service = reflector(**options)
    replies = reflector(**options).in_place()
    assert replies is not None
    data = bytearray()
    placed = []
    for request, (received, hops) in requests:
        at = len(data)
        data += request + NEVER_WRITTEN
        if replies.fits(memoryview(data), at, len(request)):
            seconds, nanoseconds = divmod(received, A_SECOND)
            placed.append(Placed(at, len(request), seconds, nanoseconds, hops))
        else:
            assert len(request) < BASE or any(each.kind == CLASS_OF_SERVICE for each in tlvs_of(request[BASE:]))
        placed = [each._replace(ends=(PEER.remote, PEER.local)) for each in placed]
    before = bytes(data)
    with memoryview(data) as memory:
        replies.write(memory, placed)
        replies.stamp(memory, [each.at for each in placed])
    for each in placed:
        came: list[bytes] = []
        arrival = Arrival(None, each.hops, 0, each.seconds * A_SECOND + each.nanoseconds)
        service.datagram(before[each.at : each.at + each.length], PEER, arrival, came.append)
        assert came == [bytes(data[each.at : each.at + each.length])]
    written = {at for each in placed for at in range(each.at, each.at + each.length)}
    assert all(data[at] == before[at] for at in range(len(data)) if at not in written)


def test_sessions_are_those_of_the_reflector():
    service = reflector(stateful=True)
    replies = service.in_place()
    assert replies.needs_ends
    assert not reflector().in_place().needs_ends
    data = bytearray(BASE)
    for expected in (0, 2):
        replies.write(data, [Placed(0, BASE, 1, 1, 1, (PEER.remote, PEER.local))])
        assert int.from_bytes(data[:4], "big") == expected
        service.datagram(bytes(BASE), PEER, Arrival(), lambda data: None)


def test_modes_with_key_or_tokens_have_no_replies_in_place(tmp_path):
    (tmp_path / "key").write_bytes(b"k" * 16)
    for options in ({"tokens": True}, {"key": tmp_path / "key"}):
        assert reflector(**options).in_place() is None


def test_a_tlv_is_found_in_any_place():
    found = class_of_service(46)
    assert has_tlv(found, CLASS_OF_SERVICE)
    assert has_tlv(tlv(1, b"padding") + found, CLASS_OF_SERVICE)
    assert has_tlv(found[:4], CLASS_OF_SERVICE)
    assert not has_tlv(tlv(1, found), CLASS_OF_SERVICE)
    assert not has_tlv(tlv(1, b"") * MOST + found, CLASS_OF_SERVICE)
