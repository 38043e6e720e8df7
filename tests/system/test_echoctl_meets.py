"""echoctl finds the daemon of its user, or of the machine, without an address, and refuses an impostor."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import ECHOCTL, ECHOD, SECONDS, Daemon, environment, run

CONFIG = """
[admin]
listen = ["unix://%t/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:0"]
"""


def acting_as(user: int) -> tuple[str, ...]:
    """The words that run a program as this user."""
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")


AS_USER = acting_as(4001)
IMPOSTOR = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listening:
    name = sys.argv[1]
    listening.bind("\\0" + name[1:] if name.startswith("@") else name)
    listening.listen()
    print("listens", flush=True)
    for _ in range(int(sys.argv[2])):
        client, _ = listening.accept()
        with client:
            client.settimeout(60)
            print(len(client.recv(4096)), flush=True)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may read, for tests that run programs as one."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("to be another user takes root, and setpriv")
    with tempfile.TemporaryDirectory(prefix="echod-meets-") as made:
        os.chmod(made, 0o755)
        (Path(made) / "echod.toml").write_text(CONFIG)
        yield Path(made)


@pytest.fixture
def user() -> Iterator[int]:
    """A user without a folder in /tmp, which no other test of this machine is at the same time."""
    for number in range(40_001, 50_000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
            try:
                claim.bind(f"\0tests of echod are user {number}")
            except OSError:  # another test is
                continue
            if not os.path.lexists(f"/tmp/echod-{number}"):
                yield number
                return
    pytest.fail("each user has a folder in /tmp already")


def status(*as_user: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return run(*as_user, *ECHOCTL, "status", env=environment(**environ))


def test_daemon_and_client_use_the_same_folder(tmp_path):
    for environ in (
        {"RUNTIME_DIRECTORY": str(tmp_path), "XDG_RUNTIME_DIR": "/nonesuch"},
        {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": str(tmp_path)},
    ):
        with Daemon(CONFIG, environ=environ) as daemon:
            below = "/echod" if not environ["RUNTIME_DIRECTORY"] else ""
            assert daemon.url("admin", "unix") == f"unix://{tmp_path}{below}/admin.sock"
            environ["ECHOD_CONFIG"] = str(daemon.dir / "echod.toml")
            found = status(**environ)
            assert (found.returncode, found.stderr) == (0, b"")
            again = run(*ECHOCTL, "status", "--admin", "unix://%t/admin.sock", env=environment(**environ))
            assert again.returncode == 0


def test_each_user_finds_its_own_daemon(folder, user):
    """Two terminals of a user without a session: the folder in /tmp belongs to this user only."""
    ours = Path(f"/tmp/echod-{user}")
    environ = {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": "", "ECHOD_CONFIG": str(folder / "echod.toml")}
    try:
        daemon = Daemon(command=(*acting_as(user), *ECHOD), environ=environ)
        os.chmod(daemon.dir, 0o755)
        with daemon:
            assert ours.stat().st_mode & 0o7777 == 0o700
            assert daemon.url("admin", "unix") == f"unix://{ours}/admin.sock"
            found = status(*acting_as(user), **environ)
            assert (found.returncode, found.stderr) == (0, b"")
    finally:
        shutil.rmtree(ours, ignore_errors=True)


def test_a_folder_that_another_user_made_first_ends_the_start(folder, user):
    ours = Path(f"/tmp/echod-{user}")
    environ = {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": "", "ECHOD_CONFIG": str(folder / "echod.toml")}
    try:
        for make, why in (
            (lambda: ours.mkdir(0o777), b"belongs to user 0"),
            (lambda: ours.symlink_to("/root"), b"is not a folder"),
        ):
            make()
            ended = run(*acting_as(user), *ECHOD, env=environment(**environ))
            assert ended.returncode == 71
            assert why in ended.stderr
            assert f"unix://{ours}/admin.sock".encode() in ended.stderr
            assert ended.stderr.count(b"\n") == 1
            ours.unlink() if ours.is_symlink() else ours.rmdir()
    finally:
        if ours.is_symlink():
            ours.unlink()
        shutil.rmtree(ours, ignore_errors=True)


@pytest.mark.parametrize("command", ["status", "reload"])
@pytest.mark.parametrize("abstract", [False, True])
def test_an_impostor_is_refused_before_anything_is_sent(folder, abstract, command):
    """Another user created the address first: in a folder that all may write to, or as an abstract name."""
    public = folder / "public"
    public.mkdir()
    public.chmod(0o1777)
    name = f"@echod-impostor-{os.getpid()}-{command}" if abstract else str(public / "admin.sock")
    script = (*AS_USER, sys.executable, "-c", IMPOSTOR, name, "1")
    with subprocess.Popen(script, stdout=subprocess.PIPE) as impostor:
        try:
            assert impostor.stdout is not None
            assert impostor.stdout.readline() == b"listens\n"
            ended = run(*ECHOCTL, command, "--admin", f"unix://{name}")
            assert ended.returncode == 1
            assert b"the listening process belongs to user 4001, not trusted" in ended.stderr
            assert ended.stderr.count(b"\n") == 1
            assert impostor.stdout.readline() == b"0\n", "something was sent to it"
            assert impostor.wait(SECONDS) == 0
        finally:
            impostor.kill()


def test_a_user_without_permission_is_told_the_required_group(folder):
    config = CONFIG.replace("%t", str(folder)).replace("[services", 'group = "4242"\n[services', 1)
    file = folder / "echod.toml"
    file.write_text(config)
    with Daemon(options=("--config", str(file))):
        ended = status(*AS_USER, ECHOD_CONFIG=str(file))
        assert ended.returncode == 1
        who = "run this as root, or join group 4242"
        said = f"echoctl: unix://{folder}/admin.sock: permission denied (EACCES): {who}\n"
        assert ended.stderr == said.encode()
        member = ("setpriv", "--reuid=4001", "--regid=4001", "--groups=4242")
        assert status(*member, ECHOD_CONFIG=str(file)).returncode == 0
        ended = run(*member, *ECHOCTL, "reload", env=environment(ECHOD_CONFIG=str(file)))
        assert ended.returncode == 1
        assert b"members of group 4242 may only read: run this as root" in ended.stderr
