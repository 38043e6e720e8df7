"""Each cell of `echoctl services --matrix`: a served kind replies to a client there, a refused one does not start.

A reply shows that the layers and the session work together; the other contract tests check what it has to be.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from echod.client.kind_transport_matrix import PROXIED, cells
from echod.config.errors import ConfigurationError
from echod.config.loading import load
from echod.services.registry import kinds
from echod.socket_names import Inet
from echod.transports.layers.proxy_header import version_2
from echod.transports.registry import SCHEMES
from tests.daemon import SECONDS, Daemon, Place, place_of
from tests.websocket import UPGRADE

KINDS = kinds(plugins=())
MATRIX = cells(KINDS)
SERVED = [(kind, cell) for kind, row in MATRIX.items() for cell, why in row.items() if not why]
SOCKETS = {"udp": socket.SOCK_DGRAM, "unix-dgram": socket.SOCK_DGRAM, "unix-seqpacket": socket.SOCK_SEQPACKET}
SILENT = ("console", "discard")  # they reply nothing to a first message
HELLO = b"hello, this is long enough for a reply\n" * 8
HELLOS = {"sockperf": bytes(9) + b"\3" + (64).to_bytes(4, "big") + bytes(50)}  # only its own messages get replies


def config(served: list[tuple[str, str]]) -> str:
    """A service for each of these cells, with its number as the name."""
    lines = ['[defaults]\nproxy-from = ["127.0.0.1"]', '[defaults.limits]\nrate = "0"']
    for at, (kind, cell) in enumerate(served):
        scheme = cell.removesuffix(PROXIED)
        where = f"tcp:0:backlog={50 + at}:interface=127.0.0.1" if scheme == "endpoint" else f"{scheme}://127.0.0.1:0"
        if scheme in SCHEMES and SCHEMES[scheme].has_path:
            where = f"{scheme}://{{dir}}/{at}"
        query = "?proxy=v2" if cell.endswith(PROXIED) else ""
        lines += [f'[services.{at}]\nkind = "{kind}"\nlisten = ["{where}{query}"]']
        if scheme in ("tls", "wss"):
            lines += [f'[services.{at}.tls]\ncertificate = "self-signed"']
    return "\n".join(lines)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_cell_is_an_error_of_the_configuration_with_its_reason(kind, tmp_path):
    file = tmp_path / "echod.toml"
    for cell, why in MATRIX[kind].items():
        if why and cell != f"endpoint{PROXIED}":  # there ?proxy= is part of the string, which Twisted refuses
            file.write_text(config([(kind, cell)]).replace("{dir}", "/run"))
            with pytest.raises(ConfigurationError) as caught:
                load(file, KINDS, {})
            said = "\n".join(str(error) for error in caught.value.errors)
            assert why in said or ("no option" in why and "unknown option proxy" in said)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(config(SERVED)) as started:
        yield started
        started.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_served_kind_replies(daemon, kind):
    for at, (name, cell) in enumerate(SERVED):
        if name == kind:
            url = daemon.stderr.wait_for(rf" {at}  (?:.*\()?([a-z-]+://.*?)\)?$")[1]
            assert bool(exchange(place_of(url), cell, HELLOS.get(kind, HELLO), silent=kind in SILENT)) is (
                kind not in SILENT
            ), cell


def exchange(place: Place, cell: str, first_message: bytes, *, silent: bool) -> bytes:
    """Send a message, and return the begin of the reply; nothing if there is none, or the client is `silent`."""
    scheme = cell.removesuffix(PROXIED)
    kind = SOCKETS.get(scheme, socket.SOCK_STREAM)
    datagram = kind is socket.SOCK_DGRAM
    with ExitStack() as stack:
        family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET
        client: Any = stack.enter_context(socket.socket(family, kind))
        client.settimeout(SECONDS)
        if scheme == "unix-dgram":
            client.bind("")
        client.connect(place)
        header = version_2(Inet("127.9.9.9", 5000), Inet("127.0.0.1", 7), datagrams=datagram)
        first = (header if cell.endswith(PROXIED) else b"") + (first_message if datagram else b"")
        if first:
            client.send(first)
        if scheme in ("tls", "wss"):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client = stack.enter_context(context.wrap_socket(client))
        hello = first_message
        if scheme in ("ws", "wss"):
            client.sendall(UPGRADE)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            assert head.startswith(b"HTTP/1.1 101 ")
            hello = b"\x82\xfe" + len(first_message).to_bytes(2, "big") + bytes(4) + first_message
        if scheme == "http":
            hello = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        if not datagram:
            client.sendall(hello)
        if silent:
            client.setblocking(False)
        try:
            return bytes(client.recv(65_536))
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
