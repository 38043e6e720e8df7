"""WebSocket services of a running daemon: several on one port, reloads, endings, access, and hostile requests."""

from __future__ import annotations

import json
import re
import signal
import socket
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from echod.address import parse
from echod.client.admin import Administrator
from tests.contract.matrix import rest
from tests.daemon import SECONDS, Daemon, eventually, free_port
from tests.websocket import WebSocketClient

REQUEST = (
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONFIG = """
[daemon]
drain = "30s"
[admin]
listen = ["unix://{dir}/admin.sock?mode=0600"]
[services.echo]
listen = ["ws://127.0.0.1:PORT/echo", "tcp://127.0.0.1:0"]
[services.upper]
listen = ["ws://127.0.0.1:PORT/upper"]
limits.per-client = 1
[services.closed]
kind = "echo"
listen = ["ws://127.0.0.1:PORT/closed"]
allow = ["192.0.2.0/24"]
[services.root]
kind = "whoami"
listen = ["ws://127.0.0.1:PORT"]
[services.chat]
listen = ["ws://127.0.0.1:PORT/chat"]
"""


class Served(Daemon):
    """A daemon with several WebSocket services on one port."""

    def __init__(self, config: str = CONFIG) -> None:
        self.port = free_port()
        self.clients = ExitStack()
        super().__init__(config.replace("PORT", str(self.port)))

    def close(self) -> None:
        """End the daemon, and close the clients."""
        super().close()
        self.clients.close()

    def connect(self, path: str, **options: Any) -> WebSocketClient:
        client = WebSocketClient(("127.0.0.1", self.port), path, **options)
        self.clients.callback(client.close)
        return client

    def ask(self, path: str, method: str = "GET") -> Any:
        with Administrator(parse(f"unix://{self.dir}/admin.sock")) as administrator:
            return administrator.ask(path, method)

    def rewrite(self, old: str, new: str) -> Any:
        """Change the configuration, and reload it."""
        file = self.dir / "echod.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        return self.ask("/api/reload", "POST")

    def request(self, text: str) -> bytes:
        """The whole response to an HTTP request."""
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as client:
            client.sendall(text.replace("\n", "\r\n").encode("latin-1"))
            return rest(client)

    def counters(self) -> dict[str, dict[str, int]]:
        """The counters of each service, from the line at the stop."""
        self.stop()
        found = json.loads(self.stderr.wait_for(r" stopped (\{.*\})$")[1])
        return {key.partition(" ")[0]: value for key, value in found.items() if " ws://" in key}


@pytest.fixture(scope="module")
def served():
    with Served() as running:
        yield running


def test_a_path_selects_the_service_and_the_type_of_a_message_is_kept(served):
    with_escapes = served.connect("/%65cho?some=query")
    for data, text in ((b"text", True), (b"binary", False), (b"", True), ("ä".encode(), True)):
        with_escapes.send(data, text=text)
        assert (with_escapes.receive(), with_escapes.types.pop()) == (data, text)
    upper = served.connect("/upper")
    upper.send("straße".encode(), text=True)
    assert (upper.receive(), upper.types) == ("STRAßE".encode(), [True])
    told = json.loads(served.connect("/").receive())
    assert told["websocket"]["path"] == "/"


def test_an_unknown_path_is_told_which_paths_exist(served):
    with pytest.raises(InvalidStatus) as caught:
        served.connect("/none")
    assert caught.value.response.status_code == 404
    assert bytes(caught.value.response.body).splitlines()[1:] == [
        b"/echo  echo",
        b"/upper  upper",
        b"/closed  echo",
        b"/  whoami",
        b"/chat  chat",
    ]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /echo HTTP/1.1\nHost: x\n\n", 426),
        ("GET /none HTTP/1.1\nHost: x\n\n", 404),
        ("PUT /echo HTTP/1.1\nHost: x\nContent-Length: 0\n\n", 405),
        ("\x16\x03\x01\x00\xff", 400),
        ("GET /" + "a" * 20_000, 431),
        ("GET /echo HTTP/1.1\nHost: evil.example\nOrigin: http://evil.example\nUpgrade: websocket\n"
         "Connection: Upgrade\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n\n", 403),
    ],
    ids=["get", "unknown", "put", "tls", "long", "origin"],
)  # fmt: skip
def test_a_request_that_is_not_an_upgrade_gets_a_response_and_a_close(served, request_, status):
    assert served.request(request_).startswith(b"HTTP/1.1 %d " % status)


def test_access_and_limits_of_the_selected_service_apply():
    with Served() as served:
        with pytest.raises(ConnectionResetError):
            served.connect("/closed")
        first = served.connect("/upper")
        with pytest.raises(ConnectionResetError):
            served.connect("/upper")
        echoes = [served.connect("/echo") for _ in range(3)]
        for client in echoes:
            client.send(b"x")
            assert client.receive() == b"x"
        for client in (*echoes, first):
            client.shutdown(socket.SHUT_WR)
            assert client.receive() is None
            client.close()
        served.request("GET /echo HTTP/1.1\nHost: x\n\n")
        with pytest.raises(InvalidStatus):
            served.connect("/none")
        assert eventually(lambda: '"handshake": 1' in json.dumps(served.ask("/api/status")))
        counters = served.counters()
    assert counters["closed"] == {"accepted": 1, "refused:denied": 1, "closed:refused": 1}
    assert counters["upper"] == {"accepted": 2, "refused:per-client": 1, "closed:refused": 1, "closed:done": 1}
    found = counters["echo"]
    assert (found["closed:done"], found["closed:answered"], found["closed:handshake"]) == (3, 1, 1)
    assert found["accepted"] == 5


def test_a_stop_sends_going_away_after_the_pending_replies():
    with Served() as served:
        client, member = served.connect("/echo"), served.connect("/chat")
        assert b"welcome" in (member.receive() or b"")
        client.send(b"last")
        served.send_signal(signal.SIGTERM)
        assert (client.receive(), client.receive(), client.closed.code) == (b"last", None, 1001)
        assert (member.receive(), member.closed.code) == (None, 1001)
        client.close()
        member.close()
        assert served.process.wait(SECONDS) == 0


def test_a_reload_adds_and_removes_paths_and_keeps_connections_and_socket():
    with Served() as served:
        client = served.connect("/echo")
        answer = served.rewrite("[services.chat]", "[services.more]\nkind = \"echo\"\nlisten = "
                                f'["ws://127.0.0.1:{served.port}/more"]\n[services.chat]')  # fmt: skip
        assert (answer["opened"], answer["closed"]) == (1, 0)
        more = served.connect("/more")
        more.send(b"new")
        assert more.receive() == b"new"
        answer = served.rewrite("/upper", "/loud")
        assert (answer["opened"], answer["closed"]) == (1, 1)
        with pytest.raises(InvalidStatus):
            served.connect("/upper")
        loud = served.connect("/loud")
        loud.send(b"loud")
        assert loud.receive() == b"LOUD"
        client.send(b"still here")
        assert client.receive() == b"still here"
        served.rewrite("[services.upper]", '[services.upper]\nwebsocket.subprotocols = ["a"]')
        chosen = served.connect("/echo", subprotocols=["a"])
        assert chosen.protocol.subprotocol is None
        loud.close()
        assert eventually(lambda: _connects(served, "/loud", subprotocols=["a"]) == "a")
        text = (served.dir / "echod.toml").read_text()
        text = re.sub(r"websocket\.subprotocols = .*\n", "", text)
        (served.dir / "echod.toml").write_text(re.sub(r'"ws://[^"]*"', '"tcp://127.0.0.1:0"', text))
        served.ask("/api/reload", "POST")
        with pytest.raises(ConnectionRefusedError):
            served.connect("/echo")


def _connects(served: Served, path: str, **options: Any) -> str | None:
    """The subprotocol of a new connection; "" if it was refused."""
    try:
        client = served.connect(path, **options)
    except ConnectionResetError:
        return ""
    client.close()
    return client.protocol.subprotocol


@pytest.mark.slow
def test_an_idle_client_that_answers_pings_stays_and_another_is_disconnected():
    config = '[services.echo]\nlisten = ["ws://127.0.0.1:PORT"]\nlimits.idle = "8s"\n'
    with Served(config) as served:
        answering, silent = served.connect("/"), served.connect("/")
        silent.settimeout(0)
        came = [b""]
        while came[-1:] != [b""] or len(came) == 1:  # until the daemon has closed it
            assert answering._read()  # a ping, about every 4 s
            with suppress(BlockingIOError):
                came.append(silent.socket.recv(100))
        assert b"".join(came).startswith(b"\x89\x00")  # a ping, and later the Close
        answering.send(b"still here")
        assert answering.receive() == b"still here"
        answering.shutdown(socket.SHUT_WR)
        assert answering.receive() is None
        answering.close()
        counters = served.counters()
    assert counters["echo"]["closed:idle"] == 1


def test_a_client_within_its_handshake_at_a_stop_is_served():
    with Served() as served:
        with socket.create_connection(("127.0.0.1", served.port), SECONDS) as client:
            client.sendall(REQUEST[:20])
            served.send_signal(signal.SIGTERM)
            assert eventually(lambda: _refuses(served.port))
            client.sendall(REQUEST[20:])
            came = b""
            while not came.endswith(b"\x88\x02\x03\xe9"):  # Close with 1001
                piece = client.recv(4096)
                assert piece, came
                came += piece
        assert served.process.wait(SECONDS) == 0


def _refuses(port: int) -> bool:
    """Whether the daemon no longer listens."""
    try:
        socket.create_connection(("127.0.0.1", port), SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False
