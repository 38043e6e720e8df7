"""`echod.testing.twisted_daemon`: a daemon on the reactor of a test, which leaves nothing behind."""

import gc
import os
import socket
import ssl
import subprocess
import sys
import threading
from functools import partial

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.threads import deferToThread

from echod.testing import DaemonError
from echod.testing.twisted_daemon import TwistedDaemon
from tests.daemon import SECONDS, environment
from tests.websocket import WebSocketClient

reactor = installed
ALL = ("echo=tcp://127.0.0.1:0", "echo=udp://127.0.0.1:0", "echo=tls://127.0.0.1:0", "echo=ws://127.0.0.1:0/")


def opened():
    """The open descriptors of this process, and the threads that write logs."""
    gc.collect()  # what other tests have left
    return sorted(os.listdir("/proc/self/fd")), {one.name for one in threading.enumerate() if one.name == "output"}


def accepted(daemon, number):
    """Whether the daemon has accepted this many connections."""
    return daemon.counters()["accepted"] == number


def exchanged(daemon):
    """The replies over each transport, in a thread."""
    with socket.create_connection(daemon.address, SECONDS) as client:
        client.sendall(b"tcp")
        yield client.recv(99)
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.sendto(b"udp", daemon.address_of(scheme="udp"))
        yield client.recv(99)
    context = ssl.create_default_context(cafile=daemon.ca_file)
    with (
        socket.create_connection(daemon.address_of(scheme="tls"), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(b"tls")
        yield client.recv(99)
    web = WebSocketClient(daemon.address_of(scheme="ws"))
    web.send(b"ws")
    yield web.receive()
    web.close()


@pytest_twisted.ensureDeferred
async def test_every_transport_and_nothing_is_left():
    await deferToThread(lambda: None)  # the reactor's thread pool exists before
    before = opened()
    for _ in range(2):
        daemon = TwistedDaemon(reactor, *ALL, timeout=SECONDS)
        daemon.start()
        assert await deferToThread(list, exchanged(daemon)) == [b"tcp", b"udp", b"tls", b"ws"]
        assert [one.data for one in daemon.received()] == [b"tcp", b"udp", b"tls", b"ws"]
        assert daemon.counters("echo")["accepted"] == 3
        assert daemon.counters() == daemon.counters("echo")
        held = socket.create_connection(daemon.address)
        await daemon.wait_until(partial(accepted, daemon, 4))
        assert "ready: 4 listeners" in daemon.log
        await daemon.stop()
        with pytest.raises(ConnectionResetError):
            held.recv(1)
        held.close()
        assert not daemon.dir.exists()
    assert opened() == before


@pytest_twisted.ensureDeferred
async def test_faults_change_while_it_runs_also_for_open_connections():
    daemon = TwistedDaemon(reactor, "echo=tcp://127.0.0.1:0", faults={"silent": True}, timeout=SECONDS)
    daemon.start()
    with socket.create_connection(daemon.address, SECONDS) as client:
        client.sendall(b"unanswered")
        await daemon.wait_until(lambda: sum(len(one.data) for one in daemon.received()) == 10)
        await daemon.set_faults()
        client.sendall(b"hello")
        assert await deferToThread(client.recv, 99) == b"hello"
        with pytest.raises(DaemonError, match=r"(?s)refused the faults:.*drup: unknown key; did you mean drop\?"):
            await daemon.set_faults(drup=1)
    await daemon.stop()


@pytest_twisted.ensureDeferred
async def test_what_is_not_there_is_an_error_and_leaves_nothing():
    await deferToThread(lambda: None)
    before = opened()
    with pytest.raises(ValueError, match="is not KIND=URL"):
        TwistedDaemon(reactor, "127.0.0.1:0")
    for listen, right in (
        ("ecko=tcp://127.0.0.1:0", 'unknown kind "ecko"; did you mean echo'),
        ("echo=tcp://192.0.2.1:7", "tcp://192.0.2.1:7: .*EADDRNOTAVAIL"),
    ):
        with pytest.raises(DaemonError, match=f"(?s)echod did not start:\n.*{right}"):
            TwistedDaemon(reactor, "echo=tcp://127.0.0.1:0", listen).start()
    unused = TwistedDaemon(reactor, "echo=tcp://127.0.0.1:0")
    with pytest.raises(DaemonError, match="echod is not running"):
        unused.counters()
    await unused.stop()
    daemon = TwistedDaemon(reactor, "echo=tcp://127.0.0.1:0", record=None, timeout=0)
    daemon.start()
    with pytest.raises(DaemonError, match="echo records nothing"):
        daemon.received()
    with pytest.raises(DaemonError, match=r"(?s)not in 0 s: a miracle\n.*echo  tcp://127\.0\.0\.1"):
        await daemon.wait_until(lambda: False, "a miracle")
    await daemon.stop()
    await daemon.stop()
    assert opened() == before


def test_the_process_of_other_programs_does_not_import_twisted():
    program = "import sys, echod.testing; print([name for name in sys.modules if name.startswith('twisted')])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment(), check=True)
    assert ended.stdout == b"[]\n"
