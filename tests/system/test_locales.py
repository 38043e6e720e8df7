"""Nothing depends on the locale, nor on the encoding that Python takes from it: test 42 of docs/PROMISES.md."""

import os
import socket
from functools import cache

import pytest

from tests.chaos.locales import LOCALES, USUAL, Environment, answers, installed, normal, serving
from tests.contract.matrix import PLANES, exactly
from tests.daemon import ECHOCTL, ECHOD, SECONDS, Daemon, environment, run

EVERY = bytes(range(256))
PATH = b"w\xf6rld \xff.sock"  # not UTF-8
CONFIG = """
[daemon]
plane = "PLANE"
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/w%F6rld%20%FF.sock", "unix://{dir}/ö.sock"]
[services.upper]
listen = ["tcp://127.0.0.1:0"]
[services.discard]
listen = ["udp://127.0.0.1:0"]
show = "text"
[services.qotd]
listen = ["tcp://127.0.0.1:0"]
quotes = "QUOTES"
"""


@pytest.fixture(
    params=[
        "C",
        *(pytest.param(name, marks=pytest.mark.slow) for name in LOCALES if normal(name) in ("posix", "c.utf8")),
        *(pytest.param(name, marks=pytest.mark.needs_tools) for name in LOCALES if "_" in name),
    ]
)
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    if normal(request.param) not in installed():
        pytest.skip(f"the locale {request.param} is not installed here; tests/system_wide/prepare does that")
    variables = Environment(request.param, "0").variables()
    del variables["PYTHONUTF8"]
    return variables


@cache
def usual(plane: str) -> dict[str, bytes]:
    with serving(plane, USUAL) as daemon:
        return answers(daemon)


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_every_reply_is_the_same(environ, utf8):
    """Half of them on each plane; the client has its own test."""
    plane = PLANES[utf8 == "0"]
    with serving(plane, Environment(environ["LC_ALL"], utf8)) as daemon:
        assert answers(daemon) == usual(plane)


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_the_services(environ, utf8, tmp_path):
    """Half of them on each plane."""
    plane = PLANES[int(utf8)]
    quotes = tmp_path / "Sprüche"
    quotes.write_text("Übung macht den Meister: ıİ\n", "utf-8")
    config = CONFIG.replace("PLANE", plane).replace("QUOTES", str(quotes))
    with Daemon(config, environ=environ | {"PYTHONUTF8": utf8}) as daemon:
        for service, start, due in (
            ("echo", "tcp", EVERY),
            ("echo", "unix", EVERY),
            ("upper", "tcp", EVERY.upper()),  # of bytes: the letters of ASCII, and no others
        ):
            place = daemon.place(service, start) if start == "tcp" else os.fsencode(daemon.dir) + b"/" + PATH
            with socket.socket(socket.AF_INET if start == "tcp" else socket.AF_UNIX) as client:
                client.settimeout(SECONDS)
                client.connect(place)
                client.sendall(EVERY)
                assert exactly(client, len(due)) == due
        with socket.create_connection(daemon.inet("qotd", "tcp"), SECONDS) as client:
            assert client.recv(1000).decode() == "Übung macht den Meister: ıİ\r\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto("naïve ıİ \x1b[31m\u202e".encode() + b"\xff", daemon.inet("discard", "udp"))
        daemon.stdout.wait_for(r": naïve ıİ \\x1b\[31m\\u\{202e\}\\xff$")
        daemon.check()
        assert os.path.exists(os.fsencode(daemon.dir) + "/ö.sock".encode())
        assert daemon.stop() == 0
        assert daemon.stderr.wait_for(r"unix://\S*w%F6rld%20%FF\.sock") is not None
        assert [name for name in os.listdir(daemon.dir) if name.endswith(".sock")] == []
    assert os.listdir(tmp_path) == ["Sprüche"]


def test_the_client_and_words_that_are_not_utf8(environ):
    with Daemon(listen=["echo=tcp://127.0.0.1:0"]) as daemon:
        words = environment(**environ, PYTHONUTF8="0")
        url = daemon.url("echo", "tcp")
        sent = run(*ECHOCTL, "send", url, b"na\xc3\xafve \xff\xfe", env=words)
        assert (sent.returncode, sent.stdout) == (0, b"na\xc3\xafve \xff\xfe")
        piped = run(*ECHOCTL, "send", url, env=words, input=EVERY)
        assert (piped.returncode, piped.stdout) == (0, EVERY)
        wrong = run(*ECHOCTL, "send", b"unix:///nowhere/\xff\xfe", b"x", env=words)
        assert wrong.returncode != 0
        assert wrong.stderr.count(b"\n") == 1
        assert b"Traceback" not in wrong.stderr
        wrong.stderr.decode("ascii" if environ["LC_ALL"] in ("C", "POSIX") else "utf-8", "strict")


def test_a_configuration_whose_path_is_not_utf8(environ, tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(folder)
    file = folder + b"/w\xf6rld.toml"
    with open(file, "w", encoding="utf-8") as opened:
        opened.write('[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n')
    words = environment(**environ, PYTHONUTF8="0")
    good = run(*ECHOD, "--config", file, "--check-config", env=words)
    assert (good.returncode, good.stderr) == (0, b""), good.stderr
    with open(file, "a", encoding="utf-8") as opened:
        opened.write("lïsten = 1\n")
    bad = run(*ECHOD, "--config", file, "--check-config", env=words)
    assert bad.returncode == 78
    assert bad.stderr.count(b"\n") == 1
    assert b"Traceback" not in bad.stderr
