"""A daemon that cannot start prints one line for each error, and exits with the code of sysexits(3)."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from echod.tap import Options
from tests.daemon import ECHOD, TWISTD, run

EX_USAGE, EX_OSERR, EX_CANTCREAT, EX_CONFIG = 64, 71, 73, 78
GOOD = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'

Words = Callable[[Path], Sequence[str | bytes]]


@dataclass(frozen=True)
class Case:
    """How the daemon is started in a fresh directory, and how it must end."""

    code: int
    says: tuple[str, ...]
    words: Words = field(default=lambda directory: ["--config", str(directory / "echod.toml")])
    config: bytes | None = None


def wrong(config: str | bytes, *says: str) -> Case:
    """A configuration that cannot be used."""
    return Case(EX_CONFIG, says, config=config.encode() if isinstance(config, str) else config)


def listening(code: int, url: str, *says: str) -> Case:
    """An address of `--listen` that does not work; {dir} is the directory."""
    return Case(code, says, words=lambda directory: ["--listen", url.replace("{dir}", str(directory))])


def usage(*words: str | bytes, says: str) -> Case:
    """A command line with a usage error."""
    return Case(EX_USAGE, (says,), words=lambda directory: list(words))


CASES = {
    "no TOML": wrong("[services.echo\n", "echod.toml:1:"),
    "an unknown key": wrong(GOOD + "lissten = 1\n", "services.echo.lissten", "did you mean listen?"),
    "an unknown kind": wrong(
        '[services.a]\nkind = "eccho"\nlisten = ["tcp://127.0.0.1:0"]\n', "services.a.kind", "echo"
    ),
    "a port out of range": wrong(
        '[services.echo]\nlisten = ["tcp://127.0.0.1:65536"]\n', "services.echo.listen", "65535"
    ),
    "everything at once": wrong(
        '[daemon]\nworkres = 2\ndrain = "long"\n[services.echo]\nlisten = ["tpc://127.0.0.1:7"]\n',
        "daemon.workres",
        "daemon.drain",
        "services.echo.listen",
    ),
    "no UTF-8": wrong(GOOD.encode() + b"# caf\xe9\n", "echod.toml:3: ", "UTF-8"),
    "control characters": wrong('[services."\\u001b[31m"]\n"\\u0007" = 1\n', "services."),
    "more connections than files": wrong(
        GOOD + "limits = { connections = 100000000 }\n",
        "echod.toml:3: services.echo.limits.connections: 100000000 + 64 exceed",
    ),
    "an owner that is not there": wrong(
        '[services.echo]\nlisten = ["unix:///tmp/x?user=no-such-user"]\n', "services.echo.listen[0]", "no-such-user"
    ),
    "a missing file": Case(EX_CONFIG, ("echod.toml", "ENOENT")),
    "an unreadable file": Case(EX_CONFIG, ("EISDIR",), words=lambda directory: ["--config", str(directory)]),
    "a file without a name": usage("--config", "", says="--config: the file's name is empty"),
    "a file name that is no UTF-8": Case(
        EX_CONFIG, (r"\xff.toml",), words=lambda directory: ["--config", b"\xff.toml"]
    ),
    "an address that is none": listening(EX_CONFIG, "echo=127.0.0.1", "--listen"),
    "a TCP port in use": listening(EX_OSERR, "echo=tcp://127.0.0.1:TCP", "tcp://127.0.0.1:TCP", "EADDRINUSE"),
    "a path in use": listening(EX_OSERR, "echo=unix://{dir}/used", "/used", "EADDRINUSE"),
    "a path that is a file": listening(EX_OSERR, "echo=unix://{dir}/file", "/file", "is not a socket"),
    "an address of another machine": listening(
        EX_OSERR, "echo=tcp://192.0.2.1:0", "tcp://192.0.2.1:0", "EADDRNOTAVAIL"
    ),
    "every socket that is in use": Case(
        EX_OSERR,
        ("tcp://127.0.0.1:TCP", "udp://127.0.0.1:UDP"),
        words=lambda directory: ["--listen", "echo=tcp://127.0.0.1:TCP", "--listen", "upper=udp://127.0.0.1:UDP"],
    ),
    "an unknown option": usage(
        "--lissten", "echo=tcp://127.0.0.1:0", says='unknown option "--lissten"; did you mean --listen?; --help lists'
    ),
    "a flag of twistd's": usage("-n", says="it is an option of twistd: twistd --nodaemon echod …"),
    "an option of twistd's": usage("--logfile=x", says="it is an option of twistd: twistd --logfile=… echod …"),
    "an argument": usage("echo", says="unexpected argument echo; --help lists"),
    "a file without its option": usage(
        "etc/x.toml", says="unexpected argument etc/x.toml; did you mean --config etc/x.toml?"
    ),
    "an address without its option": usage("echo=tcp://[::1]:7", says="did you mean --listen echo=tcp://[::1]:7?"),
    "a flag with a value": usage("--console=yes", says="--console takes no value; --help lists"),
    "a file and addresses": usage("--config", "echod.toml", "--listen", "echo=tcp://127.0.0.1:0", says="--config"),
    "bytes that are not text": usage(b"\xff\x1b", says=r"\xff\x1b"),
}

IN_THIS_PROCESS = (
    "a file without its option",
    "an address without its option",
    "a flag with a value",
    "a flag of twistd's",
    "an option of twistd's",
    "a file without a name",
    "no UTF-8",
    "a missing file",
    "a file name that is no UTF-8",
    "an unknown key",
    "an unknown kind",
    "a port out of range",
    "everything at once",
    "an unreadable file",
    "more connections than files",
    "an owner that is not there",
    "an address that is none",
    "an argument",
    "a file and addresses",
)
"""Cases that need no process of their own: they end before anything is opened, and each start costs half a second."""

AS_A_DAEMON = ("an unknown key", "a missing file", "a TCP port in use", "a path that is a file", "an unknown option")
"""Cases that are also tested as a daemon: the result must be the same."""

MODES = [(name, False) for name in CASES if name not in IN_THIS_PROCESS] + [(name, True) for name in AS_A_DAEMON]


@pytest.fixture
def taken() -> Iterator[dict[str, str]]:
    """Two ports that are in use, by their placeholders."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        yield {":TCP": f":{tcp.getsockname()[1]}", ":UDP": f":{udp.getsockname()[1]}"}


def in_place(word: str | bytes, taken: dict[str, str]) -> bytes:
    text = os.fsdecode(word)
    for name, port in taken.items():
        text = text.replace(name, port)
    return os.fsencode(text)


@pytest.mark.parametrize(("name", "daemonised"), MODES, ids=[f"{name}{', daemonised' * how}" for name, how in MODES])
def test_it_exits_with_its_code_and_prints_the_reason(name, daemonised, tmp_path, taken):
    case = CASES[name]
    if case.config is not None:
        (tmp_path / "echod.toml").write_bytes(case.config)
    (tmp_path / "file").write_text("precious")
    words = [in_place(word, taken) for word in case.words(tmp_path)]
    command = (*TWISTD, f"--pidfile={tmp_path}/pid", f"--logfile={tmp_path}/log", "echod") if daemonised else ECHOD
    with socket.socket(socket.AF_UNIX) as used:
        used.bind(str(tmp_path / "used"))
        used.listen()
        ended = run(*command, *words, cwd=tmp_path)
    said = ended.stderr.decode("utf-8")
    assert ended.returncode == case.code, said
    assert_says(said, [in_place(part, taken).decode() for part in case.says])
    assert ended.stdout == b""
    assert {path.name for path in tmp_path.iterdir()} <= {"echod.toml", "file", "used"}, "it left something behind"
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("name", IN_THIS_PROCESS)
def test_errors_are_printed_before_anything_is_opened(name, tmp_path, capsys):
    case = CASES[name]
    if case.config is not None:
        (tmp_path / "echod.toml").write_bytes(case.config)
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions([*map(os.fsdecode, case.words(tmp_path)), "--check-config"])
    assert ended.value.code == case.code
    out, said = capsys.readouterr()
    assert out == ""
    assert_says(said, case.says)
    if name == "everything at once":
        assert len(said.splitlines()) == 3


def assert_says(said: str, parts: Iterable[str]) -> None:
    """Every line is printable and from echod, and together they contain these parts."""
    for part in parts:
        assert part in said
    for line in said.splitlines():
        assert line.startswith("echod: ")
        assert line.isprintable()
    assert "Traceback" not in said


def test_a_pidfile_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for pidfile, said in (("nosuch/e.pid", "ENOENT"), ("file/e.pid", "ENOTDIR")):
        words = ("--nodaemon", f"--pidfile={tmp_path}/{pidfile}", "echod", "--listen", "echo=tcp://127.0.0.1:0")
        ended = run(*TWISTD, *words, cwd=tmp_path)
        assert ended.returncode == EX_CANTCREAT
        assert_says(ended.stderr.decode(), (str(tmp_path), said))
        assert len(ended.stderr.splitlines()) == 1
