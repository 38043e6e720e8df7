"""The largest connections of many: each order, in steps."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from echod.admin.largest_connections import ORDERS, SLICE, LargestConnections, largest


def connection(came: int, gone: int, unsent: int) -> dict[str, int]:
    return {"bytes_in": came, "bytes_out": gone, "unsent": unsent}


@pytest.mark.parametrize("order", ORDERS)
def test_the_largest_come_first(order):
    random = Random(7)
    everyone = [connection(*(random.randrange(50) for _ in range(3))) for _ in range(1000)]
    described = []

    def describe(worth):
        for one in everyone:
            if worth(one["bytes_in"], one["bytes_out"], one["unsent"]):
                described.append(one)
                yield one
            else:
                yield None

    found: list[Any] = list(largest(describe, 10, order))
    steps, rest = found[:-10], found[-10:]
    key = ORDERS[order]
    sizes = [key(one["bytes_in"], one["bytes_out"], one["unsent"]) for one in everyone]
    assert [key(one["bytes_in"], one["bytes_out"], one["unsent"]) for one in rest] == sorted(sizes, reverse=True)[:10]
    assert set(map(type, steps)) == {type(None)}
    assert len(described) < 200, "most connections are not described"


def test_connections_that_are_all_described_are_searched_in_steps():
    found = list(largest(lambda _: (connection(number, 0, 0) for number in range(10 * SLICE)), 2, "in"))
    assert found == [None] * 10 + [connection(10 * SLICE - 1, 0, 0), connection(10 * SLICE - 2, 0, 0)]


def test_fewer_connections_than_wanted():
    assert list(largest(lambda _: iter([connection(1, 1, 1)]), 10, "bytes")) == [connection(1, 1, 1)]
    assert LargestConnections(1, "bytes").listed() == []
