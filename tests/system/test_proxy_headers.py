"""PROXY headers at a daemon process: what clients get, what the log says, and what a reload changes."""

from __future__ import annotations

import json
import re
import socket
import struct

import pytest

from echod.address import parse
from echod.client.admin import Administrator
from echod.socket_names import Inet
from echod.transports.layers.proxy_header import version_1, version_2
from tests.daemon import ECHOCTL, SECONDS, Daemon, eventually, free_port, run

CLIENT, TARGET = Inet("127.9.9.9", 5000), Inet("198.51.100.2", 7)
CONFIG = """
[daemon]
log-level = "debug"
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.whoami]
listen = ["tcp://127.0.0.1:PORT?proxy=any"]
proxy-from = ["127.0.0.1"]
"""


@pytest.fixture
def daemon():
    with Daemon(CONFIG.replace("PORT", str(free_port()))) as made:
        yield made


def ask(daemon: Daemon, header: bytes = b"") -> dict[str, object]:
    with socket.create_connection(daemon.inet("whoami", "tcp"), SECONDS) as client:
        client.sendall(header)
        facts: dict[str, object] = json.loads(client.makefile("rb").read())
        return facts


def test_the_client_of_a_header_is_served_and_logged_with_its_proxy(daemon):
    for header in (version_1(CLIENT, TARGET), version_2(CLIENT, TARGET)):
        facts = ask(daemon, header)
        assert (facts["remote_address"], facts["remote_port"]) == CLIENT
        assert isinstance(facts["proxy"], dict)
    assert daemon.stop() == 0
    lines = [line for line in daemon.stderr.text if f"from {CLIENT} (proxy 127.0.0.1:" in line]
    assert len(lines) == 4
    assert re.search(r"\) ended: done, 0 in, \d+ out$", lines[-1])


def test_the_start_and_the_status_show_that_an_address_expects_headers(daemon):
    url = daemon.url("whoami", "tcp")
    assert [line for line in daemon.stderr.text if line.endswith(f"info  whoami  {url}?proxy=any")]
    shown = run(*ECHOCTL, "status", "--admin", f"unix://{daemon.dir}/admin.sock")
    assert f"{url}?proxy=any".encode() in shown.stdout
    with Administrator(parse(f"unix://{daemon.dir}/admin.sock")) as administrator:
        [service] = administrator.ask("/api/status")["services"]
    assert [(one["address"], one["proxy"]) for one in service["listeners"]] == [(url, "any")]


def test_a_health_check_is_not_an_error_and_a_wrong_header_is_logged_with_its_reason(daemon):
    place = daemon.inet("whoami", "tcp")
    for reset in (0, 1):
        with socket.create_connection(place, SECONDS) as check:
            check.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
    assert eventually(lambda: sum(" ended: done, 0 in, 0 out" in line for line in daemon.stderr.text) == 2)
    with pytest.raises(ConnectionResetError):
        ask(daemon, b"GET / HTTP/1.1\r\n\r\n")
    counters = daemon.counters()["whoami " + daemon.url("whoami", "tcp")]
    assert (counters["closed:done"], counters["closed:handshake"]) == (2, 1)
    told = re.compile(" (warn|error) .*127.0.0.1:|handshake with ")
    wrong = [line for line in daemon.stderr.text if told.search(line)]
    assert len(wrong) == 1
    assert wrong[0].endswith("failed: no PROXY header of version 1 or 2, but 'GET / HTTP/1'")


def test_a_reload_changes_the_proxies_and_adds_and_removes_the_header(daemon):
    file = daemon.dir / "echod.toml"
    first = file.read_text()
    header = version_1(CLIENT, TARGET)

    def reload(text: str) -> None:
        file.write_text(text)
        with Administrator(parse(f"unix://{daemon.dir}/admin.sock")) as administrator:
            administrator.ask("/api/reload", "POST")

    reload(first.replace('["127.0.0.1"]', '["192.0.2.1"]'))
    with pytest.raises(ConnectionResetError):
        ask(daemon, header)
    reload(first.replace("?proxy=any", "").replace("proxy-from", "#"))
    assert ask(daemon)["remote_address"] == "127.0.0.1"
    reload(first)
    assert ask(daemon, header)["remote_address"] == CLIENT.host


@pytest.mark.parametrize("plane", ["auto", "off"])
def test_an_open_connection_continues_across_a_reload_with_its_client(plane):
    text = CONFIG.replace("whoami", "echo").replace("PORT", str(free_port()))
    with (
        Daemon(text.replace("[daemon]", f'[daemon]\nplane = "{plane}"')) as daemon,
        socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client,
    ):
        client.sendall(version_2(CLIENT, TARGET) + b"before")
        assert client.recv(100) == b"before"
        file = daemon.dir / "echod.toml"
        file.write_text(file.read_text() + BUFFER)  # needs another listener on the same socket
        with Administrator(parse(f"unix://{daemon.dir}/admin.sock")) as administrator:
            administrator.ask("/api/reload", "POST")
            [told] = administrator.ask("/api/connections")
            assert (told["peer"], told["proxy"]) == (str(CLIENT), str(Inet(*client.getsockname())))
        client.sendall(b"after")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"after"
        counters = daemon.counters()["echo " + daemon.url("echo", "tcp")]
        assert (counters["accepted"], counters["bytes_in"], counters["bytes_out"]) == (1, 11, 11)


BUFFER = """
[services.echo.limits]
buffer = "32KiB"
"""


def test_each_datagram_names_its_client_and_the_reply_has_no_header():
    text = CONFIG.replace("tcp", "udp").replace("=any", "=v2").replace("PORT", "0")
    with Daemon(text) as daemon, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as proxy:
        proxy.settimeout(SECONDS)
        proxy.connect(daemon.inet("whoami", "udp"))
        for port in (5000, 5001):
            proxy.send(version_2(Inet(CLIENT.host, port), TARGET, datagrams=True) + b"?")
            facts = json.loads(proxy.recv(65_536))
            assert (facts["remote_address"], facts["remote_port"]) == (CLIENT.host, port)
            assert facts["proxy"]["port"] == proxy.getsockname()[1]
            assert facts["ttl"] == 64
        proxy.send(b"no header")
        proxy.send(version_2(Inet("127.0.0.1", 5000), TARGET, datagrams=True))
        assert json.loads(proxy.recv(65_536))["remote_address"] == "127.0.0.1"
        counters = daemon.counters()["whoami " + daemon.url("whoami", "udp")]
        assert (counters["datagrams_in"], counters["datagrams_out"], counters["refused:header"]) == (4, 3, 1)


@pytest.mark.parametrize("version", [pytest.param("v1", marks=pytest.mark.slow), "v2"])
def test_echoctl_sends_a_header_as_a_proxy_does(daemon, version):
    url = daemon.url("whoami", "tcp")
    for source in ("127.9.9.9:5000", "[::1]:5000"):
        done = run(*ECHOCTL, "send", "--proxy", version, "--proxy-source", source, url, "text")
        facts = json.loads(done.stdout)
        assert str(Inet(facts["remote_address"], facts["remote_port"])) == source
        assert facts["proxy"]["destination_port"] == int(url.rpartition(":")[2])
    facts = json.loads(run(*ECHOCTL, "send", "--proxy", version, url, "text").stdout)
    assert facts["remote_port"] == facts["proxy"]["port"]
    assert run(*ECHOCTL, "send", url, "text").stderr.endswith(b"connection reset by peer (ECONNRESET)\n")


@pytest.mark.parametrize(("scheme", "version"), [("tcp", "v1"), ("tcp", "v2"), ("udp", "v2")])
def test_echoctl_pings_behind_a_header(scheme, version):
    text = CONFIG.replace("whoami", "echo").replace("tcp", scheme).replace("=any", f"={version}").replace("PORT", "0")
    with Daemon(text) as daemon:
        words = ("ping", "-c", "3", "-i", "10ms", "--json", "--proxy", version, "--proxy-source", "127.9.9.9:5000")
        done = run(*ECHOCTL, *words, daemon.url("echo", scheme))
        assert (done.returncode, json.loads(done.stdout)["received"]) == (0, 3)
