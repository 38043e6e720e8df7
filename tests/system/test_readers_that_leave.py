"""`| head -1` after every command that only prints: it ends quietly, by SIGPIPE. A full disk is one line."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.daemon import ECHOD, SECONDS, TOP, TWISTD, environment

ASKED = ("--help", "--version", "--check-config", "--print-config")
PROGRAMS = {
    **{f"echod {option}": (*ECHOD, option) for option in ASKED},
    **{f"twistd echod {option}": (*TWISTD, "echod", option) for option in ASKED},
    **{f"{module} --list": (sys.executable, "-m", module, "--list") for module in ("tests.chaos", "tests.fuzz")},
}


def printed_to(output: int, words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        words, check=False, stdout=output, stderr=subprocess.PIPE, timeout=SECONDS, env=environment(), cwd=TOP
    )


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=name, marks=[pytest.mark.slow] if name.startswith("twistd") else [])
        for name, words in PROGRAMS.items()
    ],
)
def test_a_closed_pipe_ends_it_quietly(words):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = printed_to(writing, words)
    finally:
        os.close(writing)
    assert ended.stderr == b""
    assert ended.returncode == -signal.SIGPIPE


@pytest.mark.parametrize("option", ASKED)
def test_a_full_disk(option):
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        ended = printed_to(full, (*ECHOD, option))
    finally:
        os.close(full)
    assert ended.stderr == b"echod: standard output: no space left on device (ENOSPC)\n"
    assert ended.returncode == 73
