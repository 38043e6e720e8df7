"""If descriptors run out, a reload or a start is refused completely."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
from contextlib import ExitStack
from functools import partial

import pytest

from tests.daemon import ECHOD, SECONDS, TWISTD, Daemon, Place, eventually, free_port, run

FILES = 160  #: 64 of them are not for connections


def configuration(plane: str, port: int, more: str = "") -> str:
    services = f'[services.echo]\nlisten = ["tcp://127.0.0.1:{port}", "unix://{{dir}}/echo.sock"]\n'
    return f'[daemon]\nplane = "{plane}"\n{services}[services.upper]\nlisten = ["unix://{{dir}}/upper.sock"]\n{more}'


def outcomes(daemon: Daemon) -> list[str]:
    return [line for line in daemon.stderr.text if " reloaded: " in line or " not reloaded" in line]


def reload(daemon: Daemon) -> str:
    before = len(outcomes(daemon))
    daemon.send_signal(signal.SIGHUP)
    assert eventually(lambda: len(outcomes(daemon)) > before), daemon.log()
    return outcomes(daemon)[-1]


def connected(place: Place) -> socket.socket:
    """A client that has its reply."""
    client = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)
    try:
        client.settimeout(SECONDS)
        client.connect(place)
        assert is_served(client)
    except BaseException:
        client.close()
        raise
    return client


def is_served(client: socket.socket) -> bool:
    client.sendall(b"HELLO")
    return client.recv(5) == b"HELLO"


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("what", ["the plane", "addresses"])
def test_a_reload_is_complete_or_refused_for_any_number_of_descriptors(what):
    """With every number of free descriptors, until they suffice."""
    port, new = free_port(), free_port()
    if what == "the plane":
        before, after = configuration("off", port), configuration("auto", port)
    else:
        more = "".join(f'[services.{name}]\nkind = "echo"\nlisten = ["unix://{{dir}}/{name}.sock"]\n' for name in "ab")
        more += f'[services.c]\nkind = "echo"\nlisten = ["tcp://127.0.0.1:{new}"]\n'
        before, after = configuration("auto", port), configuration("auto", port, more)
    with Daemon(before) as daemon, ExitStack() as stack:
        pid = daemon.process.pid
        places: list[Place] = [("127.0.0.1", port), *(str(daemon.dir / name) for name in ("echo.sock", "upper.sock"))]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        assert " reloaded: " in reload(daemon)
        (daemon.dir / "echod.toml").write_text(after.replace("{dir}", str(daemon.dir)))
        clients = [stack.enter_context(connected(place)) for place in places]
        begun = descriptors(pid)
        held = [stack.enter_context(connected(places[at % 2 * 2])) for at in range(FILES - begun - 1)]
        assert descriptors(pid) == FILES - 1
        refused = 0
        while " reloaded: " not in (said := reload(daemon)):
            assert "EMFILE" in said, daemon.log()
            refused += 1
            for place in places:
                assert eventually(lambda: descriptors(pid) < FILES)
                connected(place).close()
            assert eventually(lambda: descriptors(pid) < FILES)
            assert all(is_served(client) for client in clients)
            with pytest.raises(ConnectionRefusedError):
                connected(("127.0.0.1", new))
            assert not list(daemon.dir.glob("[abc].sock"))
            assert eventually(lambda: descriptors(pid) <= begun + len(held)), said
            held.pop().close()
            assert eventually(lambda: descriptors(pid) <= begun + len(held)), said
        assert refused > 3
        assert all(is_served(client) for client in clients)
        for one in held:
            one.close()
        assert eventually(lambda: descriptors(pid) < FILES - 10)
        if what == "addresses":
            connected(("127.0.0.1", new)).close()


@pytest.mark.parametrize("files", [40, 55])
@pytest.mark.parametrize("words", [ECHOD, (*TWISTD, "echod")], ids=["in front", "as a daemon"])
def test_a_start_is_complete_or_refused(words, files, tmp_path):
    """Twenty sockets are bound with these, and what serves them needs sixty."""
    file = tmp_path / "echod.toml"
    file.write_text("[services.echo]\nlisten = [" + 20 * '"tcp://127.0.0.1:0", ' + "]\n")
    limited = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (files, files))
    ended = run(*words, "--config", file, cwd=tmp_path, preexec_fn=limited)
    (line,) = ended.stderr.decode().splitlines()
    assert re.fullmatch(r"echod: tcp://127\.0\.0\.1:\d+: too many open files \(EMFILE\)", line)
    assert (ended.returncode, ended.stdout) == (71, b"")
    assert not (tmp_path / "twistd.pid").exists()
