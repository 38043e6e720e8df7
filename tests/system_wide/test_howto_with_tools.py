"""The pages of docs/howto/ whose commands need other programs: the steps are run as the pages have them."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.daemon import SECONDS, TOP, environment, eventually, free_port
from tests.redis_server import PROGRAM
from tests.system.test_lessons_page import Shell, commands, shown

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")

pytestmark = pytest.mark.needs_tools


class Page:
    """A how-to page in a folder: its files with free ports, its programs, and a shell for its commands."""

    def __init__(self, name: str, folder: Path, *ports: str) -> None:
        self._text = (TOP / "docs" / "howto" / f"{name}.md").read_text("utf-8")
        self._folder = folder
        first = free_port(max(len(ports), 1))
        self._used = {port: str(first + number) for number, port in enumerate(ports)}
        self._stack = ExitStack()
        for program in ("echod", "echoctl"):
            module = "echod" if program == "echod" else "echod.client.main"
            (folder / program).write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m {module} "$@"\n')
            (folder / program).chmod(0o755)
        for file, text in shown(self._text).items():
            self.write(file, text)
        self._shell = Shell(folder, self._used, HOME=str(folder))

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.close()
        self._stack.close()

    def write(self, file: str, text: str) -> None:
        """Write a file with the free ports."""
        (self._folder / file).write_text(self._ported(text), "utf-8")

    def file(self, name: str) -> str:
        """The text of a file that the page shows."""
        return shown(self._text)[name]

    def start(self, command: str, ready: str) -> None:
        """Start a command of the page, and wait for a text in its output."""
        assert command in re.findall(r"(?ms)^```sh\n(.*?)^```$", self._text)[0].splitlines()
        words = shlex.split(self._ported(command))
        words[0] = str(self._folder / words[0]) if words[0] == "echod" else words[0]
        log = self._folder / f"log-{len(list(self._folder.glob('log-*')))}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                words, cwd=self._folder, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._stack.callback(process.wait, SECONDS)
        self._stack.callback(process.kill)
        assert eventually(lambda: self._ported(ready) in log.read_text("utf-8")), log.read_text("utf-8")

    def port(self, shown: str) -> int:
        """The port that replaces one of the page."""
        return int(self._used[shown])

    def run(self) -> None:
        """Type the commands of the page, and compare the output."""
        for command, output in commands(self._text):
            self._shell.type(self._ported(command), output)

    def _ported(self, text: str) -> str:
        return re.sub(r"\b\d{4,5}\b", lambda number: self._used.get(number[0], number[0]), text)


def wait_until_shared(first: int, second: int) -> None:
    """Wait until a guest of the second daemon finds a guest of the first one, and then until both have left."""

    def members(port: int, enough: Callable[[int], bool]) -> bool:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as guest, guest.makefile() as lines:

            def asked() -> bool:
                time.sleep(0.5)  # chat limits the lines of a member
                guest.sendall(b"/who\n")
                return enough(next(line for line in lines if line.startswith("-- in lobby: ")).count("guest"))

            return eventually(asked)

    with socket.create_connection(("127.0.0.1", first), SECONDS):
        assert members(second, lambda count: count == 2)
    assert members(first, lambda count: count == 1)


@pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed")
def test_two_daemons_share_a_chat(tmp_path: Path) -> None:
    with Page("shared-chat", tmp_path, "6380", "10012", "10112") as page:
        page.write("two.toml", page.file("one.toml").replace("10012", "10112"))
        page.start("redis-server --port 6380 --save '' --bind 127.0.0.1", "Ready to accept connections")
        for name in ("one", "two"):
            page.start(f"echod --config {name}.toml", "the bus redis://127.0.0.1:6380/0 is connected")
        wait_until_shared(page.port("10012"), page.port("10112"))
        page.run()


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
def test_haproxy_names_its_clients(tmp_path: Path) -> None:
    with Page("behind-haproxy", tmp_path, "10011", "10111") as page:
        page.start("echod --config echod.toml", "ready: 1 listener")
        try:
            page.run()
        finally:
            with contextlib.suppress(OSError):  # the last command has ended it
                os.kill(int((tmp_path / "haproxy.pid").read_text()), signal.SIGTERM)
