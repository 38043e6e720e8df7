"""The server that asks its operator, with the lessons' own clients: two beginners, and one person who answers both."""

import sys

import pytest

from tests.daemon import ECHOD, TOP, free_port
from tests.system_wide.terminals import Screen, Terminals

pytestmark = pytest.mark.system_wide

LESSONS = TOP / "tests" / "system_wide" / "lessons"


def daemon(terminals: Terminals, port: int, *more: str) -> Screen:
    listen = [f"--listen=console={scheme}://127.0.0.1:{port}" for scheme in ("tcp", "udp")]
    return terminals.run(*ECHOD, *listen, "--console", *more)


def test_two_beginners_are_answered_at_the_daemons_own_terminal():
    port = free_port()
    with Terminals() as terminals:
        operator = daemon(terminals, port)
        operator.must_show("ready: 2 listeners", "the console is yours", "-- no clients")
        anna = terminals.run(sys.executable, str(LESSONS / "asks_its_operator.py"), str(port))
        operator.must_show("[1] tcp 127.0.0.1:")
        bert = terminals.run(sys.executable, str(LESSONS / "asks_by_datagrams.py"), str(port))
        for one in (anna, bert):
            one.must_show("you:")
        anna.type("What is the time?")
        operator.must_show(": What is the time?", "to 1>")
        operator.press("-l", "half past")
        operator.must_show("to 1> half past")
        bert.type("And the weather?")
        operator.must_show("[2] udp 127.0.0.1:", ": And the weather?", "to 1> half past")
        operator.type(" nine")
        anna.must_show("server: half past nine")
        operator.must_show("[1] you answered: half past nine", "to 2>")
        operator.type("raining")
        bert.must_show("server: raining")
        bert.type("Thank \x1b[31m you")
        operator.must_show(": Thank ")
        assert not any("\x1b" in line for line in operator.lines)
        operator.type("@1 are you still there?")
        operator.press("Up")
        operator.must_show("to 2> @1 are you still there?")
        operator.press("C-u")
        anna.type("exit")
        anna.must_show("ended: 0")
        operator.must_show("[1] tcp 127.0.0.1:", "has left")
        operator.press("C-d")
        operator.must_show("you have left, and messages wait")
        operator.press("C-c")
        operator.must_show("stopped {", "ended: 0")


SAME_MODES = """
trap : INT
before=$(stty -a)
"$@"
test "$(stty -a)" = "$before" && echo the modes are the same
"""


def test_the_terminal_is_as_it_was_behind_the_console():
    listen = f"--listen=console=tcp://127.0.0.1:{free_port()}"
    with Terminals() as terminals:
        shell = terminals.run("sh", "-c", SAME_MODES, "sh", *ECHOD, listen, "--console")
        shell.must_show("the console is yours")
        shell.press("C-c")
        shell.must_show("the modes are the same")
