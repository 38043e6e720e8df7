"""echod.admin.turn_budget: what one turn of the reactor may take, and who continues in the next."""

from functools import partial

from echod.admin.turn_budget import TURN, TurnBudget


def test_who_waits_continues_in_later_turns_in_order_and_no_turn_takes_longer():
    now, turns, done = [0.0], [], []
    budget = TurnBudget(lambda: now[0], lambda _seconds, call: turns.append(call))

    def work(name, left):
        with budget.spending():
            now[0] += TURN
        done.append(name)
        if left:
            budget.wait(lambda: work(name, left - 1))

    for name in "abc":
        budget.wait(partial(work, name, 1))
    for expected in ("a", "ab", "abc", "abca", "abcab", "abcabc"):
        [turn] = turns
        turns.clear()
        turn()
        assert "".join(done) == expected
        assert budget.is_spent
    assert turns == []


def test_a_block_that_fails_has_taken_its_time():
    now = [0.0]
    budget = TurnBudget(lambda: now[0])
    try:
        with budget.spending():
            now[0] += TURN
            raise ValueError
    except ValueError:
        assert budget.is_spent
