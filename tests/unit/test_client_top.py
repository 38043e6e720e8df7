"""The screen of `echoctl top` in terminals of different widths."""

from __future__ import annotations

import io
import os
import sys

import pytest
from wcwidth import wcswidth

from echod.client.commands.top import Keyboard
from echod.client.tables import screen
from echod.client.top_rates import (
    CONNECTION_ORDERS,
    ORDERS,
    Rates,
    connections,
    listeners,
    ordered,
    services,
    sparkline,
)
from echod.client.top_screen import HISTORY, drawn, short
from tests.daemon import SECONDS

LISTENER = {"open": 1234, "accepted": 7, "datagrams_in": 0, "bytes_in": 5, "bytes_out": 5, "refused": {}}
STATUS = {
    "ready": True,
    "version": "1",
    "pid": 7,
    "uptime": 1,
    "services": [{"name": "echo", "listeners": [{"address": "tcp://[2001:db8::1234]:10007", **LISTENER}]}],
}


WIDE = {
    **STATUS,
    "services": [
        {
            "name": "回声服务的名字",
            "listeners": [
                {"address": "tcp://127.0.0.1:10007", **LISTENER},
                {"address": "tcp://[2001:db8::1234]:10007", **LISTENER},
                {"address": "udp://127.0.0.1:10007", **LISTENER},
            ],
        },
        {"name": "🚀-upper", "listeners": [{"address": "unix:///run/echod/上りの窓口.sock", **LISTENER}]},
        {"name": "[red]name[/red] :smile:", "listeners": [{"address": "udp://127.0.0.1:10009", **LISTENER}]},
    ],
}


def lines_of(status, columns, lines=24, color="never", view="listeners", rows=None):
    """The drawn screen as lines."""
    shown = Rates().rows(listeners(status), 1.0) if rows is None else rows
    console = screen(color, live=True)
    console.width = columns
    with console.capture() as captured:
        console.print(drawn(status, view, shown, columns, lines))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize(("columns", "address"), [(100, "tcp://[2001:db8::1234]:10007"), (40, " tcp :10007 ")])
def test_a_narrow_terminal_still_has_figures(columns, address):
    shown = "\n".join(lines_of(STATUS, columns))
    assert address in shown
    assert "1,234" in shown


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_wide_characters_take_the_columns_that_they_are_drawn_in(columns):
    found = lines_of(WIDE, columns)
    assert len(found) == 3 + 5
    assert max(map(wcswidth, found)) <= columns
    heading, *rows = found[2:]
    ends = heading.index("OPEN") + len("OPEN")
    for row in rows:
        before = next(row[:at] for at in range(len(row) + 1) if wcswidth(row[:at]) == ends)
        assert before.endswith(" 1,234")
    addresses = [row.split()[1:3] for row in rows]
    assert len({tuple(one) for one in addresses}) == 5  # no two rows look the same


def test_a_screen_fits_the_height_of_the_terminal():
    assert len(lines_of(WIDE, 80, lines=5)) == 5


def test_nothing_in_a_name_is_markup():
    assert any("[red]name[/red] :smile:" in line for line in lines_of(WIDE, 200, color="always"))


@pytest.mark.parametrize(
    ("address", "shortened"),
    [
        ("tcp://127.0.0.1:7", "tcp :7"),
        ("udp://[fe80::1%eth0]:7", "udp :7"),
        ("unix:///run/echod/echo.sock", "unix echo.sock"),
        ("unix-dgram:///run/echod/echo.dgram", "unix-dgram echo.dgram"),
        ("unix://@name", "unix @name"),
        ("tcp6:7", "tcp6:7"),
        ("", ""),
    ],
)
def test_an_address_in_short(address, shortened):
    assert short(address) == shortened


def grown(**more):
    """STATUS after one of its listeners has counted more."""
    listener = {"address": "tcp://[2001:db8::1234]:10007", **LISTENER, **more}
    return {**STATUS, "services": [{"name": "echo", "listeners": [listener]}]}


def test_rates_are_the_growth_of_a_second_and_none_at_first():
    rates = Rates()
    [row] = rates.rows(listeners(STATUS), 10.0)
    assert set(row.a_second.values()) == {0.0}
    [row] = rates.rows(listeners(grown(bytes_in=205, bytes_out=105, refused={"denied": 4})), 12.0)
    assert (row.a_second["in"], row.a_second["out"], row.a_second["refused"]) == (100.0, 50.0, 2.0)
    assert row.history == (150.0,)
    [row] = rates.rows(listeners(grown()), 13.0)  # a restarted daemon counts from 0
    assert (row.a_second["in"], row.history) == (0.0, (150.0, 0.0))


def test_a_service_is_the_sum_of_its_listeners():
    sums = services(WIDE)
    assert [name for (name,) in sums] == ["回声服务的名字", "🚀-upper", "[red]name[/red] :smile:"]
    assert sums[("回声服务的名字",)]["open"] == 3 * 1234


@pytest.mark.parametrize("order", ORDERS)
def test_each_order_sorts_the_largest_first(order):
    """Two listeners: the second one is larger in everything, and its name is later."""
    small = {"open": 1, "new": 1, "datagrams": 1, "in": 1, "out": 1, "refused": 1}
    rates = Rates()
    rates.rows({("a", "x"): dict.fromkeys(small, 0), ("b", "x"): dict.fromkeys(small, 0)}, 0.0)
    rows = rates.rows({("a", "x"): small, ("b", "x"): dict.fromkeys(small, 9)}, 1.0)
    names = [row.identity[0] for row in ordered(rows, order)]
    assert names == (["a", "b"] if order == "name" else ["b", "a"])
    assert [row.identity[0] for row in ordered(rows, order, backwards=True)] == names[::-1]


def test_connections_of_unnamed_peers_stay_apart():
    one = {"service": "echo", "address": "unix:///x", "peer": "unnamed", "bytes_in": 1, "bytes_out": 2, "unsent": 3}
    found = connections([one, one, one])
    assert [identity[2] for identity in found] == ["unnamed", "unnamed #2", "unnamed #3"]
    assert found["echo", "unix:///x", "unnamed"] == {"in": 1, "out": 2, "unsent": 3}


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ((), 10, ""),
        ((0.0, 0.0), 10, "▁▁"),
        ((0.0, 50.0, 100.0), 10, "▁▅█"),
        ((100.0, 0.0, 1.0), 2, "▁█"),
        ((5.0,), 0, ""),
    ],
)
def test_sparklines(values, width, bars):
    assert sparkline(values, width) == bars


def history(seconds=70):
    rates = Rates()
    return [rates.rows(listeners(grown(bytes_in=second * second)), float(second)) for second in range(seconds)][-1]


@pytest.mark.parametrize(("columns", "has_bars"), [(40, False), (80, True), (120, True), (200, True)])
def test_bars_are_drawn_if_they_fit(columns, has_bars):
    lines = lines_of(STATUS, columns, rows=history())
    assert (HISTORY in lines[2]) == has_bars
    assert ("█" in lines[3]) == has_bars
    assert max(map(wcswidth, lines)) <= columns


def test_bars_are_left_out_if_the_terminal_cannot_encode_them(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert not any(HISTORY in line or "█" in line for line in lines_of(STATUS, 200, rows=history()))


def test_a_very_narrow_terminal_cuts_the_name_of_a_service():
    rows = Rates().rows({("a-name-of-a-service" * 2,): listeners(STATUS)["echo", "tcp://[2001:db8::1234]:10007"]}, 1.0)
    _heading, row = lines_of(STATUS, 30, view="services", rows=rows)[2:]
    assert len(row) <= 30
    assert "…" in row


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("view", ["services", "connections"])
def test_every_view_fits_every_width(view, columns):
    rates = Rates()
    if view == "services":
        rows = rates.rows(services(WIDE), 1.0)
    else:
        peers = [f"[2001:db8:1234:5678:9abc:def0:1234:{number:x}]:65535" for number in range(40)]
        listed = [
            {"service": "回声服务的名字", "address": "tcp://127.0.0.1:10007", "peer": peer, "bytes_in": 2**40,
             "bytes_out": 2**40, "unsent": 2**20} for peer in peers
        ]  # fmt: skip
        rows = rates.rows(connections(listed), 1.0)
    lines = lines_of(WIDE, columns, view=view, rows=rows)
    assert len(lines) == min(3 + len(rows), 24)
    assert max(map(wcswidth, lines)) <= columns
    assert all(("1.0 TiB" in line) == (view == "connections") for line in lines[3:])


def test_the_orders_of_connections_are_those_of_the_daemon():
    from echod.admin.largest_connections import ORDERS as SERVED

    assert tuple(SERVED) == CONNECTION_ORDERS


@pytest.mark.parametrize(
    ("reads", "keys"),
    [
        ([b"\x1b", b"[C"], [b"\x1b[C"]),
        ([b"\x1b[", b"C"], [b"\x1b[C"]),
        ([b"l\x1bO", b"Dr"], [b"l", b"\x1bOD", b"r"]),
        ([b"\x1b[1;", b"5Cq"], [b"\x1b[1;5C", b"q"]),
        ([b"\x1bq"], [b"\x1b", b"q"]),
        ([b"\x1b", b"q"], [b"\x1b", b"q"]),
        ([b"\x1b\x1b[D"], [b"\x1b", b"\x1b[D"]),
        ([b"\x1b[" + b"0" * 1000, b"q"], [b"\x1b", b"[", *[b"0"] * 1000, b"q"]),
        ([b"\x1b["], []),
    ],
    ids=["after-esc", "after-csi", "after-ss3", "parameters", "esc-then-q", "esc-pause-q", "alt", "endless", "begun"],
)
def test_keys_are_found_however_their_bytes_arrive(monkeypatch, reads, keys):
    reading, writing = os.pipe()
    with open(reading, "rb") as stdin, open(writing, "wb", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", stdin)
        keyboard = Keyboard()
        found = []
        for data in reads:
            terminal.write(data)
            found += keyboard.pressed(SECONDS)
        assert found == keys
        assert keyboard.pressed(0) == []
        terminal.close()
        assert keyboard.pressed(SECONDS) == [b""]
