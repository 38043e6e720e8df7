"""The plane's own descriptors are none of those that connections were promised when the daemon started."""

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
def test_pipes_take_no_descriptor_that_connections_were_promised(plane):
    """So many fit the limit of open files, says the daemon: so many are served, also where most of them are stuck."""
    config = configuration(plane, "echo", connections=CONNECTIONS)
    with Daemon(config, command=within(files=CONNECTIONS + APART)) as daemon, ExitStack() as stack:
        place = daemon.place("echo", "unix")
        stuck = Crowd([stack.enter_context(connect(place, narrow=True)) for _ in range(STUCK)])
        stuck.fill()
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
