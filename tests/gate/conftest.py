"""What the gate's tests share: both planes, and networks of one's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos import network
from tests.chaos.network import Lacking, Network, Two
from tests.contract.matrix import PLANES
from tests.gate.configurations import WAYS


@pytest.fixture(params=PLANES)
def plane(request: pytest.FixtureRequest) -> str:
    """The fast way and the plain one: no rule may know the difference."""
    return str(request.param)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The plane, and a kind of service that keeps its connections: together every way that a stream may take."""
    return WAYS[request.param]


@pytest.fixture
def lo() -> Iterator[Network]:
    """A network that has nothing but loopback; the test is inside of it."""
    try:
        with network.alone() as own, own.inside():
            yield own
    except Lacking as lacking:
        pytest.skip(str(lacking))


@pytest.fixture
def two() -> Iterator[Two]:
    """A server's and a client's network, and a link between them; the test is inside of the server's."""
    try:
        with network.joined() as both, both.server.inside():
            yield both
    except Lacking as lacking:
        pytest.skip(str(lacking))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """What this machine lacks is no failure."""
    try:
        return (yield)
    except Lacking as lacking:
        pytest.skip(str(lacking))
