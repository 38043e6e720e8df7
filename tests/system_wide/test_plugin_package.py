"""A kind of a package of its own, tests/plugin_package, installed beside echod as its users would install it."""

import shutil
import socket
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.daemon import SECONDS, TOP, Daemon, environment
from tests.daemon import run as run_process

pytestmark = [pytest.mark.system_wide, pytest.mark.timeout(600)]  # pip builds, for which it may have to download

WRITTEN = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "dropin.cache")
EX_CONFIG = 78
SERVED = """
[services.secret]
kind = "rot13"
places = 1
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.rot13]
listen = ["tcp://127.0.0.1:0"]
"""
PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "echod-broken"
version = "1.0"
[project.entry-points."echod.services"]
{entry}
[tool.setuptools]
py-modules = ["echod_broken"]
"""


class Site:
    """A virtual environment with echod in it, whose dependencies are those of the Python that runs the tests."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(self, *words, code=0):
        """The output and the errors of a program of this environment; nothing of the tree can be imported."""
        process = run_process(self.bin / words[0], *words[1:], env=environment(PYTHONPATH=""), seconds=120, cwd=self.bin)
        said, wrong = process.stdout.decode(), process.stderr.decode()
        assert process.returncode == code, f"{words}: {process.returncode}\n{said}{wrong}"
        return said, wrong

    def pip(self, *words):
        words = [sys.executable, "-m", "pip", "--python", self.bin / "python", *words]
        process = run_process(*words, env=environment(PYTHONPATH=""), seconds=300)
        assert process.returncode == 0, process.stderr.decode()


@pytest.fixture(scope="module")
def echod(tmp_path_factory):
    """A Site with nothing but echod."""
    folder = tmp_path_factory.mktemp("site")
    tree = shutil.copytree(TOP, folder / "echod", ignore=WRITTEN)
    site = Site(folder / "venv")
    site.pip("install", "--quiet", "--no-deps", tree)
    return site


@pytest.fixture(scope="module")
def rot13(echod, tmp_path_factory):
    """A Site with the kind of tests/plugin_package, too."""
    package = shutil.copytree(TOP / "tests/plugin_package", tmp_path_factory.mktemp("plugin") / "rot13", ignore=WRITTEN)
    echod.pip("install", "--quiet", "--no-deps", package)
    yield echod
    echod.pip("uninstall", "--quiet", "--yes", "echod-rot13")


@pytest.fixture
def broken(echod, tmp_path):
    """Installs a package that announces `entry`, and has `source` as its module."""

    def install(entry, source):
        (tmp_path / "pyproject.toml").write_text(PROJECT.format(entry=entry))
        (tmp_path / "echod_broken.py").write_text(source)
        echod.pip("install", "--quiet", "--no-deps", tmp_path)
        return echod

    yield install
    echod.pip("uninstall", "--quiet", "--yes", "echod-broken")


def checked(site, text, tmp_path, code=0):
    """What `echoctl check` and the daemon itself say of a configuration, which must be the same."""
    file = tmp_path / "echod.toml"
    file.write_text(text)
    by_client = site.run("echoctl", "check", file, code=code)
    by_daemon = site.run("python", "-m", "echod", "--config", file, "--check-config", code=code)
    assert [said.replace("echoctl: ", "echod: ") for said in by_client] == list(by_daemon)
    return by_daemon


def refused(site, text, tmp_path):
    """The one line that a configuration is refused with, by the checks and by the daemon's start."""
    said, wrong = checked(site, text, tmp_path, EX_CONFIG)
    assert said == ""
    assert site.run("python", "-m", "echod", "--config", tmp_path / "echod.toml", code=EX_CONFIG) == ("", wrong)
    assert wrong.count("\n") == 1
    return wrong


def test_the_kind_is_listed_with_its_option(rot13):
    said, _ = rot13.run("echoctl", "services")
    assert "rot13" in said
    assert "sends everything back with its letters turned" in said
    assert "places" in said
    assert "how far each letter is turned, from 1 to 25" in said


def test_the_kind_can_be_configured(rot13, tmp_path):
    said, wrong = checked(rot13, SERVED.replace(":0", ":10013"), tmp_path)
    assert wrong == ""
    assert "secret  tcp://127.0.0.1:10013" in said


def test_the_kind_answers(rot13):
    with Daemon(SERVED, command=[rot13.bin / "python", "-m", "echod"], environ={"PYTHONPATH": ""}) as daemon:
        with socket.create_connection(daemon.place("secret", "tcp"), SECONDS) as client:
            client.sendall(b"Hal, \xff\r\n")
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read() == b"Ibm, \xff\r\n"
        with socket.create_connection(daemon.place("rot13", "tcp"), SECONDS) as client:
            client.sendall(b"Why did the chicken cross the road?")
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read() == b"Jul qvq gur puvpxra pebff gur ebnq?"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS)
            client.connect(daemon.place("secret", "udp"))
            client.send(b"zzz")
            assert client.recv(99) == b"aaa"
        daemon.check()
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ('places = "13"', "services.secret.places: must be a whole number"),
        ("places = 26", "services.secret.places: must be a whole number from 1 to 25, not 26"),
        ("place = 13", "services.secret.place: unknown key; did you mean places?"),
    ],
)
def test_a_wrong_option_is_one_clear_line(rot13, tmp_path, option, said):
    text = f'[services.secret]\nkind = "rot13"\n{option}\nlisten = ["tcp://127.0.0.1:10013"]\n'
    assert said in refused(rot13, text, tmp_path)


def test_without_the_package_the_kind_is_unknown(echod, tmp_path):
    text = '[services.rot14]\nlisten = ["tcp://127.0.0.1:10013"]\n'
    assert "unknown kind" in refused(echod, text, tmp_path)


@pytest.mark.parametrize(
    ("entry", "source", "said"),
    [
        ('sour = "echod_broken:Sour"', 'raise RuntimeError("no lemons\\nleft")', "no lemons"),
        ('sour = "echod_broken:Sour"', "import lemons", "No module named 'lemons'"),
        ('sour = "echod_broken:Sour"', "class Sour(", "SyntaxError"),
        ('sour = "echod_broken:Sour"', "", "has no attribute 'Sour'"),
        ('sour = "echod_broken:Sour"', "Sour = 42", "is not a subclass of echod.model.Service"),
        ('sour = "echod_broken:Sour"', "class Sour:\n    kind = 'sour'\n", "is not a subclass of echod.model.Service"),
        (
            'sour = "echod_broken:Sour"',
            "from echod.model import Service\nclass Sour(Service):\n    kind = 'sweet'\n",
            "calls itself 'sweet'",
        ),
        (
            'echo = "echod_broken:Echo"',
            "from echod.model import Service\nclass Echo(Service):\n    kind = 'echo'\n",
            "exists already",
        ),
    ],
    ids=["raises", "imports", "does not parse", "is empty", "is a number", "is no service", "is another", "is ours"],
)
def test_a_broken_kind_is_one_clear_line(broken, tmp_path, entry, source, said):
    site = broken(entry, source)
    line = refused(site, '[services.echo]\nlisten = ["tcp://127.0.0.1:10007"]\n', tmp_path)
    assert said in line
    assert "echod_broken" in line
