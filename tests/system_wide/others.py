"""Third-party programs: find them or skip the test, run them to their end, or exchange data with them.

They run in English and in UTC, independent of the machine's settings.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest

from tests.daemon import SECONDS, environment, run

FOLDERS: Final = os.pathsep.join((os.defpath, "/usr/sbin", "/sbin", "/usr/lib/nagios/plugins"))


def tool(*names: str) -> str:
    """The first of these programs that is installed; otherwise the test is skipped."""
    for name in names:
        if path := shutil.which(name) or shutil.which(name, path=FOLDERS):
            return path
    pytest.skip(f"{names[0]} is not installed; tests/system_wide/prepare installs it")


def file(path: str) -> str:
    """The path of a file; the test is skipped if it does not exist."""
    if not Path(path).exists():
        pytest.skip(f"{path} does not exist; tests/system_wide/prepare installs it")
    return path


def ended(*words: str | Path, given: bytes = b"", seconds: float = SECONDS) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, with `given` on its standard input."""
    return run(*words, input=given, seconds=seconds, env=environment(LC_ALL="C", TZ="UTC"))


def said(*words: str | Path, given: bytes = b"", seconds: float = SECONDS) -> str:
    """The output of a program, which must exit with 0."""
    process = ended(*words, given=given, seconds=seconds)
    output = process.stdout.decode("utf-8", "backslashreplace")
    assert process.returncode == 0, f"{words}: {process.returncode}\n{output}{process.stderr.decode()}"
    return output


def is_since(told: float, asked: float) -> bool:
    """Whether a time in whole seconds is not before `asked`, and not after now.

    It may be a second less: time(2) is behind the clock of Python by up to a tick of the kernel.
    """
    return int(asked) - 1 <= told <= time.time()


def exchange(*words: str | Path, given: bytes, expected: int) -> bytes:
    """The output of a program after it was given input, and before its input ends: at most `expected` bytes.

    For datagram clients, which exit at the end of their input.
    """
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(given)
            process.stdin.flush()
            came = b""
            while len(came) < expected and select.select([process.stdout], [], [], SECONDS)[0]:
                if not (piece := os.read(process.stdout.fileno(), 65_536)):
                    break
                came += piece
            return came
        finally:
            process.kill()
