"""The TOML reader: every key is known, every value is read, and every error is reported with its file."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from echod.config import schema_check
from echod.config.errors import element
from echod.config.schema_check import DEFAULT, Reading, Written
from echod.model import Service
from echod.services.ack import Ack
from echod.services.discard import Discard
from echod.services.echo import Echo

KINDS = {"ack": Ack, "discard": Discard, "echo": Echo}
HERE = "tcp://127.0.0.1:7"
SERVICE = {"listen": [HERE]}
A, B = Path("/etc/a.toml"), Path("/etc/b.toml")


def read(*contents, whole=True, kinds=KINDS):
    """The values of these layers, and the errors as lines."""
    one = Reading(kinds, [], whole=whole)
    found = one.root(list(zip((A, B), contents, strict=False)))
    return found, [str(error) for error in one.errors]


def errors(*contents, **how):
    return read(*contents, **how)[1]


def with_echo(**more):
    return {"services": {"echo": SERVICE | more}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"services": {"echo": {"lissten": [HERE]}}}, "services.echo.lissten: unknown key; did you mean listen?"),
        (
            {"services": {"echo": {**SERVICE, "tls": {"cert": "x"}}}},
            "services.echo.tls.cert: unknown key; did you mean certificate?",
        ),
        ({"service": {"echo": SERVICE}}, "service: unknown key; did you mean services?"),
        ({"echo": SERVICE}, "echo: unknown key; did you mean services.echo?"),
    ],
)
def test_a_misspelled_key_is_not_reported_as_missing_too(content, said):
    assert errors(content) == [f"/etc/a.toml: {said}"]


def test_a_value_knows_its_file_and_its_path():
    found, wrong = read(with_echo(limits={"idle": "1h"}))
    assert not wrong
    assert found["services"]["echo"]["limits"]["idle"] == Written(3600.0, A, "services.echo.limits.idle")
    assert found["services"]["echo"]["kind"] == Written(Echo, DEFAULT, "services.echo.kind")


def test_tables_add_and_values_replace():
    found, wrong = read(
        {**with_echo(limits={"idle": "1h", "stall": "1s"}), "defaults": {"deny": ["::1"]}},
        {"services": {"echo": {"limits": {"idle": "2h"}}, "ack": {"listen": []}}, "defaults": {"deny": []}},
    )
    limits = found["services"]["echo"]["limits"]
    assert (limits["idle"].value, limits["idle"].file) == (7200.0, B)
    assert (limits["stall"].value, limits["stall"].file) == (1.0, A)
    assert found["defaults"]["deny"].value == ()
    assert list(found["services"]) == ["echo", "ack"]
    assert wrong == [
        '/etc/b.toml: services.ack.listen: must not be empty; expected an address such as "tcp://127.0.0.1:10007"'
    ]


def test_an_overridden_value_is_checked_too():
    found, wrong = read(with_echo(limits={"idle": 5}), with_echo(limits={"idle": "5m"}))
    assert wrong == [
        '/etc/a.toml: services.echo.limits.idle: must be a duration such as "5m", not 5;'
        ' did you mean "5s", with the quotes?'
    ]
    assert found["services"]["echo"]["limits"]["idle"].value == 300


def test_every_element_of_an_array_is_checked():
    found, wrong = read({**with_echo(), "defaults": {"allow": ["::1", 7, "10.0.0.1/8"]}})
    assert wrong == [
        '/etc/a.toml: defaults.allow[1]: must be a network such as "192.0.2.0/24", not 7',
        '/etc/a.toml: defaults.allow[2]: "10.0.0.1/8" is a host in a network;'
        ' expected "10.0.0.0/8" for the network or "10.0.0.1" for the host',
    ]
    assert list(map(str, found["defaults"]["allow"].value)) == ["::1/128", "None", "None"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"daemon": 3}, "daemon: must be a table, not a number"),
        ({"services": []}, "services: must be a table, not an array"),
        ({"services": {"echo": "tcp://127.0.0.1:7"}}, "services.echo: must be a table, not text"),
        ({"daemn": {}}, "daemn: unknown key; did you mean daemon?"),
        ({"zzz": 1}, "zzz: unknown key; expected one of: daemon, admin, defaults, services, bus"),
        ({"echo": {}}, "echo: unknown key; did you mean services.echo?"),
        ({"limits": {}}, "limits: unknown key; did you mean defaults.limits?"),
        ({"daemon": {"Log_Level": "info"}}, "daemon.Log_Level: unknown key; did you mean log-level?"),
        ({"x" * 99999: 1}, '"' + "x" * 64 + '…": unknown key; expected one of: daemon, admin, defaults, services, bus'),
        ({"a\x1b[31m": 1}, '"a\\u001B[31m": unknown key; expected one of: daemon, admin, defaults, services, bus'),
        (with_echo(limits={"per_client": 5}), "services.echo.limits.per_client: unknown key; did you mean per-client?"),
        (with_echo(idle="5m"), "services.echo.idle: unknown key; did you mean limits.idle?"),
        (with_echo(delay="5m"), "services.echo.delay: unknown key; did you mean faults.delay?"),
        ({"idle": "5m"}, "idle: unknown key; it is a key of [services.NAME.limits]"),
        ({"listen": [HERE]}, "listen: unknown key; it is a key of [admin] and [services.NAME]"),
        ({"daemon": {"bus": "redis://h"}}, "daemon.bus: unknown key; it is a table of its own: [bus]"),
        ({"daemon": {"workers": 0}}, 'daemon.workers: must be a whole number from 1 to 1024, or "auto"; not 0'),
        (with_echo(workers=2), "services.echo.workers: unknown key; it is a key of [daemon]"),
        (
            with_echo(limits={"allow": []}),
            "services.echo.limits.allow: unknown key; it is a key of [defaults] and [services.NAME]",
        ),
        (
            with_echo(limits={"delay": "5s"}),
            "services.echo.limits.delay: unknown key; it is a key of [services.NAME.faults]",
        ),
        (with_echo(alow=[]), "services.echo.alow: unknown key; did you mean allow?"),
        (with_echo(kind="ecoh"), 'services.echo.kind: unknown kind "ecoh"; did you mean echo?'),
        (with_echo(kind="zzz"), 'services.echo.kind: unknown kind "zzz"; expected one of: ack, discard, echo'),
        (with_echo(kind=3), 'services.echo.kind: must be the name of a kind, such as "echo", not 3'),
        (
            {"services": {"ecoh": SERVICE}},
            'services.ecoh: unknown kind "ecoh"; did you mean echo? Or add kind = "…"',
        ),
        (
            {"services": {"a b": SERVICE | {"kind": "echo"}}},
            'services."a b": invalid service name; expected a letter or digit, '
            "then up to 63 letters, digits, _, . and -",
        ),
        (
            {"services": {"echo": {}}},
            'services.echo: listen is missing; expected one such as listen = ["tcp://127.0.0.1:10007"]',
        ),
        (
            with_echo(listen=HERE),
            'services.echo.listen: must be an array of addresses such as ["tcp://127.0.0.1:10007"], not "tcp://127.0.0.1:7";'
            ' did you mean ["tcp://127.0.0.1:7"], with the brackets?',
        ),
        (
            with_echo(listen=["tcp://127.0.0.1:70000"]),
            "services.echo.listen[0]: tcp://127.0.0.1:70000: port 70000 is out of range (0–65535)",
        ),
        (with_echo(listen=["localhost:\n7"]), None),
        (
            {},
            'services: no service is configured; expected one such as [services.echo] with listen = ["tcp://127.0.0.1:10007"]',
        ),
        (
            {"services": {}},
            'services: no service is configured; expected one such as [services.echo] with listen = ["tcp://127.0.0.1:10007"]',
        ),
    ],
)
def test_an_error_is_reported_on_one_line(content, said):
    """One error on one line, without errors that only follow from it."""
    if "services" not in content and content:
        content = content | with_echo()
    [error] = errors(content)
    assert error.isprintable()
    assert said is None or error == f"/etc/a.toml: {said}"


def test_an_unknown_key_is_an_error_in_each_file():
    assert errors({**with_echo(), "zz": 1}, {"zz": {}}) == [
        f"/etc/{name}.toml: zz: unknown key; expected one of: daemon, admin, defaults, services, bus" for name in "ab"
    ]


def test_missing_keys_are_not_reported_if_a_file_is_unreadable():
    assert errors({"services": {"mine": {"allow": []}}}, whole=False) == []
    assert errors(whole=False) == []


def test_the_kind_may_be_set_in_another_file():
    found, wrong = read({"services": {"mine": {"close": False}}}, {"services": {"mine": SERVICE | {"kind": "ack"}}})
    assert not wrong
    assert found["services"]["mine"]["close"].value is False


def test_options_are_checked_by_their_kind():
    assert errors(with_echo(kind="discard", show="txt")) == [
        '/etc/a.toml: services.echo.show: "txt" must be one of: no, text, hex; did you mean text?'
    ]
    [error] = errors(with_echo(close=True))
    assert error.startswith("/etc/a.toml: services.echo.close: unknown key; expected one of: kind, listen, show, ")


def test_options_are_checked_under_a_wrong_kind():
    """The options are those of the most similar kind, otherwise of all kinds."""
    wrong = {"show": 1, "bogus": 1, "limits": {"idel": 1}, "faults": {"drop": 2}, "listen": [3]}
    for kind in ("discrad", "zzz", 7, []):
        said = "\n".join(errors(with_echo(**wrong, kind=kind)))
        for key in ("kind", "show", "bogus", "limits.idel", "faults.drop", "listen[0]"):
            assert f"services.echo.{key}: " in said, (kind, key)
    assert "services.echo.close: unknown key" in "\n".join(errors(with_echo(kind="discrad", close=True)))
    assert "close" not in "\n".join(errors(with_echo(kind="zzz", close=True)))


def test_a_kind_that_comes_later(monkeypatch):
    monkeypatch.setattr(schema_check, "PLANNED", frozenset({"later"}))
    assert errors(with_echo(kind="later")) == ["/etc/a.toml: services.echo.kind: later: not available in this version"]
    assert errors({"services": {"later": SERVICE}}) == [
        "/etc/a.toml: services.later: later: not available in this version"
    ]
    assert errors(with_echo(kind="latr")) == [
        '/etc/a.toml: services.echo.kind: unknown kind "latr"; did you mean later?'
    ]
    assert not errors({"services": {"later": SERVICE}}, kinds={"later": Echo})


def test_keys_of_later_versions_are_refused():
    content = {
        "admin": {"listen": ["tcp://127.0.0.1:10090?proxy=v2"]},
        "bus": {"url": "redis://h"},
        "services": {
            "echo": {
                "listen": ["systemd:x"],
            }
        },
    }
    assert [error.removeprefix("/etc/a.toml: ") for error in errors(content)] == [
        "admin.listen[0]: ?proxy=: not available in this version",
    ]


def test_the_keys_of_tls_are_checked():
    tls = {"certificate": "", "client": "require", "alpn": ["echo", 1], "kee": "x"}
    said = [error.removeprefix("/etc/a.toml: services.echo.tls") for error in errors(with_echo(tls=tls))]
    assert said == [
        '.certificate: "" must be the path of a file, such as "/etc/echod/FILE"',
        '.client: "require" must be one of: required, optional; did you mean required?',
        '.alpn[1]: must be the name of a protocol such as "echo", not 1; did you mean "1", with the quotes?',
        ".kee: unknown key; did you mean key?",
    ]


@dataclass(frozen=True)
class FileOptions:
    quotes: Path | None = None


class Quoting(Service):
    kind = "quoting"
    summary = "for a test"
    Options = FileOptions


def test_a_relative_path_starts_from_its_file():
    found, _ = read({"services": {"quoting": SERVICE | {"quotes": "q.txt"}}}, kinds={"quoting": Quoting})
    assert found["services"]["quoting"]["quotes"].value == Path("/etc/q.txt")
    found, _ = read({"services": {"quoting": SERVICE | {"quotes": "/q.txt"}}}, kinds={"quoting": Quoting})
    assert found["services"]["quoting"]["quotes"].value == Path("/q.txt")


@dataclass(frozen=True)
class OddOptions:
    odd: set[int] = frozenset()  # type: ignore[assignment]  # a dataclass permits no mutable default


class Odd(Service):
    kind = "odd"
    summary = "for a test"
    Options = OddOptions


def test_a_kind_that_cannot_be_configured():
    [error] = errors({"services": {"odd": SERVICE}}, kinds={"odd": Odd})
    assert error.startswith(
        "/etc/a.toml: services.odd: kind odd cannot be configured: option odd of Odd has an unsupported type"
    )


@dataclass(frozen=True)
class Listening:
    listen: str = "to me"


class Shadowed(Service):
    kind = "shadowed"
    summary = "for a test"
    Options = Listening


def test_a_kind_whose_option_is_a_key_of_every_service():
    [error] = errors({"services": {"shadowed": SERVICE}}, kinds={"shadowed": Shadowed})
    assert error == (
        "/etc/a.toml: services.shadowed: kind shadowed cannot be configured:"
        " option listen of Shadowed is a key that every service has; rename it"
    )


def test_element():
    assert element("defaults.allow", 3) == "defaults.allow[3]"
    assert element("", 3) == ""
