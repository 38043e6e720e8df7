"""Three incidents with echoctl alone: it names the cause, and its command, or the one that it leads to, is the cure."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.matrix import exactly
from tests.daemon import ECHOCTL, ECHOD, SECONDS, Daemon, environment, eventually, run
from tests.system_wide.superservers import own_network

pytestmark = pytest.mark.needs_root

ADMIN = '[admin]\nlisten = ["unix://{dir}/admin.sock"]\n'


def echoctl(file: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return run(*ECHOCTL, *words, env=environment(ECHOD_CONFIG=str(file)))


def doctor(file: Path, check: str) -> list[dict[str, Any]]:
    """The problems of one check, observed for a second."""
    found = json.loads(echoctl(file, "doctor", "--json").stdout)["findings"]
    return [one for one in found if one["check"] == check and one["severity"] != "notice"]


@contextmanager
def flood(place: tuple[str, int]) -> Iterator[None]:
    """Datagrams of one source, at least a thousand a second, until the end of the block."""
    over = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            while not over.wait(0.001):
                for number in range(20):
                    client.sendto(b"%d" % number, place)

    with own_thread(send):
        try:
            yield
        finally:
            over.set()


@contextmanager
def own_thread(target: Any) -> Iterator[None]:
    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield
    finally:
        thread.join(SECONDS)


def test_a_flood():
    """doctor names the listener, and the limit that decides or the flood; both end with the flood."""
    config = ADMIN + '[services.echo]\nlisten = ["udp://127.0.0.1:0"]\n[services.echo.limits]\nrate = "50/50"\n'
    with own_network(), Daemon(config) as daemon:
        file, place = daemon.dir / "echod.toml", daemon.inet("echo", "udp")
        assert doctor(file, "refusals") == []
        with flood(place):
            assert eventually(lambda: bool(doctor(file, "refusals")))
            found = doctor(file, "refusals")
            reasons = echoctl(file, "status").stdout.decode().partition("WHY")[2]
        assert all("echo udp://127.0.0.1:" in one["what"] for one in found)
        assert any(reason in reasons for reason in ("rate", "kernel", "repeat"))
        for one in found:
            assert "a flood or a loop" in one["what"] or one["needed"].startswith(
                "services.echo.limits.rate above 50/50"
            )
        assert eventually(lambda: doctor(file, "refusals") == []), "the incident is over"


def test_a_full_disk(tmp_path):
    """The daemon serves on. It reports lost lines, and doctor the full file system with its largest file."""
    small = tmp_path / "small"
    small.mkdir()
    file = tmp_path / "echod.toml"
    service = '[daemon]\nlog-level = "debug"\n[services.echo]\nlisten = ["unix://{dir}/echo.sock"]\n'
    file.write_text((service + ADMIN).replace("{dir}", str(tmp_path)))
    with ExitStack() as stack:
        if run("mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)).returncode:
            pytest.skip("a file system cannot be mounted here")
        stack.callback(run, "umount", "-l", str(small))
        log = stack.enter_context((small / "echod.log").open("ab"))
        process = stack.enter_context(
            subprocess.Popen([*ECHOD, "--config", str(file)], stderr=log, env=environment(), cwd=tmp_path)
        )
        stack.callback(process.kill)
        assert eventually(lambda: b" ready: " in (small / "echod.log").read_bytes())
        (small / "core").write_bytes(bytes(250_000)[: os.statvfs(small).f_bavail * os.statvfs(small).f_frsize])

        def lost() -> bool:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(SECONDS)
                client.connect(str(tmp_path / "echo.sock"))
                client.sendall(b"hello")
                assert exactly(client, 5) == b"hello"
            return b"the log has lost" in echoctl(file, "status").stdout

        assert eventually(lost)
        [disk] = doctor(file, "disks")
        assert f"{small}/echod.log (the log) is full" in disk["what"]
        listed = run("/bin/sh", "-c", disk["command"]).stdout.decode()
        assert f"{small}/core" in listed
        (small / "core").unlink()
        assert doctor(file, "disks") == []
        assert doctor(file, "state") == [], "no further line was lost"


def test_a_certificate_that_expires(tmp_path):
    """status counts the days, and the command of doctor renews it; the daemon then serves the new one."""
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 5 -subj /CN=echo.example"
    names = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "server.pem"))
    assert run(*made.split(), *names).returncode == 0
    tls = f'[services.echo.tls]\ncertificate = "{tmp_path}/server.pem"\nkey = "{tmp_path}/key.pem"\n'
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "echoctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m echod.client.main "$@"\n')
    (programs / "echoctl").chmod(0o755)
    with Daemon(ADMIN + '[services.echo]\nlisten = ["tls://127.0.0.1:0"]\n' + tls) as daemon:
        file = daemon.dir / "echod.toml"
        assert b"CN=echo.example of echo expires soon: 4 days left" in echoctl(file, "status").stdout.replace(
            b"5 days left", b"4 days left"
        )
        [problem] = doctor(file, "certificates")
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        cured = run("/bin/sh", "-c", problem["command"], env=environment(ECHOD_CONFIG=str(file), PATH=path))
        assert cured.returncode == 0, cured.stderr
        assert doctor(file, "certificates") == []
        assert b"expires soon" not in echoctl(file, "status").stdout
