"""Addresses that are assigned after the start: `freebind` binds them early, `retry` binds them when they exist."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from echod.address import parse
from echod.client.admin import Administrator
from tests.chaos.network import Lacking, Network, alone
from tests.contract.matrix import rest
from tests.daemon import ECHOCTL, ECHOD, SECONDS, Daemon, eventually, run

pytestmark = pytest.mark.needs_root
LATE, PORT = "192.0.2.7", 7007
CONFIG = """
[daemon]
plane = "PLANE"
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:7007", "tcp://192.0.2.7:7007OPTION", "udp://192.0.2.7:7007OPTION"]
allow = ["192.0.2.0/24", "127.0.0.0/8"]
"""


@pytest.fixture
def network() -> Iterator[Network]:
    try:
        with alone() as made:
            yield made
    except Lacking as lacking:
        pytest.skip(str(lacking))


def configuration(plane: str, option: str) -> str:
    return CONFIG.replace("PLANE", plane).replace("OPTION", option)


def ask(daemon: Daemon, path: str, method: str = "GET") -> Any:
    with Administrator(parse(f"unix://{daemon.dir}/admin.sock")) as administrator:
        return administrator.ask(path, method)


def ready(daemon: Daemon) -> list[str]:
    with Administrator(parse(f"unix://{daemon.dir}/admin.sock")) as administrator:
        text: str = administrator.open("/readyz").read().decode()
    return text.splitlines()


def check_both() -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as client:
            client.settimeout(SECONDS)
            client.connect((LATE, PORT))
            client.send(b"hello")
            if kind is socket.SOCK_STREAM:
                client.shutdown(socket.SHUT_WR)
                assert rest(client) == b"hello"
            else:
                assert client.recv(10) == b"hello"


@pytest.mark.parametrize("plane", ["auto", "off"])
def test_an_address_that_is_assigned_later_is_served_then(network, plane):
    with network.inside(), Daemon(configuration(plane, "?retry=100ms")) as daemon:
        places = [f"{scheme}://{LATE}:{PORT}" for scheme in ("tcp", "udp")]
        assert [one["address"] for one in ask(daemon, "/api/status")["awaited"]] == places
        assert ready(daemon)[0] == "ready"
        assert [line.split()[2].rstrip(":") for line in ready(daemon)[1:]] == places
        for place in places:
            daemon.stderr.wait_for(rf"warn  echo  {place} does not exist yet; retrying: .*EADDRNOTAVAIL")
        shown = run(*ECHOCTL, "status", "--admin", f"unix://{daemon.dir}/admin.sock").stdout.decode()
        assert all(f"waiting for {place} (echo): " in shown for place in places)
        network.add(f"{LATE}/24")
        assert eventually(lambda: ready(daemon) == ["ready"])
        check_both()
        assert ask(daemon, "/api/status")["awaited"] == []
        figures = daemon.counters()
        assert figures[f"echo tcp://{LATE}:{PORT}"]["accepted"] == 1
        assert figures[f"echo udp://{LATE}:{PORT}"]["datagrams_out"] == 1


def test_a_reload_waits_for_its_addresses_and_no_longer_for_others(network):
    with network.inside(), Daemon(configuration("auto", "?retry=100ms")) as daemon:
        file = daemon.dir / "echod.toml"
        whole = file.read_text()
        file.write_text(whole.replace(', "udp://192.0.2.7:7007?retry=100ms"', ""))
        ask(daemon, "/api/reload", "POST")
        assert [one["address"] for one in ask(daemon, "/api/status")["awaited"]] == [f"tcp://{LATE}:{PORT}"]
        network.add(f"{LATE}/24")
        assert eventually(lambda: ready(daemon) == ["ready"])
        file.write_text(whole)
        assert ask(daemon, "/api/reload", "POST")["opened"] == 1
        check_both()


def test_a_stop_does_not_wait_for_addresses(network):
    with network.inside(), Daemon(configuration("auto", "?retry=1h")) as daemon:
        assert daemon.stop() == 0


@pytest.mark.parametrize("plane", ["auto", "off"])
def test_freebind_binds_an_address_before_it_is_assigned(network, plane):
    with network.inside(), Daemon(configuration(plane, "?freebind=yes")) as daemon:
        assert ready(daemon) == ["ready"]
        network.add(f"{LATE}/24")
        check_both()


def test_without_either_option_the_start_fails_with_a_line_for_each(network):
    with network.inside():
        ended = run(*ECHOD, f"--listen=echo=tcp://{LATE}:{PORT}", "--listen=echo=tcp://127.0.0.1:7008")
    assert ended.returncode == 71
    [line] = ended.stderr.decode().splitlines()
    assert line.startswith(f"echod: tcp://{LATE}:{PORT}: cannot assign requested address (EADDRNOTAVAIL)")


def test_retry_does_not_hide_other_errors(network):
    with network.inside(), socket.create_server(("127.0.0.1", 7009)):
        ended = run(*ECHOD, "--listen=echo=tcp://127.0.0.1:7009?retry=1s")
    assert ended.returncode == 71
    assert b"EADDRINUSE" in ended.stderr


def test_an_interface_that_is_created_later_is_served_then(network):
    config = '[services.echo]\nlisten = ["tcp://[fe80::7%late]:7007?retry=100ms"]\nallow = ["fe80::/10"]\n'
    with network.inside(), Daemon(config) as daemon:
        daemon.stderr.wait_for("does not exist yet; retrying: .*ENODEV")
        network.ip("link", "add", "late", "type", "veth", "peer", "name", "far")
        network.add("fe80::7/64", device="late")
        for link in ("late", "far"):
            network.ip("link", "set", link, "up")
        daemon.stderr.wait_for(r"info  echo  tcp://\[fe80::7%late\]:7007$")
        ended = run(*ECHOCTL, "send", "tcp://[fe80::7%late]:7007", "hello")
        assert ended.stdout.strip() == b"hello", json.dumps(str(ended))
