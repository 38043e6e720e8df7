"""The supervisor of the workers, if no process can be started."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from echod.daemon.privileges import user_name
from echod.workers import supervisor as module
from echod.workers.supervisor import Supervisor


@pytest.fixture
def failing(monkeypatch) -> Any:
    """A supervisor with a clock, whose processes cannot be started, and the times and lines of its errors."""
    told: list[tuple[float, str]] = []
    clock = Clock()
    log = SimpleNamespace(say=lambda level, text: told.append((clock.seconds(), f"{level} {text}")))

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "/root/python")

    monkeypatch.setattr(module, "Worker", refuse)
    monkeypatch.setattr("sys.executable", "/root/\x1bpython")
    monkeypatch.setattr(module, "check_programs", lambda _: None)
    made = Supervisor(clock, 2)
    made.begin(SimpleNamespace(running=True, log=log), lambda: None)
    yield clock, told
    made._check.stop()
    os.close(made._memory.descriptor)


def test_the_attempts_become_less_frequent(failing):
    clock, told = failing
    clock.pump([1.0] * 160)
    assert [seconds for seconds, _ in told] == [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 65, 95, 125, 155]


def test_the_line_names_the_user_the_program_and_the_reason(failing):
    _, told = failing
    user = user_name(os.geteuid())
    reason = rf"user {user}, /root/\x1bpython: permission denied (EACCES)"
    assert told == [(0, f"error no worker process can be started: {reason}")]
