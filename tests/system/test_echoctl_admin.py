"""echoctl status, top and reload with a running daemon: output for people and programs, and errors."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from tests.contract.matrix import exactly
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, eventually, run

CONFIG = """
[admin]
listen = ["unix://{dir}/admin.sock?mode=0600", "tcp://127.0.0.1:0"]
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
deny = ["127.0.0.9"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as running:
        with socket.create_connection(running.inet("echo", "tcp"), SECONDS) as client:
            client.sendall(b"x" * 3000)
            assert len(exactly(client, 3000)) == 3000
            with suppress(ConnectionResetError), socket.socket() as refused:  # it may hear that while it still connects
                refused.bind(("127.0.0.9", 0))
                refused.connect(running.inet("echo", "tcp"))
                assert refused.recv(1) == b"nothing"
            yield running
        running.check()


def admin(daemon: Daemon) -> str:
    return f"unix://{daemon.dir}/admin.sock"


def test_status_for_people(daemon):
    said = run(*ECHOCTL, "status", "--admin", admin(daemon))
    assert (said.returncode, said.stderr) == (0, b"")
    lines = said.stdout.decode().splitlines()
    assert lines[0].startswith("echod ")
    assert f"ready, process {daemon.process.pid}, for " in lines[0]
    assert lines[1] == f"configuration: {daemon.dir}/echod.toml"
    stream, _refused = [line for line in lines if line.startswith("echo ") and "tcp://" in line]
    assert stream.split()[2:] == ["1", "1", "2.9", "KiB", "2.9", "KiB", "1"]
    assert lines[-2].split() == ["SERVICE", "ADDRESS", "WHY", "REFUSED"]
    assert lines[-1].split()[0] == "echo"
    assert lines[-1].split()[2:] == ["denied", "1"]


def test_status_for_programs(daemon):
    status = json.loads(run(*ECHOCTL, "status", "--json", "--admin", admin(daemon)).stdout)
    (echo,) = status["services"]
    assert [one["bytes_in"] for one in echo["listeners"]] == [3000, 0]
    assert status["ready"]


def test_the_admin_address_is_set_by_variable_option_or_file(daemon):
    for environ, words in (
        ({"ECHOD_ADMIN": admin(daemon)}, ()),
        ({"ECHOD_ADMIN": "unix:///nowhere"}, ("--admin", daemon.url("admin", "tcp"))),
        ({"ECHOD_CONFIG": str(daemon.dir / "echod.toml")}, ()),
    ):
        assert run(*ECHOCTL, "status", *words, env=environment(**environ)).returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ("--admin", "unix:///nowhere/admin.sock"),
            1,
            b"/nowhere/admin.sock: no such file or directory (ENOENT)",
        ),
        (("--admin", "udp://127.0.0.1:7"), 2, b"an admin interface listens on unix:// or tcp:// only"),
        (("--admin", "nonsense"), 2, b"nonsense"),
    ],
)
def test_an_error_is_one_line(words, code, said):
    for command in ("status", "reload"):
        ended = run(*ECHOCTL, command, *words)
        assert ended.returncode == code
        assert said in ended.stderr
        assert ended.stderr.count(b"\n") == 1


def test_another_program_at_the_address_is_reported(daemon):
    ended = run(*ECHOCTL, "status", "--admin", daemon.url("echo", "tcp"))
    assert ended.returncode == 1
    assert b"the response is not from an echod" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


def test_top_draws_and_leaves(daemon):
    """In 80 columns and 24 lines; the terminal is as it was before."""
    ours, theirs = pty.openpty()
    words = [*ECHOCTL, "top", "--admin", admin(daemon)]
    environ = environment(COLUMNS="80", LINES="24", TERM="xterm")
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, close_fds=True) as process:
        drawn = b""
        ends = time.monotonic() + SECONDS
        while drawn.count(b"REFUSED/s") < 2 and time.monotonic() < ends:
            if select.select([ours], [], [], 0.1)[0]:
                drawn += os.read(ours, 65_536)
        assert drawn.count(b"REFUSED/s") >= 2, drawn
        os.write(ours, b"q")
        assert process.wait(SECONDS) == 0
        os.close(theirs)
        with suppress(OSError):  # EIO: no process has the terminal open, and everything was read
            while True:
                drawn += os.read(ours, 65_536)
    os.close(ours)
    assert drawn.startswith(b"\x1b[?1049h")
    assert drawn.endswith(b"\x1b[?25h\x1b[?1049l")
    assert b"tcp://127.0.0.1:" in drawn


def test_top_needs_a_terminal(daemon):
    ended = run(*ECHOCTL, "top", "--admin", admin(daemon))
    assert ended.returncode == 1
    assert b"is not a terminal" in ended.stderr


def test_another_user_is_refused():
    """The kernel reports the user of the peer; the mode of the socket does not matter."""
    if os.geteuid() != 0:
        pytest.skip("to ask as another user takes root")
    with Daemon(CONFIG.replace("0600", "0666")) as daemon:
        os.chmod(daemon.dir, 0o755)
        asking = (
            "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "with socket.socket(socket.AF_UNIX) as client:\n"
            "    client.settimeout(60); client.connect(sys.argv[1])\n"
            "    client.sendall(b'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')\n"
            "    print(client.recv(12).decode())\n"
        )
        said = run(sys.executable, "-c", asking, str(daemon.dir / "admin.sock"))
        assert said.stdout == b"HTTP/1.1 403\n", said


def test_the_admin_interface_answers_until_the_last_conversation_ends():
    """While a stop drains, /readyz reports it."""
    with Daemon('[daemon]\ndrain = "60s"\n' + CONFIG) as daemon:
        host, port = daemon.inet("admin", "tcp")

        def ready() -> bytes:
            with socket.create_connection((host, port), SECONDS) as asking:
                asking.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answer = b""
                while piece := asking.recv(4096):
                    answer += piece
            return answer

        with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.setblocking(False)
            while select.select([], [stuck], [], 0.5)[1]:
                stuck.send(bytes(65_536))
            assert ready().startswith(b"HTTP/1.1 200 ")
            daemon.process.terminate()
            assert eventually(lambda: ready().startswith(b"HTTP/1.1 503 "))
            assert ready().endswith(b"stopping\n")
            daemon.process.terminate()
            assert daemon.wait() == 0


def reload_by_file(daemon: Daemon) -> subprocess.CompletedProcess[bytes]:
    return run(*ECHOCTL, "reload", env=environment(ECHOD_CONFIG=str(daemon.dir / "echod.toml")))


def test_reload_reports_the_daemons_errors_in_other_sections():
    with Daemon(CONFIG) as daemon:
        file = daemon.dir / "echod.toml"
        right = file.read_text()
        file.write_text(right + "limit = 7\n")
        ended = reload_by_file(daemon)
        said = ended.stderr.decode().splitlines()
        assert (ended.returncode, said[1:]) == (78, ["echoctl: the configuration was not changed"])
        assert said[0].startswith(f"echoctl: {file}:7: services.echo.limit: unknown key")
        daemon.stderr.wait_for("services.echo.limit")

        (daemon.dir / "conf.d").mkdir()
        (daemon.dir / "conf.d" / "x.toml").write_text("this is no TOML")
        ended = reload_by_file(daemon)
        assert ended.returncode == 78
        assert ended.stderr.decode().splitlines()[-1] == "echoctl: the configuration was not changed"
        daemon.stderr.wait_for("conf.d/x.toml")


@pytest.mark.parametrize("wrong", ["[admin\n", '[admin]\nlisten = [7]\n[services.echo]\nlisten = ["nonsense"]\n'])
def test_reload_reports_every_error_of_a_file_without_an_address(wrong, tmp_path):
    file = tmp_path / "echod.toml"
    file.write_text(wrong)
    ended = run(*ECHOCTL, "reload", env=environment(ECHOD_CONFIG=str(file)))
    checked = run(*ECHOCTL, "check", str(file))
    assert (ended.returncode, ended.stdout) == (78, b"")
    assert ended.stderr == checked.stderr + b"echoctl: the configuration was not changed\n"
    ended = run(*ECHOCTL, "reload", "--json", env=environment(ECHOD_CONFIG=str(file)))
    checked = run(*ECHOCTL, "check", "--json", str(file))
    assert (ended.returncode, ended.stderr) == (78, b"")
    assert json.loads(ended.stdout) == {"reloaded": False, "errors": json.loads(checked.stdout)["errors"]}
    asked = run(*ECHOCTL, "status", env=environment(ECHOD_CONFIG=str(file)))
    assert (asked.returncode, asked.stderr.count(b"\n")) == (1, 1)


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_reload_without_a_daemon_names_the_alternatives(how):
    with Daemon(CONFIG) as daemon:
        file = daemon.dir / "echod.toml"
        before = file.read_text()
        admin_table = before[: before.index("[services")]
        moved = admin_table.replace("admin.sock", "elsewhere.sock") if how == "changed" else ""
        file.write_text(before.replace(admin_table, moved))
        ended = reload_by_file(daemon)
        assert (ended.returncode, ended.stderr.count(b"\n")) == (1, 1)
        assert ended.stderr.endswith(
            b" or, if [admin] was changed, use kill -HUP, systemctl reload, or --admin OLD-URL\n"
        )
        assert run(*ECHOCTL, "reload", "--admin", admin(daemon)).returncode == 0


@pytest.mark.parametrize("config", ["", "plane = 'off'", "workers = 2"], ids=["fast", "plain", "workers"])
def test_the_connections_with_the_most_traffic_are_listed_first(config):
    """Each of six clients sends another number of bytes; the daemon lists the three largest."""
    with Daemon(f"[daemon]\n{config}\n" + CONFIG) as daemon, ExitStack() as stack:
        peers = {}
        for size in (3, 500, 20, 4000, 1, 70):
            client = stack.enter_context(socket.create_connection(daemon.inet("echo", "tcp"), SECONDS))
            client.sendall(b"x" * size)
            assert len(exactly(client, size)) == size
            peers["{}:{}".format(*client.getsockname())] = size
        host, port = daemon.inet("admin", "tcp")

        def are_listed(order: str) -> bool:
            url = f"http://{host}:{port}/api/connections?limit=3&sort={order}"
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                listed = json.load(answer)
            return [(peers[one["peer"]], one["bytes_in"]) for one in listed] == [(4000, 4000), (500, 500), (70, 70)]

        for order in ("bytes", "in", "out"):
            assert eventually(partial(are_listed, order))  # a worker that the kernel suspends now replies late
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{host}:{port}/api/connections?sort=size", timeout=SECONDS)
        assert json.load(refused.value)["error"] == ("sort=size is not valid: expected one of: bytes, in, out, unsent")
