"""New connections that a process leaves to others, because it is ahead of them."""

from echod.gate.access import Access
from echod.gate.connections import AHEAD, SOME_MORE, ConnectionGate, NoOtherProcess
from echod.gate.limits import Limits
from echod.transports.accept_share import A_FEW, AcceptShare


class Others(NoOtherProcess):
    def __init__(self, *counts: int) -> None:
        self.counts = list(counts)

    def processes(self) -> int:
        return len(self.counts)

    def open(self) -> int:
        return sum(self.counts)


def gate(others, open_here):
    made = ConnectionGate(Access(()), Limits(), lambda: 0.0, others)
    made.open = open_here
    return made


def test_a_process_is_ahead_of_the_average_of_the_others():
    ahead = int(AHEAD * 100 + SOME_MORE) + 1
    assert gate(Others(50, 150), ahead).is_ahead
    assert not gate(Others(50, 150), ahead - 1).is_ahead
    assert gate(Others(0), SOME_MORE + 1).is_ahead


def test_the_only_process_is_never_ahead():
    assert not gate(None, 10_000).is_ahead


def test_a_process_that_is_ahead_accepts_a_few_in_every_second_turn():
    others = Others(0)
    share = AcceptShare(gate(others, 100))
    assert [(share.most(64), share.leaving) for _ in range(4)] == [(0, True), (A_FEW, False)] * 2
    others.counts = [100]
    assert (share.most(64), share.leaving) == (64, False)


def test_after_it_has_left_connections_it_accepts_as_usual_if_others_caught_up():
    others = Others(0)
    share = AcceptShare(gate(others, 100))
    assert share.most(64) == 0
    others.counts = [100]
    assert (share.most(64), share.leaving) == (64, False)


def test_without_a_gate_it_accepts_as_usual():
    assert AcceptShare(None).most(64) == 64
