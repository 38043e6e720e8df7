"""What `echoctl top` draws, in as many columns as there are."""

from __future__ import annotations

import pytest

from echod.client.top import counters, draw, rates, short

LISTENER = {"open": 1234, "accepted": 7, "datagrams_in": 0, "bytes_in": 5, "bytes_out": 5, "refused": {}}
STATUS = {
    "ready": True,
    "version": "1",
    "pid": 7,
    "uptime": 1,
    "services": [{"name": "echo", "listeners": [{"address": "tcp://[2001:db8::1234]:10007", **LISTENER}]}],
}


@pytest.mark.parametrize(("columns", "address"), [(100, "tcp://[2001:db8::1234]:10007"), (40, " :10007 ")])
def test_a_narrow_terminal_has_figures_all_the_same(columns, address, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    now = counters(STATUS)
    draw(STATUS, rates(now, now, 1.0))
    drawn = capsys.readouterr().out
    assert address in drawn
    assert "1,234" in drawn


@pytest.mark.parametrize(
    ("address", "shortened"),
    [
        ("tcp://127.0.0.1:7", ":7"),
        ("udp://[fe80::1%eth0]:7", ":7"),
        ("unix:///run/echod/echo.sock", "echo.sock"),
        ("unix://@name", "@name"),
        ("tcp6:7", "tcp6:7"),
        ("", ""),
    ],
)
def test_an_address_in_short(address, shortened):
    assert short(address) == shortened
