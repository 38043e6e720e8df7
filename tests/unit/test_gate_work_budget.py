"""The work budget: portions for each peer, a bound for each turn, and an order among the peers that wait."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from echod.gate.work_budget import PORTION, TURN, WorkBudget
from tests.turns import Turns


def take_all(portion):
    """How many items a portion lets pass."""
    items = 0
    while items < 100_000 and portion.take():
        items += 1
    return items


def test_a_portion_is_bounded_and_so_is_the_turn():
    turns = Turns()
    work = WorkBudget(turns.later, portion=10, turn=25)
    assert [take_all(work.portion()) for _ in range(4)] == [10, 10, 5, 0]
    assert [take_all(work.portion(last=True)) for _ in range(4)] == [10, 10, 5, 0]  # however many peers end at once
    turns.turn()
    assert take_all(work.portion()) == 10


def test_a_larger_item_costs_more_and_the_next_turn_is_whole_again():
    turns = Turns()
    work = WorkBudget(turns.later, portion=10, turn=25)
    portion = work.portion()
    assert portion.take()
    portion.spend(100)
    assert not portion.take()
    assert take_all(work.portion()) == 0
    turns.turn()
    assert take_all(work.portion()) == 10


def test_peers_proceed_in_the_order_in_which_they_came_to_wait():
    turns = Turns()
    work = WorkBudget(turns.later, portion=10, turn=20)
    left = {"a": 25, "b": 5, "c": 15}
    order = []

    def peer(name):
        def proceed():
            portion = work.portion()
            while left[name] and portion.take():
                left[name] -= 1
            order.append((name, left[name]))
            if left[name]:
                work.wait(proceed)

        return proceed

    for name in left:
        work.wait(peer(name))
    count = turns.all()
    assert order == [("a", 15), ("b", 0), ("c", 10), ("a", 5), ("c", 0), ("a", 0)]
    assert count == 4  # the last one found nothing to do
    assert work.waiting == 0


def test_hosts_take_turns_however_many_peers_one_of_them_has():
    turns = Turns()
    work = WorkBudget(turns.later, portion=10, turn=20)
    order = []

    def peer(name):
        def proceed():
            take_all(work.portion())
            order.append(name)
            if name == "crowd":
                work.wait(proceed, name)

        return proceed

    for _ in range(1000):
        work.wait(peer("crowd"), "crowd")
    work.wait(gone := peer("gone"), "gone")
    work.wait(peer("other"), "other")
    work.wait(peer("delivery"))
    work.cancel(gone)
    for _ in range(2):
        turns.turn()
    assert order == ["crowd", "other", "delivery", "crowd"]
    assert work.waiting == 1000


def test_a_peer_that_is_gone_does_not_proceed():
    turns = Turns()
    work = WorkBudget(turns.later)
    called = []

    def one():
        called.append("one")
        work.cancel(two)

    def two():
        called.append("two")

    work.wait(one)
    work.wait(two)
    turns.turn()
    assert called == ["one"]
    assert not turns.calls


def test_a_peer_whose_service_fails_does_not_stop_the_others():
    turns = Turns()
    work = WorkBudget(turns.later)
    called = []

    def fails():
        raise ZeroDivisionError

    work.wait(fails)
    work.wait(lambda: called.append("other"))
    for _ in range(2):
        try:
            turns.turn()
        except ZeroDivisionError:
            called.append("told")
    assert called == ["told", "other"]


def test_work_is_unbounded_without_a_reactor():
    work = WorkBudget()
    assert work.portion()._left == sys.maxsize
    called = []
    work.wait(lambda: called.append(True))
    assert called == [True]


def test_no_turn_is_requested_without_work():
    turns = Turns()
    work = WorkBudget(turns.later)
    assert not turns.calls
    assert work.portion().take()
    assert len(turns.calls) == 1
    turns.turn()
    assert not turns.calls


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30))
def test_every_item_of_every_peer_is_processed_and_no_turn_exceeds_its_bound(sizes):
    turns = Turns()
    work = WorkBudget(turns.later)
    left = list(sizes)
    done = [0]

    def peer(number):
        def proceed():
            portion = work.portion()
            before = left[number]
            while left[number] and portion.take():
                left[number] -= 1
            assert before - left[number] <= PORTION
            done[0] += before - left[number]
            if left[number]:
                work.wait(proceed)

        return proceed

    for number in range(len(sizes)):
        work.wait(peer(number))
    while turns.calls:
        done[0] = 0
        turns.turn()
        assert done[0] <= TURN
    assert not any(left)
