"""Timers of a schedule, the kernel's and the reactor's."""

import select

import pytest
from twisted.internet.task import Clock

from echod.client import timers
from echod.client.timers import KernelTimer, ReactorTimer, timer
from echod.fastpath import syscalls


class Readers:
    """A reactor that watches descriptors, as far as a timer needs it."""

    def __init__(self):
        self.readers = []

    def addReader(self, reader):
        self.readers.append(reader)

    def removeReader(self, reader):
        self.readers.remove(reader)

    def expire(self):
        """Wait for the next descriptor, and read it."""
        ready, _, _ = select.select(self.readers, [], [], 30)
        for reader in ready:
            reader.doRead()


def test_a_kernel_timer_calls_once():
    reactor, calls = Readers(), []
    kernel = KernelTimer(reactor)
    kernel.wake(0.0001, lambda: calls.append("first"))
    kernel.wake(0, lambda: calls.append("second"))
    reactor.expire()
    assert calls == ["second"]
    assert select.select(reactor.readers, [], [], 0) == ([], [], [])
    kernel.wake(0, lambda: calls.append("third"))
    kernel.stop()
    kernel.stop()
    assert (calls, reactor.readers) == (["second"], [])


def test_a_call_can_wake_again():
    reactor, calls = Readers(), []
    kernel = KernelTimer(reactor)

    def call():
        calls.append(len(calls))
        kernel.wake(0, call)

    kernel.wake(0, call)
    for _ in range(3):
        reactor.expire()
    kernel.connectionLost(None)
    assert calls == [0, 1, 2]


def test_a_timer_of_the_reactor_calls_once():
    clock, calls = Clock(), []
    reactor = ReactorTimer(clock)
    reactor.wake(1, lambda: calls.append("first"))
    reactor.wake(2, lambda: calls.append("second"))
    clock.advance(5)
    assert calls == ["second"]
    reactor.wake(1, lambda: calls.append("third"))
    reactor.stop()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("reason", ["no cffi", "refused"])
def test_without_a_kernel_timer_the_reactor_has_one(monkeypatch, reason):
    def refuse(reactor):
        raise OSError(1, "EPERM")

    monkeypatch.setattr(syscalls, "available", reason == "refused")
    monkeypatch.setattr(timers, "KernelTimer", refuse)
    assert isinstance(timer(Clock()), ReactorTimer)
