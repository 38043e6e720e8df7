"""The cases of the Autobahn test suite for WebSocket servers, by kosoku."""

import json
import signal

import pytest

from tests.daemon import Daemon, free_port, run
from tests.system_wide.python_programs import installed

pytestmark = pytest.mark.needs_tools

VERSION = "0.1.0"
CONFIG = """
[services.echo]
listen = ["ws://127.0.0.1:{port}/"]
[services.deflate]
kind = "echo"
listen = ["ws://127.0.0.1:{deflate}/"]
[services.deflate.websocket]
compression = "on"
"""
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}


@pytest.fixture(scope="module")
def daemon():
    with Daemon(CONFIG.format(port=free_port(), deflate=free_port())) as running:
        yield running


def behaviours(daemon, service, folder, *choice):
    """Run cases against a service. Returns how many there were, and those that failed."""
    host, port = daemon.inet(service, "ws")
    program = installed("kosoku", VERSION)
    ended = run(program, "-p", "4", "-o", str(folder), *choice, f"{host}:{port}", cwd=folder, seconds=900)
    (cases,) = json.loads((folder / "index.json").read_text("utf-8")).values()
    failed = {
        key: (case["behavior"], case["behaviorClose"])
        for key, case in cases.items()
        if not {case["behavior"], case["behaviorClose"]} <= PASSED
    }
    if ended.returncode != -signal.SIGABRT:  # after its last report it aborts now and then
        assert (ended.returncode == 0) is (not failed), ended.stdout[-2000:]
    return len(cases), failed


def test_every_case_without_compression_passes(daemon, tmp_path):
    assert behaviours(daemon, "echo", tmp_path, "-x", "12.*", "-x", "13.*") == (301, {})


def short(group):
    """The cases of a group with messages of up to 8 KiB: those with more take minutes."""
    return [word for number in range(1, 7) for word in ("-i", f"{group}.{number}")]


@pytest.mark.parametrize("group", range(1, 6))
def test_compressed_messages_pass(daemon, tmp_path, group):
    assert behaviours(daemon, "deflate", tmp_path, *short(f"12.{group}")) == (6, {})


@pytest.mark.parametrize("group", range(1, 8))
def test_the_negotiation_of_compression_passes(daemon, tmp_path, group):
    assert behaviours(daemon, "deflate", tmp_path, *short(f"13.{group}")) == (6, {})
