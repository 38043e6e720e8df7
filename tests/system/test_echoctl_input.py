"""echoctl's standard streams when they misbehave: non-blocking or unreadable input, and a terminal that has gone."""

import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually, free_port, is_waiting, run
from tests.fork_server import Popen

CONFIG = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.upper]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.chat]
listen = ["tcp://127.0.0.1:0"]
[services.console]
listen = ["tcp://127.0.0.1:0"]
[services.discard]
show = "no"
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
"""
MARK = b"\xef\xbb\xbf"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as running:
        yield running
        running.check()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("send", "upper", "tcp"), b"FIRST\nSECOND\n"),
        (("send", "upper", "udp"), b"FIRST\nSECOND\n"),
        (("talk", "upper", "tcp"), b"FIRST\nSECOND\n"),
        (("chat", "chat", "tcp"), b"-- welcome"),
    ],
)
def test_non_blocking_input_is_waited_for(words, answer, daemon):
    """A parent that reads the same pipe or terminal leaves it so, such as a Node.js program or ssh."""
    command, service, scheme = words
    theirs, ours = os.pipe()
    os.set_blocking(theirs, False)
    with Popen(
        [*ECHOCTL, command, daemon.url(service, scheme)],
        env=environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(theirs)
        try:
            for line in (b"first\n", b"second\n"):
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1)  # there is nothing to read, which is not the end
                os.write(ours, line)
            if command == "chat":
                os.write(ours, b"/quit\n")
        finally:
            os.close(ours)
        said, failed = process.communicate(timeout=SECONDS)
    assert (process.returncode, failed) == (0, b"")
    assert said.startswith(answer)


@pytest.mark.parametrize("command", ["send", "talk", "chat"])
def test_input_that_cannot_be_read_is_reported(command, daemon):
    write_only = os.open("/dev/null", os.O_WRONLY)
    try:
        service = "chat" if command == "chat" else "upper"
        ended = run(*ECHOCTL, command, daemon.url(service, "tcp"), stdin=write_only)
    finally:
        os.close(write_only)
    assert ended.returncode == 1
    assert ended.stderr == b"echoctl: standard input: bad file descriptor (EBADF)\n"


def test_a_console_whose_input_cannot_be_read_reports_it(daemon):
    write_only = os.open("/dev/null", os.O_WRONLY)
    try:
        ended = run(*ECHOCTL, "console", "--admin", f"unix://{daemon.dir}/admin.sock", stdin=write_only)
    finally:
        os.close(write_only)
    assert (ended.returncode, ended.stderr) == (1, b"echoctl: standard input: bad file descriptor (EBADF)\n")


def test_a_byte_order_mark_before_a_line_is_dropped(daemon):
    """Files that were written on Windows begin with one, and so does text that was pasted from them."""
    talked = run(*ECHOCTL, "talk", daemon.url("upper", "tcp"), input=MARK + b"hello\r\n" + MARK + b"exit\nnot this\n")
    assert (talked.returncode, talked.stdout) == (0, b"HELLO\n")
    chatted = run(*ECHOCTL, "chat", daemon.url("chat", "tcp"), input=MARK + b"/nick anna\r\n/quit\n")
    assert b"-- you are now anna\n" in chatted.stdout


def test_send_keeps_every_byte(daemon):
    sent = run(*ECHOCTL, "send", daemon.url("upper", "tcp"), input=MARK + b"a\r\n")
    assert sent.stdout == MARK + b"A\r\n"


# a terminal that has gone


@contextmanager
def gone() -> Iterator[int]:
    """A terminal whose window was closed: each write to it fails with EIO."""
    ours, theirs = os.openpty()
    os.close(ours)
    try:
        yield theirs
    finally:
        os.close(theirs)


@pytest.mark.parametrize("command", ["ping", "chat", "console", "send", "talk", "status"])
def test_an_error_that_cannot_be_printed_still_ends_the_program(command):
    nowhere = f"tcp://127.0.0.1:{free_port()}"
    words = ("--admin", nowhere) if command in ("console", "status") else (nowhere,)
    with gone() as terminal:
        process = Popen(
            [*ECHOCTL, command, *words],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
        )
        try:
            assert process.wait(SECONDS) == 1
        finally:
            process.kill()
            process.wait()


def test_the_peers_end_that_cannot_be_printed_still_ends_a_conversation():
    with socket.create_server(("127.0.0.1", 0)) as listening, gone() as terminal:
        process = Popen(
            [*ECHOCTL, "talk", f"tcp://127.0.0.1:{listening.getsockname()[1]}"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
        )
        try:
            listening.accept()[0].close()
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_program_that_blocks_in_its_output(number):
    """The first one cannot be handled while a write blocks; the second one ends the program at once."""

    def pour(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            try:
                while True:
                    connection.sendall(bytes(65_536))
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=pour, args=(listening,), daemon=True)
        thread.start()
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # the first write does not fit, so it blocks
        with Popen(
            [*ECHOCTL, "send", f"tcp://127.0.0.1:{listening.getsockname()[1]}", "x"],
            env=environment(),
            stdout=writing,
        ) as process:
            try:
                assert eventually(lambda: not select.select([], [writing], [], 0)[1])
                process.send_signal(number)
                assert eventually(lambda: is_waiting(process.pid))  # it has the signal, and blocks again
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1)
                process.send_signal(number)
                assert process.wait(SECONDS) == 130
            finally:
                process.kill()
                os.close(reading)
                os.close(writing)
        thread.join(SECONDS)


# a shell's job control

SHELL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp('dash', ['dash', '-i'])"


@pytest.mark.skipif(shutil.which("dash") is None, reason="needs dash, a shell that does not restore the terminal")
def test_a_stopped_chat_leaves_the_shell_a_terminal_that_echoes(daemon):
    ours, theirs = os.openpty()
    environ = environment(TERM="xterm", PS1="ready$ ", ENV="")
    seen = b""

    def see(text: bytes) -> None:
        nonlocal seen
        ends = time.monotonic() + SECONDS
        while text not in seen:
            assert select.select([ours], [], [], max(0.0, ends - time.monotonic()))[0], (text, seen)
            seen += os.read(ours, 65_536)
        seen = seen.partition(text)[2]

    def key_by_key() -> bool:
        return not termios.tcgetattr(ours)[3] & (termios.ECHO | termios.ICANON)

    words = " ".join([*ECHOCTL, "chat", daemon.url("chat", "tcp")])
    with subprocess.Popen(
        [sys.executable, "-c", SHELL], stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    ) as shell:
        os.close(theirs)
        try:
            see(b"ready$ ")
            assert not key_by_key()
            os.write(ours, words.encode() + b"\n")
            see(b"-- welcome")
            assert eventually(key_by_key)
            os.write(ours, b"half a li")
            see(b"half a li")
            os.write(ours, b"\x1a")
            see(b"ready$ ")
            assert not key_by_key()
            os.write(ours, b"fg\n")
            see(b"half a li")  # the line that was being typed is drawn again
            assert eventually(key_by_key)
            os.write(ours, b"\x15/quit\r")
            see(b"-- goodbye")
            see(b"ready$ ")
            assert not key_by_key()
            os.write(ours, b"exit\n")
            assert shell.wait(SECONDS) == 0
        finally:
            shell.kill()
            os.close(ours)


def test_the_quit_key_restores_the_terminal(daemon):
    ours, theirs = os.openpty()
    before = termios.tcgetattr(ours)
    take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", take, *ECHOCTL, "chat", daemon.url("chat", "tcp")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm"),
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            assert eventually(lambda: termios.tcgetattr(ours) != before)
            os.write(ours, b"\x1c")
            assert process.wait(SECONDS) == -signal.SIGQUIT
            assert termios.tcgetattr(ours) == before
        finally:
            process.kill()
            os.close(ours)
