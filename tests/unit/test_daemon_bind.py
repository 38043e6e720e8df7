"""Sockets that do not fit the configuration, and errors of binding."""

import os
import socket

import pytest
from twisted.internet.task import Clock

from echod.address import parse
from echod.config.settings import ServiceConfig
from echod.daemon.bind import Unbindable, Unsuited, bind_all, specs_of
from echod.daemon.fd_store import DescriptorStore
from echod.daemon.sd_notify import Notify
from echod.services.echo import Echo
from echod.transports.inherited_sockets import Descriptor, Passed


class Streams(Echo):
    """A kind that makes no sense on datagrams."""

    kind = "streams"
    datagrams = False


class Datagrams(Echo):
    """A kind that makes no sense on streams."""

    kind = "datagrams"
    streams = False


def asking(kind, *listen):
    return specs_of([ServiceConfig("it", kind, kind.Options(), tuple(map(parse, listen)))])


def passing(one, name="it"):
    number = one.detach()
    there = os.fstat(number)
    return Descriptor(name, number, (there.st_dev, there.st_ino))


def having(*descriptors):
    """A store of what was passed, under no manager."""
    return DescriptorStore(Passed(descriptors), Notify({}, Clock()), {})


@pytest.mark.parametrize(
    ("kind", "other", "words"),
    [(Streams, socket.SOCK_DGRAM, "carries datagrams"), (Datagrams, socket.SOCK_STREAM, "carries streams")],
)
def test_a_kind_that_is_not_served_over_the_type_of_a_passed_socket(kind, other, words):
    one = socket.socket(socket.AF_INET, other)
    one.bind(("127.0.0.1", 0))
    port = one.getsockname()[1]
    descriptor = passing(one)
    with pytest.raises(Unsuited) as caught:
        bind_all(None, asking(kind, "systemd:it"), store=having(descriptor))
    scheme = "udp" if other is socket.SOCK_DGRAM else "tcp"
    said = f"systemd:it: {scheme}://127.0.0.1:{port} {words}, and {kind.kind} is not served over them"
    assert caught.value.errors == (said,)
    assert not descriptor.still_there()


def test_every_error_is_reported_and_no_socket_stays_open(tmp_path):
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagrams.bind(str(tmp_path / "passed"))
    descriptor = passing(datagrams)
    places = asking(Streams, "systemd:it", "systemd:absent", f"unix://{tmp_path}/own")
    with pytest.raises(Unbindable) as caught:
        bind_all(None, places, store=having(descriptor))
    assert not isinstance(caught.value, Unsuited)
    assert [error.partition(": ")[0] for error in caught.value.errors] == ["systemd:absent", "systemd:it"]
    assert not descriptor.still_there()
    assert [path.name for path in tmp_path.iterdir()] == ["passed"]


def test_each_address_has_its_own_key():
    same_transport = ("tcp://127.0.0.1:0", "tls://127.0.0.1:0", "tcp://127.0.0.1:0?backlog=5", "tcp://127.0.0.1:0")
    assert len({spec.key for spec in asking(Echo, *same_transport)}) == len(same_transport)
