"""Other people's programs: found or the test skipped, run to their end, or held a conversation through.

They speak in English and tell the time in UTC, whatever the machine's settings are.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.daemon import SECONDS, environment, run

FOLDERS: Final = os.pathsep.join((os.defpath, "/usr/sbin", "/sbin", "/usr/lib/nagios/plugins"))


def tool(*names: str) -> str:
    """The first of these programs that this machine has; the test is skipped where it has none."""
    for name in names:
        if path := shutil.which(name) or shutil.which(name, path=FOLDERS):
            return path
    pytest.skip(f"there is no {names[0]} here; tests/system_wide/prepare installs it")


def file(path: str) -> str:
    """A file that this machine has; the test is skipped where it has not."""
    if not Path(path).exists():
        pytest.skip(f"there is no {path} here; tests/system_wide/prepare installs it")
    return path


def ended(*words: str | Path, given: bytes = b"", seconds: float = SECONDS) -> subprocess.CompletedProcess[bytes]:
    """A program that has run to its end, with `given` on its standard input."""
    return run(*words, input=given, seconds=seconds, env=environment(LC_ALL="C", TZ="UTC"))


def said(*words: str | Path, given: bytes = b"", seconds: float = SECONDS) -> str:
    """What a program printed, which must end with 0."""
    process = ended(*words, given=given, seconds=seconds)
    output = process.stdout.decode("utf-8", "backslashreplace")
    assert process.returncode == 0, f"{words}: {process.returncode}\n{output}{process.stderr.decode()}"
    return output


def exchange(*words: str | Path, given: bytes, expected: int) -> bytes:
    """What a program prints once it was given something, and before its input ends: `expected` octets at most.

    For the clients of datagrams, who take the end of their input for the end of everything.
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
