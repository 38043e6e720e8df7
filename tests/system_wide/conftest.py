"""A daemon for other people's clients to talk to: every small service, on ports and paths of its own."""

import os
from collections.abc import Iterator

import pytest

from tests.daemon import Daemon

CONFIG = """
[services.echo]
listen = [
    "tcp://127.0.0.1:0", "udp://127.0.0.1:0",
    "unix://{dir}/echo.sock", "unix-dgram://{dir}/echo.dgram",
    "unix://@echod-{pid}", "unix-dgram://@echod-{pid}-dgram",
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


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """The daemon, which must end well: with 0, and without an error in its log."""
    with Daemon(CONFIG.replace("{pid}", str(os.getpid()))) as running:
        yield running
        running.check()
        assert running.stop() == 0
