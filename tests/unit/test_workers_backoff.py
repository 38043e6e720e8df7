"""The delays before a worker is replaced."""

from echod.workers.backoff import LONGEST, MOST, WITHIN, Backoff


def test_the_first_ends_are_replaced_at_once():
    backoff = Backoff()
    assert [backoff.ended(float(now)) for now in range(MOST - 1)] == [0.0] * (MOST - 1)


def test_ends_that_are_far_apart_are_replaced_at_once():
    backoff = Backoff()
    assert [backoff.ended(now * WITHIN / (MOST - 1)) for now in range(50)] == [0.0] * 50


def test_the_delay_doubles_with_each_end_and_is_bounded():
    backoff = Backoff()
    for _ in range(MOST - 1):
        backoff.ended(0.0)
    now, delays = 0.0, []
    for _ in range(8):
        delays.append(backoff.ended(now))
        now += delays[-1]  # each replacement ends at once
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST, LONGEST, LONGEST]


def test_a_replacement_that_stays_resets_the_delay():
    backoff = Backoff()
    delay = [backoff.ended(0.0) for _ in range(MOST)][-1]
    assert backoff.ended(delay + WITHIN) == 2 * delay
    assert backoff.ended(2 * (delay + WITHIN) + 2 * delay + 1) == 0.0
