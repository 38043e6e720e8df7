"""Each test of one listener runs on the fast path, in Python and in C, and on the plain path; over TCP and Unix."""

from pathlib import Path

import pytest

from tests.fastpath.listener import listener, needs_the_native_loop, needs_the_plane

PLANE = pytest.param("plane", marks=needs_the_plane)
NATIVE = pytest.param("native", marks=needs_the_native_loop)


@pytest.fixture(params=[PLANE, NATIVE, "plain"])
def way(request):
    return request.param


@pytest.fixture(params=["tcp", "unix"])
def scheme(request):
    return request.param


@pytest.fixture
def make(way, scheme, tmp_path_factory):
    """A function that makes a listener of this path and scheme."""
    path = Path(tmp_path_factory.mktemp("s"))
    return lambda service, **limits: listener(way, scheme, path, service, **limits)
