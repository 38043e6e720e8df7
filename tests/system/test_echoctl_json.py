"""Every command of echoctl has output for programs, except those that print replies: those of the daemon are run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pytest

from echod.client.argparse_errors import Parser
from echod.client.command_definitions import COMMANDS
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, run
from tests.fork_server import Popen

CONFIG: Final = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:0"]
[services.console]
listen = ["tcp://127.0.0.1:0"]
"""
WORDS: Final[Mapping[str, Sequence[str]]] = {
    "console": (),
    "doctor": ("--wait", "0", "--config", "{dir}/echod.toml"),
    "events": (),
    "faults": ("echo",),
    "reload": (),
    "status": (),
    "top": (),
}
"""The arguments of each command that has `--admin`."""
OBJECT: Final = {
    "doctor": {"problems", "findings"},
    "events": {"events", "dropped"},
    "faults": {"service", "faults"},
    "reload": {"reloaded", "opened", "closed", "changed", "changes", "notes"},
    "status": {"version", "services"},
    "top": {"seconds", "by", "sort", "rows"},
}


def options(command: str) -> set[str]:
    parser = Parser()
    COMMANDS[command][1](parser)
    return {word for action in parser._actions for word in action.option_strings}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as started:
        yield started


def words(daemon: Daemon, command: str, *more: str) -> list[str]:
    given = [word.replace("{dir}", str(daemon.dir)) for word in WORDS[command]]
    return [*ECHOCTL, command, *given, "--admin", f"unix://{daemon.dir}/admin.sock", *more]


def test_every_command_of_the_daemon_is_here():
    assert {name for name in COMMANDS if "--admin" in options(name)} == set(WORDS)


@pytest.mark.parametrize("command", OBJECT)
def test_a_command_prints_one_object(command, daemon):
    assert "--json" in options(command)
    ended = run(*words(daemon, command, "--json"))
    assert ended.returncode == (json.loads(ended.stdout)["problems"] > 0 if command == "doctor" else 0)
    assert ended.stderr == b""
    assert ended.stdout.count(b"\n") == 1
    assert set(json.loads(ended.stdout)) >= OBJECT[command]


def test_a_refused_reload_is_an_object_too(daemon):
    file = daemon.dir / "echod.toml"
    right = file.read_text()
    try:
        file.write_text(right + "limit = 7\n")
        ended = run(*words(daemon, "reload", "--json"))
        found: dict[str, Any] = json.loads(ended.stdout)
        assert (ended.returncode, ended.stderr, found["reloaded"]) == (78, b"", False)
        assert "services.console.limit: unknown key" in found["errors"][0]
    finally:
        file.write_text(right)


def test_a_console_prints_an_object_for_each_event(daemon):
    """A client asks, and an operator answers by a program."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment()}
    with Popen(words(daemon, "console", "--json-lines"), **pipes) as operator:
        assert operator.stdin is not None
        assert operator.stdout is not None
        assert json.loads(operator.stdout.readline())["event"] == "here"
        talking = [*ECHOCTL, "talk", daemon.url("console", "tcp")]
        with Popen(talking, **pipes) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(b"is anybody there?\n")
            client.stdin.flush()
            assert json.loads(operator.stdout.readline())["event"] == "came"
            said = json.loads(operator.stdout.readline())
            assert (said["event"], said["text"]) == ("said", "is anybody there?")
            operator.stdin.write(b"yes\n")
            operator.stdin.flush()
            answered = json.loads(operator.stdout.readline())
            assert (answered["event"], answered["text"]) == ("answered", "yes")
            assert client.stdout.readline() == b"yes\n"
            client.stdin.close()
            assert client.wait(SECONDS) == 0
        operator.stdin.close()
        operator.stdout.read()
        assert operator.wait(SECONDS) == 0


def test_a_checked_configuration_is_an_object(tmp_path):
    file = tmp_path / "echod.toml"
    file.write_text('[services.echo]\nlisten = ["tcp://127.0.0.1:7007"]\n')
    ended = run(*ECHOCTL, "check", "--json", str(file))
    found = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr, found["errors"]) == (0, b"", [])
    assert found["listeners"] == [{"service": "echo", "address": "tcp://127.0.0.1:7007"}]
    file.write_text(file.read_text() + "limit = 7\nallow = 8\n")
    ended = run(*ECHOCTL, "check", "--json", str(file))
    found = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr, found["listeners"], found["warnings"]) == (78, b"", [], [])
    assert [error.startswith(f"{file}:{line}: ") for line, error in zip((3, 4), found["errors"], strict=True)] == [
        True
    ] * 2


def test_only_commands_that_print_replies_as_they_are_have_no_objects():
    without = {name for name in COMMANDS if not {"--json", "--json-lines"} & options(name)}
    assert without == {"send", "talk", "chat"}
