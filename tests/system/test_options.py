"""The daemon's command line: what only looks, where the configuration comes from, and who is let in."""

import socket
import tomllib
from pathlib import Path

import pytest

from echod.version import VERSION
from tests.contract.room import exactly
from tests.daemon import ECHOD, SECONDS, TOP, Daemon, environment, run

LISTEN = ["--listen", "echo=tcp://127.0.0.1:7007", "--listen", "upper=udp://[::1]:0"]
WRITTEN = """
[daemon]
drain = "90s"
[defaults]
allow = ["192.0.2.0/24", "127.0.0.0/8"]
[defaults.limits]
idle = "0"
[services.Zebra_1]
kind = "ack"
close = false
listen = ["tcp://*:7", "unix:///run/echod/a%20b.sock?mode=0600&group=0"]
limits = { new-per-client = "1/5" }
"""


def output(*words: str | Path, **environ: str) -> str:
    """What the daemon prints and ends with 0."""
    ended = run(*ECHOD, *words, env=environment(**environ))
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stderr == b""
    return ended.stdout.decode("utf-8")


def test_version():
    assert output("--version").startswith(f"echod {VERSION} ")


def test_check_config_opens_nothing():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = output("--listen", f"echo=tcp://127.0.0.1:{port}", "--listen", "upper=udp://[::1]:0", "--check-config")
    assert said.splitlines() == [f"echo   tcp://127.0.0.1:{port}", "upper  udp://[::1]:0"]


def test_check_config_says_every_fault(tmp_path):
    (tmp_path / "echod.toml").write_text("[services.echo]\nlisten = []\nshow = 1\n")
    ended = run(*ECHOD, "--config", tmp_path / "echod.toml", "--check-config")
    assert ended.returncode == 78
    assert ended.stdout == b""
    assert len(ended.stderr.splitlines()) == 2


def test_print_config_says_where_each_value_comes_from_and_can_be_read_again(tmp_path):
    (tmp_path / "echod.toml").write_text(WRITTEN)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "50-more.toml").write_text('[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n')
    printed = output("--config", tmp_path / "echod.toml", "--print-config")
    assert f'drain = "1m30s"  # {tmp_path}/echod.toml' in printed.splitlines()
    assert f'listen = ["tcp://127.0.0.1:0"]  # {tmp_path}/conf.d/50-more.toml' in printed.splitlines()
    assert 'plane = "auto"  # default' in printed.splitlines()
    again = tmp_path / "again" / "echod.toml"
    again.parent.mkdir()
    again.write_text(printed)
    fed_back = output("--config", again, "--print-config")
    assert tomllib.loads(fed_back) == tomllib.loads(printed)
    assert "Zebra_1" in tomllib.loads(printed)["services"]


def test_the_shipped_configuration_is_right():
    said = output("--config", TOP / "etc" / "echod.toml", "--check-config")
    assert "tcp://127.0.0.1:10007" in said


def test_the_variable_names_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text('[services.mine]\nkind = "echo"\nlisten = ["tcp://127.0.0.1:0"]\n')
    said = output("--check-config", ECHOD_CONFIG=str(tmp_path / "mine.toml"))
    assert said == "mine  tcp://127.0.0.1:0\n"


def test_a_file_that_the_variable_names_and_that_is_missing_is_an_error(tmp_path):
    missing = str(tmp_path / "missing.toml")
    ended = run(*ECHOD, "--check-config", env=environment(ECHOD_CONFIG=missing))
    assert ended.returncode == 78
    assert missing in ended.stderr.decode()


def test_what_is_built_in_starts_without_any_file():
    if Path("/etc/echod/echod.toml").exists():
        pytest.skip("this machine has a configuration of its own")
    for port in (10007, 10008):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind is socket.SOCK_STREAM)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    pytest.skip(f"port {port} is taken")
    with Daemon() as daemon:
        assert daemon.urls == [
            ("echo", "tcp://127.0.0.1:10007"),
            ("echo", "udp://127.0.0.1:10007"),
            ("upper", "tcp://127.0.0.1:10008"),
            ("upper", "udp://127.0.0.1:10008"),
        ]
        with socket.create_connection(("127.0.0.1", 10008), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"HELLO"
        assert daemon.stop() == 0


def test_help_lists_every_option():
    said = output("--help")
    for option in ("--config", "--listen", "--allow", "--check-config", "--print-config", "--version"):
        assert option in said
