"""echoctl over WebSocket: messages, the options of the request, refusals, and servers that misbehave."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from tests.daemon import ECHOCTL, SECONDS, Daemon, free_port, run

CONFIG = """
[services.echo]
listen = ["ws://127.0.0.1:PORT/echo"]
websocket.compression = "on"
websocket.subprotocols = ["b", "a"]
[services.upper]
listen = ["ws://127.0.0.1:PORT/upper"]
[services.time]
listen = ["ws://127.0.0.1:PORT/time"]
[services.whoami]
listen = ["ws://127.0.0.1:PORT/whoami", "wss://127.0.0.1:0/whoami"]
tls.certificate = "self-signed"
websocket.subprotocols = ["b", "a"]
[services.chat]
listen = ["ws://127.0.0.1:PORT/chat"]
[services.discard]
listen = ["ws://127.0.0.1:PORT/discard"]
show = "no"
"""


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    port = free_port()
    with Daemon(CONFIG.replace("PORT", str(port))) as daemon:
        yield f"ws://127.0.0.1:{port}"
        daemon.check()


def echoctl(*words: str, code: int = 0, typed: str = "") -> tuple[str, str]:
    """Standard output and error of echoctl, which must end with that exit code."""
    ended = run(*ECHOCTL, *words, input=typed.encode())
    assert ended.returncode == code, ended.stderr.decode()
    return ended.stdout.decode("utf-8", "backslashreplace"), ended.stderr.decode()


def test_send_prints_one_reply(base):
    assert echoctl("send", f"{base}/upper", "straße") == ("STRAßE", "")
    assert echoctl("send", f"{base}/echo", typed="x" * 300_000) == ("x" * 300_000, "")
    printed, _ = echoctl("send", "--hex", f"{base}/time")
    assert re.match(r"00000000  ([0-9a-f]{2} ){4}", printed)
    _, error = echoctl("send", "--timeout", "200ms", f"{base}/discard", "x", code=1)
    assert error.endswith("no reply within 0.2 s (ETIMEDOUT)\n")


def test_the_options_of_the_request_reach_the_service(base):
    own = base.replace("ws://", "http://")
    words = ("--subprotocol", "a", "--subprotocol", "c", "--origin", own, "--header", "User-Agent: test")
    printed, _ = echoctl("send", *words, f"{base}/whoami", "x")
    told = json.loads(printed)["websocket"]
    assert (told["path"], told["subprotocol"], told["compression"]) == ("/whoami", "a", None)
    assert (told["headers"]["origin"], told["headers"]["user-agent"]) == (own, "test")


def test_the_query_of_the_url_reaches_the_service_without_the_options(base):
    printed, _ = echoctl("send", f"{base}/whoami?token=a%20b&dscp=ef&empty=&flag", "x")
    told = json.loads(printed)["websocket"]
    assert (told["path"], told["query"]) == ("/whoami", "token=a%20b&empty=&flag")
    _, error = echoctl("send", f"{base}/none?x=1", "x", code=1)
    assert error.startswith(f"echoctl: {base}/none?x=1: HTTP 404 Not Found: ")


@pytest.mark.parametrize(
    ("path", "words", "said"),
    [
        ("none", (), "HTTP 404 Not Found: /none: this path does not exist; the WebSocket paths are /echo, "),
        ("echo", ("--origin", "http://evil.example"), "HTTP 403 Forbidden: Origin http://evil.example is not allowed"),
        ("echo", ("--header", "Sec-WebSocket-Version: 8"), "HTTP 426 Upgrade Required: Sec-WebSocket-Version 8"),
        ("echo", ("--header", "Upgrade: h2c"), "HTTP 426 Upgrade Required: /echo: this is the WebSocket service echo"),
    ],
)
def test_a_refusal_has_its_status_and_its_reason(base, path, words, said):
    _, error = echoctl("send", *words, f"{base}/{path}", "x", code=1)
    assert error.startswith(f"echoctl: {base}/{path}: {said}")
    assert error.count("\n") == 1


def test_talk_prints_replies_and_with_verbose_the_handshake(base):
    printed, error = echoctl("talk", "-v", "--header", "X-Own: 1", f"{base}/upper", typed="a\nb\nexit\n")
    assert printed == "A\nB\n"
    lines = error.splitlines()
    assert (lines[0], lines[-1][:23]) == ("> GET /upper HTTP/1.1", "< Sec-WebSocket-Accept:")
    assert "> X-Own: 1" in lines
    assert "< HTTP/1.1 101 Switching Protocols" in lines


def test_ping_measures_messages_and_ping_frames(base):
    printed, _ = echoctl("ping", "-c", "3", "-i", "10ms", "-s", "70000", "--json", f"{base}/echo")
    assert json.loads(printed)["received"] == 3
    printed, _ = echoctl("ping", "-c", "3", "-i", "10ms", "--ping-frames", "--json", f"{base}/chat")
    assert (json.loads(printed)["received"], json.loads(printed)["wrong"]) == (3, 0)


def test_chat_joins_and_leaves(base):
    printed, _ = echoctl("chat", "--nick", "anna", f"{base}/chat", typed="/who\n/quit\n")
    assert "-- you are now anna" in printed
    assert printed.endswith("-- goodbye\n")


def test_secure_websocket_verifies_the_server(base):
    with Daemon('[services.echo]\nlisten = ["wss://127.0.0.1:0/e"]\ntls.certificate = "self-signed"') as daemon:
        url = daemon.url("echo", "wss://")
        assert echoctl("send", "--insecure", url, "secret")[0] == "secret"
        _, error = echoctl("send", url, "secret", code=1)
        assert "certificate" in error


@contextmanager
def server(*then: bytes, accept: bool = True) -> Iterator[str]:
    """A server that sends these bytes after its response; without `accept`, in place of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                client.settimeout(SECONDS)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(4096)
                if accept:
                    key = re.search(rb"Sec-WebSocket-Key: (\S+)", head).group(1).decode()
                    client.sendall(
                        b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept_key(key).encode()
                    )
                with suppress(OSError):  # the client may reset the connection at any point
                    client.sendall(b"".join(then))
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(4096):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join(SECONDS)


def frame(opcode: Opcode, data: bytes, *, mask: bool = False) -> bytes:
    return Frame(opcode, data).serialize(mask=mask)


@pytest.mark.parametrize(
    ("then", "accept", "said"),
    [
        (b"SSH-2.0-OpenSSH\x1b[31m\r\n\r\n", False, "the response is not valid HTTP/1.1: "),
        (b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n\x1b[31mred\n", False, "HTTP 503 No: \\x1b[31mred"),
        (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", False,
         "invalid Sec-WebSocket-Accept header: x"),
        (b"\x15\x03\x01\0\x02\x02\x46", False, "the server speaks TLS: its response is a TLS alert; expected wss://"),
        (frame(Opcode.TEXT, b"\xff"), True, "a text is not valid UTF-8"),
        (frame(Opcode.CLOSE, b"\x03\xf3\x1b[2J"), True, "the server closed the connection with code 1011: \\x1b[2J"),
        (b"", True, "the server closed without a Close frame"),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_server_that_misbehaves_is_one_clear_line(then, accept, said):
    with server(then, accept=accept) as url:
        _, error = echoctl("send", url, "x", code=1)
    assert error.startswith(f"echoctl: {url}: {said}")
    assert error.count("\n") == 1
    assert "\x1b" not in error
