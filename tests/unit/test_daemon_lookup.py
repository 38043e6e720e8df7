"""Names in addresses: looked up once, before anything is bound; whoever binds asks nobody."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from unittest import mock

import pytest
from twisted.internet.task import Clock

from echod.address import parse
from echod.config.schema import Admin, Configuration, Daemon, ServiceConfig
from echod.daemon.bind import Unbindable, bind_all, wanted
from echod.daemon.lookup import looked_up
from echod.daemon.notify import Notify
from echod.daemon.store import Store
from echod.services.echo import Echo
from echod.transports.systemd import Passed


def configured(*listen: str, admin: str = "tcp://127.0.0.1:1") -> Configuration:
    service = ServiceConfig("it", Echo, Echo.Options(), tuple(map(parse, listen)))
    return Configuration(Daemon(), (service,), Admin((parse(admin),)))


def addresses(configuration: Configuration) -> list[str]:
    return [str(one) for one in (*configuration.services[0].listen, *configuration.admin.listen)]


def answering(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
    """A resolver that knows two hosts, one with two addresses."""
    if name == "two.example":
        return [(0, 0, 0, "", place) for place in (("192.0.2.1", 0), ("2001:db8::1", 0, 0, 0), ("192.0.2.1", 0))]
    if name == "near.example":
        return [(0, 0, 0, "", ("fe80::1%lo", 0, 0, socket.if_nametoindex("lo")))]
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_becomes_every_address_it_has_and_is_asked_for_once():
    given = configured("tcp://two.example:7?backlog=5", "udp://two.example:7", admin="tcp://near.example:9")
    with mock.patch.object(socket, "getaddrinfo", side_effect=answering) as asked:
        found = addresses(looked_up(given))
    assert found == [
        *("tcp://192.0.2.1:7?backlog=5", "tcp://[2001:db8::1]:7?backlog=5"),
        *("udp://192.0.2.1:7", "udp://[2001:db8::1]:7", "tcp://[fe80::1%lo]:9"),
    ]
    assert asked.call_count == 2


def test_what_is_no_name_stays_as_it_is_and_nobody_is_asked():
    places = ("tcp://*:7", "tcp://[::1]:7", "udp://[fe80::1%lo]:7", "tcp:7:interface=x", "systemd:x", "unix:///x")
    given = configured(*places)
    with mock.patch.object(socket, "getaddrinfo", side_effect=AssertionError):
        assert looked_up(given) == given


def test_owners_become_numbers():
    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    given = configured(f"unix:///x?mode=0600&user={user.pw_name}&group={group.gr_name}", "unix-dgram:///y?user=77")
    wanted = [f"unix:///x?mode=0600&user={user.pw_uid}&group={group.gr_gid}", "unix-dgram:///y?user=77"]
    assert addresses(looked_up(given))[:2] == wanted


def test_every_name_that_is_not_known_is_told():
    given = configured("tcp://no.example:7", "unix:///x?user=no-such-user", "udp://nor.example:7")
    with mock.patch.object(socket, "getaddrinfo", side_effect=answering), pytest.raises(Unbindable) as caught:
        looked_up(given)
    assert caught.value.faults == (
        "tcp://no.example:7: the name is not known (Name or service not known)",
        "unix:///x: there is no user no-such-user (EINVAL)",
        "udp://nor.example:7: the name is not known (Name or service not known)",
    )


def test_who_binds_asks_nobody():
    """It would block the reactor at a reload; even a name that every machine knows is none of its business."""
    store = Store(Passed(), Notify({}, Clock()), {})
    with pytest.raises(Unbindable) as caught:
        bind_all(None, wanted(configured("tcp://localhost:0").services), store)
    assert "the name is not known" in caught.value.faults[0]


def test_the_group_of_readers_is_a_number_and_its_socket_is_given_to_it():
    group = grp.getgrgid(os.getegid())
    for name in (group.gr_name, str(group.gr_gid)):
        listen = tuple(map(parse, ("unix:///x", "unix:///y?group=0", "tcp://127.0.0.1:1")))
        found = looked_up(Configuration(Daemon(), (), Admin(listen, group=name))).admin
        assert (found.gid, found.group) == (group.gr_gid, name)
        assert [one.options.get("group") for one in found.listen] == [str(group.gr_gid), "0", None]
    with pytest.raises(Unbindable, match=r"admin\.group: there is no group nonesuch"):
        looked_up(Configuration(Daemon(), (), Admin((), group="nonesuch")))
