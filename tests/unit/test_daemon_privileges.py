"""The user of a command line, and the owner of Unix paths. Only root can test the switch itself."""

import os
import pwd

import pytest

from echod.address import parse
from echod.config.settings import Admin, Configuration, Daemon, ServiceConfig
from echod.daemon.privilege_syscalls import Kernel
from echod.daemon.privileges import Identity, IdentityError, identity_of, owning, stay_behind
from echod.services.echo import Echo

ALL = (2**41 - 1,) * 3


@pytest.fixture
def root(monkeypatch):
    """Make the process appear to be root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getresuid", lambda: (0, 0, 0))
    monkeypatch.setattr(os, "getresgid", lambda: (0, 0, 0))
    monkeypatch.setattr(Kernel, "capabilities", lambda _: ALL)


def test_without_options_the_user_stays():
    assert identity_of(None, None) is None


def test_a_name_and_a_number_are_the_same(root):
    entry = pwd.getpwnam("nobody")
    meant = Identity(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist("nobody", entry.pw_gid)))
    assert all(identity_of(one, None) == meant for one in ("nobody", str(entry.pw_uid), entry.pw_uid))
    assert identity_of("nobody", "0") == Identity(entry.pw_uid, 0, tuple(os.getgrouplist("nobody", 0)))


def test_an_unknown_user_number_needs_a_group(root):
    assert identity_of("3999999999", "3999999998") == Identity(3999999999, 3999999998, (3999999998,))
    with pytest.raises(IdentityError, match="so --gid is required"):
        identity_of("3999999999", None)


def test_a_group_alone_keeps_the_user(root):
    assert identity_of(None, "65534") == Identity(0, 65534, (65534,))


@pytest.mark.parametrize(
    ("user", "group", "said"),
    [
        ("unknown name", None, "--uid: user unknown name does not exist"),
        ("nobody", "\x1b", r"--gid: group \\x1b does not exist"),
        ("9" * 5000, "1", r"--uid: 9+ is out of range"),
        ("4294967295", "1", "--uid: 4294967295 is out of range"),  # which setresuid(2) takes for `leave it`
        ("-1", "1", "--uid: user -1 does not exist"),
        ("²", "1", "--uid: user ² does not exist"),
        ("", "1", "--uid: the name is empty"),
    ],
)
def test_an_unknown_user_or_group_is_refused(root, user, group, said):
    with pytest.raises(IdentityError, match=said):
        identity_of(user, group)


def test_the_current_user_needs_no_switch(monkeypatch):
    monkeypatch.setattr(os, "getresuid", lambda: (65534,) * 3)
    monkeypatch.setattr(os, "getresgid", lambda: (65534,) * 3)
    assert identity_of("65534", "65534") is None


def test_a_switch_needs_capabilities(monkeypatch):
    monkeypatch.setattr(Kernel, "capabilities", lambda _: (1 << 10, 0, 0))
    with pytest.raises(IdentityError, match="only root can become another user"):
        identity_of("nobody", "0")


def test_unix_paths_belong_to_the_new_user_by_default():
    texts = ["tcp://*:7", "unix:///run/s", "unix:///run/t?user=7&mode=0600", "unix:///run/u?group=8"]
    service = ServiceConfig("echo", Echo, Echo.Options(), tuple(map(parse, texts)))
    admin = Admin((parse("unix:///run/admin?mode=0600"), parse("tcp://127.0.0.1:1")))
    owned = owning(Configuration(Daemon(), (service,), admin=admin), Identity(5, 6, (6,)))
    assert [dict(one.options) for one in owned.services[0].listen] == [
        {},
        {"user": "5", "group": "6"},
        {"user": "7", "group": "6", "mode": 0o600},
        {"user": "5", "group": "8"},
    ]
    assert [dict(one.options) for one in owned.admin.listen] == [{"user": "5", "group": "6", "mode": 0o600}, {}]
    assert owning(owned, Identity(5, 6, (6,))) == owned


def test_a_path_that_cannot_be_removed_is_reported(tmp_path, monkeypatch):
    places = [parse(f"unix://{tmp_path}/s"), parse("unix://@abstract"), parse("tcp://*:7")]
    assert list(stay_behind(places)) == []
    monkeypatch.setattr(os, "access", lambda *_: False)
    [line] = stay_behind(places)
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert line == f"unix://{tmp_path}/s will not be removed at the stop: user {user} may not write to {tmp_path}"
