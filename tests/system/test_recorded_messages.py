"""The messages of clients to a service with `record`: the admin interface returns them to its user and to root."""

import base64
import http.client
import json
import os
import signal
import socket

import pytest

from tests.daemon import SECONDS, Daemon
from tests.websocket import WebSocketClient

CONFIG = """
[admin]
listen = ["unix://{dir}/admin.sock?mode=0666", "tcp://127.0.0.1:0"]
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "ws://127.0.0.1:0/"]
record = "4KiB"
[services.upper]
listen = ["tcp://127.0.0.1:0"]
"""


def ask(place, method="GET", name="echo"):
    """The status of a response, and its JSON."""
    client = http.client.HTTPConnection("localhost", timeout=SECONDS)
    client.sock = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)
    client.sock.settimeout(SECONDS)
    client.sock.connect(place)
    client.request(method, f"/api/received/{name}")
    response = client.getresponse()
    content = json.loads(response.read())
    client.close()
    return response.status, content


def talk(daemon, text):
    """Sends two pieces over TCP and a datagram, and waits for the replies."""
    with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
        for _ in range(2):
            client.sendall(text)
            assert client.recv(9) == text
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(daemon.inet("echo", "udp"))
        client.send(text)
        assert client.recv(9) == text


def texts(content):
    return [(one["transport"], base64.b64decode(one["data"])) for one in content["received"]]


def test_streams_datagrams_and_messages_over_a_reload():
    with Daemon(CONFIG) as daemon:
        admin = str(daemon.dir / "admin.sock")
        talk(daemon, b"one")
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for("reloaded")
        client = WebSocketClient(daemon.inet("echo", "ws"))
        client.send(b"text", text=True)
        assert client.receive() == b"text"
        client.close()
        status, content = ask(admin)
        assert (status, content["dropped"]) == (200, 0)
        assert texts(content) == [("tcp", b"oneone"), ("udp", b"one"), ("ws", b"text")]
        assert content["received"][2]["text"] is True
        assert ask(admin, "DELETE") == (200, {"cleared": 3})
        assert ask(admin)[1] == {"dropped": 0, "received": []}
        talk(daemon, b"two")
        assert texts(ask(admin)[1]) == [("tcp", b"twotwo"), ("udp", b"two")]


def test_a_service_without_record_keeps_nothing_and_a_tcp_client_reads_nothing():
    with Daemon(CONFIG) as daemon:
        assert ask(str(daemon.dir / "admin.sock"), name="upper")[0] == 404
        assert ask(daemon.inet("admin", "tcp"))[0] == 403
        assert ask(daemon.inet("admin", "tcp"), "DELETE")[0] == 403


@pytest.mark.skipif(os.geteuid() != 0, reason="to become another user takes root")
def test_another_user_reads_nothing():
    with Daemon(CONFIG) as daemon:
        os.chmod(daemon.dir, 0o755)
        os.seteuid(4242)
        try:
            assert ask(str(daemon.dir / "admin.sock"))[0] == 403
        finally:
            os.seteuid(0)


def test_a_reload_that_changes_record_begins_another_recording():
    with Daemon(CONFIG) as daemon:
        admin = str(daemon.dir / "admin.sock")
        talk(daemon, b"one")
        file = daemon.dir / "echod.toml"
        file.write_text(file.read_text().replace('record = "4KiB"', 'record = "8KiB"'))
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for(r"reloaded: .* ~ echo")
        assert ask(admin) == (200, {"dropped": 0, "received": []})
