"""Passed sockets: the variables that are read, the address of each socket, and the refused ones."""

import os
import socket

import pytest

from echod.address import Address
from echod.transports import inherited_sockets
from echod.transports.inherited_sockets import Descriptor, Passed, address_of, passed


@pytest.fixture
def descriptor():
    """Makes a descriptor from a socket, and takes it from the test."""
    made = []

    def make(one, name="echo"):
        number = one.detach()
        made.append(number)
        there = os.fstat(number)
        return Descriptor(name, number, (there.st_dev, there.st_ino))

    yield make
    for number in made:
        try:
            os.close(number)
        except OSError:
            pass


def test_the_variables_are_removed(monkeypatch):
    monkeypatch.setattr(inherited_sockets, "_first_environment", dict)
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c", "LISTEN_PIDFDID": "7", "HOME": "/"}
    passed(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, "LISTEN_PID is not set"),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, "passed to another process"),
        ({"LISTEN_PID": "", "LISTEN_FDS": "1"}, "passed to another process"),
        ({"LISTEN_PID": str(os.getpid())}, "LISTEN_FDS= is not a number from 0 to"),
        ({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"}, "LISTEN_FDS=-1 is not a number"),
        ({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "9" * 5000}, "LISTEN_FDS=9999"),
        ({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "²"}, "LISTEN_FDS=² is not a number"),
        (
            {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
            "no descriptor of that name was passed; passed names: none",
        ),
    ],
)
def test_the_reason_is_given_if_no_descriptor_is_passed(environ, why, monkeypatch):
    monkeypatch.setattr(inherited_sockets, "_first_environment", dict)
    nothing = passed(dict(environ))
    assert nothing.names == ()
    with pytest.raises(OSError, match=why):
        nothing.take("echo")
    assert nothing.close_rest() == []
    with pytest.raises(OSError, match="restart it"):
        nothing.take("echo")


def test_the_first_environment_is_read_if_the_variables_were_removed(monkeypatch):
    monkeypatch.setattr(inherited_sockets, "_first_environment", lambda: {"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    with pytest.raises(OSError, match="passed to another process"):
        passed({}).take("echo")


def test_the_first_environment_is_readable():
    assert inherited_sockets._first_environment()["PATH"]


def test_all_sockets_of_a_name_are_taken_once(descriptor):
    some = [descriptor(socket.create_server(("127.0.0.1", 0)), name) for name in ("echo", "other", "echo")]
    held = Passed(some)
    taken = held.take("echo")
    assert [one.fileno() for one in taken] == [some[0].number, some[2].number]
    assert not any(one.getblocking() for one in taken)
    assert held.names == ("other",)
    with pytest.raises(OSError, match="passed names: other"):
        held.take("echo")
    assert held.close_rest() == [f"descriptor {some[1].number} (other) was passed, but no listener uses it; closed"]
    assert held.close_rest() == []
    for one in taken:
        one.close()


def test_a_descriptor_reused_for_another_file_is_not_closed(descriptor):
    one = descriptor(socket.create_server(("127.0.0.1", 0)))
    with open(os.devnull) as other:
        os.dup2(other.fileno(), one.number)
        assert Passed([one]).close_rest() == []
        assert os.fstat(one.number)


def test_one_unsupported_socket_closes_all_of_its_name(descriptor):
    good = descriptor(socket.create_server(("127.0.0.1", 0)))
    bad = descriptor(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0))
    with pytest.raises(OSError, match="family 16"):
        Passed([good, bad]).take("echo")
    assert not good.still_there()
    assert not bad.still_there()


@pytest.mark.parametrize(
    ("family", "kind", "proto", "why"),
    [
        (socket.AF_NETLINK, socket.SOCK_DGRAM, 0, "family 16 is not served"),
        (socket.AF_INET, socket.SOCK_DGRAM, 136, "protocol 136 are not served"),
    ],
)
def test_an_unsupported_socket_is_refused(family, kind, proto, why, descriptor):
    try:
        one = descriptor(socket.socket(family, kind, proto))
    except OSError:
        pytest.skip("this machine has no such socket")
    with pytest.raises(OSError, match=why):
        Passed([one]).take("echo")


def test_a_passed_stream_that_does_not_listen_is_made_to_listen(descriptor):
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    (taken,) = Passed([descriptor(bound)]).take("echo")
    with taken, socket.create_connection(taken.getsockname()):
        assert taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.mark.parametrize(
    ("family", "kind", "name", "only", "address"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0), None, Address("tcp", "127.0.0.1")),
        (socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 0), None, Address("udp", "0.0.0.0")),
        (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0), None, Address("tcp", "::1")),
        (socket.AF_INET6, socket.SOCK_STREAM, ("::", 0), 0, Address("tcp", "*")),
        (socket.AF_INET6, socket.SOCK_DGRAM, ("::", 0), 1, Address("udp", "::")),
        (socket.AF_INET6, socket.SOCK_STREAM, ("::ffff:127.0.0.1", 0), 0, Address("tcp", "127.0.0.1")),
        (socket.AF_UNIX, socket.SOCK_STREAM, "/{}/s", None, Address("unix", path="/{}/s")),
        (socket.AF_UNIX, socket.SOCK_DGRAM, "\0{}", None, Address("unix-dgram", path="@{}")),
        (socket.AF_UNIX, socket.SOCK_SEQPACKET, "\0{}", None, Address("unix-seqpacket", path="@{}")),
    ],
)
def test_a_passed_socket_has_the_address_of_a_configured_one(family, kind, name, only, address, tmp_path):
    with socket.socket(family, kind) as one:
        if only is not None:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        if family is socket.AF_UNIX:
            one.bind(name.replace("/{}", str(tmp_path)).replace("{}", f"echod-{os.getpid()}"))
            path = address.path.replace("/{}", str(tmp_path)).replace("{}", f"echod-{os.getpid()}")
            assert address_of(one) == Address(address.scheme, path=path)
        else:
            one.bind(name)
            assert address_of(one) == Address(address.scheme, address.host, one.getsockname()[1])
