"""The programs that a worker needs, as the user that serves; and when a worker counts as hung."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock

from echod.daemon.config_diff import ConfigurationRefused
from echod.daemon.privileges import Identity, user_name
from echod.workers import worker
from echod.workers.control_channel import open_channel
from echod.workers.worker import BUILDING, SILENT, Worker, check_programs, shared_memory
from tests.fastpath.reactors import reactor_of, turn_until

NOBODY = Identity(65534, 65534, (65534,))


def test_the_user_of_this_process_can_start_workers():
    check_programs(None)


@pytest.mark.parametrize("what", ["interpreter", "modules"])
def test_a_file_that_does_not_exist_is_named(what, tmp_path, monkeypatch):
    missing = tmp_path / "\x1bmissing"
    if what == "interpreter":
        monkeypatch.setattr("sys.executable", str(missing))
    else:
        monkeypatch.setattr(worker, "__file__", str(missing))
    with pytest.raises(ConfigurationRefused) as refused:
        check_programs(None)
    access = "execute" if what == "interpreter" else "read"
    assert refused.value.code == 78
    assert refused.value.lines == (
        rf"daemon.workers: user {user_name(os.geteuid())} cannot {access} {tmp_path}/\x1bmissing, which a worker needs;"
        " expected an installation that this user can read, or workers = 1",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_the_access_of_the_later_user_decides(tmp_path: Path, monkeypatch):
    """It gets access by its user, its group or one of its other groups; afterwards this process is root again."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    program = tmp_path / "python"
    program.touch()
    for name in ("sys.executable", "echod.workers.worker.__file__", "twisted.__file__"):
        monkeypatch.setattr(name, str(program))
    for mode, group, accepted in [(0o755, 0, True), (0o750, 0, False), (0o750, 65534, True), (0o750, 4711, False)]:
        program.chmod(mode)
        os.chown(program, 0, group)
        if accepted:
            check_programs(NOBODY)
        else:
            with pytest.raises(ConfigurationRefused, match="user nobody cannot execute "):
                check_programs(NOBODY)
        assert (os.geteuid(), os.getegid()) == (0, 0)
    check_programs(Identity(65534, 65534, (65534, 4711)))


def test_memory_that_the_kernel_refuses_is_one_line(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(ConfigurationRefused) as refused:
        shared_memory(2)
    assert refused.value.code == 71
    assert refused.value.lines == (
        "daemon.workers: the memory that workers share cannot be created: file too large (EFBIG);"
        " workers = 1 needs none",
    )


class Reactor(Clock):
    """A clock that watches no descriptor."""

    def addReader(self, reader):
        pass


class Watched:
    """A worker without a process: what it sends is up to the test."""

    def __init__(self, monkeypatch):
        self.clock, self.kills = Reactor(), 0
        process = SimpleNamespace(pid=os.getpid())
        monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: process)
        monkeypatch.setattr(worker, "open_channel", self._open)
        monkeypatch.setattr(signal, "pidfd_send_signal", self._killed)
        self.worker = Worker(self.clock, lambda *_: None, lambda _: None)
        self.worker.serving = True

    def _open(self, _reactor, connected, handle, _lost):
        connected.close()
        self._handle = handle

    def _killed(self, *_):
        self.kills += 1

    def sends(self, name):
        self._handle(name, {}, b"", [])

    def is_killed_after(self, seconds):
        """Whether the checks at the end of this silence kill it."""
        self.clock.advance(seconds)
        self.worker.check(self.clock.seconds())
        self.worker.check(self.clock.seconds())
        return self.kills > 0


@pytest.fixture
def watched(monkeypatch):
    made = Watched(monkeypatch)
    yield made
    os.close(made.worker.fileno())


def test_a_worker_that_hangs_when_a_reload_comes_is_killed_as_at_any_other_time(watched):
    watched.worker.prepared = False  # the parent has asked it to build its part
    assert not watched.is_killed_after(SILENT)
    assert watched.is_killed_after(1)


def test_a_worker_that_builds_its_part_of_a_reload_has_more_time(watched):
    watched.worker.prepared = False
    watched.sends("preparing")
    assert not watched.is_killed_after(BUILDING)
    watched.sends("prepared")
    assert not watched.is_killed_after(SILENT)
    assert watched.is_killed_after(1)


def test_a_worker_that_has_just_ended_can_be_killed(monkeypatch):
    """A timer may be due between the end of the process and the end of the worker."""
    monkeypatch.setattr(worker, "_command", lambda _: [sys.executable, "-c", ""])
    ended: list[Worker] = []
    with reactor_of(EPollReactor) as reactor:
        made = Worker(reactor, lambda *_: None, ended.append)
        reactor.removeReader(made)
        os.waitid(os.P_PID, made.pid, os.WEXITED | os.WNOWAIT)
        made.doRead()
        made.kill("it did not end")
        turn_until(reactor, lambda: not made.channel.is_open)
        assert (ended, made.reason) == ([made], "it did not end")


def test_a_message_can_be_sent_before_the_process_blocks():
    ended = []
    ours, theirs = socket.socketpair()
    with reactor_of(EPollReactor) as reactor, theirs:
        channel = open_channel(reactor, ours, lambda *_: None, lambda: ended.append(True))
        theirs.setblocking(False)
        channel.send_now("preparing")
        assert b'["preparing", {}]' in theirs.recv(100)
        channel.abort()
        turn_until(reactor, lambda: ended)
