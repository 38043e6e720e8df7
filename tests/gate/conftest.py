"""Fixtures of the gate's tests: both planes, and private networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos import network
from tests.chaos.network import Lacking, Network, Two
from tests.contract.matrix import PLANES
from tests.gate.configurations import WAYS


@pytest.fixture(params=PLANES)
def plane(request: pytest.FixtureRequest) -> str:
    """The fast path and the plain one: every rule is the same on both."""
    return str(request.param)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The plane, and a kind of service that keeps its connections: together every path of a stream."""
    return WAYS[request.param]


@pytest.fixture
def lo() -> Iterator[Network]:
    """A network that has only loopback; the test is in it."""
    try:
        with network.alone() as own, own.inside():
            yield own
    except Lacking as lacking:
        pytest.skip(str(lacking))


@pytest.fixture
def two() -> Iterator[Two]:
    """A server's and a client's network, and a link between them; the test is in the server's."""
    try:
        with network.joined() as both, both.server.inside():
            yield both
    except Lacking as lacking:
        pytest.skip(str(lacking))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Skip a test if this machine lacks something it needs."""
    try:
        return (yield)
    except Lacking as lacking:
        pytest.skip(str(lacking))
