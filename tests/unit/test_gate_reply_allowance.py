"""The replies that are allowed for one datagram."""

import pytest

from echod.gate.reply_allowance import ReplyAllowance


@pytest.mark.parametrize(
    ("request_size", "replies", "sent"),
    [
        (10, [10], [10]),
        (10, [11], []),
        (0, [0], [0]),
        (0, [0, 0], [0]),
        (100, [40, 32, 1], [40]),
        (100, [0, 0, 0], [0]),  # an empty datagram has headers as any other
        (100, [101, 50, 1], [50]),
        (65_507, [1] * 100, [1]),
    ],
)
def test_a_request_gets_one_reply_which_is_not_larger(request_size, replies, sent):
    allowance = ReplyAllowance(request_size, lambda: False)
    assert [size for size in replies if allowance.takes(size)] == sent


def test_the_larger_allowance_is_checked_only_if_it_is_needed():
    asked = []

    def larger():
        asked.append(1)
        return True

    allowance = ReplyAllowance(10, larger)
    assert allowance.takes(10)
    assert not asked
    assert all(allowance.takes(size) for size in (1000, 1, 0))
    assert len(asked) == 3
