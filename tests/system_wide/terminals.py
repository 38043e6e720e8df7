"""Terminals for tests: tmux(1) renders what a person would see, and types as a person does."""

import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.daemon import SECONDS, TOP, environment, eventually

WIDE, HIGH = 100, 30


class Terminals:
    """A private tmux server with a window for each program; it is stopped at the end of the block."""

    def __init__(self) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed")
        self._folder = tempfile.TemporaryDirectory(prefix="echod-tmux-")
        self._socket = str(Path(self._folder.name) / "socket")
        self._open = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open:
            self.tmux("kill-server")
        self._folder.cleanup()

    def run(self, *words: str) -> "Screen":
        """A terminal that runs this program; its screen stays after the program has exited."""
        command = " ".join(map(shlex.quote, words)) + "; echo ended: $?; exec sleep 600"
        size = ["-x", str(WIDE), "-y", str(HIGH)]
        if self._open:
            self.tmux("new-window", "-d", "-t", f"={self._open}", command)
        else:
            self.tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(TOP), command)
        self._open += 1
        return Screen(self, self._open - 1)

    def tmux(self, *words: str) -> str:
        """Run one of tmux's own commands. Its shell is bash, which stays if Ctrl-C ends its program."""
        known = environment(LANG="C.UTF-8", LC_ALL="C.UTF-8", TERM="xterm-256color", SHELL="/bin/bash")
        for name in ("TMUX", "COLUMNS", "LINES", "NO_COLOR"):
            known.pop(name, None)
        ended = subprocess.run(
            ["tmux", "-u", "-S", self._socket, *words],
            check=False, capture_output=True, text=True, env=known, timeout=SECONDS,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


class Screen:
    """One terminal."""

    def __init__(self, terminals: Terminals, window: int) -> None:
        self._terminals = terminals
        self._window = f":{window}"

    def type(self, text: str) -> None:
        """Type a line and press Enter."""
        self.press("-l", text)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names for them."""
        self._terminals.tmux("send-keys", "-t", self._window, *keys)

    @property
    def lines(self) -> list[str]:
        """The lines on its screen, without empty ones."""
        shown = self._terminals.tmux("capture-pane", "-p", "-t", self._window)
        return [line.rstrip() for line in shown.splitlines() if line.strip()]

    def shows(self, text: str) -> bool:
        """Whether a line with this text appears in time."""
        return eventually(lambda: any(text in line for line in self.lines))

    def must_show(self, *texts: str) -> None:
        """Fail if one of these does not appear, and show the screen."""
        for text in texts:
            assert self.shows(text), (text, self.lines)
