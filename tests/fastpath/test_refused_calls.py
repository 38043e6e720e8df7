"""If a seccomp filter refuses a call of the fast path, one line reports it and the plain path serves."""

from __future__ import annotations

import signal
import socket
from functools import partial

import pytest

from echod.fastpath import syscall_check
from tests.contract.matrix import rest
from tests.daemon import ECHOD, SECONDS, Daemon, eventually
from tests.fastpath.clients import connect
from tests.seccomp import CALLS, refusing

pytestmark = pytest.mark.skipif(not CALLS, reason="the numbers of this machine's system calls are unknown")
CONFIG = """
[daemon]
plane = "PLANE"
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "udp://*:0", "unix://{dir}/echo.sock"]
[services.upper]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
"""
LINE = "the fast path is off"


def warned(daemon: Daemon) -> list[str]:
    return [line for line in daemon.stderr.text if LINE in line]


def check_all(daemon: Daemon) -> None:
    """Check that every listener replies."""
    for service, said in (("echo", b"Hello"), ("upper", b"HELLO")):
        for scheme in ("tcp", "unix") if service == "echo" else ("tcp",):
            for _ in range(3):
                with connect(daemon.place(service, scheme)) as client:
                    client.sendall(b"Hello")
                    client.shutdown(socket.SHUT_WR)
                    assert rest(client) == said
        for name, url in daemon.urls:
            if name == service and url.startswith("udp"):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(SECONDS)
                    client.connect(daemon.inet(service, url))
                    client.send(b"Hello")
                    assert client.recv(10) == said


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("call", [*CALLS, ",".join(CALLS)], ids=[*CALLS, "all"])
def test_a_refused_call_is_one_line_and_the_plain_path_serves(call, error):
    names = call.split(",")
    with Daemon(CONFIG.replace("PLANE", "auto"), command=(*refusing(names, error), *ECHOD)) as daemon:
        check_all(daemon)
        [line] = warned(daemon)
        assert " warn " in line
        for name in names:
            assert f"{name} ({error})" in line
        daemon.check()
        assert daemon.stop() == 0


def test_with_the_plane_off_no_call_is_tried_and_no_line_logged():
    with Daemon(CONFIG.replace("PLANE", "off"), command=(*refusing(["splice"]), *ECHOD)) as daemon:
        check_all(daemon)
        assert not warned(daemon)


def test_without_a_filter_no_line_is_logged():
    assert syscall_check.refusals() == {}
    with Daemon(CONFIG.replace("PLANE", "auto")) as daemon:
        check_all(daemon)
        assert not warned(daemon)


def test_a_reload_that_turns_the_plane_on_logs_it_once():
    with Daemon(CONFIG.replace("PLANE", "off"), command=(*refusing(["splice"]), *ECHOD)) as daemon:
        file = daemon.dir / "echod.toml"
        off = file.read_text()
        on = off.replace('"off"', '"auto"')
        for count, text in enumerate((on, off, on), start=1):
            file.write_text(text)
            daemon.send_signal(signal.SIGHUP)
            assert eventually(partial(reloaded, daemon, count))
        check_all(daemon)
        assert len(warned(daemon)) == 1


def reloaded(daemon: Daemon, times: int) -> bool:
    return sum(" reloaded: " in line for line in daemon.stderr.text) == times
