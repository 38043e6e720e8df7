"""Timers by name."""

from twisted.internet.task import Clock

from echod.transports.layers.named_timers import NamedTimers


def test_one_timer_of_a_name_is_pending_and_all_can_be_cancelled():
    clock, calls = Clock(), []
    timers = NamedTimers(clock)
    timers.begin("a", 1.0, calls.append, 1)
    timers.begin("a", 0.1, calls.append, 2)
    assert "a" in timers
    clock.advance(1)
    assert calls == [1]
    timers.begin("a", 1.0, calls.append, 3)
    timers.cancel()
    clock.advance(1)
    assert calls == [1]
    assert "a" not in timers
