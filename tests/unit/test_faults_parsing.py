"""Faults from tables and texts, and their contradictions."""

import ipaddress
import re
from typing import Any, get_args

import pytest

from echod.faults import parsing
from echod.faults.keys import KEYS
from echod.faults.parsing import FaultErrors, described, key_of, misfits, parse_faults
from echod.faults.settings import NO_FAULTS, Faults, Script, Step, TlsFault, WebSocketFault
from echod.transports.registry import SCHEMES
from tests.daemon import TOP

EXAMPLES = {
    "seed": ("42", 42, 42),
    "delay": ("200ms", "200ms", 0.2),
    "jitter": ("1s", "1s", 1.0),
    "distribution": ("pareto", "pareto", "pareto"),
    "rate": ("64KiB", "64KiB", 65536),
    "chunk": ("1", "1", 1),
    "drop": ("0.25", 0.25, 0.25),
    "burst": ("4", 4, 4.0),
    "duplicate": ("1", 1, 1.0),
    "reorder": ("0.5", 0.5, 0.5),
    "corrupt": ("1e-3", 0.001, 0.001),
    "truncate": ("0", "0", 0),
    "reset-after": ("0", "0", 0),
    "close-after": ("1KiB", "1KiB", 1024),
    "half-close-after": ("5", "5", 5),
    "hang-after": ("7", "7", 7),
    "half-open-after": ("7", "7", 7),
    "refuse": ("true", True, True),
    "silent": ("true", True, True),
    "never-read": ("true", True, True),
    "backlog-full": ("true", True, True),
    "delay-close": ("5s", "5s", 5.0),
    "tls": ("stall", "stall", "stall"),
    "websocket": ("no-pong", "no-pong", "no-pong"),
    "every": ("3", 3, 3),
    "first": ("2", 2, 2),
    "clients": (
        "127.0.0.0/8,::1",
        ["127.0.0.0/8", "::1"],
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")),
    ),
}
NEEDS: dict[str, dict[str, Any]] = {"distribution": {"jitter": "1s"}, "burst": {"drop": 0.5}}


def errors(**written):
    with pytest.raises(FaultErrors) as caught:
        parse_faults({key_of(name): value for name, value in written.items()})
    return str(caught.value)


@pytest.mark.parametrize("key", [key for key in KEYS if key != "script"])
def test_a_key_has_the_same_value_as_text_and_as_toml(key):
    text, value, read = EXAMPLES[key]
    base = parse_faults(NEEDS.get(key, {}))
    for written in (text, value):
        faults = parse_faults({key: written}, base)
        assert getattr(faults, parsing.field_of(key)) == read
        assert faults.active - base.active == {parsing.field_of(key)}
        assert parse_faults({key: ""}, faults) == base


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ({"delay": "5"}, 'delay: "5" is not a duration; expected "5s"'),
        ({"truncate": 4}, 'truncate: must be a number of bytes such as "0" or "64KiB", not 4; did you mean "4", with'),
        ({"delay": 5}, 'delay: must be a duration such as "5m", not 5; did you mean "5s", with the quotes?'),
        ({"delay": None}, 'delay: must be a duration such as "5m", not null'),
        ({"drop": "2"}, "drop: must be a number from 0 to 1, not 2"),
        ({"drop": "most"}, 'drop: must be a number from 0 to 1, not "most"'),
        ({"drop": "nan"}, "drop: must be a number from 0 to 1, not nan"),
        ({"refuse": "yes"}, 'refuse: must be true or false, not "yes"'),
        ({"seed": "1.5"}, "seed: must be a whole number from 0 to 9223372036854775807, not 1.5"),
        ({"clients": "10.0.0.1/8"}, 'clients: "10.0.0.1/8" is a host in a network'),
        ({"dely": "1s"}, "dely: unknown key; did you mean delay?"),
        ({"script": "x.toml"}, "script: is a file; use "),
        ({"a\x1b[31m": "1s"}, "a\\x1b[31m: unknown key; expected one of: "),
        ({"reset-after": "1", "hang-after": "2"}, "hang-after: excludes reset-after; expected only one of them"),
        ({"burst": 2}, "burst: needs drop, the share of messages that are dropped, between 0 and 1; it is 0"),
        ({"burst": 2, "drop": 0.9}, "burst: 2 is too short for drop = 0.9; expected at least 9"),
        ({"distribution": "normal"}, "distribution: needs jitter, the scale of the random time"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_error_is_one_line(written, text):
    with pytest.raises(FaultErrors) as caught:
        parse_faults(written)
    assert str(caught.value).startswith(text)
    assert len(caught.value.errors) == 1
    assert "\n" not in str(caught.value)


def test_all_errors_are_reported_together():
    assert errors(delay=1, jitter=2).count("\n") == 1


def test_a_text_of_any_length_is_an_error_and_not_a_hang():
    assert errors(seed="9" * 100_000).endswith("not so large a number")


@pytest.mark.parametrize("key", KEYS)
def test_a_fault_that_does_not_exist_on_a_transport_is_an_error(key):
    faults = parse_faults(NEEDS.get(key, {}))
    if key == "script":
        return
    faults = parse_faults({key: EXAMPLES[key][1]}, faults)
    for name, scheme in SCHEMES.items():
        found = dict(misfits(faults, [scheme]))
        has_layer = KEYS[key].layer in ("", *scheme.layers) and KEYS[key].without not in scheme.layers
        has_layer = has_layer and not (KEYS[key].inet and scheme.has_path)
        assert (key not in found) == (scheme.shape in KEYS[key].shapes and has_layer), name
    assert not dict(misfits(faults, [SCHEMES["tls"], SCHEMES["udp"], SCHEMES["ws"]]))


def test_the_error_names_the_shapes():
    assert list(misfits(Faults(drop=0.1), [SCHEMES["tcp"], SCHEMES["tls"]])) == [
        ("drop", "does not exist on streams; expected an address of messages or datagrams")
    ]


def test_no_faults_are_described_as_nothing():
    assert described(NO_FAULTS) == {}
    assert NO_FAULTS.active == frozenset()
    assert described(parse_faults({"delay": "1s", "drop": 0.5})) == {"delay": '"1s"', "drop": "0.5"}
    assert described(Faults(script=Script((Step(NO_FAULTS),)))) == {"script": "1 step"}


@pytest.mark.parametrize("key", ["tls", "websocket"])
def test_the_page_has_every_word_of_a_layer(key):
    page = (TOP / "docs" / "CONFIG.md").read_text("utf-8")
    _, _, table = page.partition(f"| `{key}` | A client gets |\n")
    words = re.findall(r'(?m)^\| `"(.*?)"`', table.partition("\n\n")[0])
    assert sorted(words) == sorted(get_args({"tls": TlsFault, "websocket": WebSocketFault}[key]))
