"""Address cookies: valid for one sender and a limited time. A service that transforms data cannot answer them."""

import codecs
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from echod.gate.address_cookies import (
    HALF,
    LENGTH,
    LETTERS,
    SLOT,
    AddressCookies,
    answer_to,
    answers,
    fresh_challenge,
    is_challenge,
    looks_like_an_answer,
)

ADDRESSES = st.binary(min_size=1, max_size=40)


def echoes(challenge):
    """The replies of services that only transform what they receive."""
    text = challenge.decode()
    left, right = text.split("<>")
    yield from (challenge, challenge * 2, challenge.upper(), challenge.swapcase(), challenge.title(), challenge[::-1])
    yield from (codecs.encode(text, "rot13").encode(), f"{left} {right}".encode(), f"{left}{right}".encode())
    yield from (challenge[:cut] for cut in range(LENGTH))
    yield from (challenge[cut:] for cut in range(LENGTH))
    yield from (challenge[cut:] + challenge[:cut] for cut in range(LENGTH))
    yield from (before + challenge + after for before in (b"", b"you said: ", b"> ") for after in (b"", b"\r\n", b"!"))
    yield from (challenge.hex().encode(), codecs.encode(challenge, "base64"), bytes(sorted(challenge)))


@given(ADDRESSES, st.floats(0, 1e9))
def test_a_challenge_is_answered_by_its_halves_exchanged(address, now):
    cookies = AddressCookies(lambda: now)
    challenge = cookies.challenge(address)
    assert len(challenge) == LENGTH
    letters, digits = challenge.split(b"<>")
    assert cookies.answered(address, digits + b" " + letters)
    assert cookies.answered(address, digits + b" " + letters + b"  \r\n")


@given(ADDRESSES)
def test_no_service_that_transforms_a_challenge_answers_it(address):
    cookies = AddressCookies(lambda: 0.0)
    challenge = cookies.challenge(address)
    for returned in echoes(challenge):
        assert not cookies.answered(address, returned), returned
        assert not answers(challenge, returned), returned


@given(ADDRESSES)
def test_an_answer_does_not_start_with_sent_bytes(address):
    challenge = AddressCookies(lambda: 0.0).challenge(address)
    assert answer_to(challenge)[:1] != challenge[:1]
    assert answer_to(challenge)[:1].isdigit()
    assert challenge[:1].isalpha()
    assert not is_challenge(answer_to(challenge))


@given(ADDRESSES, ADDRESSES)
def test_a_cookie_is_valid_for_its_sender_only(one, other):
    cookies = AddressCookies(lambda: 0.0)
    answer = answer_to(cookies.challenge(one))
    assert cookies.answered(other, answer) == (one == other)


def test_a_cookie_ends_after_one_to_two_slots():
    clock = Clock()
    cookies = AddressCookies(clock.seconds)
    clock.advance(SLOT * 3.9)
    answer = answer_to(cookies.challenge(b"a"))
    clock.advance(SLOT)
    assert cookies.answered(b"a", answer)
    clock.advance(SLOT)
    assert not cookies.answered(b"a", answer)


def test_a_shared_secret_makes_the_same_cookies_and_another_secret_others():
    one, same, other = (AddressCookies(lambda: 0.0, secret) for secret in (b"s" * 32, b"s" * 32, None))
    assert same.answered(b"a", answer_to(one.challenge(b"a")))
    assert not other.answered(b"a", answer_to(one.challenge(b"a")))


def test_a_challenge_has_at_least_45_bits():
    assert math.log2(len(set(LETTERS)) ** HALF * 10**HALF) > 45
    many = {AddressCookies(lambda: 0.0, b"secret").challenge(b"%d" % number) for number in range(2000)}
    assert len(many) == 2000
    for place in range(LENGTH):  # every place takes every value that it may take
        assert len({one[place] for one in many}) == (20 if place < HALF else 1 if place < HALF + 2 else 10)


def test_fresh_challenges_differ():
    assert len({fresh_challenge() for _ in range(1000)}) == 1000


@given(st.one_of(st.binary(max_size=60), st.from_regex(rb"\s*[0-9]{6} [b-z]{6}\s*", fullmatch=True)))
def test_other_datagrams_are_not_answers(returned):
    assert not AddressCookies(lambda: 1e6, secret=b"secret").answered(b"a", returned)


@given(st.binary(max_size=60))
def test_only_a_challenge_has_an_answer(datagram):
    if is_challenge(datagram):
        assert looks_like_an_answer(answer_to(datagram))
    else:
        with pytest.raises(ValueError, match="is not a challenge"):
            answer_to(datagram)
