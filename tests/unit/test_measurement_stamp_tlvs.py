"""The TLVs of STAMP packets (RFC 8972): how a reflector answers each, and those whose lengths lie."""

from hypothesis import given, settings
from hypothesis import strategies as st

from echod.measurement.stamp import truncated_hmac
from echod.measurement.stamp_tlvs import (
    CLASS_OF_SERVICE,
    DIRECT_MEASUREMENT,
    EXTRA_PADDING,
    HEADER,
    HMAC,
    INTEGRITY,
    MALFORMED,
    MOST,
    TIMESTAMP_INFORMATION,
    TOKEN,
    UNRECOGNIZED,
    ReflectorFacts,
    answered_tlvs,
    class_of_service,
    class_of_service_of,
    counters_of,
    direct_measurement,
    dscp_of_reply,
    hmac_tlv,
    reflect,
    tlv,
    tlvs_of,
)

KEY = b"sixteen or more bytes"
STATELESS = ReflectorFacts(7, 46 << 2 | 1, True)
STATEFUL = ReflectorFacts(8, 0, False, received=9, sent=9)
PADDING = tlv(EXTRA_PADDING, b"padding")


def flags(answer: bytes) -> list[int]:
    return [each.flags for each in answered_tlvs(answer)]


def test_padding_that_is_not_tlvs_is_copied():
    for padding in (b"", b"\0" * 20, b"\x7f" * 20, b"\x01\x01\x00\x04abcd", bytes(range(255))):
        assert reflect(padding, 7, STATEFUL, None) == padding
        assert tlvs_of(padding) == []


def test_the_unrecognized_flag_is_cleared_where_a_tlv_is_understood():
    unknown = tlv(200, b"value")
    answer = reflect(PADDING + unknown + PADDING, 7, STATELESS)
    assert answer == b"\0" + PADDING[1:] + unknown + b"\0" + PADDING[1:]


def test_every_type_that_is_not_supported_keeps_its_value_and_the_flag():
    for kind in range(256):
        if kind not in (EXTRA_PADDING, TOKEN, TIMESTAMP_INFORMATION, CLASS_OF_SERVICE, DIRECT_MEASUREMENT, HMAC):
            assert reflect(tlv(kind, b"12345678"), 7, STATEFUL) == tlv(kind, b"12345678")


def test_timestamp_information():
    assert reflect(tlv(TIMESTAMP_INFORMATION, bytes(4)), 7, STATELESS) == tlv(3, b"\1\2\1\2", 0)
    assert reflect(tlv(TIMESTAMP_INFORMATION, bytes(4)), 7, STATEFUL) == tlv(3, b"\5\2\5\2", 0)


def test_class_of_service():
    [found] = answered_tlvs(reflect(class_of_service(0), 7, STATELESS))
    assert (found.flags, class_of_service_of(found.value)) == (0, (0, 46, 1, 0))
    [found] = answered_tlvs(reflect(class_of_service(10), 7, STATELESS))
    assert (found.flags, class_of_service_of(found.value)) == (0, (10, 46, 1, 1))
    for requested, refused, of_reply in ((9, 0, 9), (10, 0, 10), (11, 1, 46), (63, 1, 46)):
        answer = reflect(PADDING + class_of_service(requested), 7, STATELESS._replace(largest_dscp=10))
        assert class_of_service_of(answered_tlvs(answer)[-1].value) == (requested, 46, 1, refused)
        assert dscp_of_reply(answer) == of_reply


def test_a_packet_that_is_not_intact_chooses_no_dscp():
    facts = STATELESS._replace(largest_dscp=63)
    assert dscp_of_reply(reflect(PADDING, 7, facts)) is None
    assert dscp_of_reply(reflect(class_of_service(10)[:-1], 7, facts)) is None
    unsigned = reflect(class_of_service(10), 7, facts, KEY)
    assert dscp_of_reply(unsigned) is None


def test_direct_measurement_needs_state():
    assert reflect(direct_measurement(5), 7, STATELESS) == direct_measurement(5)
    [found] = answered_tlvs(reflect(direct_measurement(5), 7, STATEFUL))
    assert (found.flags, counters_of(found.value)) == (0, (5, 9, 9))


def test_a_wrong_length_sets_the_malformed_flag_and_the_rest_is_copied():
    for wrong in (
        tlv(CLASS_OF_SERVICE, bytes(5)),
        tlv(DIRECT_MEASUREMENT, bytes(11)),
        tlv(TIMESTAMP_INFORMATION, b""),
        b"\x80\x01\xff\xffabc",  # longer than the packet
        b"\x80\xc8\x00\xffabc",
    ):
        answer = reflect(PADDING + wrong + PADDING, 7, STATEFUL)
        assert flags(answer)[:2] == [0, UNRECOGNIZED | MALFORMED]
        assert answer[len(PADDING) + 1 :] == (wrong + PADDING)[1:]


def test_an_hmac_covers_the_sequence_number_and_the_tlvs_before_it():
    before = PADDING + class_of_service(0)
    answer = reflect(before + hmac_tlv(KEY, 7, before), 7, STATEFUL, KEY)
    assert flags(answer) == [0, 0, 0]
    assert answer[-16:] == truncated_hmac(KEY, (8).to_bytes(4, "big"), answer[: len(before)])
    signed = before + hmac_tlv(KEY, 7, before)
    after = tlv(EXTRA_PADDING, b"not covered")
    assert flags(reflect(signed + after, 7, STATEFUL, KEY)) == [0, 0, 0, 0]


def test_a_wrong_missing_or_misplaced_hmac_sets_the_integrity_flag_of_all():
    before = PADDING + class_of_service(0)
    signed = before + hmac_tlv(KEY, 7, before)
    changed = bytes([*signed[:5], signed[5] ^ 1, *signed[6:]])
    short = tlv(HMAC, hmac_tlv(KEY, 7, before)[4:-1])
    for wrong, sequence in (
        (signed, 6),
        (changed, 7),
        (before, 7),
        (before + hmac_tlv(KEY + b"x", 7, before), 7),
        (signed + class_of_service(0), 7),
        (signed + hmac_tlv(KEY, 7, signed), 7),
        (before + short, 7),
    ):
        answer = reflect(wrong, sequence, STATEFUL, KEY)
        found = answered_tlvs(answer)
        assert all(each.flags == UNRECOGNIZED | INTEGRITY for each in found)
        assert [each.value for each in found] == [each.value for each in tlvs_of(wrong)]


def test_padding_alone_needs_no_hmac():
    assert flags(reflect(PADDING, 7, STATEFUL, KEY)) == [0]


def test_an_hmac_without_a_key_is_not_recognized():
    assert reflect(hmac_tlv(KEY, 7, b""), 7, STATELESS) == hmac_tlv(KEY, 7, b"")


def test_the_number_of_tlvs_that_are_processed_is_bounded():
    many = tlv(EXTRA_PADDING, b"") * 16_000
    answer = reflect(many, 7, STATEFUL)
    assert answer == (b"\0" + many[1:4]) * MOST + many[4 * MOST :]
    assert len(tlvs_of(many)) == MOST


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=80)
    | st.lists(st.tuples(st.integers(0, 12), st.binary(max_size=20)), max_size=6).map(
        lambda parts: b"".join(tlv(kind, value) for kind, value in parts)
    ),
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, KEY]),
)
def test_a_reply_has_the_size_of_its_request(rest, sequence, key):
    for facts in (STATELESS, STATEFUL):
        answer = reflect(rest, sequence, facts, key)
        assert len(answer) == len(rest)
        for asked, got in zip(tlvs_of(rest), answered_tlvs(answer), strict=False):
            assert (got.kind, got.length) == (asked.kind, asked.length)
            assert asked.at + HEADER <= len(rest)
