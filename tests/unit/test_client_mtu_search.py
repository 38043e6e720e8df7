"""The search of the path MTU: the sizes that are tried."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.client.mtu_search import LARGEST, SMALLEST, SizeSearch


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
