"""`--live` of `echoctl ping` and `bench`: it draws, and the terminal is as before, however the command ends."""

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager, suppress
from fcntl import ioctl

import pytest

from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, free_port, run

BEGIN, END = b"\x1b[?1049h", b"\x1b[?25h\x1b[?1049l"


@pytest.fixture(scope="module")
def daemon():
    with Daemon('[services.echo]\nlisten = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]') as running:
        yield running


class Terminal:
    """A process with a terminal of its own, and all that it has printed there."""

    def __init__(self, words, columns=80, rows=20, **variables):
        self.ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._theirs = theirs
        self.before = termios.tcgetattr(theirs)
        environ = {name: value for name, value in environment(TERM="xterm", **variables).items() if name != "COLUMNS"}
        self.process = subprocess.Popen(
            words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environ,
            process_group=0,  # in this session: the kernel does not stop an orphaned group
        )
        self.printed = b""

    def read_until(self, wanted):
        ends = time.monotonic() + SECONDS
        while wanted not in self.printed:
            assert time.monotonic() < ends, self.printed
            if select.select([self.ours], [], [], 0.1)[0]:
                self.printed += os.read(self.ours, 65_536)

    def end(self):
        """Wait for the end. Returns the exit code."""
        ends = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < ends
            if select.select([self.ours], [], [], 0.1)[0]:  # it waits until the terminal has read everything
                self.printed += os.read(self.ours, 65_536)
        assert termios.tcgetattr(self._theirs) == self.before
        os.close(self._theirs)
        with suppress(OSError):  # EIO: no process has the terminal open, and everything was read
            while True:
                self.printed += os.read(self.ours, 65_536)
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS)
        os.close(self.ours)
        with suppress(OSError):
            os.close(self._theirs)


@contextmanager
def terminal(*words, **options):
    one = Terminal(words, **options)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.parametrize("columns", [40, 200])
def test_it_draws_and_prints_the_summary_after_an_interrupt(columns, daemon):
    url = daemon.url("echo", "udp")
    with terminal(*ECHOCTL, "ping", "--live", "-i", "20ms", url, columns=columns) as one:
        one.read_until(b" p90 ")
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 130
    assert one.printed.startswith(BEGIN)
    drawn, summary = one.printed.split(END)
    assert re.search("[\u2801-\u28ff]", drawn.decode())
    assert f"--- {url} ---".encode() in summary
    assert b"\x1b[36m" in drawn
    assert set(re.findall(rb"\x1b\[(\d*)m", drawn)) <= {b"0", b"31", b"34", b"36"}  # of the 16 colors


def test_without_colors_it_draws_the_same_shapes(daemon):
    with terminal(*ECHOCTL, "ping", "--live", "-i", "20ms", daemon.url("echo", "tcp"), NO_COLOR="1") as one:
        one.read_until(b" p90 ")
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 130
    drawn, summary = one.printed.split(END)
    assert re.search("[\u2801-\u28ff]", drawn.decode())
    assert not re.search(rb"\x1b\[[\d;]*m", drawn)
    assert re.search(rb"\d+ sent, \d+ received, 0 lost", summary)


@pytest.mark.parametrize("columns", [40, 200])
def test_bench_draws_each_second_and_prints_the_summary_after_an_interrupt(columns, daemon):
    url = daemon.url("echo", "tcp")
    with terminal(*ECHOCTL, "bench", "--live", "-r", "200", "-t", "60", url, columns=columns) as one:
        one.read_until(b" p99 ")
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 130
    drawn, summary = one.printed.split(END)
    assert drawn.startswith(BEGIN)
    assert re.search("[\u2801-\u28ff]", drawn.decode())
    assert f"--- {url} (echo) ---".encode() in summary


def test_failures_of_bench_are_printed_after_the_terminal_is_restored():
    config = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n[services.echo.faults]\nreset-after = "640"'
    with Daemon(config) as other, terminal(*ECHOCTL, "bench", "--live", "-n", "30", other.url("echo", "tcp")) as one:
        assert one.end() == 1
    _, after = one.printed.split(END)
    assert b"failures: " in after


def test_it_draws_in_any_locale(daemon):
    words = (*ECHOCTL, "ping", "--live", "-i", "20ms", daemon.url("echo", "udp"))
    with terminal(*words, PYTHONIOENCODING="ascii") as one:
        one.read_until(b" p90 ")
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 130
    assert re.search("[\u2801-\u28ff]", one.printed.decode())


def test_an_error_while_the_screen_is_left_restores_the_modes():
    program = "from echod.client import live_screen; screen = live_screen.LiveScreen('auto'); screen.begin(); "
    program += "live_screen.write_all = lambda data: 1 / 0; screen.end()"
    with terminal(sys.executable, "-c", program) as one:
        assert one.end() == 1
    assert b"ZeroDivisionError" in one.printed


def test_an_error_is_printed_after_the_terminal_is_restored():
    url = f"udp://127.0.0.1:{free_port()}"
    with terminal(*ECHOCTL, "ping", "--live", "--exit-on-refusal", url) as one:
        assert one.end() == 1
    _, after = one.printed.split(END)
    assert b"connection refused (ECONNREFUSED)" in after


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_restores_the_terminal(number, daemon):
    with terminal(*ECHOCTL, "ping", "--live", "-i", "20ms", daemon.url("echo", "udp")) as one:
        one.read_until(b"received")
        one.process.send_signal(number)
        assert one.end() == (130 if number == signal.SIGTERM else -signal.SIGHUP)
    assert one.printed.count(END) == 1


def test_a_signal_within_a_write_restores_the_terminal():
    program = "from echod.client.live_screen import LiveScreen; LiveScreen('auto').begin()"
    with terminal(sys.executable, "-c", program, columns=1000, rows=200) as one:  # more than the kernel buffers
        one.read_until(BEGIN + b"\x1b[H\x1b[?25l\x1b[H ")
        one.process.send_signal(signal.SIGHUP)
        assert one.end() == -signal.SIGHUP
    assert one.printed.count(END) == 1


@pytest.mark.parametrize(
    "words", [["ping", "--live", "-i", "20ms"], ["bench", "--live", "-r", "20", "-t", "1m"]], ids=["ping", "bench"]
)
def test_a_terminal_that_was_closed_is_an_error(words, daemon):
    """A process that ignores the hangup, such as under nohup, has a terminal where a write fails."""
    ours, theirs = pty.openpty()
    with open(theirs, "wb", 0) as terminal, open(ours, "rb", 0) as screen:
        command = [*ECHOCTL, *words, daemon.url("echo", "udp")]
        environ = environment(TERM="xterm")
        process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, env=environ)
        with process:
            assert screen.read(1) == BEGIN[:1]
            terminal.close()
            screen.close()
            assert process.communicate(timeout=SECONDS)[1] == b"echoctl: standard output: input/output error (EIO)\n"
    assert process.returncode == 1


SIGNAL_WITHIN_RENDERING = """
import os, signal
from echod.client.live_screen import LiveScreen, Group

class Signal:
    def __rich_console__(self, console, options):
        os.kill(os.getpid(), signal.SIGHUP)
        yield "not drawn"

screen = LiveScreen("auto")
screen.begin()
screen.draw(Group(Signal()))
"""


def test_a_signal_while_rich_renders_restores_the_terminal():
    with terminal(sys.executable, "-c", SIGNAL_WITHIN_RENDERING) as one:
        assert one.end() == -signal.SIGHUP
    assert one.printed.endswith(END)
    assert b"not drawn" not in one.printed


def test_a_stop_restores_the_terminal_until_it_continues(daemon):
    with terminal(*ECHOCTL, "ping", "--live", "-i", "20ms", daemon.url("echo", "udp")) as one:
        one.read_until(b"received")
        one.process.send_signal(signal.SIGTSTP)
        one.read_until(END)
        os.waitid(os.P_PID, one.process.pid, os.WSTOPPED)
        one.process.send_signal(signal.SIGCONT)
        one.read_until(END + BEGIN)
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 130


def test_a_crash_restores_the_terminal():
    program = (
        "from echod.client.live_screen import LiveScreen; LiveScreen('auto').begin(); raise RuntimeError('broken')"
    )
    with terminal(sys.executable, "-c", program) as one:
        assert one.end() == 1
    assert one.printed.endswith(END)
    assert b"RuntimeError: broken" in one.printed


@pytest.mark.parametrize("variables", [{}, {"TERM": "dumb"}])
def test_it_needs_a_terminal(variables, daemon):
    ended = run(*ECHOCTL, "ping", "--live", daemon.url("echo", "udp"), env=environment(**variables))
    assert ended.returncode == 1
    assert (
        ended.stderr
        == b"echoctl: ping: --live: standard output is not a terminal; leave out --live, or use --plot FILE\n"
    )
