"""Unix sockets: the configured mode, a path that belongs to no other process, and no path left behind."""

import json
import os
import socket
import stat

import pytest

from tests.chaos import paths
from tests.chaos.network import Lacking
from tests.chaos.report import Subject
from tests.contract.matrix import exactly
from tests.daemon import SECONDS, Daemon, eventually

CONFIG = """
[services.echo]
listen = ["unix://{dir}/echo.sock", "unix-dgram://{dir}/echo.dgram"]
[services.private]
kind = "echo"
listen = ["unix://{dir}/private.sock?mode=0600"]
[services.public]
kind = "echo"
listen = ["unix://{dir}/public.sock?mode=0666", "unix-dgram://{dir}/public.dgram?mode=0622"]
[services.spaced]
kind = "echo"
listen = ["unix://{dir}/w%C3%B6rld%20one.sock"]
[services.abstract]
kind = "echo"
listen = ["unix://@{dir}/abstract"]
"""
LISTEN = ["echo=unix://{dir}/echo.sock"]


def assert_served(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(path)
        client.sendall(b"hello")
        assert exactly(client, 5) == b"hello"


@pytest.mark.parametrize("subject", [Subject.ECHOD, Subject.PLAIN], ids=["auto", "off"])
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.needs_tools if case in paths.TRACED else ()) for case in paths.CASES],
)
def test_another_user_may_write_beside_it(case, subject):
    try:
        finding = case(paths.echod(subject))
    except Lacking as lacking:
        pytest.skip(str(lacking))
    assert finding.well, finding.said


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_mode_is_independent_of_the_umask(umask):
    with Daemon(CONFIG, umask=umask) as daemon:
        assert {path.name: oct(path.lstat().st_mode & 0o7777) for path in daemon.dir.iterdir() if path.is_socket()} == {
            "echo.sock": "0o660",
            "echo.dgram": "0o660",
            "private.sock": "0o600",
            "public.sock": "0o666",
            "public.dgram": "0o622",
            "wörld one.sock": "0o660",
        }
        for name in ("echo.sock", "wörld one.sock"):
            assert_served(str(daemon.dir / name))
        assert_served(f"\0{daemon.dir}/abstract")
        assert daemon.stop() == 0
        assert [path.name for path in daemon.dir.iterdir() if path.is_socket()] == []


def test_a_socket_of_a_dead_process_is_replaced():
    daemon = Daemon(listen=["echo=unix://{dir}/stream", "echo=unix-dgram://{dir}/datagram"])
    for name, kind in (("stream", socket.SOCK_STREAM), ("datagram", socket.SOCK_DGRAM)):
        with socket.socket(socket.AF_UNIX, kind) as dead:
            dead.bind(str(daemon.dir / name))
    with daemon:
        assert_served(str(daemon.dir / "stream"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS)
            client.bind("")
            client.sendto(b"hello", str(daemon.dir / "datagram"))
            assert client.recv(100) == b"hello"
        assert daemon.stop() == 0
        assert list(daemon.dir.iterdir()) == []


def test_a_stop_removes_only_its_own_path():
    """One path of a successor, one that is a file now, and one that does not exist any more."""
    names = ("own", "taken", "file", "gone")
    with Daemon(listen=[f"echo=unix://{{dir}}/{name}" for name in names]) as daemon:
        for name in names[1:]:
            (daemon.dir / name).unlink()
        (daemon.dir / "file").write_text("precious")
        with Daemon(listen=[f"echo=unix://{daemon.dir}/taken"]) as successor:
            assert daemon.stop() == 0
            daemon.check()
            assert sorted(path.name for path in daemon.dir.iterdir()) == ["file", "taken"]
            assert (daemon.dir / "file").read_text() == "precious"
            assert_served(str(daemon.dir / "taken"))
            assert successor.stop() == 0
            assert not (daemon.dir / "taken").exists()


def test_a_link_is_not_changed():
    """If another user swaps in a link, neither it nor its target is changed."""
    daemon = Daemon(listen=LISTEN)
    victim = daemon.dir / "victim"
    victim.write_text("precious")
    victim.chmod(0o640)
    (daemon.dir / "echo.sock").symlink_to(victim)
    with pytest.raises(AssertionError, match="not a socket"):
        daemon.start()
    assert daemon.wait() == 71
    assert stat.S_IMODE(victim.stat().st_mode) == 0o640
    assert victim.read_text() == "precious"
    assert os.readlink(daemon.dir / "echo.sock") == str(victim)
    daemon.close()


@pytest.mark.parametrize("scheme", ["unix", "unix-dgram"])
def test_a_folder_that_all_users_may_write_to_is_refused(scheme):
    daemon = Daemon(listen=[f"echo={scheme}://{{dir}}/echo.sock"])
    daemon.dir.chmod(0o777)
    with pytest.raises(AssertionError, match="writable by all users"):
        daemon.start()
    assert daemon.wait() == 71
    assert os.listdir(daemon.dir) == []
    daemon.close()


@pytest.mark.parametrize("plane", ["auto", "off"])
def test_whoami_returns_the_path_that_the_peer_connected_to(plane):
    config = f'[daemon]\nplane = "{plane}"\n[services.whoami]\nlisten = ["unix://{{dir}}/who"]'
    with Daemon(config) as daemon, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(daemon.place("whoami", "unix"))
        assert json.loads(client.recv(1000))["local_path"] == str(daemon.dir / "who")


def test_a_client_that_sends_descriptors_costs_nothing():
    with Daemon(listen=LISTEN) as daemon:
        assert_served(str(daemon.place("echo", "unix")))  # files that it opens at the first connection are open
        before = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client, open(os.devnull) as file:
                client.settimeout(SECONDS)
                client.connect(daemon.place("echo", "unix"))
                socket.send_fds(client, [b"take this"], [file.fileno()])
                assert exactly(client, 9) == b"take this"
        assert_served(str(daemon.place("echo", "unix")))
        assert eventually(lambda: len(os.listdir(f"/proc/{daemon.process.pid}/fd")) <= before)
        daemon.check()
