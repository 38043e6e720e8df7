"""An address in use: the message names the process that holds it, or a command that prints it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

from echod.address import parse
from echod.daemon import address_holder
from tests.daemon import ECHOD, SECONDS, environment, free_port, run

HOLD = """
import socket, sys
s = socket.socket(socket.AF_INET, {kind})
s.bind(("{host}", {port}))
{listen}
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Starts a process that holds an address."""
    started = []

    def begin(kind: int, host: str, port: int) -> int:
        listen = "s.listen()" if kind == socket.SOCK_STREAM else "0"
        words = [sys.executable, "-c", HOLD.format(kind=int(kind), host=host, port=port, listen=listen)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield begin
    for process in started:
        process.communicate(timeout=SECONDS)


@pytest.mark.parametrize("held", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("asked", ["127.0.0.1", "*"])
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_the_process_that_holds_it_is_named_and_no_other_address(hold, scheme, asked, held):
    port, free = free_port(), [free_port() for _ in range(3)]
    pid = hold(socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM, held, port)
    listen = [f"{scheme}://{asked}:{port}", *(f"{scheme}://127.0.0.1:{one}" for one in free)]
    ended = run(*ECHOD, *(f"--listen=echo={address}" for address in listen))
    assert ended.returncode == 71
    [line] = ended.stderr.decode().splitlines()
    assert line.startswith(f"echod: {scheme}://{asked}:{port}: address already in use (EADDRINUSE); it is held by ")
    assert f"(pid {pid})" in line
    assert "python" in line


def test_each_taken_address_has_a_line_of_its_own(hold):
    ports = [free_port() for _ in range(3)]
    pids = [hold(socket.SOCK_STREAM, "127.0.0.1", port) for port in ports]
    ended = run(*ECHOD, *(f"--listen=echo=tcp://127.0.0.1:{port}" for port in ports))
    lines = ended.stderr.decode().splitlines()
    assert len(lines) == len(ports)
    for line, port, pid in zip(lines, ports, pids, strict=True):
        assert f":{port}: " in line
        assert f"(pid {pid})" in line


def test_many_addresses_of_one_process_share_a_line(hold, tmp_path):
    """A second daemon with the same file prints one line; an address of another process has its own line."""
    ports = [free_port() for _ in range(6)]
    other = hold(socket.SOCK_STREAM, "127.0.0.1", ports[0])
    listen = [f"tcp://127.0.0.1:{ports[1]}", f"unix://{tmp_path}/s", *(f"udp://127.0.0.1:{one}" for one in ports[1:])]
    first = [f"--listen=echo={address}" for address in listen]
    with subprocess.Popen([*ECHOD, *first], stderr=subprocess.PIPE, env=environment(), cwd=tmp_path) as daemon:
        assert daemon.stderr is not None
        while b" ready: " not in daemon.stderr.readline():
            pass
        ended = run(*ECHOD, *first, f"--listen=echo=tcp://127.0.0.1:{ports[0]}", cwd=tmp_path)
        daemon.terminate()
        daemon.communicate(timeout=SECONDS)
    assert ended.returncode == 71
    line, single = ended.stderr.decode().splitlines()
    assert line.startswith(
        f"echod: 7 addresses are already in use (EADDRINUSE): {', '.join(listen[:3])} and 4 more; they are held by "
    )
    assert line.endswith(f"(pid {daemon.pid}); stop that process, or configure other addresses")
    assert single.startswith(f"echod: tcp://127.0.0.1:{ports[0]}: address already in use (EADDRINUSE); it is held by ")
    assert single.endswith(f"(pid {other})")


def test_a_unix_path_that_is_served_names_its_daemon_too(tmp_path):
    listen = f"--listen=echo=unix://{tmp_path}/s"
    with subprocess.Popen([*ECHOD, listen], stderr=subprocess.PIPE, env=environment(), cwd=tmp_path) as first:
        assert first.stderr is not None
        while b" ready: " not in first.stderr.readline():
            pass
        ended = run(*ECHOD, listen)
        first.terminate()
        first.communicate(timeout=SECONDS)
    assert ended.returncode == 71
    assert re.search(rf"held by .*\(pid {first.pid}\)$", ended.stderr.decode().strip())


def test_without_proc_the_message_has_a_command(hold, monkeypatch, tmp_path):
    monkeypatch.setattr(address_holder, "PROC", tmp_path)
    taken = [parse("tcp://127.0.0.1:7"), parse("udp://[::1]:7")]
    assert address_holder.messages(taken) == [
        f"{url}: address already in use (EADDRINUSE); to see what holds it, as root: ss -{kind}lpn 'sport = :7'"
        for url, kind in (("tcp://127.0.0.1:7", "t"), ("udp://[::1]:7", "u"))
    ]
    [many] = address_holder.messages(parse(f"tcp://127.0.0.1:{port}") for port in range(7, 12))
    assert many == (
        "5 addresses are already in use (EADDRINUSE): tcp://127.0.0.1:7, tcp://127.0.0.1:8, tcp://127.0.0.1:9 "
        "and 2 more; to see what holds them, as root: ss -tulxpn; stop that process, or configure other addresses"
    )


def test_a_command_line_is_escaped(tmp_path, monkeypatch):
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"/usr/bin/evil\0\x1b[31m\n" + b"x" * 200 + b"\0")
    said = address_holder._command(folder)
    assert said.startswith("evil ")
    assert said.isprintable()
    assert len(said) <= address_holder.COMMAND + 1


def test_addresses_of_proc_are_read():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
        bound.bind(("::1", 0))
        [said] = address_holder.messages([parse(f"udp://[::1]:{bound.getsockname()[1]}")])
    assert said.endswith(" (EADDRINUSE); it is held by this daemon"), os.getpid()
