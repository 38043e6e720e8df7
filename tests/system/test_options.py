"""The daemon's command line: options that only print, and the source of the configuration."""

import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.tap import Options
from echod.version import VERSION
from tests.contract.matrix import exactly
from tests.daemon import ECHOD, SECONDS, TOP, TWISTD, Daemon, environment, run

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
    """A port in use, which must not matter to options that only print."""
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


def said(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> str:
    """The output of an option that only prints, and which must exit with this code.

    A warning about the self-signed certificate of the shipped configuration may be on standard error.
    """
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions([str(word) for word in words])
    assert ended.value.code == code
    out, error = capsys.readouterr()
    warnings = [line for line in error.splitlines() if "self-signed certificate for " in line]
    assert out == "" if code else error.splitlines() == warnings
    return error if code else out


@pytest.mark.parametrize("command", [ECHOD, (*TWISTD, "--nodaemon", "--pidfile=", "echod")], ids=["echod", "twistd"])
def test_version(command):
    ended = run(*command, "--version")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode().startswith(f"echod {VERSION} ")


def test_help_lists_every_option(capsys):
    text = said(capsys, "--help")
    for option in ("--config", "--listen", "--allow", "--show", "--check-config", "--print-config", "--version"):
        assert option in text


def test_an_option_needs_its_value(capsys):
    assert said(capsys, "--config", code=64) == "echod: --config needs a value; --help lists the options\n"


def test_help_shows_examples_that_are_accepted(capsys):
    examples = re.findall(r"(?m)^  echod (.+)$", said(capsys, "--help").partition("\nExamples:\n")[2])
    assert len(examples) == 3
    for line in examples:
        words = [str(TOP / word) if word.endswith(".toml") else word for word in line.split()]
        assert said(capsys, *dict.fromkeys([*words, "--check-config"])).startswith("echo ")


def test_check_config_opens_nothing(taken):
    listen = ["--listen", f"echo=tcp://127.0.0.1:{taken}", "--listen", "upper=udp://[::1]:0"]
    ended = run(*ECHOD, *listen, "--check-config")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode().splitlines() == [f"echo   tcp://127.0.0.1:{taken}", "upper  udp://[::1]:0"]


def test_check_config_prints_every_error(directory, capsys):
    text = said(capsys, "--config", directory / "wrong" / "echod.toml", "--check-config", code=78)
    assert len(text.splitlines()) == 2


def test_print_config_prints_the_source_of_each_value(directory, capsys):
    printed = said(capsys, "--config", directory / "echod.toml", "--print-config").splitlines()
    assert f'drain = "1m30s"  # {directory}/echod.toml' in printed
    assert f'listen = ["tcp://127.0.0.1:0"]  # {directory}/conf.d/50-more.toml' in printed
    assert 'plane = "auto"  # default' in printed


def test_the_output_of_print_config_can_be_read_again(directory, tmp_path, capsys):
    printed = said(capsys, "--config", directory / "echod.toml", "--print-config")
    (tmp_path / "echod.toml").write_text(printed)
    fed_back = said(capsys, "--config", tmp_path / "echod.toml", "--print-config")
    assert tomllib.loads(fed_back) == tomllib.loads(printed)
    assert "Zebra_1" in tomllib.loads(printed)["services"]


@pytest.mark.parametrize(("option", "how"), [("--show", "text"), ("--show=hex", "hex"), ("--show=no", "no")])
def test_show_is_set_for_services_that_do_not_set_it(option, how, tmp_path, capsys):
    file = tmp_path / "echod.toml"
    file.write_text('[services.echo]\nlisten = ["tcp://*:7"]\n[services.ack]\nshow = "text"\nlisten = ["tcp://*:8"]\n')
    printed = said(capsys, option, "--config", file, "--print-config").splitlines()
    assert [line for line in printed if line.startswith("show ")] == [
        f'show = "{how}"  # --show',
        f'show = "text"  # {file}',
    ]
    printed = said(capsys, "--config", file, "--print-config").splitlines()
    assert "# show is not set  # default" in printed


def test_a_wrong_value_of_show_is_reported(capsys):
    wrong = 'echod: --show: "txt" must be one of: no, text, hex; did you mean text?\n'
    assert said(capsys, "--show=txt", "--listen", "echo=tcp://127.0.0.1:0", "--check-config", code=78) == wrong


def test_the_shipped_configuration_is_valid(capsys):
    assert "tcp://127.0.0.1:10007" in said(capsys, "--config", TOP / "etc" / "echod.toml", "--check-config")


def test_the_variable_names_a_file(directory):
    ended = run(*ECHOD, "--check-config", env=environment(ECHOD_CONFIG=str(directory / "mine" / "echod.toml")))
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout == b"mine  tcp://127.0.0.1:0\n"


def test_the_command_line_overrides_the_variable(directory, monkeypatch, capsys):
    monkeypatch.setenv("ECHOD_CONFIG", str(directory / "mine" / "echod.toml"))
    assert said(capsys, "--listen", "echo=tcp://[::1]:7", "--check-config") == "echo  tcp://[::1]:7\n"
    assert "Zebra_1" in said(capsys, "--config", directory / "echod.toml", "--check-config")


def test_a_file_that_the_variable_names_and_that_is_missing_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECHOD_CONFIG", str(tmp_path / "missing.toml"))
    assert f"{tmp_path}/missing.toml" in said(capsys, "--check-config", code=78)


def test_the_defaults_start_without_a_file():
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
            ("admin", f"unix://{daemon.dir}/admin.sock"),
        ]
        with socket.create_connection(("127.0.0.1", 10008), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"HELLO"
        assert daemon.stop() == 0
