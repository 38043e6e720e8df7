"""The forms of values: each accepts what is right, and says what would be right for all else."""

import datetime
import math
import tomllib
from pathlib import Path

import pytest

from echod.address import Address
from echod.config import forms

TODAY = datetime.date(2026, 1, 1)


@pytest.mark.parametrize(
    ("form", "value", "accepted"),
    [
        (forms.FLAG, True, True),
        (forms.TEXT, "", ""),
        (forms.NAME, "x", "x"),
        (forms.URL, "redis://h", "redis://h"),
        (forms.FILE, "a/b", Path("a/b")),
        (forms.DURATION, "0", 0.0),
        (forms.TIMEOUT, "1s", 1.0),
        (forms.SIZE, "64KiB", 65536),
        (forms.RATE, "auto", "auto"),
        (forms.COUNT, 1, 1),
        (forms.PROBABILITY, 0, 0.0),
        (forms.PROBABILITY, 0.5, 0.5),
        (forms.PORTS, [7], [7]),
        (forms.number(), -1.5, -1.5),
        (forms.words("a", "b"), "a", "a"),
        (forms.words(1, True), True, True),
        (forms.words(1, True), 1, 1),
    ],
)
def test_what_is_right(form, value, accepted):
    found = form.accept(value)
    assert found == accepted
    assert type(found) is type(accepted)


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        (forms.FLAG, 1, "must be true or false, not a number"),
        (forms.FLAG, "yes", "must be true or false, not text"),
        (forms.TEXT, 1, "must be text, not a number"),
        (forms.NAME, "", "must not be empty"),
        (forms.URL, "redis:h", '"redis:h" must be a URL such as "redis://127.0.0.1:6379"'),
        (forms.URL, "redis://a b", '"redis://a b" must be a URL such as "redis://127.0.0.1:6379"'),
        (forms.FILE, "", '"" must be the path of a file, such as "/etc/echod/quotes.txt"'),
        (forms.FILE, "a\0", '"a\\x00" must be the path of a file, such as "/etc/echod/quotes.txt"'),
        (forms.DURATION, 5, 'must be a duration such as "5m", not a number'),
        (forms.DURATION, TODAY, 'must be a duration such as "5m", not a date or a time'),
        (forms.TIMEOUT, "0", '"0" must be longer than 0; the longest is "24d"'),
        (forms.SIZE, True, 'must be a size such as "64KiB", not true'),
        (forms.SIZE, "0", '"0" must be at least "1"'),
        (forms.RATE, {}, 'must be a rate such as "300", "300/900", "0" or "auto", not a table'),
        (forms.COUNT, 0, "must be a whole number from 1 to 2147483647, not 0"),
        (forms.COUNT, False, "must be a whole number from 1 to 2147483647, not false"),
        (forms.COUNT, 1.0, "must be a whole number from 1 to 2147483647, not 1.0"),
        pytest.param(
            forms.COUNT,
            16**9999,
            "must be a whole number from 1 to 2147483647, not so large a number",
            id="huge forms.COUNT",
        ),
        (forms.PROBABILITY, 1.5, "must be a number from 0 to 1, not 1.5"),
        (forms.PROBABILITY, math.nan, "must be a number from 0 to 1, not nan"),
        (forms.PROBABILITY, True, "must be a number from 0 to 1, not true"),
        (forms.number(), math.inf, "must be a number, not inf"),
        pytest.param(forms.number(), 16**9999, "must be a number, not so large a number", id="huge forms.number()"),
        (forms.PORTS, 7, "must be an array of port numbers, not a number"),
        (forms.words("no", "text"), "txt", '"txt" must be one of: no, text; did you mean text?'),
        (forms.words("no", "text"), "TEXT", '"TEXT" must be one of: no, text; did you mean text?'),
        (forms.words("no", "text"), "zzz", '"zzz" must be one of: no, text'),
        (forms.words("no", "text"), [], "must be one of: no, text; not an array"),
        (forms.words(1, 2), True, "must be one of: 1, 2; not true"),
        (forms.words(1, 2), 3, "must be one of: 1, 2; not 3"),
    ],
)
def test_what_is_wrong(form, value, said):
    with pytest.raises(ValueError, match="must") as caught:
        form.accept(value)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (forms.FLAG, "false"),
        (forms.TEXT, '"a\\"b"'),
        (forms.FILE, '"/a/b"'),
        (forms.DURATION, '"1m30s"'),
        (forms.SIZE, '"64KiB"'),
        (forms.RATE, '"300/900"'),
        (forms.COUNT, "7"),
        (forms.PROBABILITY, "0.25"),
        (forms.words("a", 1, True), '"a"'),
        (forms.words("a", 1, True), "1"),
        (forms.words("a", 1, True), "true"),
    ],
)
def test_printing_is_the_reverse(form, text):
    assert form.toml(form.accept(tomllib.loads(f"x = {text}")["x"])) == text


def test_arrays_print_each_element():
    assert forms.PORTS.toml((7, 9)) == "[7, 9]"
    assert forms.NETWORKS.toml(()) == "[]"
    assert forms.ADDRESSES.toml((Address("tcp", "::1", 7),)) == '["tcp://[::1]:7"]'
