"""The bound of unfinished handshakes: the oldest one is ended."""

from echod.gate.handshakes import Handshakes


def test_the_oldest_is_ended_above_the_bound():
    ended = []
    handshakes = Handshakes(2)
    every = [lambda number=number: ended.append(number) for number in range(4)]
    for evict in every[:3]:
        handshakes.begin(evict)
    assert (ended, len(handshakes)) == ([0], 2)
    handshakes.end(every[1])
    handshakes.begin(every[3])
    assert (ended, len(handshakes)) == ([0], 2)


def test_one_that_is_not_counted_can_end():
    handshakes = Handshakes(1)
    first, second = (lambda: None), (lambda: None)
    handshakes.begin(first)
    handshakes.begin(second)
    handshakes.end(first)
    assert len(handshakes) == 1
    handshakes.end(second)
    handshakes.end(second)
    assert len(handshakes) == 0
