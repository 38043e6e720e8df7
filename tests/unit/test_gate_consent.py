"""Consent to receive: proved by a fresh answer, renewed in time, and paid for."""

from hypothesis import given
from hypothesis import strategies as st

from echod.gate.address_cookies import LENGTH, answer_to, fresh_challenge
from echod.gate.consent import CREDIT, RETRY, RETRY_WHEN_LOST, VALID, Consent


def due(consent, now):
    """The challenge that is due now."""
    challenge = consent.challenge(now)
    assert challenge is not None
    return challenge


def renewed(consent, now):
    """Pay for a challenge, and answer it."""
    consent.received(LENGTH)
    assert consent.answered(answer_to(due(consent, now)), now)


def test_a_member_begins_without_consent():
    assert not Consent().valid(0.0)


def test_an_answer_is_consent_for_thirty_seconds():
    consent = Consent()
    renewed(consent, 5.0)
    assert consent.valid(5.0 + VALID - 0.01)
    assert not consent.valid(5.0 + VALID)


def test_a_challenge_is_paid_by_bytes_of_the_member():
    consent = Consent()
    assert consent.challenge(0.0) is None
    consent.received(LENGTH - 1)
    assert consent.challenge(0.0) is None
    consent.received(1)
    assert consent.challenge(0.0)
    assert consent.challenge(100.0) is None


def test_nothing_is_paid_in_advance_without_bound():
    consent = Consent()
    consent.received(1 << 30)
    challenges = 0
    while consent.challenge(challenges * RETRY):
        challenges += 1
    assert challenges == CREDIT // LENGTH


def test_an_answer_counts_once_and_never_for_another_challenge():
    consent = Consent()
    consent.received(500)
    answer = answer_to(due(consent, 0.0))
    assert not consent.answered(answer_to(fresh_challenge()), 0.0)
    assert consent.answered(answer, 0.0)
    assert not consent.answered(answer, VALID - 1)
    assert answer_to(due(consent, VALID)) != answer
    assert not consent.answered(answer, VALID)


def test_a_recorded_answer_is_worth_nothing_once_its_challenge_has_expired():
    consent = Consent()
    consent.received(500)
    answer = answer_to(due(consent, 0.0))
    assert not consent.answered(answer, VALID)
    assert answer_to(due(consent, VALID)) != answer


def test_a_lost_challenge_is_sent_again_as_it_was():
    consent = Consent()
    consent.received(500)
    first = consent.challenge(0.0)
    assert consent.challenge(RETRY_WHEN_LOST / 2) is None
    assert consent.challenge(RETRY_WHEN_LOST) == first
    renewed(consent, VALID)
    second = consent.challenge(VALID + RETRY)
    assert consent.challenge(VALID + RETRY + RETRY_WHEN_LOST) is None
    assert consent.challenge(VALID + 2 * RETRY) == second


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 100), st.booleans()), max_size=50))
def test_challenges_never_have_more_bytes_than_the_member_sent(steps):
    consent, now, came, went = Consent(), 0.0, 0, 0
    for seconds, size, answers in steps:
        now += seconds
        consent.received(size)
        came += size
        challenge = consent.challenge(now)
        if challenge:
            went += len(challenge)
            assert went <= came
            assert consent.answered(answer_to(challenge), now) if answers else True
