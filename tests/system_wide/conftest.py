"""Servers for third-party clients: a daemon on its own ports and paths, or one beside the superservers."""

import os
from collections.abc import Iterator, Mapping

import pytest

from tests.daemon import Daemon
from tests.system_wide.superservers import ADDRESSES, Server, own_network, running

CONFIG = """
[daemon]
plane = "{plane}"
[services.echo]
listen = [
    "tcp://127.0.0.1:0", "udp://127.0.0.1:0",
    "unix://{dir}/echo.sock", "unix-dgram://{dir}/echo.dgram",
    "unix://@echod-{pid}", "unix-dgram://@echod-{pid}-datagrams",
]
[services.discard]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
show = "text"
[services.daytime]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.qotd]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.chargen]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.chargen-rfc864]
kind = "chargen"
rfc864 = true
listen = ["udp://127.0.0.1:0"]
[services.time]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
"""


@pytest.fixture(scope="module", params=["auto", "off"], ids=lambda plane: f"plane-{plane}")
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """The daemon, with the plane on and off. It must exit with 0, and without an error in its log."""
    with Daemon(CONFIG.replace("{plane}", request.param).replace("{pid}", str(os.getpid()))) as started:
        yield started
        started.check()
        assert started.stop() == 0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Server]]:
    """The installed superservers and echod, in a private network."""
    with own_network(), running(tmp_path_factory.mktemp("superservers")) as started:
        yield started


@pytest.fixture(params=ADDRESSES)
def server(request: pytest.FixtureRequest, servers: Mapping[str, Server]) -> str:
    """The name of each of them in turn."""
    name: str = request.param
    if name not in servers:
        pytest.skip(f"{name} is not installed; tests/system_wide/prepare unpacks it")
    return name
