"""echod.runtime_dir: the folder of %t, and folders that are refused."""

from __future__ import annotations

import os

import pytest

from echod import runtime_dir as module
from echod.runtime_dir import SYSTEM, candidates, expanded, keep, prepare, runtime_dir

OWN = f"/tmp/echod-{os.geteuid()}"


def test_what_it_stands_for(tmp_path):
    session = str(tmp_path)
    assert runtime_dir({"RUNTIME_DIRECTORY": "/run/echod:/run/more", "XDG_RUNTIME_DIR": session}) == "/run/echod"
    assert runtime_dir({"XDG_RUNTIME_DIR": session}) == f"{session}/echod"
    assert runtime_dir({"RUNTIME_DIRECTORY": "relative", "XDG_RUNTIME_DIR": session}) == f"{session}/echod"
    assert runtime_dir({"XDG_RUNTIME_DIR": "relative"}) == OWN
    assert runtime_dir({"XDG_RUNTIME_DIR": f"{session}/nonesuch"}) == OWN
    assert runtime_dir({}) == OWN
    assert candidates({"XDG_RUNTIME_DIR": session}) == (f"{session}/echod", OWN, SYSTEM)
    assert candidates({"RUNTIME_DIRECTORY": SYSTEM}) == (SYSTEM, OWN)


def test_the_session_of_another_user_is_not_ours(tmp_path, monkeypatch):
    """su and sudo may leave its variable behind."""
    monkeypatch.setattr("echod.runtime_dir.os.geteuid", lambda: os.getuid() + 1)
    assert runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"/tmp/echod-{os.getuid() + 1}"


def test_it_stays_the_same_when_the_process_becomes_another_user(tmp_path, monkeypatch):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    monkeypatch.setattr(module, "_kept", [])
    keep(environ)
    monkeypatch.setattr("echod.runtime_dir.os.geteuid", lambda: os.getuid() + 1)
    assert expanded("unix://%t/a", environ) == f"unix://{tmp_path}/echod/a"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("unix://%t/admin.sock", "unix:///run/a%20b/admin.sock"),
        ("unix-dgram://%t/e?mode=0600", "unix-dgram:///run/a%20b/e?mode=0600"),
        ("unix:///x/%t/y", "unix:///x/%t/y"),
        ("unix://%tx", "unix://%tx"),
        ("tcp://%t/x", "tcp://%t/x"),
        ("echo", "echo"),
    ],
)
def test_an_address_with_it(written, meant):
    assert expanded(written, {"RUNTIME_DIRECTORY": "/run/a b"}) == meant


def test_the_folder_of_our_user_is_made_for_us_alone(tmp_path):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    folder = tmp_path / "echod"
    before = os.umask(0)
    try:
        prepare(str(folder), environ)
        prepare(str(folder), environ)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o7777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(OSError, match="other users may write .*; run chmod go-w "):
        prepare(str(folder), environ)


def test_no_other_folder_is_made(tmp_path):
    prepare(str(tmp_path / "other"), {"XDG_RUNTIME_DIR": str(tmp_path)})
    prepare(str(tmp_path / "passed"), {"RUNTIME_DIRECTORY": str(tmp_path / "passed")})
    assert list(tmp_path.iterdir()) == []


def test_what_another_made_first_is_refused(tmp_path, monkeypatch):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    folder = tmp_path / "echod"
    for target in (tmp_path, tmp_path / "nonesuch"):
        folder.symlink_to(target)
        with pytest.raises(OSError, match="is not a folder"):
            prepare(str(folder), environ)
        folder.unlink()
    assert list(tmp_path.iterdir()) == [], "nothing was made where a link leads"
    folder.mkdir(0o700)
    ours = os.geteuid()
    monkeypatch.setattr("echod.runtime_dir._owner_of", lambda _folder: ours + 1)
    monkeypatch.setattr("echod.runtime_dir.os.geteuid", lambda: ours + 1)
    with pytest.raises(OSError, match=f"belongs to user {ours}, expected [0-9]+: remove it"):
        prepare(str(folder), environ)
