"""The screen of `echoctl top` in terminals of different widths."""

from __future__ import annotations

import pytest
from wcwidth import wcswidth

from echod.client.commands.top import counters, drawn, rates, short
from echod.client.tables import screen

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


def lines_of(status, columns, lines=24, color="never"):
    """The drawn screen as lines."""
    now = counters(status)
    console = screen(color, live=True)
    console.width = columns
    with console.capture() as captured:
        console.print(drawn(status, list(rates(now, now, 1.0)), columns, lines))
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
