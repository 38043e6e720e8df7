"""The shipped configuration: it is valid, and the defaults that it shows are those of the code."""

import os
import re
from pathlib import Path

import pytest

from echod.config import schema
from echod.config.kind_options import option_forms
from echod.config.loading import load
from echod.runtime_dir import runtime_dir
from echod.services import registry
from echod.services.echo import Echo
from echod.transports.registry import SCHEMES

SHIPPED = Path(__file__).parent.parent.parent / "etc" / "echod.toml"
TEXT = SHIPPED.read_text("utf-8")
SWITCHED_OFF = re.compile(r"#(?=[a-z[])")  # a key behind a # and no space


@pytest.fixture(scope="module")
def shipped():
    return load(SHIPPED, registry.kinds(), {})


def test_it_serves_every_kind_on_loopback(shipped):
    assert {service.kind for service in shipped.services} == set(registry.kinds().values())
    assert all(address.loopback for service in shipped.services for address in service.listen)
    for service in shipped.services:
        ports = [address for address in service.listen if not address.has_path]
        assert all(address.port > 10_000 for address in ports)
        if service.tls is None:
            kind = service.kind
            shapes = (("tcp", kind.streams), ("udp", kind.datagrams), ("http", kind.requests))
            assert {address.scheme for address in ports} - {"ws"} == {scheme for scheme, fits in shapes if fits}


def test_every_kind_of_messages_has_a_path_of_the_websocket_port(shipped):
    served = {
        (service.name, address.port, address.path)
        for service in shipped.services
        for address in service.listen
        if address.scheme == "ws"
    }
    names = {name for name, _, _ in served}
    assert served == {(name, 18_007, f"/{name}") for name in names}
    assert names >= {"echo", "upper", "ack", "discard", "qotd", "daytime", "time", "whoami", "chat", "console"}


def test_its_echo_uses_every_transport(shipped):
    listen = [address for service in shipped.services if service.kind is Echo for address in service.listen]
    assert {address.scheme for address in listen} == {
        scheme for scheme, one in SCHEMES.items() if one.available and Echo.is_served_over(one.shape)
    }
    folder = runtime_dir(os.environ)
    assert {os.path.dirname(address.system_path) for address in listen if address.has_path} == {folder}


def test_uncommented_defaults_change_nothing(shipped, tmp_path):
    """Every default that is shown is the default."""
    lines = [SWITCHED_OFF.sub("", line, count=1) for line in TEXT.splitlines()]
    file = tmp_path / "echod.toml"
    file.write_text("\n".join(lines))
    everything = load(file, registry.kinds(), {})
    assert everything == shipped
    assert len(everything.origins) > 2 * len(shipped.origins)


def shown(table):
    """The keys that the file shows in a table, switched on or off."""
    part = TEXT.partition(f"[{table}]")[2]
    part = re.split(r"(?m)^#?\[", part)[0]
    return set(re.findall(r"(?m)^#?([a-z][a-z0-9-]*) =", part))


@pytest.mark.parametrize(
    ("name", "table"),
    [("daemon", schema.DAEMON), ("admin", schema.ADMIN), ("defaults.limits", schema.LIMITS)],
)
def test_every_key_is_shown(name, table):
    assert shown(name) == set(table.keys)


def test_every_key_of_the_bus_is_shown_as_an_example():
    assert set(re.findall(r"(?m)^# ([a-z-]+) =", TEXT.partition("[bus]")[2])) == set(schema.BUS.keys)


def test_every_policy_is_shown():
    assert shown("defaults") == set(schema.POLICY)


@pytest.mark.parametrize("kind", registry.kinds().values(), ids=lambda kind: kind.kind)
def test_every_option_with_a_default_is_shown(kind):
    defaults = kind.Options()
    options = {key for key in option_forms(kind) if getattr(defaults, schema.field_of(key)) is not None}
    assert shown(f"services.{kind.kind}") == {"kind", "listen"} | options


def test_no_line_is_too_long():
    assert max(map(len, TEXT.splitlines())) <= 120


def test_the_drop_ins_are_explained_in_two_lines():
    assert len((SHIPPED.parent / "conf.d" / "README").read_text("utf-8").splitlines()) == 2
