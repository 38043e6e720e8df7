"""`twistd echod` in the foreground and as a daemon: log, pidfile, options and working folder."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from echod.testing.announced import inet_of
from tests.contract.matrix import exactly
from tests.daemon import SECONDS, TWISTD, Daemon, environment, eventually, run

IN_FRONT = (*TWISTD, "--nodaemon", "--pidfile=", "echod")
SHOWING = '[services.printer]\nkind = "discard"\nshow = "text"\nlisten = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]\n'
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info |warn |error) \S.*")


@dataclass
class Daemonised:
    """A daemon that is not a child of the test; its pidfile identifies it."""

    directory: Path
    pid: int
    descriptor: int  # of the process: pidfd_open(2)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text("utf-8")

    def gone(self, seconds: float = SECONDS) -> bool:
        """Whether the process ends in time."""
        return bool(select.select([self.descriptor], [], [], seconds)[0])


@contextmanager
def daemonised(directory: Path, *words: str | Path) -> Iterator[Daemonised]:
    pidfile = directory / "pid"
    ended = run(*TWISTD, f"--pidfile={pidfile}", f"--logfile={directory}/log", "echod", *words, cwd=directory)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    pid = int(pidfile.read_text())
    descriptor = os.pidfd_open(pid)
    log = directory / "log"
    try:
        assert eventually(lambda: " ready: " in log.read_text())
        yield Daemonised(directory, pid, descriptor)
    finally:
        daemon = Daemonised(directory, pid, descriptor)
        if not daemon.gone(0):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def listeners(log: str) -> list[str]:
    return re.findall(r"info +\S+  (\S+)$", log, re.MULTILINE)


def test_in_the_foreground():
    with Daemon(listen=["echo=tcp://127.0.0.1:0"], command=IN_FRONT) as daemon:
        with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
        assert all(LINE.fullmatch(line) for line in daemon.stderr.text), daemon.log()
        assert daemon.stdout.text == []
        assert daemon.stop() == 0
        assert not (daemon.dir / "twistd.pid").exists()


def test_the_logfile_option_works_in_the_foreground():
    command = (*TWISTD, "--nodaemon", "--pidfile=", "--logfile=own.log", "echod")
    daemon = Daemon(listen=["echo=tcp://127.0.0.1:0"], command=command)
    log = daemon.dir / "own.log"
    try:
        daemon.launch()
        assert eventually(lambda: log.exists() and " ready: " in log.read_text())
        assert daemon.stop() == 0
        assert daemon.stderr.text == []
        assert " stopped " in log.read_text()
    finally:
        daemon.close()


def test_daemonised(tmp_path):
    (tmp_path / "echod.toml").write_text(SHOWING)
    with daemonised(tmp_path, "--config", tmp_path / "echod.toml") as daemon:
        _, tcp = listeners(daemon.log)
        with socket.create_connection(inet_of(tcp), SECONDS) as client:
            client.sendall("Grüße\x1b[31m\n".encode())
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        signal.pidfd_send_signal(daemon.descriptor, signal.SIGTERM)
        assert daemon.gone()
        assert not (tmp_path / "pid").exists()
    said = daemon.log.splitlines()
    assert all(LINE.fullmatch(line) for line in said), daemon.log
    assert any(line.endswith(r": Grüße\x1b[31m") for line in said)
    assert " stopped {" in said[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"echod.toml", "log"}


def test_a_second_daemon_with_the_same_pidfile_is_refused(tmp_path):
    with daemonised(tmp_path, "--listen", "echo=tcp://127.0.0.1:0") as daemon:
        ended = run(*TWISTD, f"--pidfile={tmp_path}/pid", f"--logfile={tmp_path}/other", "echod", cwd=tmp_path)
        assert ended.returncode != 0
        assert b"Traceback" not in ended.stderr
        with socket.create_connection(inet_of(listeners(daemon.log)[0]), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
        assert int((tmp_path / "pid").read_text()) == daemon.pid


def test_without_a_logfile_a_daemon_writes_twistd_log(tmp_path):
    pidfile = tmp_path / "pid"
    words = ["--listen", "echo=tcp://127.0.0.1:0"]
    assert run(*TWISTD, f"--pidfile={pidfile}", "echod", *words, cwd=tmp_path).returncode == 0
    descriptor = os.pidfd_open(int(pidfile.read_text()))
    try:
        assert eventually(lambda: " ready: " in (tmp_path / "twistd.log").read_text())
        signal.pidfd_send_signal(descriptor, signal.SIGINT)
        assert select.select([descriptor], [], [], SECONDS)[0]
    finally:
        os.close(descriptor)
    assert not pidfile.exists()


def test_a_log_that_cannot_be_written_is_reported_at_the_start(tmp_path):
    command = (*TWISTD, f"--pidfile={tmp_path}/pid", f"--logfile={tmp_path}/no/log", "echod")
    words = ["--listen", "echo=tcp://127.0.0.1:0", "--listen", f"echo=unix://{tmp_path}/echo.sock"]
    ended = run(*command, *words, cwd=tmp_path)
    assert ended.returncode == 73
    assert ended.stderr.decode() == f"echod: {tmp_path}/no/log: no such file or directory (ENOENT)\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [TWISTD, (*TWISTD, "echod")], ids=["twistd", "twistd echod"])
def test_help(command):
    ended = run(*command, "--help")
    assert ended.returncode == 0
    assert b"echod" in ended.stdout
    assert ended.stderr == b""


def test_sigusr1_opens_the_log_again(tmp_path):
    """Rename, then signal, as logrotate does."""
    with daemonised(tmp_path, "--listen", "echo=tcp://127.0.0.1:0") as daemon:
        (tmp_path / "log").rename(tmp_path / "log.1")
        signal.pidfd_send_signal(daemon.descriptor, signal.SIGUSR1)
        assert eventually(lambda: (tmp_path / "log").exists() and "log files opened again" in daemon.log)
        assert not daemon.gone(0)
        signal.pidfd_send_signal(daemon.descriptor, signal.SIGTERM)
        assert daemon.gone()
    assert " stopped " in (tmp_path / "log").read_text()
    assert " stopped " not in (tmp_path / "log.1").read_text()


OWN_PID = """
import os, pathlib
pathlib.Path("pid").write_text(str(os.getpid()))
from twisted.scripts.twistd import run
run()
"""


@pytest.mark.parametrize(
    "stale",
    ["own", "none", *(pytest.param(one, marks=pytest.mark.slow) for one in ("empty", "another program", "younger"))],
)
def test_a_stale_pidfile_does_not_stop_a_start(stale, tmp_path):
    """A killed daemon left it. Another process may have its number now; in a container it is the new daemon's own."""
    pidfile = tmp_path / "pid"
    with subprocess.Popen(["sleep", "60"]) as other, Daemon(listen=["echo=tcp://127.0.0.1:0"]) as older:
        texts = {
            "empty": "",
            "none": str(2**22 + 1),
            "another program": str(other.pid),
            "younger": str(older.process.pid),
        }
        pidfile.write_text(texts.get(stale, ""))
        os.utime(pidfile, (1e9, 1e9) if stale == "younger" else None)
        command = [TWISTD[0], "-c", OWN_PID] if stale == "own" else [*TWISTD]
        command = [*command, "--nodaemon", f"--pidfile={pidfile}", f"--logfile={tmp_path}/log", "echod"]
        process = subprocess.Popen([*command, "--listen", "echo=tcp://127.0.0.1:0"], cwd=tmp_path, env=environment())
        try:
            log = tmp_path / "log"
            assert eventually(lambda: process.poll() is not None or (log.exists() and " ready: " in log.read_text()))
            assert process.poll() is None
            assert int(pidfile.read_text()) == process.pid
            process.terminate()
            assert process.wait(SECONDS) == 0
            assert not pidfile.exists()
        finally:
            process.kill()
            process.wait(SECONDS)
            other.kill()


def test_a_file_that_is_not_a_pidfile_is_kept(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        command = [*TWISTD, "--nodaemon", f"--pidfile={tmp_path}/{name}", "echod", "--listen", "echo=tcp://127.0.0.1:0"]
        assert run(*command, cwd=tmp_path).returncode != 0
        assert (tmp_path / "file").read_text() == "precious"
        assert (tmp_path / "link").is_symlink()


EVIL = "import os; os.write(1, b'imported from the working folder'); os._exit(99)\n"


@pytest.mark.parametrize("how", ["python -m", "console script"])
def test_nothing_is_imported_from_the_working_folder(how, tmp_path):
    """A user who can write there would choose the code that runs. (What runpy needs is imported before ours.)"""
    names = ("signal", "json", "socket", "threading", "platform", "cffi", "twisted", "zope", "__future__")
    for name in names:
        (tmp_path / f"{name}.py").write_text(EVIL)
    words = ("--version",) if how == "python -m" else ("--check-config", "--listen", "echo=tcp://127.0.0.1:0")
    script = Path(sys.executable).with_name("echod")
    if how == "console script" and not script.exists():
        pytest.skip("echod is not installed here")
    ended = run(*([script] if how == "console script" else [sys.executable, "-m", "echod"]), *words, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, b"")
