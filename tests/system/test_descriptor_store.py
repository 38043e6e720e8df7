"""A restart under a manager that keeps descriptors refuses no client; a stop without one leaves no path."""

import os
import shutil
import signal
import socket
from contextlib import ExitStack

import pytest

from tests.activation import activated
from tests.contract.matrix import exactly
from tests.daemon import SECONDS, Daemon, eventually, free_port, run
from tests.manager import Held, Manager


def asked(stack, kind, place):
    """A client that has sent its request."""
    family = socket.AF_INET if isinstance(place, tuple) else socket.AF_UNIX
    client = stack.enter_context(socket.socket(family, kind))
    client.settimeout(SECONDS)
    if (family, kind) == (socket.AF_UNIX, socket.SOCK_DGRAM):
        client.bind("")
    client.connect(place)
    client.sendall(b"still there?")
    return client


@pytest.mark.parametrize("planes", [("auto", "off"), pytest.param(("off", "auto"), marks=pytest.mark.slow)])
def test_requests_between_two_daemons_have_replies(planes, tmp_path):
    port, other = free_port(), free_port()
    stream, datagram = str(tmp_path / "stream"), str(tmp_path / "datagram")
    places = [
        (socket.SOCK_STREAM, ("127.0.0.1", port)),
        (socket.SOCK_DGRAM, ("127.0.0.1", other)),
        (socket.SOCK_STREAM, stream),
        (socket.SOCK_DGRAM, datagram),
    ]
    listen = f'"tcp://127.0.0.1:{port}", "udp://127.0.0.1:{other}", "unix://{stream}", "unix-dgram://{datagram}"'
    drain = 'drain = "1s"'  # the clients stay connected
    configs = [f'[daemon]\n{drain}\nplane = "{plane}"\n[services.echo]\nlisten = [{listen}]\n' for plane in planes]
    with Manager(tmp_path) as manager, ExitStack() as stack:
        environ = {"NOTIFY_SOCKET": manager.where}
        with Daemon(configs[0], environ=environ) as first:
            for kind, place in places:
                assert asked(stack, kind, place).recv(100) == b"still there?"
            assert first.stop() == 0
            first.check()
        assert eventually(lambda: len(manager.stored) == len(places))
        clients = [asked(stack, kind, place) for kind, place in places]
        passed = [(name, Held(number)) for name, number in manager.stored]
        with activated(passed, configs[1], environ=environ) as second:
            for client in clients:
                assert client.recv(100) == b"still there?"
            assert second.stop() == 0
            second.check()
        assert len(manager.stored) == len(places)


def options_of(number):
    """Backlog and DSCP of a listening TCP socket, by its descriptor; ss(8) shows that backlog as Send-Q."""
    with socket.socket(fileno=os.dup(number)) as one:
        shown = run("ss", "-Hltn", f"sport = :{one.getsockname()[1]}")
        return int(shown.stdout.split()[2]), one.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2


@pytest.mark.skipif(shutil.which("ss") is None, reason="ss of iproute2 shows the backlog")
def test_a_reload_of_socket_options_keeps_the_socket_for_the_next_start(tmp_path):
    port, path = free_port(), tmp_path / "stream"
    config = '[services.echo]\nlisten = ["tcp://127.0.0.1:{port}?{first}", "unix://{path}?{second}"]\n'

    def written(first, second):
        return config.format(port=port, path=path, first=first, second=second)

    with Manager(tmp_path) as manager:
        environ = {"NOTIFY_SOCKET": manager.where}
        with Daemon(written("backlog=5", "mode=0600"), environ=environ) as first:
            assert eventually(lambda: len(manager.stored) == 2)
            before = manager.names
            inodes = [os.fstat(number).st_ino for _, number in manager.stored]
            (first.dir / "echod.toml").write_text(written("backlog=9&dscp=46", "mode=0600&backlog=3"))
            first.send_signal(signal.SIGHUP)
            first.stderr.wait_for(" reloaded: 0 addresses opened, 0 closed")
            assert options_of(manager.stored[0][1]) == (9, 46)
            assert first.stop() == 0
            first.check()
        passed = [(name, Held(number)) for name, number in manager.stored]
        for options, expected in ("backlog=9&dscp=46", (9, 46)), ("backlog=11", (11, 0)):
            with activated(passed, written(options, "mode=0600&backlog=3"), environ=environ) as second:
                assert options_of(manager.stored[0][1]) == expected, "they are set on what is taken back, too"
                with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
                    client.sendall(b"hello")
                    assert exactly(client, 5) == b"hello"
                assert second.stop() == 0
                second.check()
        assert manager.names == before
        assert [os.fstat(number).st_ino for _, number in manager.stored] == inodes


def test_earlier_connections_are_drained_before_the_next_start(tmp_path):
    """A client that connects while the old daemon drains waits for the new daemon."""
    port = free_port()
    with Manager(tmp_path) as manager, ExitStack() as stack:
        environ = {"NOTIFY_SOCKET": manager.where}
        config = f'[daemon]\ndrain = "60s"\n[services.echo]\nlisten = ["tcp://127.0.0.1:{port}"]\n'
        with Daemon(config, environ=environ) as first:
            old = asked(stack, socket.SOCK_STREAM, ("127.0.0.1", port))
            assert exactly(old, 12) == b"still there?"
            first.process.terminate()
            first.stderr.wait_for("stopping: 1 connection ")
            new = asked(stack, socket.SOCK_STREAM, ("127.0.0.1", port))
            old.sendall(b"and now?")
            assert exactly(old, 8) == b"and now?"
            old.close()
            assert first.wait() == 0
        assert eventually(lambda: len(manager.stored) == 1)
        passed = [(name, Held(number)) for name, number in manager.stored]
        with activated(passed, listen=[f"echo=tcp://127.0.0.1:{port}"], environ=environ):
            assert exactly(new, 12) == b"still there?"


@pytest.mark.parametrize("room", [0, None])
def test_without_a_store_no_path_is_left(room, tmp_path):
    with Manager(tmp_path, room=room or 0) as manager:
        environ = {} if room is None else {"NOTIFY_SOCKET": manager.where}
        with Daemon(listen=["echo=unix://{dir}/stream", "echo=unix-dgram://{dir}/datagram"], environ=environ) as daemon:
            assert daemon.stop() == 0
            assert list(daemon.dir.iterdir()) == []
