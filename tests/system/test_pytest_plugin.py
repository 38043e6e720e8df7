"""The fixtures `echod` and `echod_factory` in a run of pytest that is not ours."""

import sys

import pytest

from tests.daemon import SECONDS, run

TESTS = """
import socket
import pytest

def talk(daemon):
    with socket.create_connection(daemon.address, 30) as client:
        client.sendall(b"hello")
        return client.recv(100)

def test_default(echod):
    assert talk(echod) == b"hello"
    assert [one.scheme for one in echod.listeners] == ["tcp", "udp"]

@pytest.mark.echod("upper=tcp://127.0.0.1:0", record=None)
def test_mark(echod):
    assert talk(echod) == b"HELLO"

@pytest.mark.echod(settings={"show": "text"})
def test_mark_without_addresses(echod):
    assert talk(echod) == b"hello"

def test_factory(echod_factory):
    one, two = echod_factory("echo=tcp://127.0.0.1:0"), echod_factory("ack=tcp://127.0.0.1:0")
    assert (talk(one), talk(two)) == (b"hello", b"received")

def test_fails(echod):
    echod.wait_for_log("ready: 3 listeners")
    assert talk(echod) == b"other"
"""


def pytest_run(folder, *words):
    """The output of pytest for the tests in a folder, and its exit code."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    ended = run(*command, cwd=folder, seconds=4 * SECONDS)  # three processes that start daemons
    return ended.stdout.decode(), ended.returncode


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    (tmp_path / "test_client.py").write_text(TESTS)
    return tmp_path


@pytest.mark.slow
def test_the_fixtures_and_the_log_of_a_failure_in_two_processes(folder):
    said, code = pytest_run(folder, "-n", "2")
    assert code == 1
    assert "1 failed, 4 passed" in said
    log = said.partition("Log of echod 1")[2]
    assert "ready: 3 listeners" in log
    assert "Log of echod 2" not in said


def test_a_run_that_does_not_use_it_does_not_import_it(tmp_path):
    (tmp_path / "test_client.py").write_text(
        "import sys\ndef test_unused():\n"
        "    ours = sorted(name for name in sys.modules if name.startswith('echod'))\n"
        "    assert ours == ['echod', 'echod.pytest_plugin']\n"
    )
    said, code = pytest_run(tmp_path, "-p", "no:xdist")
    assert code == 0, said
