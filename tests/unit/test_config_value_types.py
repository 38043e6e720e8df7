"""The types of values: each accepts valid values, and its error states the expected ones."""

import datetime
import math
import tomllib
from pathlib import Path

import pytest

from echod.address import Address
from echod.config import value_types
from echod.config.bus_url import BusUrl

TODAY = datetime.date(2026, 1, 1)


WRONG_URL = 'must be a URL such as "redis://127.0.0.1:6379/0" or "rediss://user:password@host:6379/0"'


@pytest.mark.parametrize(
    ("form", "value", "accepted"),
    [
        (value_types.FLAG, True, True),
        (value_types.TEXT, "", ""),
        (value_types.NAME, "x", "x"),
        (value_types.URL, "redis://h", BusUrl("h")),
        (value_types.FILE, "a/b", Path("a/b")),
        (value_types.DURATION, "0", 0.0),
        (value_types.TIMEOUT, "1s", 1.0),
        (value_types.SIZE, "64KiB", 65536),
        (value_types.RATE, "auto", "auto"),
        (value_types.COUNT, 1, 1),
        (value_types.PROBABILITY, 0, 0.0),
        (value_types.PROBABILITY, 0.5, 0.5),
        (value_types.PORTS, [7], [7]),
        (value_types.number(), -1.5, -1.5),
        (value_types.words("a", "b"), "a", "a"),
        (value_types.words(1, True), True, True),
        (value_types.words(1, True), 1, 1),
    ],
)
def test_a_correct_value_is_accepted(form, value, accepted):
    found = form.accept(value)
    assert found == accepted
    assert type(found) is type(accepted)


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        (value_types.FLAG, 1, "must be true or false, not 1"),
        (value_types.FLAG, "yes", 'must be true or false, not "yes"'),
        (value_types.FLAG, "true", 'must be true or false, not "true"; did you mean true, without quotes?'),
        (value_types.TEXT, 1, 'must be text, not 1; did you mean "1", with the quotes?'),
        pytest.param(value_types.TEXT, 16**9999, "must be text, not so large a number", id="huge text"),
        (value_types.NAME, "", "must not be empty"),
        (value_types.URL, "redis:h", f"{WRONG_URL}; the host or the port is missing"),
        (value_types.URL, "redis://a b", f"{WRONG_URL}; it has a character that must be percent-encoded"),
        (value_types.FILE, "", '"" must be the path of a file, such as "/etc/echod/FILE"'),
        (value_types.FILE, "a\0", '"a\\x00" must be the path of a file, such as "/etc/echod/FILE"'),
        (value_types.DURATION, 5, 'must be a duration such as "5m", not 5; did you mean "5s", with the quotes?'),
        (value_types.DURATION, 0.5, 'must be a duration such as "5m", not 0.5; did you mean "0.5s", with the quotes?'),
        (value_types.DURATION, -1, 'must be a duration such as "5m", not -1'),
        (value_types.SIZE, 4, 'must be a size such as "64KiB", not 4; did you mean "4", with the quotes?'),
        (value_types.SIZE, 0.5, 'must be a size such as "64KiB", not 0.5'),
        (value_types.RATE, 9, f'must be {value_types.RATE.right}, not 9; did you mean "9", with the quotes?'),
        (value_types.DURATION, TODAY, 'must be a duration such as "5m", not a date or a time'),
        (value_types.TIMEOUT, "0", '"0" must be longer than 0; the maximum is "24d"'),
        (value_types.SIZE, True, 'must be a size such as "64KiB", not true'),
        (value_types.SIZE, "0", '"0" must be at least "1"'),
        (value_types.RATE, {}, 'must be a rate such as "300", "300/900", "0" or "auto", not a table'),
        (value_types.COUNT, 0, "must be a whole number from 1 to 2147483647, not 0"),
        (value_types.COUNT, False, "must be a whole number from 1 to 2147483647, not false"),
        (value_types.COUNT, 1.0, "must be a whole number from 1 to 2147483647, not 1.0"),
        pytest.param(
            value_types.COUNT,
            16**9999,
            "must be a whole number from 1 to 2147483647, not so large a number",
            id="huge value_types.COUNT",
        ),
        (value_types.PROBABILITY, 1.5, "must be a number from 0 to 1, not 1.5"),
        (value_types.PROBABILITY, math.nan, "must be a number from 0 to 1, not nan"),
        (value_types.PROBABILITY, True, "must be a number from 0 to 1, not true"),
        (value_types.number(), math.inf, "must be a number, not inf"),
        pytest.param(value_types.number(), 16**9999, "must be a number, not so large a number", id="huge number"),
        (value_types.PROBABILITY, "0.5", 'must be a number from 0 to 1, not "0.5"; did you mean 0.5, without quotes?'),
        (value_types.PROBABILITY, "2", 'must be a number from 0 to 1, not "2"'),
        (
            value_types.COUNT,
            "٣",
            'must be a whole number from 1 to 2147483647, not "٣"; did you mean 3, without quotes?',
        ),
        pytest.param(
            value_types.COUNT,
            "\x1b" * 99,
            'must be a whole number from 1 to 2147483647, not "' + r"\x1b" * 60 + '…"',
            id="long text",
        ),
        (value_types.PORTS, 7, "must be an array of port numbers, not 7; did you mean [7], with the brackets?"),
        (value_types.PORTS, "7", 'must be an array of port numbers, not "7"'),
        (
            value_types.NETWORKS,
            "10.0.0.0/8",
            'must be an array of networks such as ["192.0.2.0/24"], not "10.0.0.0/8";'
            ' did you mean ["10.0.0.0/8"], with the brackets?',
        ),
        (value_types.words("no", "text"), "txt", '"txt" must be one of: no, text; did you mean text?'),
        (value_types.words("no", "text"), "TEXT", '"TEXT" must be one of: no, text; did you mean text?'),
        (value_types.words("no", "text"), "zzz", '"zzz" must be one of: no, text'),
        (value_types.words("no", "text"), [], "must be one of: no, text; not an array"),
        (value_types.words(1, 2), True, "must be one of: 1, 2; not true"),
        (value_types.words(1, 2), 3, "must be one of: 1, 2; not 3"),
    ],
)
def test_a_wrong_value_is_refused(form, value, said):
    with pytest.raises(ValueError, match="must") as caught:
        form.accept(value)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (value_types.FLAG, "false"),
        (value_types.TEXT, '"a\\"b"'),
        (value_types.FILE, '"/a/b"'),
        (value_types.DURATION, '"1m30s"'),
        (value_types.SIZE, '"64KiB"'),
        (value_types.RATE, '"300/900"'),
        (value_types.COUNT, "7"),
        (value_types.PROBABILITY, "0.25"),
        (value_types.words("a", 1, True), '"a"'),
        (value_types.words("a", 1, True), "1"),
        (value_types.words("a", 1, True), "true"),
    ],
)
def test_printing_is_the_reverse(form, text):
    assert form.toml(form.accept(tomllib.loads(f"x = {text}")["x"])) == text


def test_arrays_print_each_element():
    assert value_types.PORTS.toml((7, 9)) == "[7, 9]"
    assert value_types.NETWORKS.toml(()) == "[]"
    assert value_types.ADDRESSES.toml((Address("tcp", "::1", 7),)) == '["tcp://[::1]:7"]'
