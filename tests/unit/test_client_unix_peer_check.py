"""echod.client.unix_peer_check: the owners of a listening socket that are trusted."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from echod.address import parse
from echod.client.unix_peer_check import Untrusted, check, only_writable_by
from echod.peercred import Credentials


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        yield ours


def listens(monkeypatch, user, overflow=None):
    """The kernel says that `user` listens."""
    monkeypatch.setattr("echod.client.unix_peer_check.credentials", lambda _: user and Credentials(user, frozenset()))
    monkeypatch.setattr("echod.client.unix_peer_check.overflow", lambda _: overflow)


def test_our_own_socket_is_trusted(connection):
    check(connection, parse("unix://@name"), None)


def test_another_user_is_not_trusted(connection, monkeypatch, tmp_path):
    for address in ("unix://@name", f"unix://{tmp_path}/s", "unix:///tmp/s", "unix:///nonesuch/s"):
        listens(monkeypatch, 4001)
        with pytest.raises(Untrusted, match="the listening process belongs to user 4001, not trusted"):
            check(connection, parse(address), None)
    listens(monkeypatch, None)
    with pytest.raises(Untrusted, match="the kernel does not report"):
        check(connection, parse("unix://@name"), None)


def test_a_refusal_names_the_expected_users_once_and_the_user_to_run_as(connection, monkeypatch):
    listens(monkeypatch, 4001)
    for own, expected in ((0, "root, or the owner"), (4002, "root or 4002, or the owner")):
        monkeypatch.setattr(os, "geteuid", lambda own=own: own)
        with pytest.raises(Untrusted, match=f"expected {expected} of the configuration .*; run this as 4001 if"):
            check(connection, parse("unix://@name"), None)


def test_the_owner_of_the_configuration_is_trusted(connection, monkeypatch, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("giving a file to another user takes root")
    file = tmp_path / "echod.toml"
    file.touch()
    os.chown(file, 4001, -1)
    listens(monkeypatch, 4001)
    check(connection, parse("unix://@name"), file)
    listens(monkeypatch, 4002)
    with pytest.raises(Untrusted):
        check(connection, parse("unix://@name"), file)
    listens(monkeypatch, 4001, overflow=4001)
    with pytest.raises(Untrusted):
        check(connection, parse("unix://@name"), file)


def test_a_folder_is_trusted_if_no_third_user_can_replace_its_files(tmp_path, monkeypatch, connection):
    if os.geteuid() != 0:
        pytest.skip("giving a folder to another user takes root")
    # /tmp is sticky, and anyone may have made a folder in it first: only below a folder of root's does it count.
    assert not only_writable_by(4001, "/tmp")
    monkeypatch.setattr("echod.client.unix_peer_check.os.path.dirname", _dirname_up_to(str(tmp_path)))
    folder = tmp_path / "run"
    folder.mkdir()
    os.chown(folder, 4001, -1)
    folder.chmod(0o755)
    assert only_writable_by(4001, str(folder))
    assert not only_writable_by(4002, str(folder))
    for mode in (0o775, 0o757, 0o1777):
        folder.chmod(mode)
        assert not only_writable_by(4001, str(folder))
    folder.chmod(0o755)
    (tmp_path / "link").symlink_to(folder)
    assert only_writable_by(4001, str(tmp_path / "link"))
    os.lchown(tmp_path / "link", 4002, -1)
    assert not only_writable_by(4001, str(tmp_path / "link")), "its owner can change the target"
    tmp_path.chmod(0o777)
    assert not only_writable_by(4001, str(folder))
    assert not only_writable_by(4001, str(tmp_path / "nonesuch"))


def _dirname_up_to(top):
    real = os.path.dirname
    return lambda path: path if path == top else real(path)
