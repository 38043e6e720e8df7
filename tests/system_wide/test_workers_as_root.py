"""Worker processes of a daemon that root starts: a change of the user, and the first process of a container."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from echod.tls.certificates import self_signed
from tests.contract.matrix import exactly, rest
from tests.daemon import ECHOD, SECONDS, Daemon, eventually, run
from tests.system.test_workers import FLOWS, children
from tests.system_wide.test_privileges import HOST, assert_nobody, theirs
from tests.tls import TlsSocket

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="another user and a PID namespace need root"),
]

CONFIG = """
[daemon]
workers = 2
[admin]
listen = ["unix://{dir}/admin.sock?mode=0666"]
[services.echo]
listen = ["tcp://HOST:7", "udp://HOST:7"]
[services.safe]
kind = "echo"
listen = ["tls://127.0.0.1:0"]
tls = { certificate = "cert.pem" }
""".replace("HOST", HOST)


def visible() -> list[str]:
    """The prefix of a command, with which every user can execute this Python: it may be below a folder of root only."""
    path = Path(os.path.realpath(sys.executable))
    closed = [folder for folder in path.parents if not folder.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return []
    below = closed[0] / path.relative_to(closed[0]).parts[0]
    script = f"""
        mount --bind {below} /mnt
        mount -t tmpfs -o mode=755 tmpfs {closed[0]}
        mkdir {below}
        mount --move /mnt {below}
        exec "$@"
    """
    return ["unshare", "--mount", "sh", "-ec", script, "sh"]


def workers(daemon: Daemon) -> list[int]:
    """The workers that serve. `echoctl` trusts no daemon of another user."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(SECONDS)
        admin.connect(f"{daemon.dir}/admin.sock")
        admin.sendall(b"GET /api/status HTTP/1.0\r\nhost: localhost\r\n\r\n")
        found = json.loads(rest(admin).partition(b"\r\n\r\n")[2])
    return [one["pid"] for one in found["workers"] if one["serving"]]


def is_replaced(daemon: Daemon, pid: int) -> bool:
    return pid not in (now := workers(daemon)) and len(now) == 2


def echoed(kind: socket.SocketKind, message: bytes) -> bytes:
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(SECONDS)
        client.connect((HOST, 7))
        client.sendall(message)
        return exactly(client, len(message)) if kind == socket.SOCK_STREAM else client.recv(100)


def test_all_processes_drop_root_and_replacements_serve_the_same_sockets() -> None:
    """Ports below 1024, UDP sockets of one user for all workers, and a key that only root can read."""
    daemon = theirs(Daemon(CONFIG, command=[*visible(), *ECHOD], options=("--uid", "nobody")))
    certificate = daemon.dir / "cert.pem"
    certificate.write_bytes(self_signed(("localhost",)).pem)
    certificate.chmod(0o600)
    with daemon:
        daemon.stderr.wait_for("ready")
        for turn in range(3):
            assert_nobody(daemon.process.pid)
            for pid in workers(daemon):
                assert_nobody(pid)
            for _ in range(FLOWS):  # so many flows that each worker has some
                assert echoed(socket.SOCK_STREAM, b"hello") == echoed(socket.SOCK_DGRAM, b"hello") == b"hello"
            with socket.create_connection(daemon.inet("safe", "tls"), SECONDS) as opened:
                client = TlsSocket(opened)
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"
            killed = workers(daemon)[turn % 2]
            os.kill(killed, signal.SIGKILL)
            assert eventually(partial(is_replaced, daemon, killed))
        assert "one worker serves this socket" not in daemon.log()
        assert daemon.stop() == 0


def test_a_reload_of_the_later_user_adds_an_address_for_all_workers() -> None:
    config = '[daemon]\nworkers = 2\n[services.echo]\nlisten = ["udp://127.0.0.1:0"]\n'
    with (
        theirs(Daemon(config, command=[*visible(), *ECHOD], options=("--uid", "nobody"))) as daemon,
        ExitStack() as stack,
    ):
        file = daemon.dir / "echod.toml"
        file.write_text(file.read_text() + '[services.upper]\nlisten = ["udp://127.0.0.1:0"]\n')
        file.chmod(0o644)
        daemon.send_signal(signal.SIGHUP)
        line = daemon.stderr.wait_for(r"upper  udp://127\.0\.0\.1:\d+")
        port = int(line[0].rpartition(":")[2])
        for _ in range(FLOWS):
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.settimeout(SECONDS)
            client.connect(("127.0.0.1", port))
            client.send(b"hello")
            assert client.recv(100) == b"HELLO"
        assert "one worker serves this socket" not in daemon.log()


def has_replaced(parent: int, victim: int) -> bool:
    """Whether a process has another child instead of this one: two workers and the spare."""
    found = children(parent)
    return victim not in found and len(set(found)) == 3


def test_process_one_with_workers_reaps_orphans_and_obeys_signals() -> None:
    """Orphans that end before and after a worker, which is replaced; then a reload, and a stop that ends with 0."""
    config = '[daemon]\nworkers = 2\n[admin]\nlisten = ["unix://{dir}/admin.sock"]\n'
    config += '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
    with Daemon(config, command=["unshare", "--pid", "--fork", "--kill-child", *ECHOD]) as daemon:
        [pid] = children(daemon.process.pid)
        daemon.stderr.wait_for("ready")
        assert eventually(lambda: len(children(pid)) == 3)  # two workers and the spare
        for _ in range(3):
            processes = set(children(pid))
            for _ in range(5):
                text = "sh -c 'sleep 0.2; exit 0' & sh -c 'exit 0' &"
                assert run("nsenter", f"--target={pid}", "--pid", "sh", "-c", text).returncode == 0
            victim = min(processes)
            os.kill(victim, signal.SIGKILL)
            assert eventually(partial(has_replaced, pid, victim))
            assert eventually(lambda: all(_is_worker(one) for one in children(pid)))
        daemon.stderr.wait_for(r"worker .*SIGKILL")
        os.kill(pid, signal.SIGHUP)
        daemon.stderr.wait_for("reloaded")
        with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
        os.kill(pid, signal.SIGTERM)
        assert daemon.wait() == 0


def _is_worker(pid: int) -> bool:
    try:
        return b"echod.workers.worker_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:  # it has ended since its parent was asked for its children
        return False


def test_a_python_that_the_later_user_cannot_execute_is_refused_before_anything_is_bound(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    python = tmp_path / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    text = f'[daemon]\nworkers = 2\n[services.echo]\nlisten = ["unix://{tmp_path}/socket"]\n'
    (tmp_path / "echod.toml").write_text(text)
    path = os.pathsep.join(filter(None, sys.path))
    command = ["env", f"PYTHONPATH={path}", python, "-m", "echod", "--config", tmp_path / "echod.toml"]
    done = run(*map(str, command), "--uid", "nobody")
    assert done.returncode == 78
    assert done.stderr.decode() == (
        f"echod: daemon.workers: user nobody cannot execute {python}, which a worker needs;"
        " expected an installation that this user can read, or workers = 1\n"
    )
    assert sorted(one.name for one in tmp_path.iterdir()) == ["echod.toml", "python"]
