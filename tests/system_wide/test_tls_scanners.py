"""TLS as scanners and `openssl s_client` see it: the profiles, and what no client can make the server do."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from echod.testing.output import Output
from echod.tls import issuing
from tests.daemon import SECONDS, Daemon, eventually
from tests.system_wide.others import ended, tool
from tests.system_wide.python_programs import installed

pytestmark = pytest.mark.needs_tools

SSLYZE = "6.3.1"
CONFIG = """
[services.intermediate]
kind = "echo"
listen = ["tls://127.0.0.1:0"]
[services.intermediate.tls]
certificate = "cert.pem"
[services.modern]
kind = "echo"
listen = ["tls://127.0.0.1:0"]
[services.modern.tls]
certificate = "cert.pem"
profile = "modern"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Daemon]:
    now = datetime.now(UTC)
    authority = issuing.authority(now)
    made = issuing.server(authority, ["localhost", "127.0.0.1"], now, 89)
    daemon = Daemon(CONFIG)
    (daemon.dir / "cert.pem").write_bytes(made.certificate_pem + made.key_pem)
    (daemon.dir / "ca.pem").write_bytes(authority.certificate_pem)
    with daemon:
        yield daemon


def place(server: Daemon, service: str = "intermediate") -> str:
    host, port = server.inet(service, "tls")
    return f"{host}:{port}"


class Conversation:
    """`openssl s_client`, whose commands begin a line."""

    def __init__(self, server: Daemon, *options: str | Path) -> None:
        words = (tool("openssl"), "s_client", "-connect", place(server), "-CAfile", server.dir / "ca.pem", *options)
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        assert self.process.stdout is not None
        self.lines = Output(self.process.stdout)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def has_updated(self, times: int) -> bool:
        """Whether it has updated its keys so often."""
        return self.lines.text.count("KEYUPDATE") == times

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(SECONDS)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.lines.close()


@pytest.mark.parametrize("profile", ["intermediate", "modern"])
def test_sslyze_finds_the_profile_compliant(server, profile):
    program = installed("sslyze", SSLYZE)
    process = ended(
        program,
        f"--mozilla_config={profile}",
        f"--certinfo_ca_file={server.dir}/ca.pem",
        place(server, profile),
        seconds=3 * SECONDS,
    )
    assert process.returncode == 0, process.stdout.decode()
    assert f"{place(server, profile)}: OK - Compliant.".encode() in process.stdout


def test_testssl_finds_no_vulnerability(server):
    words = (tool("testssl"), "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "-p", "-U")
    output = ended(*words, place(server), seconds=5 * SECONDS).stdout.decode("utf-8", "replace")
    assert "TLS 1.3    offered (OK): final" in output
    for old in ("SSLv2", "SSLv3", "TLS 1 ", "TLS 1.1"):
        assert re.search(rf"{re.escape(old)}\s+not offered", output), output
    assert len(re.findall(r"not vulnerable", output)) >= 8
    assert not re.findall(r"(?m)^.*(?:VULNERABLE|NOT ok).*$", output)


def test_renegotiation_is_refused(server):
    with Conversation(server, "-tls1_2") as client:
        client.say("hello")
        client.lines.wait_for("^hello$")
        client.say("R")
        client.lines.wait_for("no renegotiation|no_renegotiation")
    with Conversation(server, "-tls1_2") as client:
        client.say("still served")
        client.lines.wait_for("^still served$")


def test_keys_can_be_updated(server):
    with Conversation(server, "-tls1_3") as client:
        client.say("hello")
        client.lines.wait_for("^hello$")
        for number in range(10):
            client.say("K" if number % 2 else "k")
            assert eventually(partial(client.has_updated, number + 1))
            client.say(f"number {number}")
            client.lines.wait_for(f"^number {number}$")


def test_early_data_is_refused(server, tmp_path):
    (tmp_path / "early").write_bytes(b"early data")
    with Conversation(server, "-tls1_3", "-sess_out", tmp_path / "session") as first:
        first.say("hello")
        first.lines.wait_for("^hello$")
        assert eventually((tmp_path / "session").exists)
    with Conversation(server, "-sess_in", tmp_path / "session", "-early_data", tmp_path / "early") as again:
        again.lines.wait_for("Early data was not sent")
        again.say("hello")
        again.lines.wait_for("^hello$")
    assert "early data" not in "\n".join(again.lines.text)
