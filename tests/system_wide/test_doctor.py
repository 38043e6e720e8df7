"""`echoctl doctor` in a private network: each command that it prints mends what it reports."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import ECHOCTL, SECONDS, TOP, Daemon, environment, run
from tests.system_wide.superservers import own_network

pytestmark = pytest.mark.needs_root

LISTEN = '[services.echo]\nlisten = ["{url}"]\n'


@pytest.fixture
def network() -> Iterator[None]:
    with own_network():
        yield


def doctor(file: Path, *words: str, **more: Any) -> dict[str, Any]:
    ended = run(*ECHOCTL, "doctor", "--json", "--wait", "0", "--config", str(file), *words, **more)
    assert ended.stderr == b""
    found: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == bool(found["problems"])
    return found


def problems(file: Path, check: str) -> list[dict[str, Any]]:
    return [one for one in doctor(file)["findings"] if one["check"] == check and one["severity"] != "notice"]


def mends(file: Path, check: str) -> dict[str, Any]:
    """The problem of a check, after its command has mended it."""
    [problem] = problems(file, check)
    ended = run("/bin/sh", "-c", problem["command"], env=environment(PATH=os.environ["PATH"]))
    assert (ended.returncode, ended.stderr) == (0, b""), problem
    assert problems(file, check) == []
    return problem


def configured(folder: Path, url: str, more: str = "") -> Path:
    file = folder / "echod.toml"
    file.write_text(LISTEN.format(url=url) + more)
    return file


def test_the_shipped_and_the_packaged_configuration_have_no_problem(network, tmp_path):
    packaged = tmp_path / "echod.toml"
    packaged.write_text((TOP / "systemd" / "echod.toml").read_text().replace('group = "echod"', ""))
    for file in (TOP / "etc" / "echod.toml", packaged):
        found = [one for one in doctor(file)["findings"] if one["severity"] != "notice"]
        assert [one for one in found if one["check"] not in ("admin", "unix-folders")] == []


def as_another_user(file: Path) -> list[dict[str, Any]]:
    """The problems that user 65534 gets. It needs no folder of its own."""
    words = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *ECHOCTL)
    environ = environment(RUNTIME_DIRECTORY="", XDG_RUNTIME_DIR="")
    ended = run(*words, "doctor", "--json", "--wait", "0", "--config", str(file), env=environ)
    assert ended.stderr == b""
    return [one for one in json.loads(ended.stdout)["findings"] if one["severity"] != "notice"]


def test_another_user_gets_no_false_alarm(network):
    """The daemon belongs to root, and its socket to root alone. Ports below 1024 are served."""
    config = '[admin]\nlisten = ["unix://{dir}/admin.sock?mode=0600"]\n' + LISTEN.format(url="tcp://127.0.0.1:77")
    with Daemon(config) as daemon:
        daemon.dir.chmod(0o755)
        assert as_another_user(daemon.dir / "echod.toml") == []
        shipped = daemon.dir / "shipped.toml"
        shipped.write_text((TOP / "etc" / "echod.toml").read_text())
        assert as_another_user(shipped) == []


def test_a_taken_port(network, tmp_path):
    script = "import socket, time; s = socket.create_server(('', 7007)); print('ready', flush=True); time.sleep(600)"
    with subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"ready\n"
            file = configured(tmp_path, "tcp://127.0.0.1:7007")
            [problem] = problems(file, "ports")
            assert problem["command"] == f"kill {other.pid}"
            assert run("/bin/sh", "-c", problem["command"]).returncode == 0
            other.wait(SECONDS)
            assert problems(file, "ports") == []
        finally:
            other.kill()


def test_a_missing_address(network, tmp_path):
    for url in ("tcp://198.51.100.7:7007", "udp://[2001:db8::7]:7007"):
        assert "ip address add" in mends(configured(tmp_path, url), "hosts")["command"]


def test_disabled_ipv6(network, tmp_path):
    assert run("sysctl", "-w", "net.ipv6.conf.all.disable_ipv6=1").returncode == 0
    assert "IPv6 is disabled" in mends(configured(tmp_path, "tcp://[::1]:7007"), "hosts")["what"]


@pytest.mark.parametrize(
    ("check", "key", "value"),
    [
        ("backlog", "net.core.somaxconn", "128"),
        ("ephemeral-ports", "net.ipv4.ip_local_port_range", "7000 60999"),
    ],
)
def test_a_sysctl(network, check, key, value, tmp_path):
    assert run("sysctl", "-w", f"{key}={value}").returncode == 0
    assert key in mends(configured(tmp_path, "tcp://127.0.0.1:7007"), check)["found"]


def test_a_low_port(network, tmp_path):
    """The daemon runs without capabilities: doctor reads those of the daemon."""
    tmp_path.chmod(0o755)
    file = configured(tmp_path, "tcp://127.0.0.1:77")
    libc = ctypes.CDLL(None, use_errno=True)

    def without_capabilities() -> None:
        for capability in range(41):
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP

    ended = run(*ECHOCTL, "doctor", "--json", "--wait", "0", "--config", str(file), preexec_fn=without_capabilities)
    [problem] = [one for one in json.loads(ended.stdout)["findings"] if one["check"] == "low-ports"]
    assert run("/bin/sh", "-c", problem["command"]).returncode == 0
    ended = run(*ECHOCTL, "doctor", "--json", "--wait", "0", "--config", str(file), preexec_fn=without_capabilities)
    assert [one for one in json.loads(ended.stdout)["findings"] if one["check"] == "low-ports"] == []


def test_a_folder(network, tmp_path):
    folder = tmp_path / "with space"
    file = configured(tmp_path, f"unix://{tmp_path}/with%20space/echo.sock")
    assert mends(file, "unix-folders")["command"].startswith("install -d")
    folder.chmod(0o777)
    assert mends(file, "unix-folders")["command"].startswith("chmod go-w")
    (folder / "echo.sock").write_text("x")
    assert mends(file, "unix-folders")["command"].startswith("mv ")


def test_descriptors_of_a_running_daemon(tmp_path):
    config = '[admin]\nlisten = ["unix://{dir}/admin.sock"]\n[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
    with Daemon(config) as daemon:
        run("prlimit", "--pid", str(daemon.process.pid), "--nofile=2000:2000")
        file = daemon.dir / "echod.toml"
        file.write_text(file.read_text() + "[services.echo.limits]\nconnections = 3000\n")
        [problem] = problems(file, "descriptors")
        assert problem["found"] == f"2000 for process {daemon.process.pid} (echod)"
        ended = run("/bin/sh", "-c", problem["command"])
        if b"Operation not permitted" in ended.stderr:
            pytest.skip("a limit cannot be raised without CAP_SYS_RESOURCE")
        assert (ended.returncode, problems(file, "descriptors")) == (0, [])


def test_a_rule_of_the_packet_filter(network, tmp_path):
    if run("nft", "--version").returncode:
        pytest.skip("nft is not installed")
    rules = "table inet f { chain input { type filter hook input priority 0 ; udp dport 7007 counter drop ; } ; }"
    assert run("nft", "-f", "-", input=rules.encode()).returncode == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", ("127.0.0.1", 7007))
    found = doctor(configured(tmp_path, "udp://127.0.0.1:7007"))
    [one] = [one for one in found["findings"] if one["check"] == "dropped" and "packet filter" in one["what"]]
    assert one["found"].startswith("1 packets")
    assert run("/bin/sh", "-c", one["command"]).returncode == 0
    assert b"dport" not in run("nft", "list", "ruleset").stdout


def test_a_full_disk(tmp_path):
    """The log of a daemon on a file system without room."""
    small = tmp_path / "small"
    small.mkdir()
    with ExitStack() as stack:
        if run("mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)).returncode:
            pytest.skip("a file system cannot be mounted here")
        stack.callback(run, "umount", "-l", str(small))
        with (small / "log").open("wb") as log:
            log.write(bytes(1 << 20))
        file = configured(tmp_path, f"unix://{small}/echo.sock")
        [problem] = problems(file, "disks")
        assert problem["severity"] == "error"
        assert str(small / "log") in run("/bin/sh", "-c", problem["command"]).stdout.decode()
        (small / "log").unlink()
        assert problems(file, "disks") == []


def test_a_certificate_that_signs_itself(tmp_path):
    """The command keeps the key and the names."""
    key, certificate = tmp_path / "key.pem", tmp_path / "server.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 5 -subj /CN=x"
    names = ("-addext", "subjectAltName=DNS:echo.example", "-keyout", str(key), "-out", str(certificate))
    assert run(*made.split(), *names).returncode == 0
    tls = f'[services.echo.tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    file = configured(tmp_path, "tls://127.0.0.1:7007", tls)
    [problem] = problems(file, "certificates")
    command, _, then = problem["command"].rpartition(" && ")
    assert then == "echoctl reload"
    assert run("/bin/sh", "-c", command).returncode == 0
    assert problems(file, "certificates") == []
    shown = run("openssl", "x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName")
    assert b"DNS:echo.example" in shown.stdout
