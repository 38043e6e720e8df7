"""TLS clients of other languages and tools against echod: everything comes back, after a half-close if they can."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from echod.testing.output import Output
from tests.contract.matrix import data
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, free_port, run
from tests.system_wide.others import ended, tool

pytestmark = pytest.mark.needs_tools

SOURCES = Path(__file__).with_name("tls_clients")
SENT = data(1 << 20)
SOME = b"hello\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients") / "pki"
    assert run(*ECHOCTL, "certificates", folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def daemon(pki):
    config = f"""
        [services.echo]
        listen = ["tls://*:0"]
        [services.echo.tls]
        certificate = "{pki}/server.pem"
        key = "{pki}/server-key.pem"
        [services.verified]
        kind = "echo"
        listen = ["tls://*:0"]
        [services.verified.tls]
        certificate = "{pki}/server.pem"
        key = "{pki}/server-key.pem"
        client-ca = "{pki}/ca.pem"
    """
    with Daemon(config) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    folder = tmp_path_factory.mktemp("go")
    build = (tool("go"), "build", "-o", folder / "echo", SOURCES / "echo.go")
    built = run(*build, env=environment(HOME=str(folder), GOFLAGS="-mod=mod", GO111MODULE="off"), seconds=3 * SECONDS)
    assert built.returncode == 0, built.stderr
    return folder / "echo"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(
    ("program", "source"),
    [("java", "Echo.java"), ("node", "echo.js"), ("perl", "echo.pl"), ("ruby", "echo.rb"), ("php", "echo.php")],
)
def test_a_program_gets_everything_back(daemon, pki, program, source, version):
    _, port = daemon.inet("echo", "tls")
    process = ended(tool(program), SOURCES / source, str(port), pki / "ca.pem", version, given=SENT)
    assert process.returncode == 0, process.stderr
    assert process.stdout == SENT


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_go_gets_everything_back(daemon, pki, go, version):
    _, port = daemon.inet("echo", "tls")
    process = ended(go, str(port), pki / "ca.pem", version, given=SENT)
    assert process.returncode == 0, process.stderr
    assert process.stdout == SENT


def test_gnutls_cli_gets_everything_after_its_half_close(daemon, pki):
    _, port = daemon.inet("echo", "tls")
    words = (tool("gnutls-cli"), "--logfile=/dev/null", f"--x509cafile={pki}/ca.pem", "--port", str(port), "localhost")
    process = ended(*words, given=SENT)
    assert process.returncode == 0, process.stderr
    assert process.stdout == SENT


def test_socat_gets_everything_after_its_half_close(daemon, pki):
    _, port = daemon.inet("echo", "tls")
    where = f"OPENSSL:localhost:{port},cafile={pki}/ca.pem"
    process = ended(tool("socat"), "-t", str(int(SECONDS)), "-", where, given=SOME)
    assert (process.returncode, process.stdout) == (0, SOME)


def test_ncat_verifies_and_gets_its_line(daemon, pki):
    _, port = daemon.inet("echo", "tls")
    words = (tool("ncat"), "--ssl-verify", "--ssl-trustfile", pki / "ca.pem", "localhost", str(port))
    process = ended(*words, given=SOME)
    assert (process.returncode, process.stdout) == (0, SOME)


def test_s_client_presents_a_certificate(daemon, pki):
    host, port = daemon.inet("verified", "tls")
    words = (tool("openssl"), "s_client", "-quiet", "-verify_return_error", "-CAfile", pki / "ca.pem",
             "-cert", pki / "client.pem", "-key", pki / "client-key.pem", "-connect", f"{host}:{port}")  # fmt: skip
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(SOME)
        process.stdin.flush()
        assert process.stdout.readline() == SOME
        process.kill()


def test_echoctl_presents_a_certificate_or_is_refused_in_words(daemon, pki):
    _, port = daemon.inet("verified", "tls")
    words = (*ECHOCTL, "send", f"tls://localhost:{port}", "--ca", pki / "ca.pem", "hello")
    presented = run(*words, "--cert", pki / "client.pem", "--key", pki / "client-key.pem")
    assert (presented.returncode, presented.stdout, presented.stderr) == (0, b"hello", b"")
    refused = run(*words)
    assert refused.returncode == 1
    assert refused.stderr.decode() == (
        f"echoctl: tls://localhost:{port}: the server refused the handshake (certificate_required): it requires a"
        " client certificate, and none was presented; see --cert, --key\n"
    )


def test_stunnel_as_a_client_passes_everything(daemon, pki, tmp_path):
    host, port = daemon.inet("echo", "tls")
    here = free_port()
    config = tmp_path / "stunnel.conf"
    config.write_text(
        f"foreground = yes\npid =\n[echo]\nclient = yes\naccept = 127.0.0.1:{here}\nconnect = {host}:{port}\n"
        f"CAfile = {pki}/ca.pem\nverifyChain = yes\ncheckHost = localhost\n"
    )
    process = subprocess.Popen((tool("stunnel4", "stunnel"), config), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stderr is not None
    lines = Output(process.stderr)
    try:
        lines.wait_for("Configuration successful")
        sent = run(*ECHOCTL, "send", f"tcp://127.0.0.1:{here}", input=SENT)
        assert (sent.returncode, sent.stderr) == (0, b"")
        assert sent.stdout == SENT
    finally:
        process.kill()
        process.wait(SECONDS)
        lines.close()
