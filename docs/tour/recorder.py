"""Runs the script of the tour in a shell on a terminal, and returns what the terminal shows as an asciinema cast.

The cast is in the format asciicast v2. Its times are those of a person who types: the recorder types faster than that,
and shortens long pauses, so a busy machine does not slow the tour down.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Final, NamedTuple

from docs.tour.script import CONFIG, STEPS, Command, Step

COLUMNS: Final = 100
ROWS: Final = 24
SECONDS: Final = 60.0  #: a command that takes longer has failed
KEY: Final = 0.045  #: seconds between two typed characters, in the cast
PAUSE: Final = 1.0  #: the longest pause while a command runs, in the cast
READ: Final = 1.6  #: for reading what a command has printed, in the cast
CAPTION: Final = 1.0  #: for reading a caption, in the cast
PROMPT: Final = "\x1b[1;32m$\x1b[0m "
SHELL: Final = """\
bind 'set enable-bracketed-paste off'
PS1='\\[\\e[1;32m\\]$\\[\\e[0m\\] '
PROMPT_COMMAND='echo $? >> "$STATUS"'
set +m
"""
Event = tuple[float, str, str]


class Cast(NamedTuple):
    """A recording: the output of the terminal, each with its time in seconds."""

    events: list[Event]

    def text(self) -> str:
        """The file, one line of JSON for the head and one for each event."""
        head = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "A tour of echod in two minutes"}
        return "".join(f"{json.dumps(line)}\n" for line in (head, *self.events))


def read(text: str) -> Cast:
    """The recording of a file. Raises ValueError if it is not one."""
    head, *lines = map(json.loads, text.splitlines())
    if (head["version"], head["width"], head["height"]) != (2, COLUMNS, ROWS):
        raise ValueError(f"expected an asciicast of version 2 with {COLUMNS} columns and {ROWS} rows, got {head}")
    return Cast([(float(at), str(kind), str(data)) for at, kind, data in lines])


class Recorder:
    """A shell on a terminal in a folder. `at` is the time in the cast."""

    def __init__(self, folder: Path) -> None:
        self._status = folder / ".status"
        (folder / ".shell").write_text(SHELL)
        environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "STATUS": str(self._status),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._shell, self._controller = pty.fork()
        if self._shell == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--noprofile", "--rcfile", ".shell", "-i"], environ)
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.at = 0.0
        self.events: list[Event] = []
        self._shown = ""  # since the last command began

    def start(self) -> None:
        """Wait for the first prompt; the cast begins after it."""
        self._wait(PROMPT)
        self.events.clear()
        self.at = 0.0

    def step(self, step: Step) -> None:
        """Clear the screen, write the caption as a comment, and run the commands."""
        self._key("\x0c")
        self._wait(PROMPT)
        self._type(f"# {step.caption}")
        self._enter(PROMPT)
        self.at += CAPTION
        for command in step.commands:
            self._run(command)
            self.at += READ

    def _run(self, command: Command) -> None:
        """Type a command, and wait for its end. Raises RuntimeError if it fails or does not end."""
        done = self._statuses()
        self._type(command.line)
        self._shown = ""
        os.write(self._controller, b"\r")
        for typed in command.typed:
            self._wait(typed.after)
            self.at += PAUSE
            self._type(typed.line, "" if typed.line == "\x04" else "\r")
        if command.shown:
            self._wait(command.shown)
        self._wait(PROMPT)
        deadline = time.monotonic() + SECONDS
        while len(statuses := self._statuses()) == len(done):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{command.line}: no exit code")
            self._read(0.01)
        if statuses[-1] != str(command.status):
            raise RuntimeError(f"{command.line}: exit code {statuses[-1]}, expected {command.status}:\n{self._shown}")

    def _statuses(self) -> list[str]:
        return self._status.read_text().split() if self._status.exists() else []

    def _type(self, line: str, end: str = "") -> None:
        """Type each character, and wait until the terminal shows it."""
        for character in line + end:
            self._key(character)

    def _key(self, character: str) -> None:
        os.write(self._controller, character.encode())
        self.at += KEY
        self._read(0.02)

    def _enter(self, until: str) -> None:
        self._shown = ""
        os.write(self._controller, b"\r")
        self._wait(until)

    def _wait(self, text: str) -> None:
        """Read until the terminal has shown a text since the last command began."""
        deadline = time.monotonic() + SECONDS
        while text not in self._shown:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{text!r} was not shown:\n{self._shown}")
            self._read(0.5)

    def _read(self, seconds: float) -> None:
        """Add the output that arrives within this time, until it pauses."""
        began = time.monotonic()
        while select.select([self._controller], [], [], seconds)[0]:
            data = os.read(self._controller, 65_536).decode()
            self.at += min(PAUSE, time.monotonic() - began)
            began = time.monotonic()
            self.events.append((round(self.at, 3), "o", data))
            self._shown += data
            seconds = 0.02

    def close(self) -> None:
        """End the shell."""
        os.close(self._controller)
        os.waitpid(self._shell, 0)


def recorded() -> Cast:
    """A recording of the whole script. Raises RuntimeError if a command fails."""
    with tempfile.TemporaryDirectory(prefix="tour-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "echod.toml").write_text(CONFIG)
        recorder = Recorder(folder)
        try:
            recorder.start()
            for step in STEPS:
                recorder.step(step)
        finally:
            recorder.close()
    return Cast(recorder.events)
