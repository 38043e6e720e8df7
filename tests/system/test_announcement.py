"""`echod --announce json`: the line with the real addresses, as a program reads it that has started the daemon."""

import json
import socket
import ssl
from urllib.parse import urlsplit

import pytest

from echod.testing.announced import inet_of
from tests.daemon import ECHOD, SECONDS, TWISTD, Daemon, free_port, place_of, run

CONFIG = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://[::1]:0", "tls://127.0.0.1:0", "unix://{dir}/a%20b.sock?mode=0600"]
tls.certificate = "self-signed"
[services.some]
kind = "ack"
show = "text"
listen = ["tcp://127.0.0.1:RANGE", "tcp:0:interface=127.0.0.1", "tcp://192.0.2.99:7?retry=1m"]
[services.pages]
kind = "echo"
listen = ["ws://*:0/echo"]
"""


def announced(daemon):
    """The announcement; it is the first line of the daemon's output."""
    daemon.stdout.wait_for(r'^\{"version": ')
    content = json.loads(daemon.stdout.raw[0])
    assert content["pid"] == daemon.process.pid
    return content


@pytest.fixture(scope="module")
def daemon():
    """A daemon with an address of every form."""
    port = free_port(count=2)
    config = CONFIG.replace("RANGE", f"{port}-{port + 1}")
    with Daemon(config, options=["--announce", "json"]) as daemon:
        yield daemon


def test_it_lists_every_listener_with_its_actual_port(daemon):
    listeners = announced(daemon)["listeners"]
    names = [(one["service"], one["kind"], urlsplit(one["url"]).scheme) for one in listeners]
    assert names == [
        *(("echo", "echo", scheme) for scheme in ("tcp", "udp", "tls", "unix")),
        *[("some", "ack", "tcp")] * 3,
        ("pages", "echo", "ws"),
        ("admin", "admin", "unix"),
    ]
    for one in listeners:
        url = one["url"]
        if url.startswith("unix"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(place_of(url))
        elif url.startswith("udp"):
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
                client.settimeout(SECONDS)
                client.connect(inet_of(url))
                client.send(b"hello")
                assert client.recv(9) == b"hello"
        else:
            socket.create_connection(inet_of(url), SECONDS).close()
    assert len({one["url"] for one in listeners}) == len(listeners)
    assert 0 not in {urlsplit(one["url"]).port for one in listeners}


def test_it_lists_addresses_that_do_not_exist_yet(daemon):
    [awaited] = announced(daemon)["awaited"]
    assert (awaited["service"], awaited["address"]) == ("some", "tcp://192.0.2.99:7")


def test_a_client_that_trusts_the_announced_certificate_verifies_the_server(daemon):
    [tls] = [one for one in announced(daemon)["listeners"] if "ca" in one]
    context = ssl.create_default_context(cadata=tls["ca"])
    with context.wrap_socket(
        socket.create_connection(inet_of(tls["url"]), SECONDS), server_hostname="127.0.0.1"
    ) as client:
        certificate = client.getpeercert(binary_form=True)
        client.sendall(b"hello")
        assert client.recv(9) == b"hello"
    assert ssl.PEM_cert_to_DER_cert(tls["ca"]) == certificate
    assert "PRIVATE" not in daemon.stdout.text[0]
    assert "127.0.0.1" in tls["names"]


def test_the_issuer_of_a_wrong_certificate_is_announced():
    config = '[services.echo]\nlisten = ["tls://127.0.0.1:0"]\ntls.certificate = "expired"\n'
    with Daemon(config, options=["--announce", "json"]) as daemon:
        [tls] = announced(daemon)["listeners"]
        assert tls["ca"].count("BEGIN CERTIFICATE") == 1
        assert "PRIVATE" not in daemon.stdout.text[0]
        context = ssl.create_default_context(cadata=tls["ca"])
        with (
            socket.create_connection(inet_of(tls["url"]), SECONDS) as client,
            pytest.raises(ssl.SSLCertVerificationError, match="expired"),
        ):
            context.wrap_socket(client, server_hostname="127.0.0.1")


def test_the_output_of_services_follows_it():
    with Daemon(listen=["ack=tcp://127.0.0.1:0"], options=["--announce", "json", "--show"]) as daemon:
        [one] = announced(daemon)["listeners"]
        with socket.create_connection(inet_of(one["url"]), SECONDS) as client:
            client.sendall(b"hello")
            assert client.recv(9) == b"received"
        daemon.stdout.wait_for("hello")
        assert len(daemon.stdout.raw) == 2


@pytest.mark.parametrize("command", [ECHOD, (*TWISTD, "--nodaemon", "--pidfile=", "echod")], ids=["echod", "twistd"])
def test_an_unknown_format_is_a_usage_error(command):
    ended = run(*command, "--announce", "xml")
    assert (ended.returncode, ended.stdout) == (64, b"")
    assert b"echod: --announce: xml is not a format; expected json" in ended.stderr


def test_a_daemon_in_the_background_refuses_it(tmp_path):
    ended = run(*TWISTD, "--pidfile", tmp_path / "pid", "echod", "--announce", "json", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (64, b"")
    assert ended.stderr.startswith(b"echod: --announce: a daemon in the background has no standard output; expected")
    assert list(tmp_path.iterdir()) == []
