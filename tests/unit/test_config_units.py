"""Durations, sizes, rates and networks: accepted and refused texts, and that printing reverses parsing."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.config import units
from echod.gate.limits import UNLIMITED, Rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("250ms", 0.25),
        ("5us", 0.000005),
        ("10s", 10),
        ("1.5s", 1.5),
        ("60s", 60),
        ("5m", 300),
        ("1m30s", 90),
        ("1h", 3600),
        ("24d", 24 * 86400),
        ("1d2h3m4s5ms6us", 93784.005006),
    ],
)
def test_duration(text, seconds):
    assert units.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", 'expected one such as "250ms", "5m" or "1m30s"'),
        ("5", 'expected "5s"'),
        ("1.5", 'expected "1.5s"'),
        ("5 m", 'expected "5m"'),
        ("5M", 'expected "5m"'),
        ("5min", 'expected "5m"'),
        ("10 Seconds", 'expected "10s"'),
        ("20 msec", 'expected "20ms"'),
        ("2hrs", 'expected "2h"'),
        ("1 day", 'expected "1d"'),
        ("-5s", "expected one such as"),
        ("30s1m", "expected one such as"),
        ("5m5m", "expected one such as"),
        ("5w", "expected one such as"),
        ("٣s", "expected one such as"),
        ("1e3s", "expected one such as"),
        ("9" * 5000 + "s", "expected one such as"),
        ("5m\n", 'expected "5m"'),
        ("25d", 'the maximum is "24d"'),
        ("999999999h", 'the maximum is "24d"'),
    ],
)
def test_a_wrong_duration_is_refused(text, right):
    with pytest.raises(ValueError, match="is not a duration|is too long") as caught:
        units.duration(text)
    assert right in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (0.25, "250ms"),
        (10, "10s"),
        (60, "1m"),
        (90, "1m30s"),
        (300, "5m"),
        (86400, "1d"),
        (1e-9, "0.000000001s"),
    ],
)
def test_duration_text(seconds, text):
    assert units.duration_text(seconds) == text


@given(st.integers(0, units.LONGEST * 10**6).map(lambda microseconds: microseconds / 10**6))
def test_durations_survive_printing(seconds):
    assert units.duration(units.duration_text(seconds)) == seconds


@given(st.decimals(0, units.LONGEST, places=9).map(lambda seconds: units.duration(f"{seconds:f}s")))
def test_finer_durations_survive_printing(seconds):
    assert units.duration(units.duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1500", 1500), ("1KiB", 1024), ("64KiB", 65536), ("1MiB", 2**20), ("1GiB", 2**30), ("1TiB", 2**40)],
)
def test_size(text, count):
    assert units.size(text) == count
    assert units.size_text(count) == text


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("64KB", 'expected "64KiB" or "64000"'),
        ("64k", 'expected "64KiB" or "64000"'),
        ("2 MB", 'expected "2MiB" or "2000000"'),
        ("64 kib", 'expected "64KiB"'),
        ("1gi", 'expected "1GiB"'),
        ("", 'expected a whole number such as "1500", "64KiB" or "1MiB"'),
        ("1.5MiB", "expected a whole number"),
        ("-1", "expected a whole number"),
        ("lots\x1b[31m", "expected a whole number"),
        ("2TiB", 'the maximum is "1TiB"'),
        ("9" * 15 + "TiB", 'the maximum is "1TiB"'),
        ("9" * 5000, "expected a whole number"),
    ],
)
def test_a_wrong_size_is_refused(text, right):
    with pytest.raises(ValueError, match="is not a size|is too large") as caught:
        units.size(text)
    assert right in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.integers(0, units.LARGEST))
def test_sizes_survive_printing(count):
    assert units.size(units.size_text(count)) == count


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("auto", "auto"),
        ("0", UNLIMITED),
        ("0.0", UNLIMITED),
        ("300", Rate(300, 600)),
        ("300/900", Rate(300, 900)),
        ("0.2", Rate(0.2, 1)),
        ("0.5/3", Rate(0.5, 3)),
        ("1000000000", Rate(10**9, 2 * 10**9)),
    ],
)
def test_rate(text, rate):
    assert units.rate(text) == rate
    assert units.rate(units.rate_text(rate)) == rate


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", '"300" (a second), "300/900" (with its burst), "0" (no limit) or "auto"'),
        ("Auto", '"auto"'),
        ("-5", '"300" (a second)'),
        ("300/s", '"300" (a second)'),
        ("1/2/3", '"300" (a second)'),
        ("inf", '"300" (a second)'),
        ("0/5", 'expected "0" for no limit'),
        ("300/0", 'expected a burst of 1 or more, such as "300/1"'),
        ("1/0.5", '"1/1"'),
        ("1000000001", 'expected "0" for no limit'),
        ("1/9999999999", 'expected "0" for no limit'),
    ],
)
def test_a_wrong_rate_is_refused(text, right):
    with pytest.raises(ValueError, match="rate|lets? nothing|too fast") as caught:
        units.rate(text)
    assert right in str(caught.value)


def test_rate_text():
    assert units.rate_text("auto") == "auto"
    assert units.rate_text(UNLIMITED) == "0"
    assert units.rate_text(Rate(300, 600)) == "300/600"
    assert units.rate_text(Rate(0.2, 1)) == "0.2/1"


@given(
    st.decimals("0.000001", units.FASTEST, places=6).map(float),
    st.none() | st.decimals(1, units.FASTEST, places=6).map(float),
)
def test_rates_survive_printing(per_second, burst):
    rate = Rate(per_second, max(1.0, 2 * per_second) if burst is None else burst)
    assert units.rate(units.rate_text(rate)) == rate


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:192.0.2.0/120", "::ffff:192.0.2.0/120"),
    ],
)
def test_network(text, network):
    assert units.network(text) == ipaddress.ip_network(network)
    assert units.network(str(units.network(text))) == units.network(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("all", 'expected one such as "192.0.2.0/24"; all clients are "0.0.0.0/0" and "::/0"'),
        ("*", 'all clients are "0.0.0.0/0" and "::/0"'),
        ("10.1.2.3/8", 'expected "10.0.0.0/8" for the network or "10.1.2.3" for the host'),
        ("2001:db8::1/32", 'expected "2001:db8::/32"'),
        ("fe80::%eth0/64", "leave out the % and the text after it"),
        ("tcp://10.0.0.1:7", "leave out the scheme and the port"),
        ("10.0.0.0/33", 'expected one such as "192.0.2.0/24" or "2001:db8::/32"'),
        ("10.0.0.0/255.0.0.0", "expected one such as"),
        ("10.0.0", "expected one such as"),
        ("1", "expected one such as"),
        (" 10.0.0.0/8", "expected one such as"),
        ("localhost", "expected one such as"),
        ("", "expected one such as"),
    ],
)
def test_a_wrong_network_is_refused(text, right):
    with pytest.raises(ValueError, match="network") as caught:
        units.network(text)
    assert right in str(caught.value)


@given(st.text())
def test_any_text_gives_a_value_or_one_line(text):
    """Any text gives a value, or a ValueError of one line."""
    for parse in (units.duration, units.size, units.rate, units.network):
        try:
            parse(text)
        except ValueError as error:
            assert str(error).isprintable()


def test_shown():
    assert units.shown("a\nb") == '"a\\x0ab"'
    assert units.shown("x" * 61) == '"' + "x" * 60 + '…"'
