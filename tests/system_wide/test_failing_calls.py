"""System calls that fail: a client that loses a byte gets a reset, and never a FIN. Test 48 of docs/PROMISES.md."""

from __future__ import annotations

import pytest

from tests.chaos.lab import Lab
from tests.chaos.network import Lacking, program
from tests.chaos.report import ONE_PROCESS
from tests.chaos.syscalls import CALLS, SERVICES, STANDING, TROUBLES, Fate, endure

pytestmark = pytest.mark.needs_tools


@pytest.fixture(params=ONE_PROCESS, ids=["plane-auto", "plane-off"])
def server(request):
    try:
        program("strace")
    except Lacking as lacking:
        pytest.skip(str(lacking))
    with Lab(None, "").server(request.param, SERVICES) as started:
        yield started


def tried(server, trouble):
    try:
        return endure(server, trouble)
    except Lacking as lacking:
        pytest.skip(str(lacking))


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
def test_bytes_are_lost_only_with_a_reset(server, trouble):
    result = tried(server, trouble)
    assert result.injected > 0
    assert set(result.fates) <= {Fate.WHOLE, Fate.RESET}
    assert result.fates[Fate.WHOLE] > 0
    assert result.wrong == 0
    assert result.back
    assert result.quiet_calls <= CALLS
    assert server.daemon.stderr.text[-1].endswith(" listeners"), "a line in addition to those of the start"


def test_a_socket_that_only_fails_is_retried_after_a_pause(server):
    """Each poll reports data, and each read fails: the daemon must wait before it tries again."""
    result = tried(server, STANDING)
    assert result.injected > 0
    assert result.quiet_calls <= CALLS
    assert result.back
