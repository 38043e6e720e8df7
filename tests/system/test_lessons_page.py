"""docs/LESSONS.md: its programs are those of examples/lessons/, and its commands print what the page has."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.config.loading import load
from echod.services.registry import kinds
from tests.daemon import SECONDS, TOP, Daemon, environment, eventually, free_port

PAGE = (TOP / "docs" / "LESSONS.md").read_text("utf-8")
PROGRAMS = {path.name: path.read_text("utf-8") for path in (TOP / "examples" / "lessons").glob("*.py")}
LESSONS = dict(re.findall(r"(?ms)^## (\d+)\. [^\n]+\n(.*?)(?=^## )", PAGE))
SERVED = {"upper": 10_008, "discard": 10_009, "ack": 10_010, "chat": 10_012, "console": 10_014, "bin": 10_015}
WEBSOCKET = 18_007
PORT = re.compile(r"\b(?:100\d\d|18007|90\d\d)\b")


def sessions(text: str) -> str:
    """The commands of a lesson and their output."""
    return "".join(re.findall(r"(?ms)^```console\n(.*?)^```$", text))


class Shell:
    """A shell whose background programs print to the same output, as in a terminal."""

    def __init__(self, folder: Path, ports: dict[str, str]) -> None:
        self._ports = ports
        found = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment(PATH=found, PYTHONUNBUFFERED="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        self._printed = ""

    def type(self, command: str, expected: str) -> str:
        """Everything that is printed until the command has ended and the expected output, or none, has arrived."""
        self._printed = ""
        command = PORT.sub(lambda port: self._ports[port[0]], command)
        self._process.stdin.write(f"{command}\necho; echo ended\n".encode())
        self._process.stdin.flush()
        eventually(lambda: self._read() and self.text == expected)
        return self.text

    def _read(self) -> bool:
        """Read what has been printed; whether the command has ended."""
        if data := self._process.stdout.read():
            self._printed += data.decode()
        return "\nended\n" in self._printed

    @property
    def text(self) -> str:
        """The printed text, without empty lines and blanks at the end."""
        return lines(self._printed.replace("\nended\n", "\n"))

    def close(self) -> None:
        """End the shell and its background programs."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate(timeout=SECONDS)


def lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, str]]:
    """The ports of the page, by the free ones that are used instead; a daemon serves those of the services."""
    used = {port: str(free_port()) for port in set(PORT.findall(PAGE))}
    shipped = (TOP / "etc" / "echod.toml").read_text("utf-8")
    shipped = re.sub(r"(127\.0\.0\.1):(\d+)", lambda found: f"{found[1]}:{used.get(found[2], '0')}", shipped)
    with Daemon(shipped) as daemon:
        yield used
        daemon.check()


@pytest.fixture
def shell(ports, tmp_path) -> Iterator[Shell]:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text, "utf-8")
    program = tmp_path / "echoctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m echod.client.main "$@"\n')
    program.chmod(0o755)
    made = Shell(tmp_path, ports)
    yield made
    made.close()


@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands are for bash")
@pytest.mark.parametrize("number", LESSONS)
def test_the_commands_of_a_lesson_print_what_the_page_has(number, shell):
    for part in re.split(r"(?m)^\$ ", sessions(LESSONS[number]))[1:]:
        command, _, expected = part.partition("\n")
        assert shell.type(command, lines(expected)) == lines(expected), command


def test_the_page_has_each_program_as_it_is():
    shown = dict(re.findall(r"(?ms)^`(\w+\.py)`:\n\n```python\n(.*?)^```$", PAGE))
    assert shown == PROGRAMS
    assert {name for name in PROGRAMS if f"python3 {name}" in sessions(PAGE)} == set(PROGRAMS)


def test_the_chinese_page_has_the_same_lessons_programs_and_commands():
    chinese = (TOP / "docs" / "zh" / "LESSONS.md").read_text("utf-8")
    for part in (r"(?ms)^```\w+\n.*?^```$", r"(?m)^## (\d+)\.", r"(?m)^\| (\d{5}) \| (\S+) \|"):
        assert re.findall(part, chinese) == re.findall(part, PAGE)


def test_the_ports_of_the_page_are_those_of_the_shipped_configuration():
    rows = re.findall(r"(?m)^\| (\d{5}) \| (\S+) \|", PAGE)
    assert rows == [*((str(port), f"`{name}`") for name, port in SERVED.items()), (str(WEBSOCKET), "WebSocket")]
    services = load(TOP / "etc" / "echod.toml", kinds(plugins=()), {}).services
    labels = {(service.kind.kind, address.label) for service in services for address in service.listen}
    assert {(name, f"tcp://127.0.0.1:{port}") for name, port in SERVED.items()} <= labels
    assert {("bin", "udp://127.0.0.1:10015"), ("echo", f"ws://127.0.0.1:{WEBSOCKET}/echo")} <= labels
