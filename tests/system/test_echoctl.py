"""echoctl in pipes, with files, and with peers that disconnect."""

import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from echod.client.command_definitions import COMMANDS
from tests.contract.matrix import MIB, data, rest
from tests.daemon import ECHOCTL, ECHOD, SECONDS, TOP, Daemon, environment, eventually, memory, run
from tests.fork_server import Popen

CONFIG = """
[services.echo]
listen = ["tcp://127.0.0.1:0"]
[services.upper]
listen = ["tcp://127.0.0.1:0"]
[services.discard]
listen = ["tcp://127.0.0.1:0"]
[services.printer]
kind = "discard"
show = "hex"
listen = ["tcp://127.0.0.1:0"]
[services.ack]
listen = ["tcp://127.0.0.1:0"]
show = "no"
[services.chargen]
listen = ["tcp://127.0.0.1:0"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as daemon:
        yield daemon
        daemon.check()


def echoctl(*words: str | Path, code: int = 0, says: str = "") -> bytes:
    """The output of echoctl, which must end with that exit code and exactly that standard error."""
    ended = run(*ECHOCTL, *words)
    assert (ended.returncode, ended.stderr.decode("utf-8")) == (code, says)
    return ended.stdout


@contextmanager
def peer(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A peer that accepts one connection and behaves; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)

        def serve() -> None:
            with listening.accept()[0] as connection:
                connection.settimeout(SECONDS)
                behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(SECONDS)
        assert not thread.is_alive()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def running(*words: str | Path, **more: object) -> Iterator["subprocess.Popen[bytes]"]:
    """echoctl while it runs; it is ended at the end."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | more
    with Popen([*ECHOCTL, *words], env=environment(), **streams) as process:
        try:
            yield process
        finally:
            process.kill()


# send


def test_send_a_sparse_file_of_200_mb_with_little_memory(daemon, tmp_path):
    size = 200_000_000
    before = daemon.memory()
    with (tmp_path / "sparse").open("wb+") as file:
        file.truncate(size)
        with running("send", daemon.url("discard", "tcp"), stdin=file) as process:
            most = 0
            while process.poll() is None:
                most = max(most, memory(process.pid, "VmHWM"))
                time.sleep(0.02)
            assert process.returncode == 0
            assert process.communicate() == (b"", b"")
    assert most < 100 * MIB
    assert daemon.memory() - before < 8 * MIB


def test_send_waits_for_a_reply_that_begins_late_and_pauses():
    def slowly(connection: socket.socket) -> None:
        rest(connection)
        for piece in (b"one ", b"two ", b"three"):
            time.sleep(0.1)
            connection.sendall(piece)

    with peer(slowly) as url:
        assert echoctl("send", url, "?") == b"one two three"


def test_send_gives_up_after_its_timeout():
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel accepts, but no process replies
        url = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        says = f"echoctl: {url}: no reply within 0.2 s (ETIMEDOUT)\n"
        echoctl("send", "--timeout", "200ms", url, "?", code=1, says=says)


# what fails


def test_a_reset_in_the_middle_of_the_reply_is_an_error():
    def break_off(connection: socket.socket) -> None:
        rest(connection)
        connection.sendall(b"half an ans")
        reset(connection)

    with peer(break_off) as url:
        says = f"echoctl: {url}: connection reset by peer (ECONNRESET)\n"
        assert echoctl("send", url, "?", code=1, says=says) == b"half an ans"


def test_a_peer_that_does_not_read_everything():
    def take_a_little(connection: socket.socket) -> None:
        connection.recv(1000, socket.MSG_PEEK | socket.MSG_WAITALL)  # more than it takes: its close is a reset
        connection.recv(10)

    with peer(take_a_little) as url:
        ended = run(*ECHOCTL, "send", url, input=data()[: 8 * MIB])
        assert ended.returncode == 1
        assert ended.stderr.decode() in {
            f"echoctl: {url}: connection reset by peer (ECONNRESET)\n",
            f"echoctl: {url}: broken pipe (EPIPE)\n",
        }


@pytest.fixture
def file(tmp_path: Path) -> Iterator[IO[bytes]]:
    """A file of 8 MiB. It has data at once, unlike a pipe whose writer may be late."""
    (tmp_path / "input").write_bytes(data()[: 8 * MIB])
    with open(tmp_path / "input", "rb") as opened:
        yield opened


def test_a_peer_that_closes_before_all_input_was_sent_is_an_error(file):
    with peer(lambda _connection: None) as url:
        ended = run(*ECHOCTL, "send", url, stdin=file)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode() in {
        f"echoctl: {url}: the peer closed before all of standard input was sent\n",
        f"echoctl: {url}: connection reset by peer (ECONNRESET)\n",  # the first piece was sent before its FIN came
        f"echoctl: {url}: broken pipe (EPIPE)\n",
    }


def test_a_peer_that_finishes_first_gets_all_input(file):
    received = []

    def finish_first(connection: socket.socket) -> None:
        connection.sendall(b"enough")
        connection.shutdown(socket.SHUT_WR)
        received.append(rest(connection))

    with peer(finish_first) as url:
        ended = run(*ECHOCTL, "send", url, stdin=file)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"enough", b"")
    assert received == [data()[: 8 * MIB]]


def test_a_peer_that_closes_ends_a_wait_for_input():
    with (
        peer(lambda connection: connection.sendall(b"noon")) as url,
        running("send", url, stdin=subprocess.PIPE) as process,
    ):
        assert process.wait(SECONDS) == 0
        assert (process.stdout.read(), process.stderr.read()) == (b"noon", b"")


@contextmanager
def message_peer(path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The URL of a peer that keeps messages, and its socket, which listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(SECONDS)
        yield f"unix-seqpacket://{path}", listening


def test_a_peer_that_closes_before_the_message_was_sent_is_an_error(tmp_path):
    with (
        message_peer(tmp_path / "peer") as (url, listening),
        running("send", url, stdin=subprocess.PIPE) as process,
    ):
        process.stdin.write(b"the first half")
        process.stdin.flush()
        connection, _ = listening.accept()
        connection.close()
        assert process.wait(SECONDS) == 1
        assert process.stdout.read() == b""
        wrong = f"echoctl: {url}: the peer closed before all of standard input was sent\n"
        assert process.stderr.read().decode() == wrong


def test_a_message_before_the_sent_one_is_not_its_reply(tmp_path):
    with (
        message_peer(tmp_path / "peer") as (url, listening),
        running("send", url, stdin=subprocess.PIPE) as process,
    ):
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(SECONDS)
            connection.sendall(b"welcome\n")
            assert process.stdout.read(8) == b"welcome\n"
            process.stdin.write(b"hello")
            process.stdin.close()
            assert connection.recv(100) == b"hello"
            connection.sendall(b"bye")
            assert process.wait(SECONDS) == 0
            assert (process.stdout.read(), process.stderr.read()) == (b"bye", b"")


def test_an_interrupt_ends_with_130_after_received_data_is_printed(daemon):
    with running("send", "--keep-open", daemon.url("echo", "tcp"), "hello") as process:
        assert process.stdout.read(5) == b"hello"
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert process.communicate() == (b"", b"")


@pytest.mark.parametrize("words", [["send"], ["talk"]])
def test_a_closed_pipe_ends_it_quietly(daemon, words):
    with running(*words, daemon.url("chargen", "tcp")) as process:
        process.stdout.read(100)
        process.stdout.close()
        assert process.wait(SECONDS) in (-signal.SIGPIPE, 128 + signal.SIGPIPE)
        assert process.stderr.read() == b""


def test_check_into_a_closed_pipe_ends_quietly(tmp_path):
    config = tmp_path / "echod.toml"
    config.write_text(
        "".join(f'[services.s{n}]\nkind = "echo"\nlisten = ["tcp://[::1]:{n}"]\n' for n in range(1, 5000))
    )
    with running("check", config) as process:
        process.stdout.close()
        assert process.wait(SECONDS) in (-signal.SIGPIPE, 128 + signal.SIGPIPE)
        assert process.stderr.read() == b""


def test_a_full_disk_is_reported(daemon):
    with open("/dev/full", "wb") as full, running("send", daemon.url("echo", "tcp"), "hello", stdout=full) as process:
        assert process.wait(SECONDS) == 1
        said = process.stderr.read().decode()
    assert said == "echoctl: standard output: no space left on device (ENOSPC)\n"


def test_a_non_blocking_pipe_is_waited_for(daemon):
    """Another program may have set it: O_NONBLOCK belongs to the pipe, which several programs share."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with (
        running("send", daemon.url("echo", "tcp"), stdout=writing, stdin=subprocess.PIPE) as process,
        open(reading, "rb") as pipe,
    ):
        upload = threading.Thread(target=write_all, args=(process.stdin, data()[:MIB]), daemon=True)
        upload.start()
        assert eventually(lambda: is_full(writing) or process.poll() is not None)
        os.close(writing)
        assert pipe.read() == data()[:MIB]
        upload.join(SECONDS)
        assert process.wait(SECONDS) == 0
        assert process.stderr.read() == b""


def write_all(pipe: IO[bytes], what: bytes) -> None:
    """Write and close; errors of a closed reader are ignored."""
    with suppress(BrokenPipeError):
        pipe.write(what)
    with suppress(BrokenPipeError):
        pipe.close()


def is_full(pipe: int) -> bool:
    """Whether a pipe accepts no byte. It may have fewer than 64 KiB: a write does not fill the page of another one."""
    return not select.select([], [pipe], [], 0)[1]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_standard_stream_does_not_hang_or_crash(daemon, closed):
    ended = run("sh", "-c", f'exec "$@" {closed}', "sh", *ECHOCTL, "send", daemon.url("echo", "tcp"))
    assert ended.returncode in (0, 1)
    assert b"Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 1


# talk


def test_an_empty_line_is_not_sent(daemon):
    with running("talk", daemon.url("printer", "tcp")) as process:
        process.stdin.write(b"\n\r\na\n\nexit\n")
        process.stdin.flush()
        assert process.wait(SECONDS) == 1  # a printer answers nothing
    daemon.stdout.wait_for(r"^tcp \S+: 61 0a$")
    assert len([line for line in daemon.stdout.text if line.startswith("tcp ")]) == 1


def test_the_close_of_the_peer_is_reported(daemon):
    url = daemon.url("ack", "tcp")
    with running("talk", url) as process:
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.read() == b"received"
        assert process.wait(SECONDS) == 0
        assert process.stderr.read().decode() == f"{url} has ended the conversation\n"


def test_talk_prints_each_reply_when_it_arrives(daemon):
    with running("talk", daemon.url("upper", "tcp")) as process:
        for number in range(3):
            process.stdin.write(f"line {number}\n".encode())
            process.stdin.flush()
            assert select.select([process.stdout.fileno()], [], [], SECONDS)[0]
            assert os.read(process.stdout.fileno(), 100) == f"LINE {number}\n".encode()


@pytest.mark.parametrize(
    "words", [("send", "tcp"), ("send", "udp"), ("ping", "udp"), ("ping", "--connect", "tcp")], ids=" ".join
)
def test_a_missing_interface_is_named(words):
    *command, scheme = words
    url = f"{scheme}://127.0.0.1:9?interface=nosuch0"
    ended = run(*ECHOCTL, *command, url, *(["hello"] if command == ["send"] else ["-c", "1"]))
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"echoctl: {scheme}://127.0.0.1:9: interface nosuch0 does not exist (ENODEV)\n"


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_the_interface_of_a_zone_is_named(scheme):
    url = f"{scheme}://[fe80::1%nosuch0]:9"
    ended = run(*ECHOCTL, "send", url, "hello")
    assert ended.stderr.decode() == f"echoctl: {url}: interface nosuch0 does not exist (ENODEV)\n"
    assert ended.returncode == 1


# check, usage and help


def test_check_prints_the_listeners(tmp_path):
    config = tmp_path / "echod.toml"
    config.write_text('[services.echo]\nlisten = ["tcp://127.0.0.1:7", "udp://[::1]:7"]\n')
    assert echoctl("check", config).decode() == "echo  tcp://127.0.0.1:7\necho  udp://[::1]:7\n"
    assert b"tcp://127.0.0.1:10007" in echoctl("check", TOP / "etc" / "echod.toml")


@pytest.mark.parametrize(
    "command", [(*ECHOCTL, "check"), (*ECHOD, "--check-config", "--config")], ids=["echoctl", "echod"]
)
def test_check_resolves_names_and_prints_the_warnings_of_a_start(command, tmp_path):
    program = "echoctl" if command[-1] == "check" else "echod"
    config = tmp_path / "echod.toml"
    text = '[services.echo]\nlisten = ["tcp://localhost:7", "udp://*:7"]\n'
    config.write_text(text)
    ended = run(*command, config)
    listening = ended.stdout.decode().splitlines()
    assert ended.returncode == 0
    assert "echo  tcp://127.0.0.1:7" in listening
    assert "localhost" not in " ".join(listening)
    *_, last = ended.stderr.decode().splitlines()  # before it: an address of localhost that this machine lacks
    assert last == f"{program}: echo  udp://*:7 is open to the network, but only loopback is allowed: see allow"
    config.write_text(text.replace("localhost", "no-such-name.invalid"))
    ended = run(*command, config, seconds=60)
    assert ended.returncode == (78 if program == "echoctl" else 71)
    wrong = f"{program}: {config}:2: services.echo.listen[0]: tcp://no-such-name.invalid:7: the name "
    assert ended.stderr.decode().startswith(wrong)
    assert ended.stdout == b""


def test_check_prints_every_error(tmp_path):
    config = tmp_path / "echod.toml"
    config.write_text('[daemon]\nworkres = 1\n[services.ehco]\nlisten = ["tcp://127.0.0.1:7"]\n')
    ended = run(*ECHOCTL, "check", config)
    lines = ended.stderr.decode().splitlines()
    assert ended.returncode == 78
    assert len(lines) == 2
    assert all(re.match(rf"echoctl: {config}:[23]: ", line) and line.isprintable() for line in lines)
    config.write_text('[services.echo]\nlisten = ["tcp://*:7"]\n[defaults.limits]\nconnections = 100000000\n')
    ended = run(*ECHOCTL, "check", config)
    assert ended.returncode == 78
    assert f"{config}:4: defaults.limits.connections: 100000000 + 64 exceed".encode() in ended.stderr


@pytest.mark.parametrize(
    "command",
    [(*ECHOCTL, "check"), (*ECHOD, "--check-config", "--config"), (*ECHOD, "--config")],
    ids=["echoctl", "echod", "start"],
)
def test_check_refuses_a_bus_that_a_start_refuses(command, tmp_path):
    program = "echoctl" if command[-1] == "check" else "echod"
    (tmp_path / "OpenSSL").mkdir()
    (tmp_path / "OpenSSL" / "__init__.py").write_text("raise ImportError")
    without = environment(PYTHONPATH=os.pathsep.join((str(tmp_path), environment()["PYTHONPATH"])))
    config, ca = tmp_path / "echod.toml", tmp_path / "ca.pem"
    text = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n[bus]\nurl = "rediss://127.0.0.1"\n'
    config.write_text(text)
    ended = run(*command, config, env=without)
    assert (ended.returncode, ended.stdout) == (78, b"")
    where = f"{program}: {config}:4: bus.url"
    assert ended.stderr.decode() == f"{where}: rediss:// needs pyOpenSSL: pip install pyopenssl\n"
    config.write_text(f'{text}ca = "{ca}"\n')
    ended = run(*command, config)
    assert (ended.returncode, ended.stderr.decode()) == (
        78,
        f"{program}: {config}:5: bus.ca: {ca}: no such file or directory (ENOENT)\n",
    )


HELP = """
import sys
from echod.client.main import main
for command in {commands}:
    try:
        main([*command, "--help"])
    except SystemExit as ended:
        assert ended.code == 0
    assert "twisted.internet" not in sys.modules, command
"""


def test_help_of_every_command_needs_no_reactor():
    commands = [[], *([name] for name in COMMANDS)]
    ended = run(sys.executable, "-W", "error", "-c", HELP.format(commands=commands))
    assert ended.stderr == b""
    assert ended.returncode == 0
    for name in COMMANDS:
        assert f"echoctl {name}".encode() in ended.stdout
