"""The terminal's modes, on a terminal of the test."""

import sys

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
