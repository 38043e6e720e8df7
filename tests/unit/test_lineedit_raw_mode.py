"""The terminal's modes, on a terminal of the test."""

import signal
import sys

import pytest

from tests.daemon import run

LEAVES = """
import os, pty, signal, termios
from echod.lineedit.raw_mode import KeyByKey

def leave():
    raise RuntimeError("reentrant call")

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a shell without a terminal may ignore it, or block it
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
ours, theirs = pty.openpty()
before = termios.tcgetattr(theirs)
pid = os.fork()
if pid == 0:
    KeyByKey(theirs, leave=leave).begin()
    os.kill(os.getpid(), signal.SIGHUP)
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert code == -signal.SIGHUP, code
after = termios.tcgetattr(theirs)
assert after == before, (after, before)
"""


def test_a_signal_ends_the_process_also_if_leave_fails():
    """Such as a write to a stream whose own write the signal interrupted."""
    ended = run(sys.executable, "-c", LEAVES)
    assert (ended.returncode, ended.stderr) == (0, b"")


EARLY = """
import os, pty, signal, termios
from echod.lineedit.raw_mode import KeyByKey

ours, theirs = pty.openpty()
before = termios.tcgetattr(theirs)
pid = os.fork()
if pid == 0:
    change = termios.tcsetattr

    def tcsetattr(*words):
        termios.tcsetattr = change
        change(*words)
        os.kill(os.getpid(), signal.SIGQUIT)

    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    termios.tcsetattr = tcsetattr
    KeyByKey(theirs).begin()
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert code == -signal.SIGQUIT, code
after = termios.tcgetattr(theirs)
assert after == before, (after, before)
"""


def test_a_signal_right_after_the_change_restores_the_modes():
    ended = run(sys.executable, "-c", EARLY)
    assert (ended.returncode, ended.stderr) == (0, b"")


WITHIN = """
import os, pty, signal, sys, termios
from echod.lineedit.raw_mode import KeyByKey

signals = [int(sys.argv[1])]

def leave():
    if signals:
        os.kill(os.getpid(), signals.pop())

signal.signal(signal.SIGTSTP, signal.SIG_DFL)
ours, theirs = pty.openpty()
before = termios.tcgetattr(theirs)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)  # the kernel does not stop an orphaned group
    keys = KeyByKey(theirs, leave=leave)
    keys.begin()
    os.kill(os.getpid(), signal.SIGTSTP)
    assert termios.tcgetattr(theirs) != before
    keys.end()
    os._exit(0)
stops = 0
while os.WIFSTOPPED(status := os.waitpid(pid, os.WUNTRACED)[1]):
    stops += 1
    assert termios.tcgetattr(theirs) == before
    os.kill(pid, signal.SIGCONT)
assert (os.waitstatus_to_exitcode(status), stops > 0) == (0, True)
after = termios.tcgetattr(theirs)
assert after == before, (after, before)
"""


@pytest.mark.parametrize("second", [signal.SIGCONT, signal.SIGTSTP], ids=["continue", "stop"])
def test_a_signal_while_the_modes_are_restored_changes_none_of_them(second):
    """`leave` writes to the terminal, which takes a while."""
    ended = run(sys.executable, "-c", WITHIN, str(int(second)))
    assert (ended.returncode, ended.stderr) == (0, b"")


BACKGROUND = """
import fcntl, os, pty, signal, termios
from echod.lineedit.raw_mode import KeyByKey

signal.signal(signal.SIGTTOU, signal.SIG_DFL)
ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
before = termios.tcgetattr(theirs)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    keys = KeyByKey(theirs)
    keys.begin()
    assert termios.tcgetattr(theirs)[3] & termios.ICANON == 0
    keys.end()
    os._exit(0)
assert os.WSTOPSIG(os.waitpid(pid, os.WUNTRACED)[1]) == signal.SIGTTOU
changed = termios.tcgetattr(theirs)
changed[3] &= ~termios.ECHO
termios.tcsetattr(theirs, termios.TCSANOW, changed)
os.tcsetpgrp(theirs, pid)
os.kill(pid, signal.SIGCONT)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert code == 0, code
after = termios.tcgetattr(theirs)
assert after == changed != before, (after, changed)
"""


def test_a_job_of_the_background_changes_the_modes_when_it_comes_to_the_foreground():
    """The kernel stops it at the change, and SIGCONT interrupts that. The shell has set other modes meanwhile."""
    ended = run(sys.executable, "-c", BACKGROUND, start_new_session=True)
    assert (ended.returncode, ended.stderr) == (0, b"")


INTERRUPTED = """
import errno, pty, termios
from echod.lineedit.raw_mode import KeyByKey

change = termios.tcsetattr

def tcsetattr(*words):
    termios.tcsetattr = change
    raise termios.error(errno.EINTR, "Interrupted system call")

ours, theirs = pty.openpty()
before = termios.tcgetattr(theirs)
keys = KeyByKey(theirs)
termios.tcsetattr = tcsetattr
keys.begin()
assert termios.tcgetattr(theirs) != before
termios.tcsetattr = tcsetattr
keys.end()
assert termios.tcgetattr(theirs) == before
"""


def test_a_change_that_a_signal_interrupts_is_made_again():
    ended = run(sys.executable, "-c", INTERRUPTED)
    assert (ended.returncode, ended.stderr) == (0, b"")
