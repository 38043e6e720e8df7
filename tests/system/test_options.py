"""The daemon's command line: what only looks, where the configuration comes from, and who is let in."""

import socket
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from echod.version import VERSION
from tests.contract.room import exactly
from tests.daemon import ECHOD, SECONDS, TOP, Daemon, ahead, environment, run

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


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    """A port that is taken: who only looks does not mind."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A directory of configurations."""
    directory: Path = tmp_path_factory.mktemp("configurations")
    (directory / "echod.toml").write_text(WRITTEN)
    (directory / "conf.d").mkdir()
    (directory / "conf.d" / "50-more.toml").write_text('[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n')
    (directory / "mine").mkdir()
    (directory / "mine" / "echod.toml").write_text('[services.mine]\nkind = "ack"\nlisten = ["tcp://127.0.0.1:0"]\n')
    (directory / "wrong").mkdir()
    (directory / "wrong" / "echod.toml").write_text("[services.echo]\nlisten = []\nshow = 1\n")
    return directory


@pytest.fixture(scope="module")
def looked(taken, directory) -> Iterator[Callable[..., str]]:
    """What each of the runs that only look printed."""
    listen = ["--listen", f"echo=tcp://127.0.0.1:{taken}", "--listen", "upper=udp://[::1]:0"]
    mine = environment(ECHOD_CONFIG=str(directory / "mine" / "echod.toml"))
    missing = environment(ECHOD_CONFIG=str(directory / "missing.toml"))
    runs = {
        "version": partial(run, *ECHOD, "--version"),
        "help": partial(run, *ECHOD, "--help"),
        "check": partial(run, *ECHOD, *listen, "--check-config"),
        "print": partial(run, *ECHOD, "--config", directory / "echod.toml", "--print-config"),
        "wrong": partial(run, *ECHOD, "--config", directory / "wrong" / "echod.toml", "--check-config"),
        "shipped": partial(run, *ECHOD, "--config", TOP / "etc" / "echod.toml", "--check-config"),
        "mine": partial(run, *ECHOD, "--check-config", env=mine),
        "before": partial(run, *ECHOD, *listen, "--check-config", env=mine),
        "missing": partial(run, *ECHOD, "--check-config", env=missing),
    }
    with ahead(runs) as futures:

        def outcome(name: str, code: int = 0) -> str:
            ended = futures[name].result(60)
            assert ended.returncode == code, ended.stderr.decode()
            silent, says = (ended.stdout, ended.stderr) if code else (ended.stderr, ended.stdout)
            assert silent == b""
            return says.decode("utf-8")

        yield outcome


def test_version(looked):
    assert looked("version").startswith(f"echod {VERSION} ")


def test_help_lists_every_option(looked):
    for option in ("--config", "--listen", "--allow", "--check-config", "--print-config", "--version"):
        assert option in looked("help")


def test_check_config_opens_nothing(looked, taken):
    assert looked("check").splitlines() == [f"echo   tcp://127.0.0.1:{taken}", "upper  udp://[::1]:0"]


def test_check_config_says_every_fault(looked):
    assert len(looked("wrong", 78).splitlines()) == 2


def test_print_config_says_where_each_value_comes_from(looked, directory):
    printed = looked("print").splitlines()
    assert f'drain = "1m30s"  # {directory}/echod.toml' in printed
    assert f'listen = ["tcp://127.0.0.1:0"]  # {directory}/conf.d/50-more.toml' in printed
    assert 'plane = "auto"  # default' in printed


def test_what_print_config_prints_can_be_read_again(looked, tmp_path):
    printed = looked("print")
    (tmp_path / "echod.toml").write_text(printed)
    fed_back = run(*ECHOD, "--config", tmp_path / "echod.toml", "--print-config")
    assert tomllib.loads(fed_back.stdout.decode()) == tomllib.loads(printed)
    assert "Zebra_1" in tomllib.loads(printed)["services"]


def test_the_shipped_configuration_is_right(looked):
    assert "tcp://127.0.0.1:10007" in looked("shipped")


def test_the_variable_names_a_file(looked):
    assert looked("mine") == "mine  tcp://127.0.0.1:0\n"


def test_the_command_line_counts_before_the_variable(looked):
    assert looked("before") == looked("check")


def test_a_file_that_the_variable_names_and_that_is_missing_is_an_error(looked, directory):
    assert f"{directory}/missing.toml" in looked("missing", 78)


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
