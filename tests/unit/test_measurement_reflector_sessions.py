"""The sessions of a stateful reflector are counted, bounded, and forgotten."""

from echod.measurement.reflector_sessions import REFWAIT, ReflectorSessions


def make(most: int) -> tuple[ReflectorSessions, list[float]]:
    now = [0.0]
    return ReflectorSessions(most, lambda: now[0]), now


def test_each_session_counts_from_zero():
    sessions, _ = make(10)
    assert [sessions.receive(key) for key in "aabab"] == [0, 1, 0, 2, 1]


def test_a_session_ends_after_15_minutes_without_a_packet():
    sessions, now = make(10)
    sessions.receive("a")
    now[0] += REFWAIT
    assert sessions.receive("a") == 1
    now[0] += REFWAIT + 1
    assert sessions.receive("a") == 0


def test_a_new_session_replaces_the_one_that_was_silent_for_longest():
    sessions, _ = make(3)
    for key in "abc":
        sessions.receive(key)
    sessions.receive("a")
    sessions.receive("d")
    assert len(sessions) == 3
    assert [sessions.receive(key) for key in "acd"] == [2, 1, 1]
    assert sessions.receive("b") == 0


def test_a_reload_continues_them_as_far_as_there_is_room():
    old, _ = make(3)
    for key in "abc":
        old.receive(key)
    new, _ = make(2)
    new.take_over_from(old)
    assert len(new) == 2
    assert [new.receive(key) for key in "bc"] == [1, 1]
