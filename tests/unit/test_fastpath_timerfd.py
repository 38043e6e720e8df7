"""A timer descriptor is readable after its time has expired."""

import select
from collections.abc import Iterator

import pytest

from echod.fastpath import syscalls
from echod.fastpath.timerfd import TimerDescriptor

pytestmark = pytest.mark.skipif(not syscalls.available, reason="the fast path is not available on this machine")

A_WHILE = 10.0  #: seconds; nothing here takes so long on a machine that runs at all


@pytest.fixture
def timer() -> Iterator[TimerDescriptor]:
    made = TimerDescriptor()
    yield made
    made.close()


def expires(timer: TimerDescriptor, seconds: float) -> bool:
    return bool(select.select([timer], [], [], seconds)[0])


def test_it_is_not_readable_until_it_is_set(timer):
    assert not expires(timer, 0)


@pytest.mark.parametrize("seconds", [0.01, 1e-12, 1.0, 1.0 + 1e-12])
def test_it_stays_readable_until_it_is_stopped(timer, seconds):
    timer.set(seconds)
    assert expires(timer, A_WHILE)
    assert expires(timer, 0)
    timer.stop()
    assert not expires(timer, 0)


def test_it_is_set_again(timer):
    timer.set(1e-9)
    assert expires(timer, A_WHILE)
    timer.set(1e6)
    assert not expires(timer, 0)
    timer.set(1e-9)
    assert expires(timer, A_WHILE)
