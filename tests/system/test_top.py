"""`echoctl top` on a real terminal of 40, 80 and 200 columns: a terminal emulator draws what a person would see."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pyte
import pytest

from tests.contract.matrix import exactly
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually, run

CONFIG = """
[daemon]
workers = {workers}
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.upper]
listen = ["tcp://127.0.0.1:0"]
"""
LINES = 24


class Terminal:
    """A terminal of a given width that runs `echoctl top`; it is closed at the end of the block."""

    def __init__(self, daemon: Daemon, columns: int, *words: str, typed: bytes = b"") -> None:
        """`typed` are keys that are typed before the program runs."""
        self._ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.screen = pyte.Screen(columns, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.resize(columns)
        self.type(typed)
        command = [*ECHOCTL, "top", "--admin", f"unix://{daemon.dir}/admin.sock", *words]
        environ = environment(TERM="xterm-256color", LANG="C.UTF-8", PYTHONUTF8="1")
        for name in ("COLUMNS", "LINES"):
            environ.pop(name, None)
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(SECONDS)
        os.close(self._ours)
        with contextlib.suppress(OSError):
            os.close(self._theirs)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        self.screen.resize(LINES, columns)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def read(self, seconds: float) -> None:
        while select.select([self._ours], [], [], seconds)[0]:
            data = os.read(self._ours, 65_536)
            self.written += data
            self._stream.feed(data)
            seconds = 0.0

    def read_to_the_end(self) -> None:
        """Read what the process has written, after its end, and check that the terminal is as it was before it."""
        assert termios.tcgetattr(self._theirs) == self.before
        os.close(self._theirs)
        with contextlib.suppress(OSError):  # EIO: no process has the terminal open, and everything was read
            while True:
                self.written += os.read(self._ours, 65_536)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def shows(self, what: Callable[[list[str]], bool]) -> list[str]:
        """The lines of the screen as soon as they satisfy a condition; the rest may be of an earlier frame."""
        ends = time.monotonic() + SECONDS
        while not what(self.lines):
            assert time.monotonic() < ends, "\n".join(self.lines)
            assert self.process.poll() is None, "\n".join(self.lines)
            self.read(0.1)
        return self.lines

    def ends(self) -> int:
        """Wait until it has ended, and check that the terminal is as it was."""
        ends = time.monotonic() + SECONDS
        while self.process.poll() is None:  # it waits until the terminal has read everything
            assert time.monotonic() < ends
            self.read(0.1)
        code = self.process.returncode
        self.read_to_the_end()
        assert self.written.rstrip().endswith(b"\x1b[?1049l"), "the alternate screen was left last"
        assert b"\x1b[?25h" in self.written[self.written.rindex(b"\x1b[?25l") :], "the cursor is visible again"
        return code


@pytest.fixture(scope="module", params=[1, 2], ids=["process", "workers"])
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon with three connections that sent 10, 2,000 and 300,000 bytes."""
    with Daemon(CONFIG.replace("{workers}", str(request.param))) as started, contextlib.ExitStack() as stack:
        for size in (10, 2000, 300_000):
            client = stack.enter_context(socket.create_connection(started.inet("echo", "tcp"), SECONDS))
            client.sendall(b"x" * size)
            assert len(exactly(client, size)) == size
        assert eventually(lambda: sum(one["bytes_in"] for one in listed(started)) == 302_010)
        yield started


def listed(daemon: Daemon) -> list[dict[str, Any]]:
    """The connections. A worker that the kernel suspends now replies late."""
    words = [*ECHOCTL, "status", "--admin", f"unix://{daemon.dir}/admin.sock", "--connections", "9", "--json"]
    found: list[dict[str, Any]] = json.loads(run(*words).stdout)["connections"]
    return found


def rows(lines: list[str], words: int = 1) -> list[list[str]]:
    """The first words of each row of the table."""
    return [line.split()[:words] for line in lines[3:] if line]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_screen_is_right_in_every_width(daemon, columns):
    with Terminal(daemon, columns) as terminal:
        lines = terminal.shows(
            lambda lines: (
                "listeners by busy  open 3" in lines[1] and sorted(rows(lines)) == [["echo"], ["echo"], ["upper"]]
            )
        )
        assert lines[0].startswith("echod ")
        assert lines[2].split()[:3] == ["SERVICE", "ADDRESS", "OPEN"]
        assert lines[6:] == [""] * (LINES - 6)
        assert ("LAST MINUTE" in lines[2]) == (columns == 200)
        assert "q quits" in lines[0]
        assert ("r reverse" in lines[0]) == (columns > 40)
        terminal.type(b"c")
        terminal.shows(lambda lines: lines[1].startswith("connections by busy") and rows(lines) == [["echo"]] * 3)
        terminal.type(b">")
        sizes = ("293 KiB", "2.0 KiB", "10 B")
        terminal.shows(
            lambda lines: (
                lines[1].startswith("connections by bytes")
                and all(size in line for size, line in zip(sizes, lines[3:6], strict=True))
            )
        )
        terminal.type(b"s")
        services = [["echo", "3"], ["upper", "0"]]
        terminal.shows(lambda lines: lines[1].startswith("services by busy") and sorted(rows(lines, 2)) == services)
        terminal.type(b"q")
        assert terminal.ends() == 0


def test_keys_that_are_typed_ahead_are_handled_one_after_another(daemon):
    """Before the start, while it draws, and as sequences of several bytes (the arrow to the right)."""
    with Terminal(daemon, 80, typed=b"c>") as terminal:
        terminal.shows(lambda lines: lines[1].startswith("connections by bytes"))
        terminal.type(b"s>c\x1b[C")
        terminal.shows(lambda lines: lines[1].startswith("connections by in "))
        terminal.type(b"s")
        terminal.shows(lambda lines: lines[1].startswith("services by name"))
        terminal.type(b"lq")
        assert terminal.ends() == 0


def test_frames_are_drawn_without_clearing_the_screen(daemon):
    """An empty screen between two frames would flicker."""
    with Terminal(daemon, 80) as terminal:
        terminal.shows(lambda lines: any("tcp" in line for line in lines))
        begun = len(terminal.written)
        terminal.type(b"r")
        terminal.shows(lambda _: terminal.written.count(b"\x1b[H", begun) >= 3)
        frames = terminal.written[begun:]
        assert b"\x1b[2J" not in frames
        assert b"\x1b[J" not in frames


def test_a_changed_size_is_followed(daemon):
    with Terminal(daemon, 200) as terminal:
        terminal.shows(lambda lines: "q quits" in lines[0])
        terminal.resize(40)
        terminal.shows(
            lambda lines: lines[0].endswith("q quits") and "SERVICE" in lines[2] and "REFUSED/s" not in lines[2]
        )


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP", "daemon"])
def test_the_terminal_is_restored(how):
    """After a signal, and after the daemon has gone."""
    with Daemon(CONFIG.replace("{workers}", "1")) as daemon, Terminal(daemon, 80) as terminal:
        terminal.shows(lambda lines: any("tcp" in line for line in lines))
        if how == "daemon":
            daemon.stop()
            terminal.process.wait(SECONDS)
            terminal.read_to_the_end()
            assert b"\x1b[?1049l" in terminal.written
            assert b"admin.sock" in terminal.written[terminal.written.rindex(b"\x1b[?1049l") :]
            assert terminal.process.returncode == 1
            return
        terminal.process.send_signal(getattr(signal, how))
        assert terminal.ends() == (0 if how != "SIGHUP" else -signal.SIGHUP)


def top(daemon: Daemon, *words: str) -> bytes:
    ended = run(*ECHOCTL, "top", "--admin", f"unix://{daemon.dir}/admin.sock", *words)
    assert (ended.returncode, ended.stderr) == (0, b"")
    return ended.stdout


def test_once_without_a_terminal(daemon):
    lines = top(daemon, "--once", "--by", "services").decode().splitlines()
    assert lines[0] == "services by busy"
    assert lines[1].split() == ["SERVICE", "OPEN", "NEW/s", "DGRAM/s", "IN/s", "OUT/s", "REFUSED/s"]
    assert lines[2].split() == ["echo", "3", "0", "0", "0", "B", "0", "B", "0"]


def test_one_object_for_programs(daemon):
    found = json.loads(top(daemon, "--json", "--by", "connections", "--sort", "bytes"))
    assert (found["by"], found["sort"]) == ("connections", "bytes")
    assert [row["in"] for row in found["rows"]] == [300_000, 2000, 10]
    assert {"service", "address", "peer", "out", "unsent", "in_per_second", "out_per_second"} < set(found["rows"][0])
    backwards = json.loads(top(daemon, "--json", "--by", "connections", "--sort", "bytes", "--reverse"))
    assert [row["in"] for row in backwards["rows"]] == [10, 2000, 300_000]


def test_an_object_each_second(daemon):
    command = [*ECHOCTL, "top", "--json-lines", "--admin", f"unix://{daemon.dir}/admin.sock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        found: list[dict[str, Any]] = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)
    assert [len(one["rows"]) for one in found] == [3, 3]


def test_status_sorts_and_lists_connections(daemon):
    words = [*ECHOCTL, "status", "--admin", f"unix://{daemon.dir}/admin.sock", "--connections", "2"]
    listed = json.loads(run(*words, "--json").stdout)["connections"]
    assert [one["bytes_in"] for one in listed] == [300_000, 2000]
    lines = run(*words, "--sort", "name").stdout.decode().splitlines()
    assert lines[-3].split() == ["SERVICE", "PEER", "ADDRESS", "IN", "OUT", "UNSENT"]
    assert "293 KiB" in lines[-2]
    at = next(at for at, line in enumerate(lines) if line.startswith("SERVICE  ADDRESS"))
    assert [line.split()[0] for line in lines[at + 1 : at + 4]] == ["echo", "echo", "upper"]
