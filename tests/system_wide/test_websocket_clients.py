"""Other programs' WebSocket clients against echod: Node's ws, Python's websockets, Java's, and curl."""

import asyncio
import json
import os
import ssl
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from tests.daemon import SECONDS, Daemon, environment, free_port, run
from tests.system_wide.npm_packages import installed
from tests.system_wide.others import said, tool

pytestmark = pytest.mark.needs_tools

HERE = Path(__file__).parent
WS = "8.23.0"


CONFIG = """
[services.echo]
listen = ["ws://127.0.0.1:{port}/echo"]
[services.echo.websocket]
subprotocols = ["echo.example"]
compression = "on"
[services.plain]
kind = "echo"
listen = ["ws://127.0.0.1:{port}/plain"]
[services.whoami]
listen = ["ws://127.0.0.1:{port}/whoami"]
"""
SECURE = """
[services.secure]
kind = "echo"
listen = ["wss://127.0.0.1:0/echo"]
[services.secure.tls]
certificate = "self-signed"
"""


@pytest.fixture(scope="module")
def daemon():
    with Daemon(CONFIG.format(port=free_port())) as running:
        yield running


def test_ws_of_node_gets_its_messages_back(daemon):
    node = tool("node")
    words = [node, HERE / "websocket_client.cjs", daemon.url("echo", "ws"), "echo.example"]
    path = environment(NODE_PATH=str(installed("ws", WS).parent))
    ended = run(*words, env=path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "same": 4,
        "types": 4,
        "pong": "are you there?",
        "subprotocol": "echo.example",
        "extensions": "permessage-deflate",
        "code": 1000,
    }


def test_the_client_of_java_gets_its_messages_back(daemon):
    tool("javac")  # the part of a JDK that runs a source file
    page = said(tool("java"), HERE / "WebSocketClient.java", daemon.url("echo", "ws"), seconds=90)
    assert page.splitlines() == ["text", "fragments", "binary", "there?", "1000"]


def connected(url, **more):
    """A connection of the package `websockets`, with our time limit instead of its own."""
    return connect(url, open_timeout=SECONDS, close_timeout=SECONDS, ping_interval=None, **more)


async def conversation(url, largest=4_000_000, context=None):
    """Exchange messages with an echo service by the package `websockets`; returns the code of the close."""
    async with connected(url, ssl=context, max_size=None) as socket:
        for message in ("Hello ✓", bytes(range(256)), "", os.urandom(largest)):
            await socket.send(message)
            assert await asyncio.wait_for(socket.recv(), SECONDS) == message
        await socket.send(["frag", "mented ", "text"])
        assert await asyncio.wait_for(socket.recv(), SECONDS) == "fragmented text"
        await asyncio.wait_for(await socket.ping(), SECONDS)
    return socket.close_code


@pytest.mark.parametrize(("service", "largest"), [("plain", 4_000_000), ("echo", 1_000_000)])
def test_websockets_of_python_gets_its_messages_back(daemon, service, largest):
    assert asyncio.run(conversation(daemon.url(service, "ws"), largest)) == 1000


def test_websockets_of_python_gets_its_messages_back_over_tls():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Daemon(SECURE) as daemon:
        assert asyncio.run(conversation(daemon.url("secure", "wss"), context=context)) == 1000


def test_whoami_names_what_a_client_sent(daemon):
    async def ask():
        origin = Origin(f"http://127.0.0.1:{daemon.inet('whoami', 'ws')[1]}")
        async with connected(daemon.url("whoami", "ws"), origin=origin, user_agent_header="tester") as socket:
            return json.loads(await asyncio.wait_for(socket.recv(), SECONDS)), socket.local_address

    facts, (host, port) = asyncio.run(ask())
    assert (facts["protocol"], facts["remote_address"], facts["remote_port"]) == ("ws", host, port)
    assert facts["websocket"]["path"] == "/whoami"
    assert facts["websocket"]["headers"]["user-agent"] == "tester"


def test_curl_is_told_that_an_upgrade_is_required(daemon):
    host, port = daemon.inet("echo", "ws")
    for options, status in ((("/echo",), "426"), (("/nothing",), "404"), (("/echo", "--head"), "426")):
        page = said(tool("curl"), "--silent", "--include", f"http://{host}:{port}{options[0]}", *options[1:])
        assert page.startswith(f"HTTP/1.1 {status} ")
        if "--head" not in options:
            head, _, body = page.partition("\r\n\r\n") if "\r\n\r\n" in page else page.partition("\n\n")
            assert "/echo" in body
            assert f"Content-Length: {len(body.encode())}" in head


def test_curl_gets_the_page_that_it_asks_for(daemon):
    host, port = daemon.inet("echo", "ws")
    page = said(tool("curl"), "--silent", "--header", "Accept: text/html", f"http://{host}:{port}/echo")
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
