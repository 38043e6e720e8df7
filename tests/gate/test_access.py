"""One host has one decision in every notation of its address: test 38 of docs/PROMISES.md.

Notations that a socket cannot report are tested on the gate itself; test_sources.py sends packets.
"""

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.gate.access import Access, packed_address
from echod.gate.connections import ConnectionGate
from echod.gate.limits import Limits
from tests.chaos.connect_burst import Crowd, Fate
from tests.chaos.network import LINK, link_local
from tests.chaos.spoofed_packets import HIGH
from tests.daemon import SECONDS, Daemon
from tests.gate.configurations import asked, asking, configuration, counted, is_answered, refused
from tests.gate.forms import TABLE, many_networks, networks, verdicts


@pytest.mark.parametrize(("host", "allow", "deny"), TABLE)
def test_every_notation_has_the_decision_of_the_table(host, allow, deny):
    assert verdicts(host, allow, deny) == {TABLE[host, allow, deny]}


@settings(max_examples=100)
@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_mapped_host_has_the_decision_of_the_host(host: Any, length: int):
    network = str(ipaddress.ip_network((int(host), length), strict=False))
    for allow, deny in ((network, ""), ("0.0.0.0/0", network), ("::/0", "")):
        gate = ConnectionGate(Access(networks(allow), networks(deny)), Limits(), float)
        plain, mapped = (gate.admit(packed_address(form), loopback=False) for form in (str(host), f"::ffff:{host}"))
        assert plain == mapped


# Over sockets

LISTENERS = {"four": "127.0.0.1", "both": "*"}
NEVER_DENIED = "fe80::77"  #: another address of the client's end of a link


def test_loopback_in_two_notations(plane):
    """Allowed except for one host, over listeners with IPv4 only and with both protocols."""
    lists = 'kind = "echo"\nallow = ["127.0.0.0/8"]\ndeny = ["127.0.0.3"]'
    services = [f'{name}]\nlisten = ["tcp://{host}:0", "udp://{host}:0"]\n{lists}' for name, host in LISTENERS.items()]
    with Daemon(configuration(plane, *services)) as daemon:
        for name in LISTENERS:
            tcp, udp = daemon.inet(name, "tcp")[1], daemon.inet(name, "udp")[1]
            for family, prefix in ((socket.AF_INET, ""), (socket.AF_INET6, "::ffff:")):
                for source, allowed in (("127.0.0.2", True), ("127.0.0.3", False)):
                    with (
                        socket.socket(family) as client,
                        asking(daemon, prefix + source) as other,
                        asking(daemon, prefix + "127.0.0.2") as later,
                    ):
                        client.settimeout(SECONDS)
                        client.bind((prefix + source, 0))
                        assert was_served(client, (prefix + "127.0.0.1", tcp)) is allowed
                        udp_place = (prefix + "127.0.0.1", udp)
                        if allowed:
                            assert asked(other, udp_place, b"hello") == b"hello"
                        else:
                            assert not is_answered(other, udp_place, b"hello", later)
        for name in LISTENERS:
            for scheme in ("tcp", "udp"):
                assert refused(counted(daemon, name, scheme)) == {"denied": 2}, (name, scheme)


def was_served(client: socket.socket, place: Any) -> bool:
    """Whether it gets a reply, and not a reset, which may arrive before connect returns."""
    try:
        client.connect(place)
        client.sendall(b"?")
        return client.recv(1) == b"?"
    except ConnectionResetError:
        return False


@pytest.mark.needs_root
@pytest.mark.parametrize("denied", [False, True])
def test_a_scope_changes_no_decision(two, plane, denied):
    server, client = link_local(two.server), link_local(two.client)
    two.client.add(f"{NEVER_DENIED}/64", device=LINK)
    deny = f'deny = ["{client}"]' if denied else ""
    listen = f'["tcp://[{server}%{LINK}]:0", "tcp://*:0", "udp://[{server}%{LINK}]:0", "udp://*:0"]'
    with Daemon(configuration(plane, f'echo]\nlisten = {listen}\nallow = ["fe80::/10"]\n{deny}')) as daemon:
        urls = [url for _, url in daemon.urls]
        with two.client.inside():
            scope = socket.if_nametoindex(LINK)
            for url in urls:
                kind = socket.SOCK_STREAM if url.startswith("tcp") else socket.SOCK_DGRAM
                with (
                    socket.socket(socket.AF_INET6, kind) as caller,
                    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as later,
                ):
                    for each, host in ((caller, client), (later, NEVER_DENIED)):
                        each.settimeout(SECONDS)
                        each.bind((host, 0 if each.type == socket.SOCK_STREAM else HIGH, 0, scope))
                    place: Any = (server, int(url.rpartition(":")[2]), 0, scope)
                    if kind == socket.SOCK_STREAM:
                        assert was_served(caller, place) is not denied, url
                    elif denied:
                        assert not is_answered(caller, place, b"hello", later), url
                    else:
                        assert asked(caller, place, b"hello") == b"hello", url
        daemon.check()
        figures = daemon.counters()
        for url in urls:
            assert refused(figures[f"echo {url}"]) == ({"denied": 1} if denied else {}), url


# Many networks


def test_ten_thousand_networks_are_decided_correctly():
    inside, denied = many_networks()
    allow = ", ".join(f'"{network}"' for network in inside)
    deny = ", ".join(f'"{network}"' for network in denied)
    listen = 'listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]'
    service = f'echo]\n{listen}\nallow = ["127.0.0.2", {allow}]\ndeny = [{deny}]'
    with Daemon(configuration("auto", service)) as daemon:
        tcp, udp = daemon.inet("echo", "tcp"), daemon.inet("echo", "udp")
        with Crowd(tcp, 100, ["127.0.0.2", "127.0.0.3"]) as crowd:
            assert crowd.wait(SECONDS) == {Fate.SERVED: 50, Fate.RESET: 50}
        with asking(daemon, "127.0.0.2") as known, asking(daemon, "127.0.0.3") as unknown:
            assert asked(known, udp, b"hello") == b"hello"
            assert not is_answered(unknown, udp, b"hello", known)
        assert refused(counted(daemon, "echo", "tcp")) == {"denied": 50}
    access = Access(networks(" ".join(inside)), networks(" ".join(denied)))
    for number, network in enumerate(networks(" ".join(inside))):
        first, late = network[1], network[200]
        assert access.allows(first.packed)
        assert access.allows(late.packed) is bool(number % 2)
