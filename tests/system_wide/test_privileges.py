"""A start as root: everything is bound, then all root privileges are dropped, however the daemon was started."""

import os
import re
import signal
import socket
import stat
from functools import partial
from pathlib import Path

import pytest

from echod.tls.certificates import self_signed
from echod.transports.effective_user import acting_as
from echod.transports.kernel_socket import permits_filters
from tests.contract.matrix import exactly
from tests.daemon import ECHOD, SECONDS, TWISTD, Daemon, eventually, run
from tests.tls import TlsSocket

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="dropping root needs root"),
]

NOBODY, NOGROUP = 65534, 65534
HOST = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"  #: other runs use the same ports below 1024
CONFIG = """
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{dir}/s", "unix-dgram://{dir}/d"]
"""


def status(pid):
    """The identity and the capabilities of each thread (proc(5)), once they are equal for all threads."""
    told = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        told.add("\n".join(line for line in lines if re.match("Uid|Gid|Groups|Cap|NoNewPrivs", line)))
    assert len(told) == 1, told
    return {name: value.split() for name, _, value in (line.partition(":") for line in told.pop().splitlines())}


def assert_nobody(pid, groups=("65534",)):
    told = status(pid)
    assert told["Uid"] == ["65534"] * 4
    assert told["Gid"] == ["65534"] * 4
    assert told["Groups"] in ([*groups], [])
    assert {name: int(told[name][0], 16) for name in told if name.startswith("Cap")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0
    )
    assert told["NoNewPrivs"] == ["1"]


def ask(place, count=5):
    with socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET) as client:
        client.settimeout(SECONDS)
        client.connect(place)
        client.sendall(b"hello")
        return exactly(client, count)


def theirs(daemon, user=NOBODY, group=NOGROUP):
    """The daemon's own folder, given to the user that will serve."""
    os.chown(daemon.dir, user, group)
    return daemon


@pytest.mark.parametrize("names", [("nobody", "nogroup"), ("65534", "65534"), ("nobody", None)])
def test_root_privileges_are_dropped(names):
    options = ["--uid", names[0], *(["--gid", names[1]] if names[1] else [])]
    with theirs(Daemon(CONFIG, options=options)) as daemon:
        assert_nobody(daemon.process.pid)
        for name in ("s", "d"):
            there = (daemon.dir / name).lstat()
            assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (NOBODY, NOGROUP, 0o660)
        assert ask(daemon.inet("echo", "tcp")) == b"hello"
        assert ask(str(daemon.dir / "s")) == b"hello"
        assert "serving as root" not in daemon.log()
        assert daemon.stop() == 0
        assert [path.name for path in daemon.dir.iterdir()] == ["echod.toml"]


def test_a_filter_that_the_kernel_refuses_to_the_later_user_is_reported_once():
    with acting_as(NOBODY, NOGROUP):
        if permits_filters():
            pytest.skip("this kernel permits every user to filter a TCP connection")
    config = CONFIG + '[services.echo.faults]\nhalf-open-after = "2"\n'
    with theirs(Daemon(config, options=["--uid", "nobody"])) as daemon:
        for _ in range(3):
            with socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as client:
                client.sendall(b"hello")
                assert exactly(client, 2) == b"he"
                daemon.stderr.wait_for("half-open-after has no effect")
        assert ask(daemon.inet("echo", "tcp"), 2) == b"he"
        needs = "operation not permitted (EPERM); it needs CAP_NET_ADMIN"
        line = f"warn  echo  fault half-open-after has no effect: the kernel refuses a filter: {needs}\n"
        assert daemon.log().count("has no effect") == daemon.log().count(line) == 1


def test_a_port_below_1024_is_bound_before_the_drop():
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, 7))
        except OSError:
            pytest.skip("another process uses port 7 on every address")
    with Daemon(listen=[f"echo=tcp://{HOST}:7"], options=["--uid", "nobody"]) as daemon:
        assert_nobody(daemon.process.pid)
        assert ask((HOST, 7)) == b"hello"


def test_a_user_number_without_a_name():
    with theirs(Daemon(CONFIG, options=["--uid", "4711", "--gid", "4712"]), 4711, 4712) as daemon:
        told = status(daemon.process.pid)
        assert (told["Uid"], told["Gid"], told["Groups"]) == (["4711"] * 4, ["4712"] * 4, ["4712"])
        assert int(told["CapPrm"][0], 16) == 0


def test_in_the_background_by_twistd():
    """twistd's own options, its pidfile and its fork; the later user owns the log, to reopen it."""
    daemon = theirs(Daemon(CONFIG))
    (daemon.dir / "echod.toml").write_text(CONFIG.replace("{dir}", str(daemon.dir)))
    log, pidfile = daemon.dir / "log", daemon.dir / "pid"
    words = [*TWISTD, "--uid", "nobody", "--gid", "nogroup", "--pidfile", pidfile, "--logfile", log, "echod"]
    assert run(*map(str, words), "--config", str(daemon.dir / "echod.toml"), cwd=daemon.dir).returncode == 0
    pid = int(pidfile.read_text())
    try:
        assert eventually(lambda: "ready: 4 listeners" in log.read_text())
        assert_nobody(pid)
        assert log.stat().st_uid == NOBODY
        assert ask(str(daemon.dir / "s")) == b"hello"
        log.rename(daemon.dir / "old")
        os.kill(pid, signal.SIGHUP)
        assert eventually(lambda: log.exists() and "reloaded" in log.read_text())
        os.kill(pid, signal.SIGTERM)
        assert eventually(lambda: not Path(f"/proc/{pid}").exists())
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)
    assert sorted(path.name for path in daemon.dir.iterdir()) == ["echod.toml", "log", "old"]
    daemon.close()


def test_a_reload_runs_as_the_later_user():
    """It serves ports that the later user may open, and reports what the others need; its own path stays."""
    with theirs(Daemon(CONFIG, options=["--uid", "nobody"])) as daemon:
        file = daemon.dir / "echod.toml"
        begun = file.read_text()
        file.write_text(f'{begun}[services.upper]\nlisten = ["tcp://127.0.0.1:0", "unix://{daemon.dir}/u"]\n')
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for("reloaded: 2 addresses opened, 0 closed")
        assert (daemon.dir / "u").lstat().st_uid == NOBODY
        file.write_text(begun + '[services.upper]\nlisten = ["tcp://127.77.0.1:9"]\n')
        daemon.send_signal(signal.SIGHUP)
        said = daemon.stderr.wait_for(r"error not reloaded.*127.77.0.1:9: .*").group()
        assert "a port below 1024 needs CAP_NET_BIND_SERVICE" in said
        assert ask(str(daemon.dir / "s")) == b"hello"
        assert daemon.stop() == 0
        assert [path.name for path in daemon.dir.iterdir()] == ["echod.toml"]


def test_a_daemon_that_stays_root_logs_a_warning():
    with Daemon(listen=["echo=tcp://127.0.0.1:0"]) as daemon:
        daemon.stderr.wait_for("warn +serving as root: start echod as another user, or use --uid")
    with Daemon(listen=["echo=tcp://127.0.0.1:0"], options=["--uid", "0"]) as daemon:
        daemon.stderr.wait_for("warn +serving as root")
        assert status(daemon.process.pid)["NoNewPrivs"] == ["1"]


def test_a_path_that_the_later_user_cannot_remove_is_reported():
    with Daemon(listen=["echo=unix://{dir}/s"], options=["--uid", "nobody"]) as daemon:
        daemon.stderr.wait_for(r"warn +unix://.*/s will not be removed at the stop: user nobody may not write to /")
        assert daemon.stop() == 0
        assert (daemon.dir / "s").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--uid", "no-such-user"], "--uid: user no-such-user does not exist"),
        (["--uid", "nobody", "--gid", "\x1b[31m"], r"--gid: group \x1b[31m does not exist"),
        (["--uid", "4711"], "--uid 4711: this user does not exist here, so --gid is required"),
        (["--uid", "9" * 5000, "--gid", "1"], "is out of range (0–4294967294)"),
        (["--uid", str(2**32 - 1), "--gid", "1"], "--uid: 4294967295 is out of range (0–4294967294)"),
    ],
)
def test_an_unknown_user_is_one_line_and_64(options, said):
    ended = run(*ECHOD, "--listen", "echo=tcp://127.0.0.1:0", *options)
    assert ended.returncode == 64
    [line] = ended.stderr.decode().splitlines()
    assert said in line


def test_a_way_back_to_root_is_refused():
    ended = run(*TWISTD, "-n", "--pidfile=", "--euid", "--uid", "nobody", "echod", "--listen", "echo=tcp://127.0.0.1:0")
    assert ended.returncode == 64
    assert ended.stderr.decode() == "echod: --euid is refused: the process could switch back to root; use --uid\n"


def test_only_root_can_change_the_user():
    words = ["setpriv", "--reuid=0", "--bounding-set=-all", "--inh-caps=-all"]
    ended = run(*words, *ECHOD, "--listen", "echo=tcp://127.0.0.1:0", "--uid", "nobody")
    assert ended.returncode == 64
    assert b"only root can become another user" in ended.stderr


AS_NOBODY = (*TWISTD, "--nodaemon", "--uid", "nobody", "--gid", "nogroup")


@pytest.fixture
def victim(tmp_path_factory):
    """A file of root's that the later user wants to change."""
    folder = Path("/var/tmp") / f"echod-{os.getpid()}"
    folder.mkdir(mode=0o755)
    file = folder / "shadow"
    file.write_text("secret")
    file.chmod(0o600)
    yield file
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def untouched(file):
    there = file.lstat()
    return (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode), file.read_text()) == (0, 0, 0o600, "secret")


@pytest.mark.parametrize("option", ["logfile", "pidfile"])
def test_root_does_not_follow_a_link_of_the_later_user(option, victim):
    """The log would be given to that user, and the pidfile would overwrite the target of the link."""
    daemon = theirs(Daemon(listen=["echo=tcp://127.0.0.1:0"]))
    try:
        (daemon.dir / "link").symlink_to(victim)
        others = [] if option == "pidfile" else ["--pidfile="]
        words = [*AS_NOBODY, *others, f"--{option}={daemon.dir}/link", "echod", "--listen", "echo=tcp://127.0.0.1:0"]
        assert run(*words, cwd=daemon.dir).returncode in (1, 73)  # twistd itself exits with 1
        assert untouched(victim)
        (daemon.dir / "link").unlink()
        (daemon.dir / "link").symlink_to(victim.parent / "new")
        ended = run(*words, cwd=daemon.dir)
        assert ended.returncode == 73
        assert ended.stderr.decode().startswith(f"echod: {daemon.dir}/link: ")
        assert list(victim.parent.iterdir()) == [victim]
    finally:
        daemon.close()


def test_a_device_in_the_later_users_folder_keeps_its_owner():
    daemon = theirs(Daemon(listen=["echo=tcp://127.0.0.1:0"]))
    try:
        os.mknod(daemon.dir / "log", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        command = [*AS_NOBODY, "--pidfile=", f"--logfile={daemon.dir}/log", "echod"]
        assert run(*command, "--listen", "echo=tcp://127.0.0.1:0", cwd=daemon.dir).returncode == 73
        assert (daemon.dir / "log").lstat().st_uid == 0
    finally:
        daemon.close()


def has_begun(log):
    return log.exists() and " ready: " in log.read_text()


def test_in_a_folder_of_root_a_new_log_changes_its_owner_and_an_old_file_does_not(victim):
    log = victim.parent / "log"
    for path in (log, victim):
        command = [*AS_NOBODY, "--pidfile=", f"--logfile={path}", "echod"]
        written = partial(has_begun, path)
        daemon = Daemon(listen=["echo=tcp://127.0.0.1:0"], command=command)
        try:
            daemon.launch()
            assert eventually(written)
            assert path.lstat().st_uid == (NOBODY if path == log else 0)
            assert daemon.stop() == 0
        finally:
            daemon.close()
    assert stat.S_IMODE(victim.lstat().st_mode) == 0o600


def test_a_pidfile_that_cannot_be_removed_is_emptied(victim):
    pidfile = victim.parent / "pid"
    command = [*AS_NOBODY, f"--pidfile={pidfile}", "echod"]
    for _ in range(2):  # an empty one is stale
        with Daemon(listen=["echo=tcp://127.0.0.1:0"], command=command) as daemon:
            assert int(pidfile.read_text()) == daemon.process.pid
            assert daemon.stop() == 0
        assert pidfile.read_text() == ""


def test_the_first_process_of_a_container_reaps_orphans():
    with Daemon(
        listen=["echo=tcp://127.0.0.1:0"], command=["unshare", "--pid", "--fork", "--kill-child", *ECHOD]
    ) as daemon:
        [pid] = map(int, Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split())
        orphan = ["nsenter", f"--target={pid}", "--pid", "sh", "-c", "sh -c 'sleep 0.2; exit 0' & sh -c 'exit 0' &"]
        for _ in range(5):
            assert run(*orphan).returncode == 0
        children = Path(f"/proc/{pid}/task/{pid}/children")
        assert eventually(lambda: children.read_text() == "")
        daemon.stderr.wait_for("ready")
        os.kill(pid, signal.SIGTERM)
        assert daemon.wait() == 0


def test_a_key_is_read_by_root_and_a_reload_that_cannot_read_it_is_refused():
    """The certificate stays in use. A group that the user belongs to would let the reload read the key again."""
    config = '[services.echo]\nlisten = ["tls://127.0.0.1:0"]\n[services.echo.tls]\ncertificate = "cert.pem"\n'
    daemon = theirs(Daemon(config, options=("--uid", "nobody")))
    certificate = daemon.dir / "cert.pem"
    certificate.write_bytes(self_signed(("localhost",)).pem)
    certificate.chmod(0o600)
    with daemon:
        assert_nobody(daemon.process.pid)
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for(
            r"not reloaded.*services\.echo\.tls\.certificate: .*cert\.pem: permission denied \(EACCES\)"
        )
        with socket.create_connection(daemon.inet("echo", "tls"), SECONDS) as opened:
            client = TlsSocket(opened)
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
        certificate.chmod(0o644)
        daemon.send_signal(signal.SIGHUP)
        daemon.stderr.wait_for(r"reloaded: 0 addresses opened")
