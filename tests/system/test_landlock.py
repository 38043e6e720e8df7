"""A confined daemon serves, reads its configuration and reopens its log, and can access nothing else."""

import os
import signal
import socket
from functools import partial

import pytest

from tests.contract.matrix import exactly
from tests.daemon import SECONDS, TWISTD, Daemon, eventually
from tests.unit.test_daemon_landlock import there_is_landlock

pytestmark = pytest.mark.skipif(not there_is_landlock(), reason="this kernel has no Landlock")

CONFIG = """
[daemon]
landlock = true
plane = "{plane}"
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/s", "unix-dgram://{dir}/d"]
[services.quotes]
kind = "qotd"
quotes = "{dir}/quotes"
listen = ["tcp://127.0.0.1:0"]
"""


def ask(place):
    with socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET) as client:
        client.settimeout(SECONDS)
        client.connect(place)
        client.sendall(b"hello")
        return exactly(client, 5)


def refused_more_than(log, times):
    return log.read_text().count("not reloaded") > times


@pytest.mark.parametrize("plane", ["auto", "off"])
def test_serving_reloading_and_stopping(plane, tmp_path):
    log = tmp_path / "log"
    command = [*TWISTD, "--nodaemon", "--pidfile=", "--logfile", str(log), "echod"]
    daemon = Daemon(CONFIG.replace("{plane}", plane), command=command)
    (daemon.dir / "quotes").write_text("one\n")
    daemon.launch()
    assert eventually(lambda: log.exists() and "ready: 5 listeners" in log.read_text())
    assert "confined by Landlock, version" in log.read_text()
    assert ask(str(daemon.dir / "s")) == b"hello"
    begun = (daemon.dir / "echod.toml").read_text()

    (daemon.dir / "quotes").unlink()
    (daemon.dir / "quotes").write_text("two\n")
    (daemon.dir / "conf.d").mkdir()
    (daemon.dir / "conf.d" / "a.toml").write_text(
        f'[services.upper]\nlisten = ["tcp://127.0.0.1:0", "unix://{daemon.dir}/u"]\n'
    )
    log.rename(tmp_path / "old")
    daemon.send_signal(signal.SIGHUP)
    assert eventually(lambda: log.exists() and "reloaded: 2 addresses opened" in log.read_text())
    assert ask(str(daemon.dir / "u")) == b"HELLO"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = probe.getsockname()[1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for address, said in ((f"tcp://127.0.0.1:{other}", f":{other}"), (f"unix://{elsewhere}/s", "elsewhere/s")):
        (daemon.dir / "echod.toml").write_text(begun + f'[services.discard]\nlisten = ["{address}"]\n')
        before = log.read_text().count("not reloaded")
        daemon.send_signal(signal.SIGHUP)
        assert eventually(partial(refused_more_than, log, before)), log.read_text()
        line = log.read_text().splitlines()[-1]
        assert said in line
        assert "(EACCES)" in line
        assert line.endswith("landlock permits only the files and ports of the start: restart the daemon")
        assert ask(str(daemon.dir / "s")) == b"hello"

    daemon.process.terminate()
    assert daemon.wait() == 0
    assert not [path for path in daemon.dir.iterdir() if path.is_socket()]
    assert " critical " not in log.read_text()
    daemon.close()


def test_it_is_off_by_default():
    with Daemon(listen=["echo=tcp://127.0.0.1:0"]) as daemon:
        assert "Landlock" not in daemon.log()
        assert os.path.exists(f"/proc/{daemon.process.pid}")
