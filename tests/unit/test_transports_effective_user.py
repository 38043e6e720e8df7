"""Root opens paths itself only in folders that only root can write."""

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from echod.address import Address
from echod.transports import unix_paths
from echod.transports.effective_user import acting_as, groups_of, only_root_writes

NOBODY, NOGROUP = 65534, 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose parents all belong to root; it is below /tmp, which is sticky."""
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(0o755)
    assert only_root_writes(str(tmp_path))
    return tmp_path


def test_a_folder_that_other_users_can_write_is_not_only_roots(folder: Path) -> None:
    for change in (lambda: folder.chmod(0o775), lambda: folder.chmod(0o1777), lambda: os.chown(folder, NOBODY, 0)):
        change()
        assert not only_root_writes(str(folder))
        os.chown(folder, 0, 0)
        folder.chmod(0o755)


def test_a_folder_below_one_that_other_users_can_write_is_not_only_roots(folder: Path) -> None:
    inner = folder / "inner" / "most"
    inner.mkdir(parents=True)
    assert only_root_writes(str(inner))
    os.chown(folder, NOBODY, 0)
    assert not only_root_writes(str(inner))


def test_a_folder_behind_a_link_of_another_user_is_not_only_roots(folder: Path) -> None:
    target, theirs = folder / "target", folder / "theirs"
    target.mkdir()
    theirs.mkdir()
    (folder / "link").symlink_to(target)
    (folder / "relative").symlink_to("theirs/../target")
    (theirs / "link").symlink_to(target)
    os.chown(theirs, NOBODY, NOGROUP)
    assert only_root_writes(str(folder / "link"))
    assert not only_root_writes(str(folder / "relative"))
    assert not only_root_writes(str(theirs / "link"))
    os.chown(folder / "link", NOBODY, NOGROUP, follow_symlinks=False)
    assert not only_root_writes(str(folder / "link"))


def test_a_path_that_is_not_a_folder_is_not_only_roots(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "loop").symlink_to("loop")
    for name in ("file", "loop", "missing"):
        assert not only_root_writes(str(folder / name))


def test_acting_as_another_user_ends_with_the_block(folder: Path) -> None:
    (folder / "secret").write_text("x")
    (folder / "secret").chmod(0o600)
    before = os.getresuid(), os.getresgid(), os.getgroups()
    with acting_as(NOBODY, NOGROUP):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (NOBODY, NOGROUP, [NOGROUP])
        with pytest.raises(PermissionError):
            (folder / "secret").read_text()
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before
    assert groups_of(4711, 4712) == [4712]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_replaces_ours_keeps_its_owner(folder: Path, kind: socket.SocketKind) -> None:
    """The owner of the folder replaces our path by a socket of root, immediately after the bind."""
    os.chown(folder, NOBODY, NOGROUP)
    roots = folder / "roots"
    with socket.socket(socket.AF_UNIX, kind) as victim:
        victim.bind(str(roots))
        roots.chmod(0o600)

        class Attacked(socket.socket):
            def bind(self, path: Any, /) -> None:
                super().bind(path)
                os.rename(path, f"{path}.away")
                os.rename(roots, path)

        options: dict[str, str | int | bool] = {"user": str(NOBODY), "group": str(NOGROUP), "mode": 0o666}
        with Attacked(socket.AF_UNIX, kind) as ours:
            address = Address(
                "unix" if kind is socket.SOCK_STREAM else "unix-dgram", path=f"{folder}/s", options=options
            )
            try:
                unix_paths.bind_path(ours, address, ours.listen if kind is socket.SOCK_STREAM else lambda: None)
            except OSError:
                pass
        for path in folder.iterdir():
            if path.name.endswith(".away"):
                continue
            there = path.lstat()
            assert (there.st_uid, stat.S_IMODE(there.st_mode)) == (0, 0o600), path


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_in_a_folder_of_another_user_belongs_to_that_user_after_the_bind(
    folder: Path, kind: socket.SocketKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(folder, NOBODY, NOGROUP)
    given: list[object] = []
    monkeypatch.setattr(os, "chown", lambda *what, **_: given.append(what))
    with socket.socket(socket.AF_UNIX, kind) as ours:
        options = {"user": str(NOBODY), "group": str(NOGROUP)}
        scheme = "unix" if kind is socket.SOCK_STREAM else "unix-dgram"
        address = Address(scheme, path=f"{folder}/s", options=options)
        unix_paths.bind_path(ours, address, ours.listen if kind is socket.SOCK_STREAM else lambda: None)
        there = (folder / "s").lstat()
        assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (NOBODY, NOGROUP, 0o660)
    assert given == []
