"""docs/CONFIG.md agrees with the code: keys, types, defaults, examples, and what it marks as not yet available."""

import grp
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from echod.address import BACKLOG, parse
from echod.address_options import CONNECTING, DIALLING, OPTIONS
from echod.config import schema
from echod.config.errors import ConfigurationError
from echod.config.kind_options import option_forms
from echod.config.loading import load
from echod.config.schema import Table
from echod.config.value_types import Form
from echod.services import registry
from echod.transports.registry import EVERY_FORM, SCHEMES
from echod.transports.unix_paths import MODE

PAGE = (Path(__file__).parent.parent.parent / "docs" / "CONFIG.md").read_text("utf-8")
TABLES = {
    "[daemon]": schema.DAEMON,
    "[admin]": schema.ADMIN,
    "[defaults]": schema.DEFAULTS,
    "[defaults.limits]": schema.LIMITS,
    "[services.NAME]": schema.SERVICE,
    "[services.NAME.faults]": schema.FAULTS,
    "[services.NAME.tls]": schema.TLS,
    "[services.NAME.websocket]": schema.WEBSOCKET,
    "[bus]": schema.BUS,
}
OF_KINDS = {(kind.kind, key): form for kind in registry.kinds().values() for key, form in option_forms(kind).items()}


def section(title):
    """The part of the page under one heading."""
    [part] = [part for part in re.split(r"(?m)^## ", PAGE) if part.partition("\n")[0] == title]
    return part


def rows(text):
    """The cells of each line of a table whose first cell is code; code marks are taken off the outside."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def code(cell):
    assert re.fullmatch("`[^`]+`", cell), cell
    return cell[1:-1]


def documented(name):
    return {code(cells[0]): cells for cells in rows(section(f"`{name}`")) if len(cells) == 5}


def test_the_example_of_configuration_errors_is_raised_by_loading(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "echod.toml").write_text(
        '[services.slow]\nkind = "echo"\nlisten = ["tcp://[::1]:7"]\nlimits.idle = "5 min"\n'
        "[services.echo]\nlissten = []\n"
    )
    (tmp_path / "conf.d" / "10-lan.toml").write_text('[services.echo]\n\nlisten ["tcp://[::1]:7"]\n')
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "echod.toml", registry.kinds(), {})
    [shown] = re.findall(r"(?ms)^```\n(.*?)^```$", section("Configuration errors"))
    assert shown.replace("/etc/echod", str(tmp_path)).splitlines() == [str(error) for error in caught.value.errors]


def options():
    return {
        (code(cells[0]), code(cells[1])): cells[1:] for cells in rows(section("`[services.NAME]`")) if len(cells) == 6
    }


def read(form, text):
    """The value that a cell shows, as the configuration reads it."""
    value = form.accept(tomllib.loads(f"x = {text}")["x"])
    return tuple(map(form.each.accept, value)) if form.each else value


def in_table(table):
    """The keys of a table that are not tables; a service's policy is documented under its defaults."""
    own = {key: form for key, form in table.keys.items() if isinstance(form, Form)}
    return {key: own[key] for key in own if key not in schema.POLICY} if table is schema.SERVICE else own


def all_rows():
    """Form, default and cells of each row whose key exists; the others are another test's."""
    for name, table in TABLES.items():
        forms = in_table(table)
        for key, cells in documented(name).items():
            if key in forms:
                yield pytest.param(forms[key], schema.default(table, key), cells, id=f"{name}.{key}")
    kinds = registry.kinds()
    for (kind, key), cells in options().items():
        if (kind, key) in OF_KINDS:
            default = getattr(kinds[kind].Options(), schema.field_of(key))
            yield pytest.param(OF_KINDS[kind, key], default, cells, id=f"{kind}.{key}")


@pytest.mark.parametrize(("name", "table"), TABLES.items(), ids=TABLES)
def test_the_page_has_every_key_and_no_other(name, table):
    assert set(documented(name)) == set(in_table(table))


def test_every_table_has_its_section():
    tables = {table.name for table in schema.ROOT.keys.values() if isinstance(table, Table)}
    tables |= {form.name for form in schema.SERVICE.keys.values() if isinstance(form, Table)} | {schema.SERVICE.name}
    assert tables - {"services"} == {table.name for table in TABLES.values()}


def test_the_page_has_every_option_and_no_other():
    assert list(options()) == list(OF_KINDS)


@pytest.mark.parametrize(("form", "default", "cells"), list(all_rows()))
def test_a_row(form, default, cells):
    key, type_, shown, meaning, example = cells
    assert type_
    assert meaning
    assert default is None if shown == "—" else read(form, code(shown)) == default
    name, equals, value = code(example).partition(" = ")
    assert (name, equals) == (code(key), " = ")
    if name != "kind":
        read(form, value)
    if type_.startswith("whole number"):
        assert f"a {type_}" == form.right
    words = re.search("one of: (.*)", form.right)
    if words:
        assert re.findall('`"([^"]+)"`', type_) == words[1].split(", ")


def test_the_options_of_an_address():
    rows_ = {code(cells[0]): cells for cells in rows(section("Options of an address"))}
    assert list(rows_) == list(OPTIONS)
    for name, (_, of, default, meaning, example) in rows_.items():
        takes = {scheme for scheme, known in EVERY_FORM.items() if name in known.options}
        assert set(re.findall("`([^`]+)`", of)) == takes
        address = parse(code(example), client=name in CONNECTING)
        assert name in address.options
        assert ("*Not yet.*" in meaning) == (schema.missing("services.NAME.listen", address) is not None)
        if name in DEFAULTS:
            assert code(default) == DEFAULTS[name]
    clients = re.search("A client takes (`[^.]*`) only", section("Options of an address"))
    assert clients
    assert set(re.findall("`([^`]+)`", clients[1])) == DIALLING


DEFAULTS = {"backlog": str(BACKLOG), "mode": f"{MODE:04o}"}


def test_what_is_not_available_yet():
    part = {code(cells[0]): cells[1] for cells in rows(section("Not available yet"))}
    assert list(part) == sorted({key for key, _ in schema.NOT_YET}, key=[key for key, _ in schema.NOT_YET].index)
    schemes = {name for name, scheme in SCHEMES.items() if not scheme.available}
    assert set(re.findall("`([a-z-]+)://`", part.get("services.NAME.listen", ""))) == schemes


def test_the_kinds_that_come_later():
    later = registry.PLANNED - set(registry.kinds())
    [said] = re.findall(r"The kinds? (.*) comes? later", section("Not available yet")) or [""]
    assert set(re.findall("`([a-z]+)`", said)) == later


@pytest.mark.parametrize("text", re.findall(r"(?s)```toml\n(.*?)```", PAGE))
def test_the_examples_are_right(text, tmp_path, monkeypatch):
    group = SimpleNamespace(gr_gid=7)  # the packages make the group echod
    monkeypatch.setattr(grp, "getgrnam", lambda _name: group)
    file = tmp_path / "echod.toml"
    file.write_text(text)
    assert load(file, registry.kinds(), {}).services
