"""A program that the tests' fork server starts is like one that was executed (tests/fork_server.py)."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import ECHOCTL, ECHOD, SECONDS, environment, eventually
from tests.fork_server import Popen, unlike

Start = Callable[..., "subprocess.Popen[Any]"]
BOTH = pytest.mark.parametrize("start", [Popen, subprocess.Popen], ids=["forked", "executed"])

LASTING = [*ECHOCTL, "ping", "--connect", "tcp://127.0.0.1:1"]  #: runs until it is ended


def facts(start: Start, folder: Path, inherited: socket.socket) -> dict[str, object]:
    """Properties of the process of a ready daemon, from proc(5)."""
    command = [*ECHOD, "--listen", "echo=tcp://127.0.0.1:0"]
    options: dict[str, Any] = {"env": environment(), "cwd": folder, "umask": 0o27, "pass_fds": [inherited.fileno()]}
    with start(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options) as process:
        assert any(b" ready: " in line for line in process.stderr)
        its = Path(f"/proc/{process.pid}")
        assert eventually(lambda: len(os.listdir(its / "task")) == 1)  # the threads of the start have ended
        status = its.joinpath("status").read_text()
        wanted = r"^(PPid|Umask|Threads|SigBlk|SigIgn|SigCgt):\t(\S+)$"
        found: dict[str, object] = dict(re.findall(wanted, status, re.MULTILINE))
        found["folder"] = os.readlink(its / "cwd")
        found["limits"] = its.joinpath("limits").read_text()
        links = {int(link.name): os.readlink(link) for link in (its / "fd").iterdir()}
        found["descriptors"] = {number: re.sub(r":\[\d+\]", "", link) for number, link in links.items()}
        found["inherited"] = links[inherited.fileno()] == os.readlink(f"/proc/self/fd/{inherited.fileno()}")
        process.terminate()
        found["code"] = process.wait(SECONDS)
    return found


def test_the_kernel_sees_the_same_daemon(tmp_path):
    with socket.socket() as inherited:
        os.set_inheritable(inherited.fileno(), True)
        forked = facts(Popen, tmp_path, inherited)
        executed = facts(subprocess.Popen, tmp_path, inherited)
    assert forked == executed
    assert forked["PPid"] == str(os.getpid())
    assert forked["inherited"]
    assert forked["code"] == 0


@pytest.mark.parametrize(
    ("words", "code"), [(["--version"], 0), (["ping"], 2), (["send", "unix:///does-not-exist", "x"], 1)], ids=str
)
def test_output_and_exit_code_are_the_same(words, code):
    ended = []
    for start in (Popen, subprocess.Popen):
        with start([*ECHOCTL, *words], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            ended.append((*process.communicate(timeout=SECONDS), process.returncode))
    assert ended[0] == ended[1]
    assert ended[0][2] == code


@BOTH
def test_a_fatal_signal_is_the_exit_status(start):
    with start(LASTING, env=environment(), stdout=subprocess.DEVNULL) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait(SECONDS) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("more", "is_forked"), [({}, True), ({"PYTHONUTF8": "1"}, False), ({"LC_ALL": "C"}, False)], ids=str
)
def test_an_environment_of_the_interpreter_is_executed(more, is_forked):
    if is_forked and (found := unlike(environment())):
        pytest.skip(f"an earlier test has changed this process: {found}")  # then to execute is right
    with Popen(LASTING, env=environment(**more), stdout=subprocess.DEVNULL) as process:
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.kill()
    assert (b"tests.fork_server" in command) == is_forked


def test_a_changed_state_of_the_test_is_inherited():
    """Such as the limit of descriptors: the server still has the former."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Popen([*ECHOCTL, "--version"], env=environment(), stdout=subprocess.DEVNULL):
        pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        with Popen(LASTING, env=environment(), stdout=subprocess.DEVNULL) as process:
            limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            process.kill()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert limits == (soft - 1, hard)


IN_A_CHANGED_STATE = """
import resource
from tests import fork_server

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
assert fork_server.unlike({})
assert not fork_server._server.cache_info().currsize
"""


def test_a_server_is_not_started_in_a_changed_state():
    """It would keep that state, such as the network of its first test, when the test has ended."""
    subprocess.run([sys.executable, "-c", IN_A_CHANGED_STATE], check=True, env=environment())


IN_THE_BACKGROUND = """
import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts a background job
from tests import conftest

assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
signal.signal(signal.SIGINT, signal.SIG_IGN)
conftest.pytest_runtest_setup()
assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
"""


def test_a_test_run_in_the_background_does_not_ignore_an_interrupt():
    subprocess.run([sys.executable, "-c", IN_THE_BACKGROUND], check=True, env=environment())


def test_the_environment_of_the_test_arrives(tmp_path):
    (tmp_path / "echod.toml").write_text("wrong")
    environ = environment(ECHOD_CONFIG=str(tmp_path / "echod.toml"))
    with Popen([*ECHOCTL, "check"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        output, errors = process.communicate(timeout=SECONDS)
    assert str(tmp_path).encode() in output + errors


def test_no_child_of_another_process_is_adopted():
    """An orphan becomes a child of init, which collects it, so that a test sees its end."""
    code = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=2).pid)"
    with Popen([*ECHOCTL, "--version"], env=environment(), stdout=subprocess.DEVNULL):
        pass
    orphan = int(subprocess.run([sys.executable, "-S", "-c", code], check=True, stdout=subprocess.PIPE).stdout)
    try:
        parent = re.search(r"^PPid:\t(\d+)", Path(f"/proc/{orphan}/status").read_text(), re.MULTILINE)
        assert parent
        assert int(parent[1]) != os.getpid()
    finally:
        os.kill(orphan, signal.SIGKILL)
