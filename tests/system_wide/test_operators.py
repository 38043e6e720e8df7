"""A console with the clients of the lessons: two beginners, and one or two operators who reply to both."""

import sys

import pytest

from tests.daemon import ECHOCTL, ECHOD, TOP, Daemon, eventually, free_port
from tests.system_wide.terminals import Screen, Terminals

pytestmark = pytest.mark.needs_tools

LESSONS = TOP / "tests" / "system_wide" / "lessons"


def daemon(terminals: Terminals, port: int, *more: str) -> Screen:
    listen = [f"--listen=console={scheme}://127.0.0.1:{port}" for scheme in ("tcp", "udp")]
    return terminals.run(*ECHOD, *listen, "--console", *more)


def test_two_beginners_get_replies_from_the_daemons_own_terminal():
    port = free_port()
    with Terminals() as terminals:
        operator = daemon(terminals, port)
        operator.must_show("ready: 2 listeners", "you operate this console", "-- no clients")
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
        operator.must_show("[1] tcp 127.0.0.1:", "disconnected")
        operator.press("C-d")
        operator.must_show("you left the console")
        operator.press("C-c")
        operator.must_show("stopped: ", "ended: 0")


def test_two_beginners_get_replies_from_two_operators_at_their_terminals(tmp_path):
    port = free_port()
    config = tmp_path / "echod.toml"
    listen = [f"{scheme}://127.0.0.1:{port}" for scheme in ("tcp", "udp")]
    config.write_text(f'[services.console]\nlisten = {listen}\n[admin]\nlisten = ["unix://{tmp_path}/admin.sock"]\n')
    with Terminals() as terminals:
        running = terminals.run(*ECHOD, "--config", str(config))
        running.must_show("ready: 3 listeners")
        seat = (*ECHOCTL, "console", "--admin", f"unix://{tmp_path}/admin.sock")
        anna = terminals.run(sys.executable, str(LESSONS / "asks_its_operator.py"), str(port))
        bert = terminals.run(sys.executable, str(LESSONS / "asks_by_datagrams.py"), str(port))
        for one, question in ((anna, "What is the time?"), (bert, "And the weather?")):
            one.must_show("you:")
            one.type(question)
        first = terminals.run(*seat)
        first.must_show(
            "-- you are an operator of console; /help lists the commands", ": What is the time?", ": And the weather?"
        )
        second = terminals.run(*seat, "console")
        second.must_show("; 1 other operator", ": What is the time?", ": And the weather?")
        first.type("/who")
        first.must_show("-- [1] ", "-- [2] ")
        [asked] = [line for line in first.lines if line.endswith("What is the time?")]
        number = asked.partition("[")[2].partition("]")[0]
        first.type(f"@{number} half past nine")
        anna.must_show("server: half past nine")
        first.must_show(f"[{number}] you answered: half past nine")
        second.must_show(f"[{number}] operator 1 answered: half past nine")
        second.type(f"/to {3 - int(number)}")
        second.must_show(f"to {3 - int(number)}>")
        second.type("raining")
        bert.must_show("server: raining")
        second.type("@9 hello")
        second.must_show("-- unknown client 9; /who lists the clients")
        second.type("/quit")
        second.must_show("ended: 0")
        running.press("C-c")
        first.must_show("console is no longer served", "ended: 0")


def test_members_at_their_terminals_do_not_disturb_each_other(tmp_path):
    listen = [
        *("tcp://127.0.0.1:0", "udp://127.0.0.1:0"),
        *(f"unix://{tmp_path}/chat.sock", f"unix-dgram://{tmp_path}/chat.dgram"),
    ]
    with Daemon(listen=[f"chat={one}" for one in listen]) as daemon, Terminals() as terminals:
        names = ("tcp", "udp", "unix", "unix-dgram")
        people = {}
        for name in names:
            people[name] = terminals.run(*ECHOCTL, "chat", "--nick", name, daemon.url("chat", f"{name}://"))
            people[name].must_show(f"-- you are now {name}")
        people["udp"].press("-l", "I am still typ")
        people["udp"].must_show("> I am still typ")
        for name in ("tcp", "unix", "unix-dgram"):
            people[name].type(f"hello from {name}, \u65e5\u672c")
            people["udp"].must_show(f"{name}: hello from {name}, \u65e5\u672c")
        assert eventually(lambda: people["udp"].lines[-1] == "> I am still typ"), people["udp"].lines
        people["udp"].type("ing")
        for name in ("tcp", "unix", "unix-dgram"):
            people[name].must_show("udp: I am still typing")
        people["unix"].press("C-d")
        people["unix"].must_show("-- goodbye", "ended: 0")
        people["unix-dgram"].press("C-c")
        people["unix-dgram"].must_show("ended: 130")
        for name in ("tcp", "udp"):
            people[name].must_show("-- unix has left", "-- unix-dgram has left")
        people["udp"].type("/quit")
        people["udp"].must_show("-- goodbye", "ended: 0")
        daemon.check()


SAME_MODES = """
trap : INT
before=$(stty -a)
"$@"
test "$(stty -a)" = "$before" && echo the modes are the same
"""


def test_the_terminal_modes_are_restored_after_the_console():
    listen = f"--listen=console=tcp://127.0.0.1:{free_port()}"
    with Terminals() as terminals:
        shell = terminals.run("sh", "-c", SAME_MODES, "sh", *ECHOD, listen, "--console")
        shell.must_show("you operate this console")
        shell.press("C-c")
        shell.must_show("the modes are the same")
