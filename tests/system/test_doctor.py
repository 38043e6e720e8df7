"""`echoctl doctor` on this machine: no false alarm, its output, and its exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.daemon import ECHOCTL, SECONDS, TOP, Daemon, environment, free_port, run
from tests.fork_server import Popen

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


def refusal(daemon: Daemon, visit: Callable[[], None]) -> dict[str, Any]:
    """The finding of doctor about refused clients; `visit` is called while it observes, until it has seen a refusal."""
    words = [*ECHOCTL, "doctor", "--json", "--wait", "500ms", "--config", str(daemon.dir / "echod.toml")]
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        with Popen(words, stdout=subprocess.PIPE, env=environment()) as process:
            while process.poll() is None:
                with contextlib.suppress(ConnectionResetError):
                    visit()
                time.sleep(0.05)
            assert process.stdout is not None
            findings = json.load(process.stdout)["findings"]
        if found := [one for one in findings if one["check"] == "refusals"]:
            [one] = found
            return dict(one)
    raise AssertionError("doctor saw no refused client")


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
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
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
    printed = run(*ECHOCTL, "doctor", "--config", str(file)).stdout.decode().splitlines()
    assert printed[-1] == "the configuration has errors, so this machine was not checked"


def test_refusals_during_the_observation_are_reported():
    """A client of a denied network connects while doctor observes."""
    with Daemon(CONFIG) as daemon:
        host, port = daemon.inet("echo", "tcp")

        def visit() -> None:
            with socket.socket() as client:
                client.bind(("127.0.0.9", 0))
                client.settimeout(SECONDS)
                client.connect((host, port))
                client.recv(1)

        one = refusal(daemon, visit)
        assert one["needed"] == "a change of services.echo.allow or deny, if you know these clients"


def test_another_program_at_the_admin_address_is_reported(tmp_path):
    """Its response is JSON, and not a status."""

    def answer(other: socket.socket) -> None:
        while True:
            try:
                client, _ = other.accept()
            except OSError:
                return
            with client:
                client.recv(4096)
                client.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"pid": {}} ')

    file = tmp_path / "echod.toml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=answer, args=(other,), daemon=True)
        thread.start()
        host, port = other.getsockname()
        file.write_text(f'[admin]\nlisten = ["tcp://{host}:{port}"]\n[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n')
        _, found = doctor("--config", file)
        other.shutdown(socket.SHUT_RDWR)
    thread.join(SECONDS)
    [one] = [one for one in found["findings"] if one["check"] == "admin"]
    assert one["severity"] == "error"
    assert "the response is not from an echod" in one["found"]


def test_the_command_for_a_limit_raises_it(tmp_path):
    """The client that has the only connection of its address opens others while doctor observes."""
    limited = CONFIG + "[services.echo.limits]\nper-client = 1\n"
    (tmp_path / "echoctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m echod.client.main "$@"\n')
    (tmp_path / "echoctl").chmod(0o755)
    with Daemon(limited) as daemon:
        place = daemon.inet("echo", "tcp")

        def visit() -> None:
            with socket.create_connection(place, SECONDS) as refused:
                refused.recv(1)

        with socket.create_connection(place, SECONDS):
            one = refusal(daemon, visit)
        assert one["needed"] == "services.echo.limits.per-client above 1, if you know these clients"
        assert one["command"].endswith(f" && echoctl reload --admin unix://{daemon.dir}/admin.sock")
        environ = environment(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        cured = run("/bin/sh", "-c", one["command"], env=environ)
        assert (cured.returncode, cured.stderr) == (0, b"")
        with socket.create_connection(place, SECONDS) as first, socket.create_connection(place, SECONDS) as second:
            for client in (first, second):
                client.sendall(b"x")
                assert client.recv(1) == b"x"
