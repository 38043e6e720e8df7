"""The bytes of a load: a reply that fits has exactly the bytes that belong to its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.client.load.pattern import PERIOD, SPAN, OtherService, Pattern, Sizes, Transform, place_of

KINDS: dict[str, Transform] = {"echo": bytes, "upper": bytes.upper, "swap": bytes.swapcase}
ECHO = Pattern()
places = st.integers(0, 10**15)
sizes = st.integers(1, 2_000)


@given(places, sizes)
def test_what_is_sent_fits_its_own_place(place: int, size: int) -> None:
    assert ECHO.fits(ECHO.cut(place, size), place)
    assert len(ECHO.cut(place, size)) == size


@given(places, st.integers(8, 2_000), st.data())
def test_a_changed_byte_is_found_at_its_position(place: int, size: int, data: st.DataObject) -> None:
    at, new = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, 255))
    sent = ECHO.cut(place, size)
    received = bytearray(sent)
    received[at] ^= new
    assert not ECHO.fits(bytes(received), place)
    assert ECHO.decide(sent, bytes(received), first=False) == at


@given(places, st.integers(16, 2_000), st.integers(1, PERIOD - 1))
def test_bytes_of_another_place_do_not_fit(place: int, size: int, distance: int) -> None:
    assert not ECHO.fits(ECHO.cut(place + distance, size), place)


@given(st.integers(0, 65_535), st.integers(0, 65_535), st.integers(0, 100))
def test_connections_and_what_follows_a_failure_have_places_of_their_own(one: int, other: int, opened: int) -> None:
    if one != other:
        assert place_of(one, opened) != place_of(other, opened)
    assert place_of(one, opened) != place_of(one, opened + 1)


def test_more_than_a_span_is_cut_and_compared_in_pieces() -> None:
    size = 3 * SPAN + 5
    sent = ECHO.cut(PERIOD - 7, size)
    assert len(sent) == size
    assert ECHO.fits(sent, PERIOD - 7)
    assert not ECHO.fits(sent[:-1] + bytes([sent[-1] ^ 1]), PERIOD - 7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_a_service_is_recognized_by_its_replies(kind: str) -> None:
    pattern = Pattern(KINDS)
    sent = pattern.cut(0, 200)
    reply = KINDS[kind](sent)
    assert pattern.fits(reply, 0) or pattern.decide(sent, reply, first=True) is None
    assert pattern.kind == kind
    assert pattern.fits(KINDS[kind](pattern.cut(200, 500)), 200)
    assert not pattern.fits(reply, 1)


def test_single_bytes_recognize_a_kind_as_soon_as_they_differ() -> None:
    pattern = Pattern(KINDS)
    for place in range(100):
        sent = pattern.cut(place, 1)
        reply = sent.upper()
        assert pattern.fits(reply, place) or pattern.decide(sent, reply, first=place < 64) is None
    assert pattern.kind == "upper"


def test_a_fault_in_the_first_reply_does_not_hide_the_kind() -> None:
    pattern = Pattern(KINDS)
    sent = pattern.cut(0, 100)
    received = bytearray(sent.upper())
    received[70] ^= 1
    assert pattern.decide(sent, bytes(received), first=True) == 70
    assert pattern.kind == "upper"


def test_a_fault_in_the_first_reply_of_echo_is_wrong() -> None:
    pattern = Pattern(KINDS)
    sent = pattern.cut(0, 100)
    assert pattern.decide(sent, sent[:50] + bytes([sent[50] ^ 1]) + sent[51:], first=True) == 50
    assert pattern.kind == "echo"


def test_a_kind_is_kept_after_it_was_verified() -> None:
    pattern = Pattern(KINDS)
    sent = pattern.cut(0, 100)
    assert pattern.decide(sent, sent.upper(), first=False) is not None
    pattern.keep()
    assert pattern.decide(sent, sent.upper(), first=True) is not None
    assert pattern.kind == "echo"


def test_another_service_is_reported_with_the_begin_of_its_reply() -> None:
    with pytest.raises(OtherService, match=r"expected the reply of echo, upper, swap or the like.*'220 ready"):
        Pattern(KINDS).decide(ECHO.cut(0, 64), b"220 ready\r\n", first=True)


def test_a_reply_that_is_too_short_or_too_long_is_wrong_at_its_end() -> None:
    sent = ECHO.cut(5, 20)
    assert ECHO.decide(sent, sent[:15], first=False) == 15
    assert ECHO.decide(sent, sent + b"x", first=False) == 20


def test_sizes_are_used_in_turn() -> None:
    assert [Sizes((1, 5, 3)).of(number) for number in range(5)] == [1, 5, 3, 1, 5]
    assert (Sizes((1, 5, 3)).most, Sizes((7,)).only, Sizes((7,)).of(9)) == (5, 7, 7)
