"""The quality of the clock, by the kernel."""

import ctypes

from echod.measurement import clock_quality
from echod.measurement.clock_quality import KEPT, UNKNOWN, CachedClockQuality, ClockQuality


class Library:
    """A C library whose adjtimex(2) returns `state`, and fills in `status` and `error`."""

    def __init__(self, state, status=0, error=250):
        self.state, self.status, self.error = state, status, error

    def adjtimex(self, pointer):
        timex = pointer._obj
        assert timex.modes == 0  # it only reads
        timex.status, timex.maxerror = self.status, self.error
        return self.state


def quality(monkeypatch, library):
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    return clock_quality.clock_quality()


def test_a_clock_is_synchronized_if_the_kernel_says_so(monkeypatch):
    assert quality(monkeypatch, Library(0)) == ClockQuality(True, 0.00025)
    assert quality(monkeypatch, Library(0, status=0x40)) == ClockQuality(False, 0.00025)
    assert quality(monkeypatch, Library(5, error=16_000_000)) == ClockQuality(False, 16.0)


def test_a_refused_or_missing_call_is_a_clock_that_is_not_synchronized(monkeypatch):
    assert quality(monkeypatch, Library(-1)) == UNKNOWN
    assert quality(monkeypatch, object()) == UNKNOWN


def test_this_kernel_has_an_answer():
    found = clock_quality.clock_quality()
    assert found == UNKNOWN or found.error > 0


def test_the_kernel_is_asked_once_a_second():
    now, asked = [5.0], []

    def read():
        asked.append(now[0])
        return ClockQuality(True, len(asked))

    cached = CachedClockQuality(lambda: now[0], read)
    assert [cached().error for _ in range(3)] == [1, 1, 1]
    now[0] += KEPT
    assert cached().error == 2
    assert asked == [5.0, 6.0]
