"""The output of a ping for each event: text, CSV and JSON."""

import argparse
import csv
import io
import json

import pytest

from echod.client.directions import OneWay
from echod.client.loss_pattern import Outage
from echod.client.ping_output import COLUMNS, Csv, JsonLines, Silent, Text, output
from echod.client.probe_ledger import ProbeResult, ReplyClass
from echod.client.record_lines import csv_line

RESULT = ProbeResult(
    ReplyClass.RECEIVED, 7, 64, 0.0015, remote="reflector", ttl=61, one_way=OneWay(0.0005, -0.0001, 0.0011)
)
WRONG = ProbeResult(ReplyClass.WRONG, None, 9, error='it says "no", and more')
REMOTE = "192.0.2.1:862"


def arguments(**changed):
    usual = dict.fromkeys(("quiet", "flood", "verbose", "dates", "csv", "json", "json_lines", "live"), False)
    return argparse.Namespace(**(usual | {"color": "never", "warn": None, "critical": None, "url": "u"} | changed))


def events(printer):
    printer.started("udp://h:7", "64 bytes", 0.2)
    printer.reply(RESULT, REMOTE, connecting=False)
    printer.reply(WRONG, REMOTE, connecting=False)
    printer.lost(8, "no reply within 1s", REMOTE)
    printer.outstanding(9)
    printer.outage(Outage(3, 4, 1.5))
    printer.summary("udp://h:7", ["3 sent", "warning: look"], bad=True)
    printer.facts({"sent": 3})


def printed(capfd, printer):
    events(printer)
    return capfd.readouterr().out


def test_text(capfd):
    assert printed(capfd, Text(arguments(), lambda: 5.0)).splitlines() == [
        "udp://h:7: 64 bytes every 200ms",
        f"64 bytes from {REMOTE}: seq=7 time=1.500 ms",
        f'9 bytes from {REMOTE}: wrong: it says "no", and more',
        f"no reply from {REMOTE}: seq=8 lost: no reply within 1s",
        "no answer yet for seq=9",
        "replies again after 1.500 s: 4 probes lost from seq=3",
        "",
        "--- udp://h:7 ---",
        "3 sent",
        "warning: look",
    ]


def test_text_with_dates_details_and_colors(capfd):
    said = printed(capfd, Text(arguments(dates=True, verbose=True, color="always"), lambda: 5.0)).splitlines()
    details = "ttl=61 forward=0.500 ms backward=-0.100 ms server=1.100 ms (reflector)"
    assert said[1] == f"[5.000000] 64 bytes from {REMOTE}: seq=7 time=1.500 ms {details}"
    assert said[3].startswith("\x1b[31m[5.000000] no reply from ")
    assert said[-1] == "\x1b[33mwarning: look\x1b[0m"


def test_quiet_text_is_the_summary(capfd):
    assert printed(capfd, Text(arguments(quiet=True), lambda: 5.0)) == "--- udp://h:7 ---\n3 sent\nwarning: look\n"


def test_a_flood_is_a_dot_for_each_loss(capfd):
    said = printed(capfd, Text(arguments(flood=True), lambda: 5.0)).splitlines()
    assert said[1].endswith("and more")
    assert said[2] == ".no answer yet for seq=9"


def test_a_connection_has_the_times_of_its_parts(capfd):
    result = ProbeResult(ReplyClass.LATE, 1, 0, 0.003, parts=(0.001, 0.002))
    Text(arguments(), lambda: 5.0).reply(result, REMOTE, connecting=True)
    said = capfd.readouterr().out
    assert said == f"connected to {REMOTE}: seq=1 time=3.000 ms tcp=1.000 ms tls=2.000 ms (late)\n"


def test_csv(capfd):
    rows = list(csv.reader(io.StringIO(csv_line(COLUMNS) + printed(capfd, Csv("udp://h:7", lambda: 5.0)))))
    assert rows[0] == list(COLUMNS)
    times = ["0.5", "-0.1", "1.1"]
    assert rows[1] == ["5.0", "udp://h:7", "7", "received", "1.5", "64", REMOTE, "61", *times, ""]
    assert rows[2][2:4] + rows[2][-1:] == ["", "wrong", 'it says "no", and more']
    assert rows[3][2:4] + rows[3][-1:] == ["8", "lost", "no reply within 1s"]
    assert len(rows) == 4


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1", "a=1"], ids=range(6))
def test_no_text_is_a_formula_or_a_control_in_csv(text, capfd):
    printer = Csv("udp://h:7", lambda: 5.0)
    printer.reply(ProbeResult(ReplyClass.WRONG, None, 9, error=text), REMOTE, connecting=False)
    printer.lost(1, text, REMOTE)
    for row in csv.reader(io.StringIO(capfd.readouterr().out)):
        assert row[-1] == {"\t": "\\x09=1", "a": text}.get(text[0], f"'{text}")


def test_json_lines(capfd):
    first, wrong, lost, last = map(json.loads, printed(capfd, JsonLines("u", lambda: 5.0)).splitlines())
    assert (first["seq"], first["forward_ms"], first["backward_ms"]) == (7, 0.5, -0.1)
    assert "error" not in first
    assert "seq" not in wrong
    assert (lost["result"], lost["error"]) == ("lost", "no reply within 1s")
    assert last == {"sent": 3}


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, Text),
        ({"csv": True}, Csv),
        ({"json_lines": True}, JsonLines),
        ({"json": True}, Silent),
        ({"warn": (1, 2)}, Silent),
        ({"critical": (1, 2)}, Silent),
    ],
    ids=range(6),
)
def test_the_output_of_each_format(changed, kind, capfd):
    printer = output(arguments(**changed))
    assert type(printer) is kind
    if kind is Silent:
        assert printed(capfd, printer) == ""
    elif kind is not Text:
        printer.reply(RESULT, REMOTE, connecting=False)
        assert capfd.readouterr().out
