"""Records docs/terminal.svg from a real run: `make picture` starts a daemon, runs the commands, and draws their output.

The ports of CONFIG must be free. Run it as an ordinary user: as root, the line that warns about it is left out.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PICTURE: Final = Path(__file__).with_name("terminal.svg")
COLUMNS: Final = 100  #: of the terminals, and of the picture
SECONDS: Final = 30.0  #: a program that takes longer has failed
CONFIG: Final = """\
[admin]
listen = ["unix://%t/admin.sock"]

[services.echo]
listen = ["tcp://127.0.0.1:10007", "udp://127.0.0.1:10007"]

[services.upper]
listen = ["tcp://127.0.0.1:10008"]
show = "text"

[services.whoami]
listen = ["tcp://127.0.0.1:10011"]
"""
DAEMON: Final = "echod --config echod.toml"
COMMANDS: Final = (
    "echoctl send tcp://127.0.0.1:10008 hello",
    "echoctl send tcp://127.0.0.1:10011 ''",
    "echoctl ping -c 3 -i 200ms --color always udp://127.0.0.1:10007",
    "echoctl status",
)
FONT: Final = "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace"


class Terminal:
    """A program on a terminal of its own; it is terminated at the end of the `with` block."""

    def __init__(self, command: str, folder: Path) -> None:
        name, *words = shlex.split(command)
        self._controller, terminal = pty.openpty()
        program = Path(sys.executable).parent.resolve() / name
        environ = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
        environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"  # so that the hint of the daemon has no path
        self._process = subprocess.Popen(
            (str(program), *words), stdin=terminal, stdout=terminal, stderr=terminal, env=environ, cwd=folder
        )
        os.close(terminal)
        self.output = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)
        os.close(self._controller)

    def read(self, until: str = "") -> str:
        """All output, read up to a text, or to the end of the program. Raises RuntimeError if it does not come."""
        deadline = time.monotonic() + SECONDS
        while not until or until not in self.output:
            if not select.select([self._controller], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RuntimeError(f"{until or 'the end'} did not come within {SECONDS:g} s after:\n{self.output}")
            try:
                piece = os.read(self._controller, 65_536)
            except OSError:  # EIO: the program has ended
                piece = b""
            if not piece:
                if until:
                    raise RuntimeError(f"the program has ended without {until}:\n{self.output}")
                break
            self.output += piece.decode().replace("\r\n", "\n")
        return self.output


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="demo-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "echod.toml").write_text(CONFIG)
        yield folder


def recorded() -> tuple[str, list[tuple[str, str]]]:
    """The output of the daemon, and each command with its output. Raises RuntimeError."""
    with _folder() as folder, Terminal(DAEMON, folder) as daemon:
        daemon.read(until="from another terminal")
        runs = []
        for command in COMMANDS:
            with Terminal(command, folder) as client:
                runs.append((command, client.read()))
        lines = daemon.read(until=": hello\n").splitlines()
    return "\n".join(line for line in lines if "serving as root" not in line), runs


def drawn(output: str, runs: list[tuple[str, str]]) -> str:
    """The picture as SVG, without a font from the network."""
    import io

    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")

    def prompt(command: str) -> None:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))

    def show(text: str) -> None:
        console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=False, overflow="fold")

    prompt("cat echod.toml")
    show(CONFIG)
    console.print()
    prompt(DAEMON)
    show(output)
    console.rule("another terminal", style="dim")
    for command, text in runs:
        prompt(command.replace(" --color always", ""))
        show(text)
        console.print()
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("Fira Code, monospace", FONT)
    return console.export_svg(title="echod and echoctl", code_format=form, unique_id="echod")


def main() -> None:
    """Record the run and write the picture."""
    PICTURE.write_text(drawn(*recorded()))
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
