"""echod.peercred: user and groups of the peer of a Unix socket, and the overflow number."""

from __future__ import annotations

import os
import socket

import pytest

from echod.peercred import OVERFLOW, Credentials, credentials, overflow, own_user


def test_credentials_of_the_own_process():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert credentials(ours) == Credentials(os.geteuid(), frozenset((os.getegid(), *os.getgroups())))


def test_a_socket_that_is_not_local_has_none():
    with socket.socket() as inet:
        told = credentials(inet)
    assert told is None or told.user == 2**32 - 1  # the kernel says -1 of a socket without a peer
    assert credentials(None) is None


@pytest.mark.parametrize(
    ("map_", "said", "expected"),
    [
        ("         0          0 4294967295\n", "65534\n", None),
        ("0 1000 1\n", "65534\n", 65_534),
        ("0 1000 1\n", "12\n", 12),
        ("0 1000 1\n1 100000 65536\n", "65534\n", 65_534),
        ("0 1000 1\n", "", OVERFLOW),
        ("", "65534\n", 65_534),
        ("nonsense\n", "65534\n", OVERFLOW),
    ],
)
@pytest.mark.parametrize("of", ["uid", "gid"])
def test_the_overflow_number_is_a_user_only_if_all_others_are_mapped(of, map_, said, expected, tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / f"{of}_map").write_text(map_)
    kernel = tmp_path / "sys" / "kernel"
    kernel.mkdir(parents=True)
    (kernel / f"overflow{of}").write_text(said)
    assert overflow(of, tmp_path) == expected


def test_without_proc_the_map_is_not_complete(tmp_path):
    assert overflow("uid", tmp_path) == OVERFLOW


def test_the_own_user_is_recognised_unless_it_has_the_overflow_number(monkeypatch):
    monkeypatch.setattr("echod.peercred.overflow", lambda _of: None)
    assert own_user() == os.geteuid()
    monkeypatch.setattr("echod.peercred.overflow", lambda _of: os.geteuid())
    assert own_user() is None
