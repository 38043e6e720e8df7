"""The alarm: a descriptor that is readable once its time has come."""

import select
from collections.abc import Iterator

import pytest

from echod.fastpath import syscalls
from echod.fastpath.timerfd import Alarm

pytestmark = pytest.mark.skipif(not syscalls.available, reason="there is no plane on this machine")

A_WHILE = 10.0  #: seconds; nothing here takes so long on a machine that runs at all


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    made = Alarm()
    yield made
    made.close()


def rings(alarm: Alarm, seconds: float) -> bool:
    return bool(select.select([alarm], [], [], seconds)[0])


def test_it_is_silent_until_it_is_set(alarm):
    assert not rings(alarm, 0)


@pytest.mark.parametrize("seconds", [0.01, 1e-12, 1.0, 1.0 + 1e-12])
def test_it_rings_until_it_is_stopped(alarm, seconds):
    alarm.set(seconds)
    assert rings(alarm, A_WHILE)
    assert rings(alarm, 0)
    alarm.stop()
    assert not rings(alarm, 0)


def test_it_is_set_again(alarm):
    alarm.set(1e-9)
    assert rings(alarm, A_WHILE)
    alarm.set(1e6)
    assert not rings(alarm, 0)
    alarm.set(1e-9)
    assert rings(alarm, A_WHILE)
