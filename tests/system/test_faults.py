"""Faults of a running daemon: `echoctl faults`, scripts, reloads, workers, and the admin interface."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.activation import activated
from tests.daemon import ECHOCTL, SECONDS, Daemon, eventually, run

ADMIN = '[admin]\nlisten = ["unix://{dir}/admin.sock"]\n'
ECHO = '[services.echo]\nlisten = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]\n'
FAULTY = ECHO + "[services.echo.faults]\n"


def echoctl(daemon: Daemon, *words: str, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of `echoctl faults`."""
    ended = run(*ECHOCTL, "faults", "--admin", f"unix://{daemon.dir}/admin.sock", *words)
    assert ended.returncode == code, ended
    return ended.stdout.decode(), ended.stderr.decode()


def faults(daemon: Daemon, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(echoctl(daemon, "--json", "echo", *words)[0])
    return answer


def connect(daemon: Daemon, service: str = "echo") -> socket.socket:
    return socket.create_connection(daemon.inet(service, "tcp"), SECONDS)


def gets(client: socket.socket, expected: bytes = b"hello") -> bool:
    """Whether `hello` is answered by `expected`, and by nothing else; a shorter reply is followed by a silence."""
    client.settimeout(SECONDS)
    client.send(b"hello")
    found = b""
    while len(found) < len(expected) and (piece := client.recv(1000)):
        found += piece
    if expected != b"hello":
        client.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            found += client.recv(1000)
    return found == expected


def new_client_gets(daemon: Daemon, expected: bytes = b"hello") -> bool:
    with connect(daemon) as client:
        return gets(client, expected)


@pytest.mark.parametrize("plane", ["auto", "off"])
def test_faults_are_changed_while_clients_are_connected(plane):
    with Daemon(f'[daemon]\nplane = "{plane}"\n{ADMIN}{ECHO}') as daemon, connect(daemon) as before:
        assert gets(before)
        assert faults(daemon, "truncate=2", "seed=7")["faults"] == {"seed": "7", "truncate": '"2"'}
        assert new_client_gets(daemon, b"he")
        assert gets(before)  # opened when the service had no faults
        with connect(daemon) as client:
            assert gets(client, b"he")
            faults(daemon, "truncate=7")
            assert gets(client)  # it follows the change: five bytes more
            assert faults(daemon, "--clear")["faults"] == {}
            assert gets(client)
        assert new_client_gets(daemon)
        daemon.stderr.wait_for(
            r"info  echo  faults are now: seed = 7, truncate = \"2\" \(changed by the administrator\)"
        )
        daemon.stderr.wait_for(r"info  echo  faults are now: none")


def test_the_faults_are_printed_with_their_counts_and_where_they_do_not_exist():
    with Daemon(ADMIN + FAULTY + "drop = 0.5\nseed = 1\ntruncate = '3'\n") as daemon:
        assert new_client_gets(daemon, b"hel")
        lines = echoctl(daemon, "echo")[0].splitlines()
        assert [line.split() for line in lines[:-1]] == [
            ["FAULT", "VALUE", "INJECTED"],
            ["seed", "1"],
            ["drop", "0.5"],
            ["truncate", '"3"', "1"],
        ]
        assert lines[-1] == f"not on {daemon.url('echo', 'tcp')}: drop"
        status = run(*ECHOCTL, "status", "--admin", f"unix://{daemon.dir}/admin.sock").stdout.decode()
        assert 'echo injects faults: seed = 1, drop = 0.5, truncate = "3"' in status


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["echo", "delay"], 2, '"delay" has no value; expected KEY=VALUE'),
        (["echo", "dely=1s"], 2, '"dely" is not a fault; did you mean delay?'),
        (["echo", "delay=5"], 2, 'echoctl: delay: "5" is not a duration; expected "5s"\nechoctl: the faults were not'),
        (["echo", "burst=3"], 2, "echoctl: burst: needs drop"),
        (["echo", "--script", "/dev/null"], 1, "echoctl: /dev/null: is not a regular file"),
        (["echo", "--script", "/none"], 1, "echoctl: /none: no such file or directory (ENOENT)"),
        (["none"], 1, "echoctl: the daemon has no service none; echoctl status lists them"),
        (["a/b"], 2, '"a/b" is not the name of a service'),
    ],
    ids=range(8),
)
def test_a_wrong_argument_is_one_line_and_changes_nothing(unchanged, words, code, error):
    shown, reported = echoctl(unchanged, *words, code=code)
    assert not shown
    assert error in reported
    assert faults(unchanged)["faults"] == {"delay": '"1ms"'}


@pytest.fixture(scope="module")
def unchanged():
    with Daemon(ADMIN + FAULTY + 'delay = "1ms"\n') as daemon:
        yield daemon


def test_a_fault_that_no_address_has_is_refused():
    with Daemon(ADMIN + '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n') as daemon:
        _, reported = echoctl(daemon, "echo", "drop=0.5", code=2)
        assert reported.startswith("echoctl: drop: does not exist on streams; expected an address of messages or")


def test_a_reload_restores_the_faults_of_the_configuration():
    with Daemon(ADMIN + FAULTY + "truncate = '3'\n") as daemon:
        faults(daemon, "truncate=1")
        assert new_client_gets(daemon, b"h")
        assert run(*ECHOCTL, "reload", "--admin", f"unix://{daemon.dir}/admin.sock").returncode == 0
        assert new_client_gets(daemon, b"hel")
        file = daemon.dir / "echod.toml"
        file.write_text(file.read_text().replace("'3'", "'4'"))
        assert run(*ECHOCTL, "reload", "--admin", f"unix://{daemon.dir}/admin.sock").returncode == 0
        assert new_client_gets(daemon, b"hell")


@pytest.mark.parametrize("plane", ["auto", "off"])
def test_delayed_datagrams_are_sent_also_if_the_faults_end(plane):
    """The socket then belongs to a listener without faults."""
    config = f'[daemon]\nplane = "{plane}"\n{ADMIN}{FAULTY}delay = "3s"\n'
    with Daemon(config) as daemon, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(daemon.inet("echo", "udp"))
        client.send(b"delayed")
        assert eventually(lambda: faults(daemon)["injected"] == {"delay": 1})
        assert faults(daemon, "--clear")["faults"] == {}
        client.send(b"at once")
        assert {client.recv(100), client.recv(100)} == {b"at once", b"delayed"}


SCRIPT = '[[step]]\nfor = "100ms"\ntruncate = "1"\n[[step]]\nsilent = true\n'


def test_equal_faults_continue_their_numbers_unless_they_are_cleared_first():
    values = ("close-after=2", "first=1", "seed=7")

    def is_closed(daemon: Daemon) -> bool:
        """Whether the fault applies to a new connection: only to the first one since the numbers began."""
        with connect(daemon) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            return client.makefile("rb").read() == b"he"

    with Daemon(ADMIN + FAULTY + 'close-after = "2"\nfirst = 1\nseed = 7\n') as daemon:
        assert [is_closed(daemon), is_closed(daemon)] == [True, False]
        assert faults(daemon, *values)["faults"] == {"seed": "7", "close-after": '"2"', "first": "1"}
        assert not is_closed(daemon)
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for("reloaded")
        assert not is_closed(daemon)
        assert faults(daemon, "--clear", *values)["faults"] == {"seed": "7", "close-after": '"2"', "first": "1"}
        assert [is_closed(daemon), is_closed(daemon)] == [True, False]
        assert daemon.stop() == 0  # then the whole log is here
        assert daemon.log().count("faults are now: seed = 7, ") == 2


def test_a_script_changes_faults_over_time(tmp_path: Path):
    script = tmp_path / "steps.toml"
    script.write_text(SCRIPT)
    with Daemon(ADMIN + FAULTY + f'script = "{script}"\n') as daemon:
        daemon.stderr.wait_for(r"faults are now: truncate = \"1\" \(changed by step 1 of the script\)")
        daemon.stderr.wait_for(r"faults are now: silent = true \(changed by step 2 of the script\)")
        with connect(daemon) as client:
            assert gets(client, b"")
            script.write_text('[[step]]\nreset-after = "0"\n')
            faults(daemon, "--clear", "--script", str(script))
            client.settimeout(SECONDS)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert "step 1 of 1: reset-after" in echoctl(daemon, "echo")[0]
        assert run(*ECHOCTL, "reload", "--admin", f"unix://{daemon.dir}/admin.sock").returncode == 0
        assert faults(daemon, "truncate=3")["faults"] == {"truncate": '"3"'}
        assert new_client_gets(daemon, b"hel")


def test_a_wrong_script_is_a_configuration_error_with_its_file(tmp_path: Path):
    script = tmp_path / "steps.toml"
    script.write_text("[[step]]\ndrop = 2\n")
    config = tmp_path / "echod.toml"
    config.write_text(FAULTY + 'script = "steps.toml"\n')
    ended = run(*ECHOCTL, "check", str(config))
    assert ended.returncode == 78
    assert f"services.echo.faults.script: {script}: step[0].drop: must be a number from 0 to 1" in ended.stderr.decode()


def test_workers_have_the_faults_and_their_counts_are_added():
    with Daemon(f"[daemon]\nworkers = 2\n{ADMIN}{ECHO}") as daemon:
        faults(daemon, "truncate=2")
        for _ in range(8):
            assert new_client_gets(daemon, b"he")
        assert eventually(lambda: faults(daemon)["injected"] == {"truncate": 8})


def test_a_fault_that_no_passed_socket_has_is_a_warning():
    config = '[services.echo]\nlisten = ["systemd:echo"]\nfaults.drop = 0.5\n'
    with socket.create_server(("127.0.0.1", 0)) as passed, activated([("echo", passed)], config) as daemon:
        daemon.stderr.wait_for("warn  echo  faults.drop does not exist on streams; expected an address of messages")


@pytest.mark.parametrize("host", ["127.0.0.1", "*"])
def test_clients_in_a_full_queue_are_served_when_the_fault_ends(host):
    echo = f'[services.echo]\nlisten = ["tcp://{host}:0", "unix://{{dir}}/echo.sock"]\n'
    with Daemon(ADMIN + echo + "faults.backlog-full = true\n") as daemon:
        early = []  # a loaded kernel may need a moment to fill the queue

        def times_out() -> bool:
            with socket.socket() as client:
                client.settimeout(0.3)
                try:
                    client.connect(daemon.inet("echo", "tcp"))
                except TimeoutError:
                    return True
                early.append(1)
                return False

        assert eventually(times_out)
        with socket.socket(socket.AF_UNIX) as other:
            path = daemon.place("echo", "unix")
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.connect(path)
            assert faults(daemon)["injected"] == {"backlog-full": 2}
            faults(daemon, "backlog-full=")
            assert new_client_gets(daemon)
            other.connect(path)
            assert gets(other)
        accepted = {name: one["accepted"] for name, one in daemon.counters().items() if name.startswith("echo ")}
        assert list(accepted.values()) == [1 + len(early), 1]


def test_a_duplicate_is_not_sent_to_a_client_that_may_not_get_more_than_it_sent():
    with Daemon(ADMIN + ECHO + "larger-answers-to = []\nfaults.duplicate = 1\n") as daemon:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(daemon.inet("echo", "udp"))
            for _ in range(3):
                assert gets(client)
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.recv(10)
        counters = daemon.counters()[f"echo {daemon.url('echo', 'udp')}"]
        assert (counters["datagrams_out"], counters["refused:larger"]) == (3, 3)


@pytest.mark.parametrize("fault", ["duplicate", "drop", "delay"])
def test_members_over_datagrams_have_faults(fault):
    value = {"duplicate": "1", "drop": "1", "delay": "'50ms'"}[fault]
    with Daemon(ADMIN + f"[services.chat]\nlisten = ['udp://127.0.0.1:0']\nfaults.{fault} = {value}\n") as daemon:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(daemon.inet("chat", "udp"))
            client.settimeout(SECONDS)
            client.send(b"/nick anna\n")
            lines = {"duplicate": 4, "drop": 0, "delay": 2}[fault]  # the welcome, and the name
            found = [client.recv(2000) for _ in range(lines)]
            client.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                while True:
                    found.append(client.recv(2000))
        if fault == "drop":
            assert not found
        else:
            assert len(found) == (2 * len(set(found)) if fault == "duplicate" else len(set(found))) > 0
        counters = daemon.counters()[f"chat {daemon.url('chat', 'udp')}"]
        assert counters[f"fault:{fault}"] > 0
        assert counters.get("datagrams_out", 0) >= len(found)  # with the line about the stop


def test_a_stop_ends_connections_that_hang():
    config = '[daemon]\ndrain = "60s"\n' + FAULTY + "silent = true\n"
    with Daemon(config) as daemon, connect(daemon) as client:
        assert gets(client, b"")
        client.shutdown(socket.SHUT_WR)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert daemon.stop() == 0
