"""The schema: every field of the dataclasses has a key, and every default is valid."""

import tomllib
from dataclasses import fields

import pytest

from echod.address import parse
from echod.config import schema, settings
from echod.config.schema import Table
from echod.config.value_types import Form
from echod.faults.settings import Faults
from echod.gate.limits import Limits
from echod.transports.registry import SCHEMES


def tables(table=schema.ROOT):
    yield table
    for inner in table.keys.values():
        if isinstance(inner, Table):
            yield from tables(inner)
    if table is schema.SERVICES:
        yield from tables(schema.SERVICE)


@pytest.mark.parametrize(
    ("table", "struct", "elsewhere"),
    [
        (schema.DAEMON, settings.Daemon, set()),
        (schema.LIMITS, Limits, set()),
        (schema.SERVICE, settings.ServiceConfig, {"name", "options", "written_limits"}),
        (schema.TLS, settings.TlsSettings, {"fingerprints", "contexts"}),
        (schema.FAULTS, Faults, set()),
    ],
)
def test_every_field_has_its_key(table, struct, elsewhere):
    assert {schema.field_of(key) for key in table.keys} == {f.name for f in fields(struct)} - elsewhere


@pytest.mark.parametrize("table", [schema.DAEMON, schema.LIMITS, schema.DEFAULTS], ids=lambda table: table.name)
def test_defaults_are_right(table):
    for key, form in table.keys.items():
        if isinstance(form, Table):
            continue
        default = schema.default(table, key)
        read = form.accept(tomllib.loads(f"x = {form.toml(default)}")["x"])
        assert (tuple(map(form.each.accept, read)) if form.each else read) == default


def test_no_default():
    assert schema.default(schema.SERVICE, "kind") is None
    assert schema.default(schema.SERVICE, "limits") is None
    assert schema.default(schema.FAULTS, "delay") is None


def test_keys_of_later_versions_are_in_the_schema():
    known = {f"{table.name}.{key}".removeprefix(".") for table in tables() for key in table.keys}
    assert {key for key, _ in schema.NOT_YET} <= known


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("daemon.workers", 2, None),
        ("daemon.log-format", "json", None),
        ("daemon.log-format", "journal", None),
        ("limits.idle", 3, None),
        ("limits.handshake", 3, None),
        ("services.NAME.listen", parse("tcp://*:7?proxy=v2"), None),
        ("services.NAME.listen", parse("tcp://*:7"), None),
        ("services.NAME.listen", parse("tcp6:7"), None),
        ("services.NAME.listen", parse("systemd:echo"), None),
        ("services.NAME.listen", parse("udp://*:7?proxy=v2"), None),
    ],
)
def test_missing(name, value, what):
    assert schema.missing(name, value) == what


def test_a_scheme_is_available_if_the_registry_marks_it():
    for name, scheme in SCHEMES.items():
        address = parse(f"{name}:///run/x" if scheme.has_path else f"{name}://*:7")
        assert schema.missing("services.NAME.listen", address) == (None if scheme.available else f"{name}://")


def test_keys_and_fields():
    assert schema.field_of("new-per-client") == "new_per_client"
    assert schema.key_of("new_per_client") == "new-per-client"


def test_the_admin_interface_is_a_stream():
    each = schema.ADMIN.keys["listen"].each
    assert each.accept("unix:///run/a.sock").scheme == "unix"
    with pytest.raises(ValueError, match="is served on unix:// and tcp:// only"):
        each.accept("udp://127.0.0.1:7")


def test_a_buffer_has_a_maximum():
    buffer = schema.LIMITS.keys["buffer"]
    assert isinstance(buffer, Form)
    assert buffer.accept("64MiB") == 64 << 20
    with pytest.raises(ValueError, match='^"65MiB" is too large; the maximum is "64MiB"$'):
        buffer.accept("65MiB")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("all", '"all"'), ("Auto", '"Auto"'), (0, 0), (1025, 1025), (1.5, 1.5), (True, "true"), ([], "an array")],
    ids=str,
)
def test_the_range_of_workers(value, shown):
    with pytest.raises(ValueError, match=f'^must be a whole number from 1 to 1024, or "auto"; not {shown}$'):
        schema.WORKERS.accept(value)
