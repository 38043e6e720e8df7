"""Reloads that change addresses leave nothing: no descriptor, and no memory of the listeners that were closed."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.contract.matrix import MIB
from tests.daemon import SECONDS, eventually, free_port
from tests.fastpath.clients import held
from tests.system.test_reload import PLANES, Reloaded

WARM = 5  #: reloads until caches are full
RELOADS = 25
MOST = 4 * MIB  # less than a tenth of what these reloads leaked: 4 MiB for each UDP listener of the fast path


@pytest.fixture(params=PLANES)
def daemon(request) -> Iterator[Reloaded]:
    with Reloaded(request.param) as running:
        yield running


def exchange(daemon: Reloaded, before: str) -> None:
    """Serve TCP and UDP at ports that were not served before. A datagram makes the new listener use its memory."""
    stream, datagram = free_port(), free_port()
    listen = f'["tcp://127.0.0.1:{stream}", "udp://127.0.0.1:{datagram}"]'
    daemon.file.write_text(f'{before}\n[services.new]\nkind = "echo"\nlisten = {listen}\n')
    assert daemon.reload()["opened"] == 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(("127.0.0.1", datagram))
        client.send(b"hello")
        assert client.recv(10) == b"hello"


@pytest.mark.slow
def test_reloads_that_change_addresses_keep_no_memory_and_no_descriptor(daemon):
    before = daemon.file.read_text()
    for _ in range(WARM):
        exchange(daemon, before)
    memory, descriptors = daemon.memory(), held(daemon.process.pid)
    for _ in range(RELOADS):
        exchange(daemon, before)
    assert daemon.memory() - memory < MOST
    assert eventually(lambda: held(daemon.process.pid) <= descriptors)


@pytest.mark.parametrize("name", ["echod.toml", "quotes.txt"])
def test_a_folder_in_place_of_a_file_leaks_no_descriptor(daemon, name):
    quotes = daemon.dir / "quotes.txt"
    quotes.write_text("a quotation\n")
    daemon.write(add='[services.qotd]\nlisten = ["tcp://127.0.0.1:0"]\nquotes = "{dir}/quotes.txt"\n')
    daemon.reload()
    file = daemon.dir / name
    file.rename(daemon.dir / "aside")
    file.mkdir()
    assert "(EISDIR)" in " ".join(daemon.refusal())
    descriptors = held(daemon.process.pid)
    for _ in range(10):
        daemon.refusal()
    assert eventually(lambda: held(daemon.process.pid) <= descriptors)
