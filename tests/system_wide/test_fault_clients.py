"""Other clients see the faults of TLS and WebSocket, and drive `bin`: openssl, gnutls-cli, curl, nc, Node."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from echod.faults.settings import TlsFault, WebSocketFault
from tests.daemon import Daemon, environment, run
from tests.system.test_wire_faults import service
from tests.system_wide.npm_packages import installed
from tests.system_wide.others import ended, tool

pytestmark = pytest.mark.needs_tools

NODE = """
const WebSocket = require("ws");
const socket = new WebSocket(process.argv[1]);
const due = Number(process.argv[2]);
let pings = 0, pongs = 0;
const end = () => pings < due ? setTimeout(end, 50) : socket.close();
socket.on("open", () => { socket.send("hello"); socket.ping("x"); });
socket.on("ping", () => pings++);
socket.on("pong", () => pongs++);
socket.on("message", (message) => {
  console.log("message", message.toString());
  setTimeout(end, 300);
});
socket.on("error", (error) => console.log("error", error.message));
socket.on("close", (code) => console.log("close", code, pings > 64 ? "flood" : "", pongs ? "pong" : "no pong"));
"""
SEEN = {
    "stall": ("", "pull function", "Connection reset by peer"),
    "alert": ("handshake failure", r"Received alert \[40\]", "alert handshake failure"),
    "no-close-notify": ("received", "received", "received"),  # they do not report it; Python and echoctl do
    "reset": ("", "pull function", "Connection reset by peer"),
    "plaintext": ("wrong version number", "unexpected TLS packet", "wrong version number"),
    "tiny-records": ("received", "received", "received"),
    "old-version": ("legacy sigalg|unsupported protocol", "unsupported version", "legacy sigalg|unsupported protocol"),
    "no-renegotiation-info": (
        "unsafe legacy renegotiation",
        "Safe renegotiation failed",
        "unsafe legacy renegotiation",
    ),
    "grease": ("bad record mac", r"Received alert \[20\]|illegal", "bad record mac"),
}
"""Words in the output of s_client, of gnutls-cli with TLS 1.2 and safe renegotiation, and of curl."""
SEEN_BY_NODE = {
    "bad-accept": "error Invalid Sec-WebSocket-Accept header",
    "bad-close-code": "invalid status code 1005",
    "masked": "MASK must be clear",
    "invalid-utf8": "invalid UTF-8 sequence",
    "ping-flood": "flood",
    "no-pong": "message hello\nclose 1005  no pong",
    "endless-fragments": r"^close 100\d",  # no message arrives before the end
}


@pytest.fixture(scope="module")
def daemon():
    limits = dict.fromkeys(get_args(TlsFault), "") | {"stall": '[services.stall.limits]\nhandshake = "1s"\n'}
    small = '[services.{}.limits]\nmessage = "64KiB"\n'
    tls = [service(word, "ack", "tls://127.0.0.1:0", "tls", word, more) for word, more in limits.items()]
    websocket = [
        service(f"ws-{word}", "echo", f"ws://127.0.0.1:0/{word}", "websocket", word, small.format(f"ws-{word}"))
        for word in get_args(WebSocketFault)
    ]
    chosen = '[services.bin]\nlisten = ["tcp://127.0.0.1:0", "http://127.0.0.1:0", "ws://127.0.0.1:0/", "udp://127.0.0.1:0"]\n'
    with Daemon("".join([*tls, *websocket, chosen])) as daemon:
        yield daemon


def output(*words: str) -> str:
    process = ended(*words, given=b"hello\n")
    return (process.stdout + process.stderr).decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("word", get_args(TlsFault))
def test_clients_of_tls_see_the_fault(daemon, word):
    host, port = daemon.inet(word, "tls")
    priority = "NORMAL:-VERS-ALL:+VERS-TLS1.2:%SAFE_RENEGOTIATION"
    by_openssl, by_gnutls, by_curl = SEEN[word]
    assert re.search(by_openssl, output(tool("openssl"), "s_client", "-ign_eof", "-connect", f"{host}:{port}"))
    words = (tool("gnutls-cli"), "--insecure", "--priority", priority, "--port", str(port), host)
    assert re.search(by_gnutls, output(*words))
    assert re.search(by_curl, output(tool("curl"), "-sSk", "--http0.9", f"https://{host}:{port}/"))


@pytest.mark.parametrize("word", get_args(WebSocketFault))
def test_ws_of_node_sees_the_fault(daemon, word):
    path = environment(NODE_PATH=str(installed("ws", "8.23.0").parent))
    pings = "65" if word == "ping-flood" else "0"
    process = run(tool("node"), "-e", NODE, daemon.url(f"ws-{word}", "ws"), pings, env=path)
    assert re.search(SEEN_BY_NODE[word], process.stdout.decode(), re.MULTILINE), process


def test_curl_gets_the_response_that_its_url_names(daemon):
    said = output(tool("curl"), "-si", f"{daemon.url('bin', 'http')}/status=503?header=Retry-After:5&body=busy")
    assert said.startswith("HTTP/1.1 503 Service Unavailable\r\n")
    assert "Retry-After: 5\r\n" in said
    assert said.endswith("\r\n\r\nbusy")
    cut = ended(tool("curl"), "-sS", f"{daemon.url('bin', 'http')}/?size=10000&close-after=5000")
    assert cut.returncode == 18  # CURLE_PARTIAL_FILE


def test_nc_names_its_faults_in_the_first_line(daemon):
    host, port = daemon.inet("bin", "tcp")
    process = ended(tool("nc"), "-N", host, str(port), given=b"close-after=5\nhello, world")
    assert process.stdout == b"hello"


def test_node_names_its_faults_in_the_query(daemon):
    path = environment(NODE_PATH=str(installed("ws", "8.23.0").parent))
    process = run(tool("node"), "-e", NODE, daemon.url("bin", "ws") + "?websocket=masked", "0", env=path)
    assert b"MASK must be clear" in process.stdout
