"""Operators of a console and members of a chat room at pipes, and the errors of a missing service."""

import signal
import socket
import subprocess

import pytest

from echod.testing.output import Output
from tests.daemon import ECHOCTL, ECHOD, SECONDS, TWISTD, Daemon, environment, eventually, free_port, run
from tests.fork_server import Popen


class Typed:
    """A program that reads typed lines from a pipe; it runs from `with` to the end of the block."""

    def __init__(self, *words):
        self.process = Popen(
            words, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.keys = self.process.stdin
        self.shown, self.said = Output(self.process.stdout), Output(self.process.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        assert self.end() == 0

    def types(self, text):
        self.keys.write(text.encode())
        self.keys.flush()

    def end(self):
        """Its exit code, once it has ended by itself."""
        code = self.process.wait(SECONDS)
        if not self.keys.closed:
            self.keys.close()
        self.shown.close()
        self.said.close()
        return code


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--listen=echo=tcp://127.0.0.1:0"], "--console: no console service is configured; add --listen console=tcp:"),
        (["--config={config}"], "--console: 2 console services are configured (front, back); expected one"),
    ],
)
def test_the_console_option_needs_exactly_one_console_service(words, why, tmp_path):
    config = tmp_path / "echod.toml"
    services = [f'[services.{name}]\nkind = "console"\nlisten = ["tcp://127.0.0.1:0"]\n' for name in ("front", "back")]
    config.write_text("".join(services))
    ended = run(*ECHOD, "--console", *(word.replace("{config}", str(config)) for word in words))
    assert ended.returncode == 64
    assert ended.stderr.decode().startswith(f"echod: {why}")
    assert ended.stderr.count(b"\n") == 1


def test_a_daemon_in_the_background_has_no_terminal(tmp_path):
    words = ["--pidfile=", "echod", "--console", "--listen=console=tcp://127.0.0.1:0"]
    ended = run(*TWISTD, *words, cwd=tmp_path)
    assert ended.returncode == 64
    assert ended.stderr == b"echod: --console needs the foreground: twistd -n --pidfile= echod --console \xe2\x80\xa6\n"


def test_an_operator_at_a_pipe_of_the_daemon():
    port = free_port()
    with Typed(*ECHOD, f"--listen=console=tcp://127.0.0.1:{port}", "--console") as daemon:
        daemon.said.wait_for("ready: 1 listener")
        daemon.shown.wait_for("^-- no clients$")
        with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
            client.sendall(b"hello \x1b[2J\xff\n")
            daemon.shown.wait_for(r"^\d\d:\d\d:\d\d \[1\] tcp 127.0.0.1:\d+: hello \\x1b\[2J\\xff$")
            daemon.types("grüß dich\n")
            assert client.recv(100).decode() == "grüß dich\n"
            client.sendall(b"one ")
            client.sendall(b"x" * (1 << 20))
            daemon.keys.close()
            daemon.shown.wait_for("you left the console")
            assert daemon.process.poll() is None
    assert all(line.isprintable() for line in daemon.shown.text)


CONFIG = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.front]
kind = "console"
away = "please wait"
listen = ["tcp://127.0.0.1:0"]
"""


def seat(daemon, *words):
    return (*ECHOCTL, "console", "--admin", f"unix://{daemon.dir}/admin.sock", *words)


def test_an_operator_with_echoctl_at_a_pipe():
    with Daemon(CONFIG) as daemon:
        place = daemon.inet("front", "tcp")
        with socket.create_connection(place, SECONDS) as client:
            client.sendall(b"hello?")
            assert client.recv(100) == b"please wait\n"
            with Typed(*seat(daemon)) as operator:
                operator.shown.wait_for(r"^\d\d:\d\d:\d\d \[1\] tcp 127.0.0.1:\d+: hello\?$")
                operator.types("I am\n/quit\n")
                assert client.recv(100) == b"I am\n"
                assert operator.end() == 0
        daemon.check()


def test_a_reload_keeps_clients_operators_and_queued_messages():
    with Daemon(CONFIG) as daemon:
        with socket.create_connection(daemon.inet("front", "tcp"), SECONDS) as client:
            client.sendall(b"before")
            assert client.recv(100) == b"please wait\n"
            daemon.send_signal(signal.SIGHUP)
            daemon.stderr.wait_for("reload")
            ended = run(*seat(daemon, "front"), input=b"@1 still here\n")
            assert ended.returncode == 0, ended.stderr
            assert b": before\n" in ended.stdout
            assert client.recv(100) == b"still here\n"
        daemon.check()


WITHOUT = """
[admin]
listen = ["unix://{dir}/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:0"]
"""


def without(daemon):
    """Reload a configuration without a console or chat service."""
    (daemon.dir / "echod.toml").write_text(WITHOUT.replace("{dir}", str(daemon.dir)))
    daemon.send_signal(signal.SIGHUP)


def test_an_operator_session_ends_with_its_service():
    with Daemon(CONFIG) as daemon, Typed(*seat(daemon)) as operator:
        operator.shown.wait_for("^-- no clients$")
        without(daemon)
        assert operator.end() == 0
        place = f"unix://{daemon.dir}/admin.sock"
        assert operator.said.text == [f"echoctl: {place} closed the event stream: front is no longer served"]
        daemon.check()


def test_the_daemons_own_terminal_reports_that_its_service_was_removed(tmp_path):
    config = tmp_path / "echod.toml"

    def write(text):
        config.write_text(text.replace("{dir}", str(tmp_path)))

    write(CONFIG)
    with Typed(*ECHOD, "--console", "--config", str(config)) as daemon:
        daemon.shown.wait_for("^-- no clients$")
        write(WITHOUT)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.shown.wait_for("^-- the console service was removed$")
        write(CONFIG)
        daemon.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: len([line for line in daemon.said.text if " reloaded: " in line]) == 2)
        daemon.types("\n")  # the operator joins again
        assert eventually(lambda: daemon.shown.text.count("-- no clients") == 2)


@pytest.mark.parametrize("scheme", ["tcp", "udp", pytest.param("unix-dgram", marks=pytest.mark.slow)])
def test_a_member_is_notified_when_its_service_is_removed(scheme):
    listen = '"tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix-dgram://{dir}/b"'
    with Daemon(f"[services.chat]\nlisten = [{listen}]\n") as daemon:
        url = daemon.url("chat", f"{scheme}://")
        with Typed(*ECHOCTL, "chat", url) as member:
            member.shown.wait_for("^-- welcome: ")
            without(daemon)
            assert member.end() == 0
            assert member.said.text == [f"{url} has ended the conversation"]
            assert member.shown.text[1:] == ([] if scheme == "tcp" else ["-- goodbye"])
        daemon.check()


def test_a_console_that_does_not_exist_is_one_line():
    with Daemon(CONFIG) as daemon:
        ended = run(*seat(daemon, "back"))
        assert ended.returncode == 1
        assert (
            ended.stderr.decode() == f"echoctl: unix://{daemon.dir}/admin.sock: console service back does not exist\n"
        )
    ended = run(*ECHOCTL, "console", "--admin", "unix:///nowhere/admin.sock")
    assert ended.returncode == 1
    assert b"no such file or directory (ENOENT)" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "scheme", ["tcp", "udp", *(pytest.param(one, marks=pytest.mark.slow) for one in ("unix", "unix-dgram"))]
)
def test_a_member_in_a_pipe(scheme):
    listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/a", "unix-dgram://{dir}/b"]
    with Daemon(listen=[f"chat={one}" for one in listen]) as daemon:
        url = daemon.url("chat", f"{scheme}://")
        ended = run(*ECHOCTL, "chat", "--nick", "anna", "--room", "garden", url, input=b"/who\nhello\n")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.decode().splitlines() == [
            "-- welcome: you are guest1, in lobby with no other members; /help lists the commands",
            "-- you are now anna",
            "-- you are in garden with no other members",
            "-- in garden: anna",
            "-- goodbye",
        ]
        daemon.check()


def test_a_chat_server_that_does_not_reply_is_one_line():
    ended = run(*ECHOCTL, "chat", f"tcp://127.0.0.1:{free_port()}")
    assert ended.returncode == 1
    assert b"connection refused (ECONNREFUSED)" in ended.stderr
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{mute.getsockname()[1]}"
        ended = run(*ECHOCTL, "chat", url)
        assert ended.returncode == 1
        assert ended.stderr.decode() == f"echoctl: {url}: no reply within 5 s (ETIMEDOUT)\n"


PLANE = """
[daemon]
plane = "{plane}"
[services.chat]
history = {history}
listen = ["tcp://127.0.0.1:{port}", "udp://127.0.0.1:{port}"]
"""


def test_a_reload_keeps_rooms_and_their_members(tmp_path):
    config, port = tmp_path / "echod.toml", free_port()
    place = ("127.0.0.1", port)

    def write(plane, history):
        text = PLANE.replace("{plane}", plane).replace("{history}", str(history))
        config.write_text(text.replace("{port}", str(port)))

    write("auto", 0)
    with (
        Daemon(options=["--config", str(config)]) as daemon,
        socket.create_connection(place, SECONDS) as anna,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bob,
    ):
        lines = anna.makefile("rb")
        assert lines.readline().startswith(b"-- welcome: you are guest1")
        bob.settimeout(SECONDS)
        bob.connect(place)
        bob.send(b"hello")
        assert bob.recv(200).startswith(b"-- welcome: you are guest2")
        assert [lines.readline() for _ in range(2)] == [b"-- guest2 has joined\n", b"guest2: hello\n"]
        write("auto", 5)
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for("reloaded")
        bob.send(b"still here")
        assert lines.readline() == b"guest2: still here\n"
        with socket.create_connection(place, SECONDS) as late, late.makefile("rb") as heard:
            assert [heard.readline() for _ in range(3)][1:] == [b"-- recent lines:\n", b"guest2: still here\n"]
        assert [lines.readline() for _ in range(2)] == [b"-- guest3 has joined\n", b"-- guest3 has left\n"]
        assert [bob.recv(200) for _ in range(2)] == [b"-- guest3 has joined\n", b"-- guest3 has left\n"]
        write("off", 5)
        daemon.send_signal(signal.SIGHUP)
        assert eventually(lambda: len([one for one in daemon.stderr.text if " reloaded: " in one]) == 2)
        bob.send(b"and again")
        assert lines.readline() == b"guest2: and again\n"
        lines.close()
        daemon.check()
