"""--console in a pipe, and where there cannot be one."""

import socket
import subprocess

import pytest

from tests.daemon import ECHOD, SECONDS, TWISTD, Lines, environment, eventually, free_port, run


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--listen=echo=tcp://127.0.0.1:0"], "--console: there is no console service; add --listen console=tcp:"),
        (["--config={config}"], "--console: one terminal is one seat, and there are 2: front, back"),
    ],
)
def test_where_there_is_not_one_console_service(words, why, tmp_path):
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


def test_an_operator_behind_a_pipe():
    port = free_port()
    words = [*ECHOD, f"--listen=console=tcp://127.0.0.1:{port}", "--console"]
    with subprocess.Popen(
        words, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        shown, log = Lines(process.stdout), Lines(process.stderr)
        try:
            log.wait_for("ready: 1 listeners")
            shown.wait_for("^-- no clients$")
            with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
                client.sendall(b"hello \x1b[2J\xff\n")
                shown.wait_for(r"^\d\d:\d\d:\d\d \[1\] tcp 127.0.0.1:\d+: hello \\x1b\[2J\\xff$")
                process.stdin.write("grüß dich\n".encode())
                process.stdin.flush()
                assert client.recv(100).decode() == "grüß dich\n"
                client.sendall(b"one ")
                client.sendall(b"x" * (1 << 20))
                process.stdin.close()
                shown.wait_for("you have left, and messages wait")
                assert eventually(lambda: process.poll() is None)
        finally:
            process.terminate()
            assert process.wait(SECONDS) == 0
            shown.close()
            log.close()
    assert all(line.isprintable() for line in shown.text)
