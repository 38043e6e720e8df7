"""echoctl on a terminal: its keys, and peers that send control sequences."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually, free_port

# A terminal becomes the controlling one, whose keys are signals, only by its own process.
TAKE_THE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
SAFE = re.compile(rb"[\x20-\x7e\t\r\n\xc2-\xf4\x80-\xbf]*")  # and UTF-8, which `seen` decodes

CONFIG = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.upper]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.printer]
kind = "discard"
show = "text"
listen = ["tcp://127.0.0.1:0"]
"""


class Terminal:
    """A terminal that runs echoctl: typed input, and the text on the screen."""

    def __init__(self, process: "subprocess.Popen[bytes]", descriptor: int, before: list[Any]) -> None:
        self.process = process
        self.before = before  #: the modes before echoctl was started
        self.raw = b""
        self._descriptor = descriptor

    def modes(self) -> list[Any]:
        """The modes of the terminal, see termios(3)."""
        return termios.tcgetattr(self._descriptor)

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def see(self, text: str, seconds: float = SECONDS) -> None:
        """Wait until this is on the terminal."""
        ends = time.monotonic() + seconds
        while text not in self.seen:
            if not self._read(ends - time.monotonic()):
                raise AssertionError(f"{text!r} is not on the terminal: {self.raw!r}")

    @property
    def seen(self) -> str:
        """All that has been on the terminal."""
        return self.raw.decode("utf-8", "replace").replace("\r\n", "\n")

    def end(self) -> int:
        """Wait for the end of echoctl; its exit code."""
        ends = time.monotonic() + SECONDS
        while self._read(ends - time.monotonic()):
            pass
        return self.process.wait(SECONDS)

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self._descriptor], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self._descriptor, 65_536)
        except OSError:  # EIO: no process has the terminal open
            return False
        self.raw += piece
        return bool(piece)


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    ours, theirs = os.openpty()
    before = termios.tcgetattr(ours)
    command = [sys.executable, "-c", TAKE_THE_TERMINAL, *ECHOCTL, *words]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(TERM="xterm"), start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours, before)
        finally:
            process.kill()
            os.close(ours)


@contextmanager
def peer(*said: bytes, after: float = 0.1) -> Iterator[str]:
    """A peer that waits for some input, sends these pieces, and closes."""

    def serve() -> None:
        with listening.accept()[0] as connection:
            connection.settimeout(SECONDS)
            connection.recv(65_536)
            for piece in said:
                connection.sendall(piece)
                time.sleep(after)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(SECONDS)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as daemon:
        yield daemon
        daemon.check()


def test_a_conversation(daemon):
    url = daemon.url("upper", "tcp")
    with terminal("talk", url) as person:
        person.see(f"talking to {url}; `exit` leaves\n")
        person.type("hello\n")
        person.see("hello\nHELLO\n")
        person.type("\n")
        person.type("Grüße\n")
        person.see("\nGrüße\nGRüßE\n")
        person.type("exit\n")
        assert person.end() == 0
        assert person.seen.endswith("\nexit\n")


def test_a_conversation_over_datagrams_until_the_end_of_input(daemon):
    with terminal("talk", daemon.url("upper", "udp")) as person:
        person.see("leaves\n")
        person.type("hello\n")
        person.see("hello\nHELLO\n")
        person.type("\x04")
        assert person.end() == 0


@pytest.mark.parametrize("command", ["talk", "send"])
def test_the_interrupt_key_ends_it_with_130(daemon, command):
    with terminal(command, daemon.url("printer", "tcp")) as person:
        if command == "talk":
            person.see("leaves\n")
        person.type(f"hello from {command}\n")
        daemon.stdout.wait_for(f"hello from {command}")
        person.type("\x03")
        assert person.end() == 130
        assert "Traceback" not in person.seen
        assert re.fullmatch(r"(talking .*\n)?hello from \w+\n(\^C)?\n?", person.seen), person.seen


def test_the_close_of_the_peer_is_reported_during_typing():
    with peer(b"goodbye") as url, terminal("talk", url) as person:
        person.see("leaves\n")
        person.type("hello\n")
        person.see(f"goodbye\n{url} has ended the conversation\n")
        assert person.end() == 0


def test_an_answer_ends_with_a_line_end(daemon):
    with terminal("send", daemon.url("upper", "tcp"), "hello") as person:
        assert person.end() == 0
        assert person.seen == "HELLO\n"


@pytest.mark.parametrize("command", ["talk", "send"])
def test_what_a_peer_sends_never_reaches_the_terminal_raw(command):
    evil = b"\x1b]0;owned\x07 \x1b[2J \x9b31m \x00\x08\x7f\r over \xff\xc2\x9b31m \xe2\x80\xae rtl \xf3\xa0\x81\x81"
    with peer(evil, b"\x1b[6n\n\ttabs stay\n") as url, terminal(command, url, *["?"][: command == "send"]) as person:
        if command == "talk":
            person.type("hello\n")
        assert person.end() == 0
    assert SAFE.fullmatch(person.raw), person.raw
    shown = person.seen
    assert r"\x1b]0;owned\x07 \x1b[2J \x9b31m \x00\x08\x7f\x0d over \xff\x9b31m \u{202e} rtl \u{e0041}" in shown
    assert "\\x1b[6n\n\ttabs stay\n" in shown


def test_cr_lf_is_a_line_end_also_in_two_pieces():
    with peer(b"one\r\ntwo\r", b"\nthree\r", b"\r\nfour\r") as url, terminal("send", url, "?") as person:
        assert person.end() == 0
        assert person.seen == "one\ntwo\nthree\\x0d\nfour\\x0d\n"


def test_a_character_that_comes_in_two_pieces_is_whole():
    with peer("Gr\xfc".encode()[:-1], "\xfc\xdfe".encode()[1:]) as url, terminal("send", url, "?") as person:
        assert person.end() == 0
        assert person.seen == "Grüße\n"


def test_half_a_character_at_the_end_is_shown():
    with peer(b"caf\xc3") as url, terminal("send", url, "?") as person:
        assert person.end() == 0
        assert person.seen == "caf\\xc3\n"


def test_an_error_is_one_line():
    url = f"tcp://127.0.0.1:{free_port()}"
    with terminal("send", url, "?") as person:
        assert person.end() == 1
        assert person.seen == f"echoctl: {url}: connection refused (ECONNREFUSED)\n"


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "q"])
def test_top_restores_the_terminal(how, daemon):
    with terminal("top", "--admin", f"unix://{daemon.dir}/admin.sock") as person:
        person.see("REFUSED/s")
        assert person.modes() != person.before
        if how == "SIGTERM":
            person.process.send_signal(signal.SIGTERM)
        else:
            person.type({"Ctrl-C": "\x03", "q": "q"}[how])
        person.see("\x1b[?25h\x1b[?1049l")
        assert eventually(lambda: person.modes() == person.before)
        assert person.end() == 0
        assert "Traceback" not in person.seen


@pytest.mark.parametrize("command", ["talk", "chat"])
def test_sigterm_prints_no_error(command, daemon):
    with terminal(command, daemon.url("upper", "tcp")) as person:
        person.type("hello\n")
        person.see("HELLO")
        person.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: person.modes() == person.before)
        assert person.end() == 130
        assert "echoctl:" not in person.seen
        assert "Traceback" not in person.seen
