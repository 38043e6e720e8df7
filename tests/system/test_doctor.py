"""`echoctl doctor` on this machine: no false alarm, its output, and its exit codes."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import Any

import pytest

from tests.daemon import ECHOCTL, TOP, Daemon, free_port, run

CONFIG = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/echo.sock"]
deny = ["127.0.0.9"]
"""


def doctor(*words: object) -> tuple[int, dict[str, Any]]:
    """The exit code, and the JSON object of a run that observes no counters: other tests cause drops."""
    ended = run(*ECHOCTL, "doctor", "--json", "--wait", "0", *map(str, words))
    assert ended.stderr == b""
    return ended.returncode, json.loads(ended.stdout)


def problems(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in found["findings"] if one["severity"] != "notice"]


def test_the_shipped_configuration_has_no_problem_on_this_machine():
    """Only its ports may be taken, by another daemon of this machine."""
    code, found = doctor("--config", TOP / "etc" / "echod.toml")
    others = [one for one in problems(found) if one["check"] != "ports"]
    assert others == []
    assert (code, found["problems"]) == (bool(problems(found)), len(problems(found)))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_running_daemon_has_no_problem(workers):
    port = free_port()
    with Daemon(f"[daemon]\nworkers = {workers}\n" + CONFIG.replace("127.0.0.1:0", f"127.0.0.1:{port}")) as daemon:
        file = daemon.dir / "echod.toml"
        code, found = doctor("--config", file)
        assert (code, problems(found)) == (0, [])
        assert not [one for one in found["findings"] if one["check"] == "admin"], "the admin interface answered"


def test_a_taken_port_is_an_error_with_its_process(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        file = tmp_path / "echod.toml"
        file.write_text(f'[services.echo]\nlisten = ["tcp://127.0.0.1:{port}"]\n')
        code, found = doctor("--config", file)
        [one] = [one for one in problems(found) if one["check"] == "ports"]
        assert code == 1
        assert one["what"] == f"tcp://127.0.0.1:{port}: taken"
        assert one["found"].startswith("process ")
        printed = run(*ECHOCTL, "doctor", "--wait", "0", "--config", str(file)).stdout.decode()
        assert printed.startswith(f"error: tcp://127.0.0.1:{port}: taken\n  found: process ")
        assert f"\n  command: {one['command']}\n" in printed
    assert [one for one in problems(doctor("--config", file)[1]) if one["check"] == "ports"] == []


def test_a_wrong_configuration_is_a_problem(tmp_path):
    file = tmp_path / "echod.toml"
    file.write_text("[services.ecoh]\nlisten = [7]\n")
    code, found = doctor("--config", file)
    assert code == 1
    assert {one["check"] for one in found["findings"]} == {"configuration"}
    what = [one["what"] for one in found["findings"]]
    assert any(one.startswith(f'{file}:1: services.ecoh: unknown kind "ecoh"; did you mean echo?') for one in what)
    assert found["problems"] == len(found["findings"]) == 2


def test_refusals_during_the_observation_are_reported():
    """A client of a denied network connects while doctor observes."""
    with Daemon(CONFIG) as daemon:
        host, port = daemon.inet("echo", "tcp")
        words = [*ECHOCTL, "doctor", "--json", "--wait", "1s", "--config", str(daemon.dir / "echod.toml")]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            while process.poll() is None:
                with socket.socket() as client:
                    client.bind(("127.0.0.9", 0))
                    client.settimeout(5)
                    try:
                        client.connect((host, port))
                        client.recv(1)
                    except ConnectionResetError:
                        pass
            assert process.stdout is not None
            found = json.load(process.stdout)
        [one] = [one for one in found["findings"] if one["check"] == "refusals"]
        assert one["needed"] == "a change of services.echo.allow, if you know these clients"
