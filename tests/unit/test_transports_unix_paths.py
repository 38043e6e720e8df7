"""Paths of Unix sockets: what is replaced, the mode and owner during the bind, and the removal."""

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from echod.address import Address
from echod.transports.unix_paths import LONGEST, OwnPath, bind_path

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
SCHEMES = {STREAM: "unix", DATAGRAM: "unix-dgram"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a socket to another group")


@pytest.fixture(params=SCHEMES, ids=list(SCHEMES.values()))
def kind(request: pytest.FixtureRequest) -> socket.SocketKind:
    return socket.SocketKind(request.param)


@contextmanager
def bound(path: Path, kind: socket.SocketKind, **options: int | str) -> Iterator[socket.socket]:
    """A socket that is bound to `path`."""
    with socket.socket(socket.AF_UNIX, kind) as opened:
        bind_path(opened, Address(SCHEMES[kind], path=str(path), options=dict(options)), preparing(opened))
        yield opened


def preparing(opened: socket.socket) -> Callable[[], None]:
    return opened.listen if opened.type is STREAM else lambda: None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def refuses(path: Path, kind: socket.SocketKind, what: str, **options: int | str) -> None:
    """Binding raises an OSError that matches `what`, and leaves no path."""
    before = sorted(os.listdir(path.parent))
    with pytest.raises(OSError, match=what), bound(path, kind, **options):
        pass
    assert sorted(os.listdir(path.parent)) == before


def assert_served(path: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as client:
        client.settimeout(10)
        client.connect(str(path))


def test_a_path_has_its_mode_with_any_umask(tmp_path, kind):
    before = os.umask(0)
    try:
        for umask in (0, 0o777):
            os.umask(umask)
            for wanted in (0o600, 0o660, 0o666, 0o000):
                path = tmp_path / f"{umask}-{wanted}"
                with bound(path, kind, mode=wanted):
                    assert mode(path) == wanted
                    assert_served(path, kind)
            assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_a_stream_path_appears_after_the_socket_listens(tmp_path):
    path = tmp_path / "s"
    seen = []
    with socket.socket(socket.AF_UNIX, STREAM) as opened:

        def prepare() -> None:
            seen.append(path.exists())
            opened.listen()

        bind_path(opened, Address("unix", path=str(path)), prepare)
        assert seen == [False]
        assert os.listdir(tmp_path) == ["s"]
        assert_served(path, STREAM)


def test_a_datagram_socket_has_the_name_that_peers_send_to(tmp_path):
    with bound(tmp_path / "d", DATAGRAM) as opened:
        assert opened.getsockname() == str(tmp_path / "d")


@as_root
def test_a_socket_without_its_owner_is_not_writable_by_other_users(tmp_path, kind):
    seen = []
    chown = os.chown

    def watching(name: str, *owner: int) -> None:
        seen.append([stat.S_IMODE(os.stat(name).st_mode), (tmp_path / "s").exists()])
        chown(name, *owner)

    with mock.patch("os.chown", watching), bound(tmp_path / "s", kind, mode=0o662, group=54321):
        assert seen == [[0o600, kind is DATAGRAM]]
        assert mode(tmp_path / "s") == 0o662
        assert (tmp_path / "s").stat().st_gid == 54321


def test_a_socket_with_the_right_owner_needs_no_chown(tmp_path, kind):
    with (
        mock.patch("os.chown", side_effect=PermissionError),
        bound(tmp_path / "s", kind, mode=0o640, group=os.getegid()),
    ):
        assert mode(tmp_path / "s") == 0o640


def test_a_symbolic_link_that_replaces_the_socket_is_not_followed(tmp_path, kind):
    """The link replaces the socket between the bind and the change of its owner and mode."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o640)

    class Swapped(socket.socket):
        def bind(self, name: Any, /) -> None:
            super().bind(name)
            os.unlink(str(name))
            os.symlink(victim, str(name))

    address = Address(SCHEMES[kind], path=str(tmp_path / "s"), options={"mode": 0o666, "group": os.getegid()})
    with Swapped(socket.AF_UNIX, kind) as opened, pytest.raises(OSError, match="another process"):
        bind_path(opened, address, preparing(opened))
    assert mode(victim) == 0o640
    assert victim.read_text() == "precious"


def test_a_stale_socket_is_replaced(tmp_path, kind):
    path = tmp_path / "s"
    with bound(path, kind):
        pass
    left = path.lstat().st_ino, path.stat().st_ctime_ns
    with bound(path, kind):
        assert (path.lstat().st_ino, path.stat().st_ctime_ns) != left
        assert_served(path, kind)
        assert os.listdir(tmp_path) == ["s"]


@pytest.mark.parametrize("other", SCHEMES, ids=list(SCHEMES.values()))
def test_a_socket_in_use_is_not_replaced(tmp_path, kind, other):
    path = tmp_path / "s"
    with bound(path, socket.SocketKind(other)):
        refuses(path, kind, "in use")
        assert_served(path, socket.SocketKind(other))


def test_a_path_that_is_not_a_socket_is_not_changed(tmp_path, kind):
    path = tmp_path / "s"
    path.write_text("precious")
    refuses(path, kind, "not a socket")
    assert path.read_text() == "precious"
    link = tmp_path / "link"
    link.symlink_to(path)
    refuses(link, kind, "not a socket")
    (tmp_path / "dangling").symlink_to("nowhere")
    refuses(tmp_path / "dangling", kind, "not a socket")
    (tmp_path / "folder").mkdir()
    refuses(tmp_path / "folder", kind, "not a socket")


def test_a_file_created_during_the_bind_is_not_replaced(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, STREAM) as opened, pytest.raises(OSError, match="another process"):
        bind_path(opened, Address("unix", path=str(path)), lambda: path.write_text("precious") and None)
    assert os.listdir(tmp_path) == ["s"]
    assert path.read_text() == "precious"


def test_a_folder_writable_by_all_users_is_refused_unless_sticky(tmp_path, kind):
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o777)
    refuses(folder / "s", kind, "sticky")
    folder.chmod(0o1777)
    with bound(folder / "s", kind):
        assert_served(folder / "s", kind)


def test_a_temporary_path_of_a_killed_process_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX, STREAM) as killed:
        killed.bind(str(tmp_path / f"s.{os.getpid()}"))
    with bound(tmp_path / "s", STREAM):
        assert os.listdir(tmp_path) == ["s"]


def test_a_failed_bind_leaves_no_path(tmp_path, kind):
    prepare = mock.Mock(side_effect=OSError(errno.ENOMEM, "no memory"))
    with socket.socket(socket.AF_UNIX, kind) as opened, pytest.raises(OSError, match="no memory"):
        bind_path(opened, Address(SCHEMES[kind], path=str(tmp_path / "s")), prepare)
    assert os.listdir(tmp_path) == []


def test_a_path_of_the_longest_size_is_bound(tmp_path, kind):
    """A temporary name beside it would be too long."""
    path = tmp_path / ("s" * (LONGEST - len(str(tmp_path)) - 1))
    with bound(path, kind):
        assert_served(path, kind)
        assert os.listdir(tmp_path) == [path.name]


def test_only_the_path_of_this_socket_is_removed_at_the_end(tmp_path, kind):
    path = tmp_path / "s"
    with bound(path, kind):
        own = OwnPath(str(path))
        path.unlink()
        with bound(path, kind):
            successor = OwnPath(str(path))
            own.remove()
            assert_served(path, kind)
            successor.remove()
            successor.remove()
    assert os.listdir(tmp_path) == []
