"""The search of the path MTU: the sizes that are tried, and errors of single probes."""

import argparse
import errno
import os
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from echod.address import parse
from echod.client.mtu_search import LARGEST, SMALLEST, WAIT, MtuSearch, SizeSearch


def tried(limit: int) -> tuple[SizeSearch, list[int]]:
    """The sizes that are tried on a path that carries `limit` bytes."""
    search, sizes = SizeSearch(), []
    while (size := search.next()) is not None:
        sizes.append(size)
        search.note(size, size <= limit)
    return search, sizes


@settings(max_examples=200, deadline=None)
@given(st.integers(SMALLEST, LARGEST))
def test_the_largest_size_is_found_with_few_probes(limit):
    search, sizes = tried(limit)
    assert search.found == limit
    assert len(sizes) == len(set(sizes)) <= 24


@pytest.mark.parametrize(("limit", "most"), [(1472, 3), (1452, 5), (LARGEST, 20)])
def test_common_sizes_are_found_first(limit, most):
    search, sizes = tried(limit)
    assert search.found == limit
    assert len(sizes) <= most


def test_a_path_that_carries_nothing_has_no_result():
    search, sizes = tried(SMALLEST - 1)
    assert (search.found, sizes) == (None, [SMALLEST])


class Kernel:
    """A socket with a pending error, or whose next send fails."""

    family = socket.AF_INET

    def __init__(self, pending: int = 0, failure: int = 0) -> None:
        self.pending, self.failure = pending, failure
        self.sent: list[int] = []  # sizes

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        code, self.pending = self.pending, 0
        return code

    def send(self, data: bytes) -> None:
        code, self.failure = self.pending or self.failure, 0
        if code:
            raise OSError(code, os.strerror(code))
        self.sent.append(len(data))

    def close(self) -> None:
        """Nothing is open."""


def search_with(kernel: Kernel) -> tuple[MtuSearch, Clock, list[int]]:
    """A search that has sent its first probe, its clock, and its exit codes."""
    clock, codes = Clock(), []
    options = dict.fromkeys(("interface", "dscp", "ttl", "source"))
    url = parse("udp://127.0.0.1:7", client=True)
    arguments = argparse.Namespace(url=url, timeout=WAIT, quiet=True, json=False, **options)
    search = MtuSearch(clock, arguments, codes.append)
    [look_up] = clock.getDelayedCalls()
    look_up.cancel()
    socket_of: Any = search
    socket_of._socket = kernel
    search._try_next()
    return search, clock, codes


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
def test_a_probe_that_a_full_queue_drops_is_sent_again(code):
    kernel = Kernel(failure=code)
    _, clock, codes = search_with(kernel)
    assert kernel.sent == []
    clock.advance(WAIT)
    assert (kernel.sent, codes) == ([SMALLEST], [])


def test_a_late_error_of_an_earlier_probe_is_not_that_of_the_next_one():
    kernel = Kernel(pending=errno.EMSGSIZE)
    search, _, codes = search_with(kernel)
    assert (kernel.sent, codes, search._search.fails) == ([SMALLEST], [], LARGEST + 1)


def test_a_refusal_ends_the_search_with_its_reason(capsys):
    kernel = Kernel(pending=errno.ECONNREFUSED)
    search, _, codes = search_with(kernel)
    assert (kernel.sent, codes) == ([], [1])
    assert search.failed == "udp://127.0.0.1:7: connection refused (ECONNREFUSED)"
    assert capsys.readouterr().err == f"echoctl: {search.failed}\n"
