"""What may be sent in reply to one datagram."""

import pytest

from echod.gate.reply_allowance import HEADERS, ReplyAllowance


@pytest.mark.parametrize(
    ("request_size", "replies", "sent"),
    [
        (10, [10], [10]),
        (10, [11], []),
        (0, [0], [0]),
        (0, [0, 0], [0]),  # an empty datagram brings headers as any other
        (100, [40, 32, 1], [40, 32]),
        (100, [40, 33, 32], [40, 32]),
        (100, [101, 50], [50]),
        (HEADERS, [0, 0, 0], [0, 0]),
    ],
)
def test_all_replies_together_are_no_larger_than_the_request(request_size, replies, sent):
    allowance = ReplyAllowance(request_size, lambda: False)
    assert [size for size in replies if allowance.takes(size)] == sent


def test_a_peer_that_may_be_sent_more_is_asked_about_only_if_it_matters():
    asked = []

    def larger():
        asked.append(1)
        return True

    allowance = ReplyAllowance(10, larger)
    assert allowance.takes(10)
    assert not asked
    assert all(allowance.takes(1000) for _ in range(3))
    assert len(asked) == 3
