"""Endpoint strings: valid ones listen or connect, and invalid ones are refused with a message."""

import pytest
from twisted.internet import reactor

from echod.address import parse
from echod.config.settings import ServiceConfig
from echod.daemon.bind import Unbindable, bind_all, specs_of
from echod.daemon.fd_store import DescriptorStore
from echod.daemon.sd_notify import Notify
from echod.services.echo import Echo
from echod.transports.inherited_sockets import Passed
from echod.transports.twisted_endpoint_strings import unknown


@pytest.mark.parametrize("text", ["tcp:7", "tcp:0:interface=127.0.0.1", "tcp6:7", "systemd:domain=INET:index=0"])
def test_a_valid_server_string_is_accepted(text):
    assert unknown(text) is None


@pytest.mark.parametrize("text", ["tcp:127.0.0.1:7", "tcp:host=h:port=7"])
def test_a_valid_client_string_is_accepted(text):
    assert unknown(text, client=True) is None


@pytest.mark.parametrize("text", ["tcp:abc", "tcp:65536", "foo:bar", "tcp:", "tcp:7:nonsense=1"])
def test_an_invalid_string_is_refused(text):
    for client in (False, True):
        assert unknown(text, client=client).startswith("not a valid Twisted endpoint; expected ")


def bound(listen):
    places = specs_of([ServiceConfig("it", Echo, None, (parse(listen),))])
    return bind_all(reactor, places, store=DescriptorStore(Passed(), Notify({}, reactor), {}))


def test_a_port_chosen_by_the_kernel_is_reported():
    [one] = bound("tcp:0:interface=127.0.0.1")
    host, port = one.socket.getsockname()
    assert port
    assert one.label == f"tcp:0:interface=127.0.0.1 (tcp://{host}:{port})"
    with pytest.raises(Unbindable) as caught:
        bound(f"tcp:{port}:interface=127.0.0.1")
    assert caught.value.errors == (f"tcp:{port}:interface=127.0.0.1: address already in use (EADDRINUSE)",)
    one.close()


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0?interface=nosuch0", "udp://[fe80::1%nosuch0]:7"])
def test_an_interface_that_does_not_exist_is_named(listen):
    with pytest.raises(Unbindable) as caught:
        bound(listen)
    assert caught.value.errors == (f"{parse(listen).label}: interface nosuch0 does not exist (ENODEV)",)


def test_a_descriptor_that_was_not_passed_is_refused():
    with pytest.raises(Unbindable) as caught:
        bound("systemd:domain=INET:index=7")
    assert "no such descriptor was passed; write systemd:NAME" in str(caught.value)
