"""`| head -1` after every command that only prints: it ends quietly, by SIGPIPE. A full disk is one line."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from tests.daemon import ECHOCTL, ECHOD, SECONDS, TOP, TWISTD, Daemon, environment, run

ASKED = ("--help", "--version", "--check-config", "--print-config")
PROGRAMS = {
    **{f"echod {option}": (*ECHOD, option) for option in ASKED},
    **{f"twistd echod {option}": (*TWISTD, "echod", option) for option in ASKED},
    **{f"{module} --list": (sys.executable, "-m", module, "--list") for module in ("tests.chaos", "tests.fuzz")},
}

CONFIG = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.echo.faults]
delay = "1ms"
seed = 1
"""
COMMANDS = (
    "check",
    "doctor",
    "events",
    "events --json",
    "faults echo",
    "faults echo --json",
    "lesson --list",
    "reload",
    "reload --json",
    "services",
    "services --matrix",
    "status",
    "status --connections 5",
    "status --json",
    "top --json",
    "top --once",
)
"""The commands of echoctl that print and end, as they are typed."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as running:
        yield running


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


@pytest.mark.parametrize("words", COMMANDS)
def test_a_closed_pipe_ends_a_command_of_echoctl_quietly(daemon, words):
    """rich flushes the lines that were printed before a table, and by itself exits with 1 at a closed pipe."""
    reading, writing = os.pipe()
    os.close(reading)
    found = {"ECHOD_CONFIG": f"{daemon.dir}/echod.toml", "ECHOD_ADMIN": f"unix://{daemon.dir}/admin.sock"}
    try:
        ended = run(*ECHOCTL, *words.split(), stdout=writing, env=environment(**found))
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
