"""Real proxies in front of echod: what they send as PROXY headers, and what echod reports of it."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from echod.address import parse
from echod.client.admin import Administrator
from echod.socket_names import Inet
from tests.daemon import ECHOCTL, SECONDS, Daemon, accepts, environment, eventually, free_port
from tests.system_wide.others import file, said, tool
from tests.system_wide.superservers import own_network

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tools]

CLIENT = "127.9.9.9"
MANY = 8 * 1024 * 1024
CONFIG = """
[daemon]
plane = "{plane}"
[defaults]
proxy-from = ["127.0.0.1"]
[services.whoami]
listen = ["tcp://127.0.0.1:0?proxy=any"]
[services.whoami-tls]
kind = "whoami"
listen = ["tls://127.0.0.1:0?proxy=any"]
[services.whoami-tls.tls]
certificate = "self-signed"
[services.echo]
listen = ["tcp://127.0.0.1:0?proxy=any"]
[services.discard]
listen = ["udp://127.0.0.1:0?proxy=v2"]
show = "hex"
"""
HAPROXY = """
global
  log stderr local0 crit
defaults
  mode tcp
  timeout connect 60s
  timeout client 60s
  timeout server 60s
  retries 0
listen v1
  bind 127.0.0.1:{v1}
  server echod {whoami} send-proxy
listen v2
  bind 127.0.0.1:{v2}
  server echod {whoami} send-proxy-v2
listen everything
  bind 127.0.0.1:{everything} ssl crt {dir}/both.pem ca-file {dir}/ca.pem verify optional alpn echo
  unique-id-format id-%ci
  server echod {whoami} send-proxy-v2 proxy-v2-options {options}
listen ssl
  bind 127.0.0.1:{ssl} ssl crt {dir}/both.pem
  server echod {whoami} send-proxy-v2-ssl
listen encrypted
  bind 127.0.0.1:{encrypted}
  server echod {tls} send-proxy-v2 ssl verify none
listen echo
  bind 127.0.0.1:{echo}
  server echod {echod} send-proxy-v2 proxy-v2-options crc32c
"""
OPTIONS = "crc32c,unique-id,authority,ssl,cert-cn,ssl-cipher,cert-sig,cert-key"
CHECKED = """
listen checked
  bind 127.0.0.1:{port}
  option tcp-check
  server with {echod} send-proxy-v2 check-send-proxy check inter 50ms
  server without {echod} check inter 50ms
"""


@pytest.fixture(scope="module", params=["auto", "off"], ids=lambda plane: f"plane-{plane}")
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with Daemon(CONFIG.replace("{plane}", request.param)) as started:
        yield started
        started.check()
        assert started.stop() == 0


@contextmanager
def running(words: Sequence[str | Path], *ports: int) -> Iterator[subprocess.Popen[bytes]]:
    """A proxy in the foreground, when it accepts on these ports."""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, env=environment()) as process:
        try:
            assert eventually(lambda: process.poll() is not None or all(accepts(("127.0.0.1", port)) for port in ports))
            assert process.poll() is None
            yield process
        finally:
            process.terminate()


def address(daemon: Daemon, service: str, scheme: str = "tcp") -> str:
    return str(Inet(*daemon.inet(service, scheme)))


def connect(port: int) -> socket.socket:
    """A connection of the client, from its own address."""
    return socket.create_connection(("127.0.0.1", port), SECONDS, source_address=(CLIENT, 0))


def whoami(client: socket.socket) -> dict[str, Any]:
    with client, client.makefile("rb") as answer:
        facts: dict[str, Any] = json.loads(answer.read())
    return facts


def names(facts: dict[str, Any], client: tuple[str, int], version: int) -> None:
    """The facts name the client, and the proxy as another one."""
    assert (facts["remote_address"], facts["remote_port"]) == client
    assert (facts["proxy"]["version"], facts["proxy"]["address"]) == (version, "127.0.0.1")
    assert facts["proxy"]["port"] != client[1]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki") / "pki"
    said(*ECHOCTL, "certificates", folder, "echo.example")
    (folder / "both.pem").write_bytes((folder / "server.pem").read_bytes() + (folder / "server-key.pem").read_bytes())
    return folder


@pytest.fixture(scope="module")
def haproxy(daemon: Daemon, pki: Path) -> Iterator[dict[str, int]]:
    """HAProxy, and the port of each of its parts."""
    program = tool("haproxy")
    ports = {name: free_port() for name in ("v1", "v2", "everything", "ssl", "echo", "encrypted")}
    config = pki / "haproxy.cfg"
    places = {"whoami": address(daemon, "whoami"), "echod": address(daemon, "echo")}
    places["tls"] = address(daemon, "whoami-tls", "tls")
    config.write_text(HAPROXY.format(dir=pki, options=OPTIONS, **places, **ports))
    with running([program, "-db", "-f", config], *ports.values()):
        yield ports


@pytest.mark.parametrize(("name", "version"), [("v1", 1), ("v2", 2)])
def test_haproxy_names_its_client(haproxy, name, version):
    client = connect(haproxy[name])
    own = Inet(*client.getsockname())
    facts = whoami(client)
    names(facts, own, version)
    assert (facts["proxy"]["destination_address"], facts["proxy"]["destination_port"]) == ("127.0.0.1", haproxy[name])


@pytest.mark.parametrize("with_certificate", [True, False])
def test_haproxy_tells_of_tls(haproxy, pki, with_certificate):
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    context.set_alpn_protocols(["echo"])
    if with_certificate:
        context.load_cert_chain(pki / "client.pem", pki / "client-key.pem")
    client = context.wrap_socket(connect(haproxy["everything"]), server_hostname="echo.example")
    own, cipher = Inet(*client.getsockname()), client.cipher()
    facts = whoami(client)
    names(facts, own, 2)
    proxy = facts["proxy"]
    assert cipher is not None
    assert (proxy["authority"], proxy["unique_id"]) == ("echo.example", f"id-{CLIENT}")
    assert "tlvs" not in proxy
    tls = proxy["ssl"]
    assert (tls["tls"], tls["version"], tls["cipher"]) == (True, "TLSv1.3", cipher[0])
    assert tls["certificate_on_connection"] is with_certificate
    assert ("common_name" in tls) is with_certificate
    assert tls["verify"] == 0 or not with_certificate


def test_haproxy_tells_of_tls_in_short(haproxy):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    facts = whoami(context.wrap_socket(connect(haproxy["ssl"])))
    assert facts["proxy"]["ssl"]["version"] == "TLSv1.3"


def test_the_header_comes_before_the_handshake_of_tls(haproxy):
    client = connect(haproxy["encrypted"])
    own = Inet(*client.getsockname())
    facts = whoami(client)
    names(facts, own, 2)
    assert facts["tls"]["version"] == "TLSv1.3"


def test_a_stream_behind_haproxy_loses_nothing(haproxy):
    asked = random.Random(39).randbytes(MANY)
    answer = subprocess.run(
        [*ECHOCTL, "send", f"tcp://127.0.0.1:{haproxy['echo']}"],
        input=asked,
        stdout=subprocess.PIPE,
        check=True,
        env=environment(),
        timeout=SECONDS,
    ).stdout
    assert hashlib.sha256(answer).digest() == hashlib.sha256(asked).digest()


def test_health_checks_are_not_errors(tmp_path):
    """HAProxy resets its connection, after a LOCAL header or within the handshake of TCP."""
    program = tool("haproxy")
    admin = '[admin]\nlisten = ["unix://{dir}/admin.sock"]\n'
    with Daemon(CONFIG.replace("{plane}", "auto") + admin) as daemon:
        config = tmp_path / "haproxy.cfg"
        checked = CHECKED.format(port=free_port(), echod=address(daemon, "echo"))
        config.write_text(HAPROXY.partition("listen")[0] + checked)

        def accepted() -> int:
            with Administrator(parse(f"unix://{daemon.dir}/admin.sock")) as administrator:
                [echo] = [one for one in administrator.ask("/api/status")["services"] if one["name"] == "echo"]
                return int(echo["listeners"][0]["accepted"])

        with running([program, "-db", "-f", config]):
            assert eventually(lambda: accepted() >= 20)
        counters = daemon.counters()["echo " + daemon.url("echo", "tcp")]
        # HAProxy closes a check that it could not finish in its interval, or before its own end, without a reset.
        assert counters.keys() - {"closed:done"} == {"accepted", "closed:lost"}
        assert not [line for line in daemon.stderr.text if "handshake" in line]


NGINX = """
load_module {module};
daemon off;
pid {dir}/nginx.pid;
error_log stderr crit;
events {{}}
stream {{
  server {{ listen 127.0.0.1:{port}; proxy_pass {whoami}; proxy_protocol on; }}
}}
"""


def test_nginx_names_its_client(daemon, tmp_path):
    program, module = tool("nginx"), file("/usr/lib/nginx/modules/ngx_stream_module.so")
    port, config = free_port(), tmp_path / "nginx.conf"
    config.write_text(NGINX.format(module=module, dir=tmp_path, port=port, whoami=address(daemon, "whoami")))
    with running([program, "-p", tmp_path, "-c", config, "-e", "stderr"], port):
        client = connect(port)
        own = Inet(*client.getsockname())
        names(whoami(client), own, 1)


STUNNEL = """
foreground = quiet
pid =
[echod]
accept = 127.0.0.1:{port}
connect = {whoami}
cert = {dir}/both.pem
protocol = proxy
"""


def test_stunnel_names_its_client(daemon, pki):
    program = tool("stunnel4", "stunnel")
    port, config = free_port(), pki / "stunnel.conf"
    config.write_text(STUNNEL.format(dir=pki, port=port, whoami=address(daemon, "whoami")))
    with running([program, config], port):
        context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
        client = context.wrap_socket(connect(port), server_hostname="echo.example")
        own = Inet(*client.getsockname())
        names(whoami(client), own, 1)


def test_curl_names_itself(daemon):
    """As if it were the proxy: the header has the addresses of its own socket."""
    url = f"http://{address(daemon, 'whoami')}/"
    facts = json.loads(said(tool("curl"), "--silent", "--http0.9", "--haproxy-protocol", url))
    assert (facts["remote_address"], facts["remote_port"]) == ("127.0.0.1", facts["proxy"]["port"])


DNSDIST = """
setLocal("127.0.0.1:{port}")
setSecurityPollSuffix("")
newServer({{address="{discard}", useProxyProtocol=true}}):setUp()
"""
QUERY = bytes.fromhex("862a01000001000000000000046563686f076578616d706c650000010001")


def test_dnsdist_names_the_client_of_each_datagram(daemon, tmp_path):
    program = tool("dnsdist")
    port, config = free_port(), tmp_path / "dnsdist.conf"
    config.write_text(DNSDIST.format(port=port, discard=address(daemon, "discard", "udp")))
    words = [program, "--supervised", "--disable-syslog", "-C", config]
    with running(words, port), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((CLIENT, 0))
        for _ in range(2):
            client.sendto(QUERY, ("127.0.0.1", port))
        own = Inet(*client.getsockname())
        payload = QUERY[2:].hex(" ")  # dnsdist chooses the ID of a query
        line = rf"^udp {CLIENT}:{own.port}: [0-9a-f]{{2}} [0-9a-f]{{2}} {payload}"
        daemon.stdout.wait_for(line)
        assert eventually(lambda: sum(f"udp {own}" in line for line in daemon.stdout.text) == 2)


def test_go_mmproxy_accepts_the_headers_of_echoctl():
    """It connects to the service from the address that the header names: the routes of its manual are needed."""
    program = tool("go-mmproxy")
    with own_network(), Daemon(listen=["whoami=tcp://127.0.0.1:0"]) as daemon:
        for words in ("rule add from 127.0.0.0/8 iif lo table 123", "route add local 0.0.0.0/0 dev lo table 123"):
            said(tool("ip"), *words.split())
        port = free_port()
        with running([program, "-l", f"127.0.0.1:{port}", "-4", address(daemon, "whoami")], port):
            for version, source in (("v1", 5001), ("v2", 5002)):
                options = ("--keep-open", "--proxy", version, "--proxy-source", f"127.9.9.9:{source}")
                facts = json.loads(said(*ECHOCTL, "send", *options, f"tcp://127.0.0.1:{port}", "text"))
                assert (facts["remote_address"], facts["remote_port"]) == ("127.9.9.9", source)
