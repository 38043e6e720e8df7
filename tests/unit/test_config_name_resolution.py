"""Names in addresses: resolved once, before anything is bound, and to the addresses that this machine has."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from twisted.internet.task import Clock

from echod.address import parse
from echod.config import name_resolution
from echod.config.loading import from_listen, load
from echod.config.name_resolution import Unresolved, resolved
from echod.config.settings import Admin, Configuration, Daemon, ServiceConfig
from echod.daemon.bind import Unbindable, bind_all, specs_of
from echod.daemon.fd_store import DescriptorStore
from echod.daemon.sd_notify import Notify
from echod.services.echo import Echo
from echod.services.registry import kinds
from echod.transports.inherited_sockets import Passed


def configured(*listen: str, admin: str = "tcp://127.0.0.1:1") -> Configuration:
    service = ServiceConfig("it", Echo, Echo.Options(), tuple(map(parse, listen)))
    return Configuration(Daemon(), (service,), Admin((parse(admin),)))


def addresses(configuration: Configuration) -> list[str]:
    return [str(one) for one in (*configuration.services[0].listen, *configuration.admin.listen)]


HOSTS = {
    "two.example": (("127.0.0.2", 0), ("::1", 0, 0, 0), ("127.0.0.2", 0)),
    "near.example": (("fe80::1%lo", 0, 0, socket.if_nametoindex("lo")),),
    "half.example": (("2001:db8::1", 0, 0, 0), ("127.0.0.1", 0), ("192.0.2.1", 0)),
    "elsewhere.example": (("192.0.2.1", 0), ("2001:db8::1", 0, 0, 0)),
}
ask_the_system: Any = socket.getaddrinfo


class NameServer:
    """Stands for the resolver of the system: it knows HOSTS, and counts how often a name is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __enter__(self) -> NameServer:
        self._patch = mock.patch.object(socket, "getaddrinfo", self._answer)
        self._patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()

    def _answer(self, name: str, *words: Any, flags: int = 0, **more: Any) -> list[tuple[Any, ...]]:
        if flags & socket.AI_NUMERICHOST:
            return list(ask_the_system(name, *words, flags=flags, **more))
        self.asked.append(name)
        if name not in HOSTS:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(0, 0, 0, "", place) for place in HOSTS[name]]


needs_ipv6 = pytest.mark.skipif(not Path("/proc/sys/net/ipv6/conf/lo").exists(), reason="this machine has no IPv6")


@needs_ipv6
def test_a_name_becomes_all_its_addresses_and_is_resolved_once():
    given = configured("tcp://two.example:7?backlog=5", "udp://two.example:7", admin="tcp://near.example:9")
    with mock.patch.object(name_resolution, "_not_here", return_value=None), NameServer() as server:
        found, warnings = resolved(given)
    assert addresses(found) == [
        *("tcp://127.0.0.2:7?backlog=5", "tcp://[::1]:7?backlog=5"),
        *("udp://127.0.0.2:7", "udp://[::1]:7", "tcp://[fe80::1%lo]:9"),
    ]
    assert (server.asked, warnings) == (["two.example", "near.example"], [])


def test_only_the_addresses_of_this_machine_are_served():
    given = configured("tcp://half.example:0", "udp://half.example:0")
    with NameServer():
        found, warnings = resolved(given)
    assert addresses(found)[:2] == ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
    assert [line.rpartition(":")[0] for line in warnings] == [
        "default: services.it.listen[0]: tcp://half.example:0 is not served on 2001:db8::1",
        "default: services.it.listen[0]: tcp://half.example:0 is not served on 192.0.2.1",
        "default: services.it.listen[1]: udp://half.example:0 is not served on 2001:db8::1",
        "default: services.it.listen[1]: udp://half.example:0 is not served on 192.0.2.1",
    ]
    for one in bind_all(None, specs_of(found.services), store=DescriptorStore(Passed(), Notify({}, Clock()), {})):
        one.close()


def test_a_name_without_any_address_of_this_machine_is_an_error():
    with NameServer(), pytest.raises(Unresolved) as caught:
        resolved(configured("tcp://elsewhere.example:7"))
    assert caught.value.errors == (
        "default: services.it.listen[0]: tcp://elsewhere.example:7: no address of elsewhere.example is on this "
        "machine: 192.0.2.1, 2001:db8::1",
    )


def test_a_numeric_address_is_not_checked_before_the_bind():
    found, warnings = resolved(configured("tcp://192.0.2.1:7"))
    assert (addresses(found)[0], warnings) == ("tcp://192.0.2.1:7", [])
    with pytest.raises(Unbindable, match="EADDRNOTAVAIL"):
        bind_all(None, specs_of(found.services), store=DescriptorStore(Passed(), Notify({}, Clock()), {}))


def test_errors_and_warnings_name_the_line(tmp_path):
    file = tmp_path / "echod.toml"
    file.write_text('[services.echo]\nlisten = [\n "tcp://half.example:7",\n "udp://no.example:7",\n]\n')
    given = load(file, kinds(), {})
    with NameServer():
        with pytest.raises(Unresolved) as caught:
            resolved(given)
        file.write_text('[services.echo]\nlisten = ["tcp://half.example:7"]\n')
        _, [first, _] = resolved(load(file, kinds(), {}))
    said = "the name no.example cannot be resolved: Temporary failure in name resolution (EAI_AGAIN)"
    assert str(caught.value) == f"{file}:4: services.echo.listen[1]: udp://no.example:7: {said}"
    assert first.startswith(f"{file}:2: services.echo.listen[0]: tcp://half.example:7 is not served on 2001:db8::1: ")


def test_an_error_of_the_command_line_names_the_option():
    with NameServer(), pytest.raises(Unresolved, match="^--listen: tcp://no.example:7: the name no.example cannot"):
        resolved(from_listen(["echo=tcp://no.example:7"], [], kinds()))


def test_a_numeric_address_is_not_resolved():
    places = ("tcp://*:7", "tcp://[::1]:7", "udp://[fe80::1%lo]:7", "tcp:7:interface=x", "systemd:x", "unix:///x")
    given = configured(*places)
    with mock.patch.object(socket, "getaddrinfo", side_effect=AssertionError):
        assert resolved(given) == (given, [])


def test_owners_become_numbers():
    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    given = configured(f"unix:///x?mode=0600&user={user.pw_name}&group={group.gr_name}", "unix-dgram:///y?user=77")
    wanted = [f"unix:///x?mode=0600&user={user.pw_uid}&group={group.gr_gid}", "unix-dgram:///y?user=77"]
    assert addresses(resolved(given)[0])[:2] == wanted


def test_every_name_that_cannot_be_resolved_is_an_error():
    with NameServer(), pytest.raises(Unresolved) as caught:
        resolved(configured("tcp://no.example:7", "unix:///x?user=no-such-user", "udp://nor.example:7"))
    unknown = "cannot be resolved: Temporary failure in name resolution (EAI_AGAIN)"
    assert caught.value.errors == (
        f"default: services.it.listen[0]: tcp://no.example:7: the name no.example {unknown}",
        "default: services.it.listen[1]: unix:///x: user no-such-user does not exist (EINVAL)",
        f"default: services.it.listen[2]: udp://nor.example:7: the name nor.example {unknown}",
    )


def test_bind_does_not_resolve_names():
    """It would block the reactor at a reload; even a name that every machine knows is none of its business."""
    store = DescriptorStore(Passed(), Notify({}, Clock()), {})
    with pytest.raises(Unbindable) as caught:
        bind_all(None, specs_of(configured("tcp://localhost:0").services), store=store)
    assert caught.value.errors[0].startswith("tcp://localhost:0: ")


def test_the_group_of_readers_is_a_number_and_its_socket_is_given_to_it():
    group = grp.getgrgid(os.getegid())
    for name in (group.gr_name, str(group.gr_gid)):
        listen = tuple(map(parse, ("unix:///x", "unix:///y?group=0", "tcp://127.0.0.1:1")))
        found = resolved(Configuration(Daemon(), (), Admin(listen, group=name)))[0].admin
        assert (found.gid, found.group) == (group.gr_gid, name)
        assert [one.options.get("group") for one in found.listen] == [str(group.gr_gid), "0", None]
    with pytest.raises(Unresolved, match=r"admin\.group: group nonesuch does not exist"):
        resolved(Configuration(Daemon(), (), Admin((), group="nonesuch")))
    with pytest.raises(Unresolved, match=r"admin\.group: group 4294967295 is out of range \(0–4294967294\)"):
        resolved(Configuration(Daemon(), (), Admin((), group="4294967295")))
