"""The fast path's own descriptors are not taken from the connections that the daemon reported at its start."""

from contextlib import ExitStack
from typing import Final

import pytest

from echod.config.fd_budget import APART
from tests.contract.matrix import exactly
from tests.daemon import Daemon
from tests.fastpath.clients import PLANES, Crowd, configuration, connect, counted, within

CONNECTIONS: Final = 150
STUCK: Final = 100


@pytest.mark.parametrize("plane", PLANES)
def test_pipes_take_no_descriptor_of_a_connection(plane):
    """The daemon reports at its start how many connections fit: as many are served, even if most are stalled."""
    config = configuration(plane, "echo", connections=CONNECTIONS)
    with Daemon(config, command=within(files=CONNECTIONS + APART)) as daemon, ExitStack() as stack:
        place = daemon.place("echo", "unix")
        stuck = Crowd([stack.enter_context(connect(place, narrow=True)) for _ in range(STUCK)])
        stuck.fill(daemon)
        others = [stack.enter_context(connect(place)) for _ in range(CONNECTIONS - STUCK)]
        for client in others:
            client.sendall(b"?")
            assert exactly(client, 1) == b"?"
        stuck.read_on()
        stack.close()
        figures = counted(daemon, "echo", "unix")
        assert figures["accepted"] == figures["closed:done"] == CONNECTIONS
        assert "refused:accept" not in figures
        daemon.check()
