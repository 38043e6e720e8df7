"""Landlock: the rules of a configuration, and that the kernel forbids all other access."""

import errno
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from echod.address import parse
from echod.config.settings import Configuration, Daemon, ServiceConfig
from echod.daemon import landlock
from echod.daemon.bind import BoundSocket, specs_of
from echod.daemon.landlock import (
    MAKE_SOCK,
    READ,
    REMOVE_FILE,
    WRITE,
    WRITE_FILE,
    LandlockUnavailable,
    confine,
    rules_of,
)
from echod.daemon.privilege_syscalls import Kernel
from echod.services.echo import Echo
from echod.transports.unix_paths import OwnPath
from tests.daemon import TOP, environment


def there_is_landlock():
    try:
        Kernel().syscall(landlock.CREATE_RULESET, Kernel().ffi.NULL, 0, landlock.VERSION)
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class WithFiles:
    """Options that a later kind may have."""

    quotes: Path = Path("/srv/quotes/today.txt")
    more: tuple[Path, ...] = (Path("/srv/keys/key.pem"),)
    word: str = "/not/a/file"


def bound_of(*texts):
    service = ServiceConfig("echo", Echo, WithFiles(), tuple(map(parse, texts)))
    found = []
    for place in specs_of([service]):
        one = socket.socket(socket.AF_UNIX if place.address.has_path else socket.AF_INET)
        if not place.address.has_path:
            one.bind(("127.0.0.1", place.address.port))
        address = place.address
        path = OwnPath(address.path) if address.has_path else None
        port = one.getsockname()[1] if not address.has_path else 0
        found.append(BoundSocket(service, replace(address, port=port), one, place, path))
    return service, found


def test_the_rules_allow_the_files_of_the_daemon():
    service, bound = bound_of("tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix:///run/echod/s", "unix://@abstract")
    configuration = Configuration(
        Daemon(), (service,), sources=(Path("/etc/mine/echod.toml"), Path("/etc/mine/conf.d/a.toml"))
    )
    units = {"RUNTIME_DIRECTORY": "/run/echod:/run/more", "LOGS_DIRECTORY": ""}
    rules = rules_of(configuration, bound, ["/var/log/echod/log"], units)
    for one in bound:
        one.socket.close()
    for folder in ("/etc/mine", "/etc/mine/conf.d", "/srv/quotes", "/srv/keys", "/usr", sys.prefix):
        assert rules.paths[folder] == READ
    assert rules.paths["/run/echod"] == rules.paths["/run/more"] == WRITE | MAKE_SOCK
    assert rules.paths["/var/log/echod"] == WRITE
    assert not any(path.startswith("@") or path == "/not/a" for path in rules.paths)
    assert rules.ports == {0, bound[0].address.port}
    without = rules_of(configuration, bound[2:3], [], {})
    assert without.paths["/run/echod"] == READ | MAKE_SOCK | REMOVE_FILE
    assert not any(access & WRITE_FILE for path, access in without.paths.items() if path != "/dev/null")
    assert without.ports == frozenset()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_a_kernel_without_landlock_is_reported(number, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Kernel, "syscall", refuse)
    with pytest.raises(
        LandlockUnavailable, match=rf"does not offer Landlock \({errno.errorcode[number]}\): .*not confined"
    ):
        confine(landlock.Rules())


TRYING = """
import errno, os, signal, socket, sys, threading
from pathlib import Path
from echod.daemon.landlock import MAKE_SOCK, READ, WRITE, Rules, confine

free = socket.create_server(("127.0.0.1", 0)); port = free.getsockname()[1]; free.close()
other = socket.create_server(("127.0.0.1", 0))
home = Path(sys.argv[1])
paths = dict.fromkeys(["/usr", "/nowhere", sys.prefix, sys.base_prefix, str(home / "read")], READ)
paths |= {str(home / "write"): WRITE | MAKE_SOCK, "/dev/null": READ | WRITE}
version = confine(Rules(paths, frozenset({port})))

def tried(name, what):
    try:
        what()
    except PermissionError as error:
        print(name, errno.errorcode[error.errno])
    else:
        print(name, "done")

def bind(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", port))

def unix(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))

tried("reads", (home / "read" / "file").read_text)
tried("writes", lambda: (home / "write" / "new").write_text("x"))
tried("makes-sockets", lambda: unix(home / "write" / "s"))
tried("removes", (home / "write" / "s").unlink)
tried("binds", lambda: bind(port))
tried("throws-away", lambda: open("/dev/null", "w").close())
tried("reads-elsewhere", (home / "secret").read_text)
tried("lists-elsewhere", lambda: os.listdir(home))
tried("writes-what-it-reads", lambda: (home / "read" / "file").write_text("x"))
tried("makes-sockets-elsewhere", lambda: unix(home / "read" / "s"))
tried("makes-folders", lambda: (home / "write" / "folder").mkdir())
tried("executes", lambda: os.execv("/bin/true", ["true"]))
in_a_thread = threading.Thread(target=tried, args=("reads-elsewhere-in-a-thread", (home / "secret").read_text))
in_a_thread.start(); in_a_thread.join()
if version >= 4:
    tried("binds-another-port", lambda: bind(0))
    tried("connects", lambda: socket.create_connection(other.getsockname()))
if version >= 6:
    tried("signals-others", lambda: os.kill(os.getppid(), 0))
"""


@pytest.mark.skipif(not there_is_landlock(), reason="this kernel has no Landlock")
def test_all_other_access_is_forbidden(tmp_path):
    for folder in ("read", "write"):
        (tmp_path / folder).mkdir()
    (tmp_path / "read" / "file").write_text("x")
    (tmp_path / "secret").write_text("x")
    words = [sys.executable, "-W", "error::DeprecationWarning", "-c", TRYING, str(tmp_path)]
    ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, cwd=TOP, env=environment())
    assert ended.returncode == 0, ended.stderr
    told = dict(line.split() for line in ended.stdout.splitlines())
    allowed = {"reads", "writes", "makes-sockets", "removes", "binds", "throws-away"}
    assert {name for name, outcome in told.items() if outcome == "done"} == allowed
    assert {outcome for name, outcome in told.items() if name not in allowed} <= {"EACCES", "EPERM"}
    assert len(told) >= 13


def test_the_working_directory_is_not_allowed_although_python_searches_it(tmp_path, monkeypatch):
    modules = tmp_path / "modules"
    modules.mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", str(tmp_path / "link"), str(modules)])
    paths = rules_of(Configuration(Daemon(), ()), [], [], {}).paths
    assert str(modules) in paths
    assert not {str(tmp_path), str(tmp_path / "link")} & set(paths)
    assert str(TOP / "echod") in paths  # whose modules a reload may still import


def test_the_root_directory_is_never_allowed(tmp_path, monkeypatch):
    (tmp_path / "root").symlink_to("/")
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "path", ["/", *sys.path])
    _, bound = bound_of("unix:///s")
    configuration = Configuration(Daemon(), (), sources=(Path("/echod.toml"), tmp_path / "root" / "a.toml"))
    paths = rules_of(configuration, bound, ["/echod.log"], {"RUNTIME_DIRECTORY": f"/:{tmp_path}/root"}).paths
    for one in bound:
        one.socket.close()
    assert "/" not in {os.path.realpath(path) for path in paths}
    assert paths["/echod.toml"] == READ
    assert paths["/echod.log"] == WRITE
