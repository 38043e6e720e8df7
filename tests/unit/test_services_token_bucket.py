"""A token bucket: a burst, then a number of units a second."""

from twisted.internet.task import Clock

from echod.services.token_bucket import TokenBucket


def test_a_burst_and_then_the_rate():
    clock = Clock()
    bucket = TokenBucket(2, 5, clock.seconds)
    assert [bucket.take() for _ in range(7)] == [True] * 5 + [False] * 2
    clock.advance(1)
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    clock.advance(3600)
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]


def test_no_limit():
    bucket = TokenBucket(0, 0, lambda: 0.0)
    assert all(bucket.take() for _ in range(1000))
