"""The limits of the admin interface for each limit of open files."""

from __future__ import annotations

import pytest

from echod.gate.admin_limits import MOST, SHARE, admin_limits


@pytest.mark.parametrize("files", [SHARE * MOST.connections, 65_536, 2**63])
def test_enough_open_files_allow_the_most(files):
    assert admin_limits(files) == MOST
    assert (MOST.at_once, MOST.streams, MOST.connections) == (32, 128, 480)


@pytest.mark.parametrize("files", range(48, SHARE * MOST.connections, 97))
def test_the_interface_uses_at_most_its_share(files):
    limits = admin_limits(files)
    assert 6 <= limits.connections <= files // SHARE
    assert 1 <= limits.at_once <= MOST.at_once
    assert limits.at_once <= limits.streams + 1


def test_each_class_has_a_connection_and_a_stream():
    assert [(one.at_once, one.streams) for one in (admin_limits(0), admin_limits(47))] == [(1, 1)] * 2
