"""A Redis server for tests: a real one, on a free port, without files that outlive it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.daemon import SECONDS, accepts, eventually, free_port

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """Runs from `with` to the end of the block; `kill` and `start` in between. `lines` are of its configuration."""

    def __init__(self, *lines: str, tls: bool = False) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self.dir = Path(self._folder.name)
        ports = f"port 0\ntls-port {self.port}" if tls else f"port {self.port}"
        common = f"bind 127.0.0.1\n{ports}\nsave ''\nappendonly no\ndir {self.dir}\n"
        (self.dir / "conf").write_text(common + "".join(f"{line}\n" for line in lines))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, str(self.dir / "conf")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        assert eventually(lambda: accepts(("127.0.0.1", self.port)))

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None
