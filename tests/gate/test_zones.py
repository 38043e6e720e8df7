"""Link-local addresses have their zone in output and in keys (RFC 4007 11): each link may have an fe80::1."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.chaos.network import Lacking, Network
from tests.contract.matrix import rest
from tests.daemon import ECHOCTL, SECONDS, Daemon, run

HOST, PORT = "fe80::1", 7007
LINKS = ("link0", "link1")


@pytest.fixture
def links() -> Iterator[Network]:
    """A network with two links that have the same link-local address."""
    try:
        network = Network()
    except Lacking as lacking:
        pytest.skip(str(lacking))
    with network:
        try:
            for link in LINKS:
                network.ip("link", "add", link, "type", "veth", "peer", "name", f"{link}-far")
                network.ip("link", "set", link, "up")
                network.ip("link", "set", f"{link}-far", "up")
                network.add(f"{HOST}/64", device=link)
        except Lacking as lacking:
            pytest.skip(str(lacking))
        yield network


def configuration(plane: str, kind: str) -> str:
    listen = [f"{scheme}://[{HOST}%{link}]:{PORT}" for scheme in ("tcp", "udp") for link in LINKS]
    daemon = f'[daemon]\nplane = "{plane}"\nlog-level = "debug"\n[defaults]\nallow = ["fe80::/10"]\n'
    return f"{daemon}[services.{kind}]\nlisten = {listen}\n"


def ask(link: str, kind: socket.SocketKind, question: bytes) -> bytes:
    with socket.socket(socket.AF_INET6, kind) as client:
        client.settimeout(SECONDS)
        client.connect((HOST, PORT, 0, socket.if_nametoindex(link)))
        client.send(question)
        if kind is socket.SOCK_DGRAM:
            return client.recv(1000)
        client.shutdown(socket.SHUT_WR)
        return rest(client)


@pytest.mark.needs_root
@pytest.mark.parametrize("plane", ["auto", "off"])
def test_two_links_have_two_labels_two_counters_and_two_lines(links, plane):
    with links.inside(), Daemon(configuration(plane, "echo")) as daemon:
        for turns, link in enumerate(LINKS, start=1):
            for _ in range(turns):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    assert ask(link, kind, b"hello") == b"hello"
        shown = [url for _, url in daemon.urls]
        assert shown == [f"{scheme}://[{HOST}%{link}]:{PORT}" for scheme in ("tcp", "udp") for link in LINKS]
        for link in LINKS:
            daemon.stderr.wait_for(rf" from \[{HOST}%{link}\]:")
        figures = daemon.counters()
        for turns, link in enumerate(LINKS, start=1):
            assert figures[f"echo tcp://[{HOST}%{link}]:{PORT}"]["accepted"] == turns
            assert figures[f"echo udp://[{HOST}%{link}]:{PORT}"]["datagrams_out"] == turns


@pytest.mark.needs_root
@pytest.mark.parametrize("listen", [f"[{HOST}%LINK]:{PORT}", f"[::]:{PORT}", f"*:{PORT}"])
def test_both_ends_of_a_conversation_have_their_zone(links, listen):
    for link in LINKS:
        addresses = [f"{scheme}://{listen.replace('LINK', link)}" for scheme in ("tcp", "udp")]
        defaults = '[defaults]\nallow = ["fe80::/10"]\nlarger-answers-to = ["fe80::/10"]\n'
        with links.inside(), Daemon(f"{defaults}[services.whoami]\nlisten = {addresses}\n"):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                told = json.loads(ask(link, kind, b"?"))
                assert told["local_address"] == told["remote_address"] == f"{HOST}%{link}", told


@pytest.mark.needs_root
def test_the_client_names_the_zone_that_answered(links):
    with links.inside(), Daemon(configuration("auto", "echo")):
        for link in LINKS:
            for scheme, more in (("udp", ()), ("tcp", ()), ("tcp", ("--connect",))):
                url = f"{scheme}://[{HOST}%{link}]:{PORT}"
                ended = run(*ECHOCTL, "ping", "-c", "1", *more, url)
                assert ended.returncode == 0, ended
                assert ended.stdout.decode().splitlines()[1].count(f"[{HOST}%{link}]:{PORT}"), ended
