"""Messages to the service manager: their content and time, and that sending does not block."""

import os
import socket
import time
from array import array
from contextlib import ExitStack, suppress

import pytest
from twisted.internet.task import Clock

from echod.daemon.sd_notify import AGAIN, WAITING, Notify
from echod.events import Events


class Manager:
    """The receiver of NOTIFY_SOCKET: a path, or with @ an abstract name."""

    def __init__(self, where):
        self.where = where
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind("\0" + where[1:] if where.startswith("@") else where)

    def heard(self):
        """Every received message, as its lines."""
        messages = []
        with suppress(BlockingIOError):
            while True:
                messages.append(self.socket.recv(4096).decode().splitlines())
        return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"@echod-notify-{os.getpid()}")
    with made.socket:
        yield made


@pytest.fixture
def make():
    """Create a Notify that is closed at the end."""
    with ExitStack() as stack:

        def made(environ, clock):
            notify = Notify(environ, clock)
            stack.callback(notify.close)
            return notify

        yield made


@pytest.fixture
def told(manager, make):
    """Makes a Notify that sends to `manager`, and its events."""

    def made(clock, **environ):
        environ = {"NOTIFY_SOCKET": manager.where, "HOME": "/"} | environ
        notify = make(environ, clock)
        assert environ == {"HOME": "/"}
        events = Events()
        events.subscribe(notify.event)
        return notify, events

    return made


def test_the_messages_from_start_to_stop(manager, told):
    _, events = told(Clock())
    events.tell("listener.opened", service="echo", address="tcp://127.0.0.1:7")
    assert manager.heard() == []  # a socket that is bound is not a daemon that is ready
    events.tell("daemon.ready", listeners=1)
    assert manager.heard() == [["READY=1", "STATUS=serving 1 listener"]]
    events.tell("listener.closed", service="echo", address="tcp://127.0.0.1:7")
    events.tell("daemon.draining", connections=3, seconds=10.0)
    events.tell("daemon.stopped", counters={})
    assert manager.heard() == [
        ["STOPPING=1", "EXTEND_TIMEOUT_USEC=15000000", "STATUS=stopping: 3 connections have 10 s to end"],
        ["STOPPING=1", "STATUS=stopped"],
    ]
    assert events.failures == 0


def test_watchdog_messages_are_sent_twice_in_each_interval(manager, told):
    clock = Clock()
    _, events = told(clock, WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
    clock.advance(10)
    assert manager.heard() == []
    events.tell("daemon.ready", listeners=1)
    assert manager.heard()[1:] == [["WATCHDOG=1"]]
    clock.pump([0.5] * 6)
    assert manager.heard() == [["WATCHDOG=1"]] * 2
    events.tell("daemon.stopped", counters={})
    manager.heard()
    clock.pump([0.5] * 6)
    assert manager.heard() == []


@pytest.mark.parametrize(
    ("environ", "error"),
    [
        ({"WATCHDOG_PID": "1", "WATCHDOG_USEC": "1000000"}, None),
        ({"WATCHDOG_USEC": "0"}, "WATCHDOG_USEC=0 is not a number of microseconds above 0"),
        ({"WATCHDOG_USEC": "soon\x1b"}, r"WATCHDOG_USEC=soon\x1b is not a number"),
        ({"WATCHDOG_USEC": "9" * 5000}, "9 is not a number"),
    ],
)
def test_no_watchdog_messages_without_a_valid_interval(manager, told, environ, error):
    clock = Clock()
    notify, events = told(clock, **environ)
    assert notify.error is None if error is None else error in str(notify.error)
    events.tell("daemon.ready", listeners=1)
    assert len(manager.heard()) == 1
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("where", ["", "@", "/", "relative", "vsock:2:9999"])
def test_an_invalid_socket_address_is_reported(where, make):
    notify = make({"NOTIFY_SOCKET": where}, Clock())
    assert not notify.there
    assert "neither a path nor an abstract socket" in str(notify.error)
    notify.event("daemon.ready", {"listeners": 1})


def test_without_a_manager_nothing_happens(make):
    clock = Clock()
    notify = make({"WATCHDOG_USEC": "1000"}, clock)
    assert (notify.there, notify.error) == (False, None)
    notify.event("daemon.ready", {"listeners": 1})
    assert clock.getDelayedCalls() == []


def test_messages_to_an_absent_manager_do_not_fail(tmp_path, make):
    clock = Clock()
    notify = make({"NOTIFY_SOCKET": str(tmp_path / "absent")}, clock)
    notify.event("daemon.ready", {"listeners": 1})
    assert clock.getDelayedCalls() == []


def test_a_busy_manager_gets_all_messages_later_in_order(manager, told):
    clock = Clock()
    notify, _ = told(clock)
    sent = 0
    while not clock.getDelayedCalls():
        notify.send(f"STATUS={sent}")
        sent += 1
        assert sent < 10_000
    notify.send("READY=1")
    assert len(clock.getDelayedCalls()) == 1
    first = manager.heard()
    clock.advance(AGAIN)
    messages = first + manager.heard()
    while clock.getDelayedCalls():
        clock.advance(AGAIN)
        messages += manager.heard()
    assert messages == [[f"STATUS={at}"] for at in range(sent)] + [["READY=1"]]


def test_queued_messages_are_bounded_and_the_newest_are_kept(manager, told):
    clock = Clock()
    notify, _ = told(clock)
    while not clock.getDelayedCalls():
        notify.send("WATCHDOG=1")
    for at in range(3 * WAITING):
        notify.send(f"STATUS={at}")
    manager.heard()
    last = []
    while clock.getDelayedCalls():
        clock.advance(AGAIN)
        last += manager.heard()
    assert len(last) == WAITING
    assert last[-1] == [f"STATUS={3 * WAITING - 1}"]


def test_the_messages_of_a_reload_and_of_a_refused_one(manager, told):
    notify, _ = told(Clock())
    notify.event("daemon.ready", {"listeners": 2})
    manager.heard()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify.event("daemon.reloading", {})
    [[reloading, when]] = manager.heard()
    assert reloading == "RELOADING=1"
    assert before <= int(when.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify.event("listener.opened", {})
    notify.event("daemon.reloaded", {"opened": 1, "closed": 0, "changed": 0})
    assert manager.heard() == [["READY=1", "STATUS=serving 3 listeners"]]
    notify.event("daemon.refused", {"errors": "x.toml: \x1b[31m\nREADY=0 " + "y" * 1000})
    [[ready, status]] = manager.heard()
    assert ready == "READY=1"
    assert status.startswith(r"STATUS=the new configuration is refused: x.toml: \x1b[31m\x0aREADY=0 yyy")
    assert len(status) < 320


def test_descriptors_are_copied(manager, told):
    notify, _ = told(Clock())
    with socket.create_server(("127.0.0.1", 0)) as one:
        notify.send("FDSTORE=1", "FDNAME=x", descriptors=[one.fileno()])
        name = one.getsockname()
    message, ancillary, _, _ = manager.socket.recvmsg(100, socket.CMSG_SPACE(4))
    assert message == b"FDSTORE=1\nFDNAME=x"
    [(level, kind, data)] = ancillary
    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    numbers = array("i")
    numbers.frombytes(data)
    with socket.socket(fileno=numbers[0]) as copy:
        assert copy.getsockname() == name


def test_a_descriptor_that_has_been_closed_is_dropped(manager, told):
    notify, _ = told(Clock())
    notify.send("FDSTORE=1", descriptors=[987])
    notify.send("READY=1")
    assert manager.heard() == [["READY=1"]]
