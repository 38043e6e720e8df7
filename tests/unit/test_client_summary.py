"""The summary of a ping."""

import json

import pytest

from echod.client.probe_ledger import ProbeLedger
from echod.client.statistics import Times
from echod.client.summary import figures, lines


def asked(*answers: tuple[int, float], sent: int = 4, wrong: int = 0) -> tuple[ProbeLedger, Times]:
    """An account of probes that were sent at 0 and answered by (number, seconds)."""
    account, times = ProbeLedger(patience=5), Times()
    for _ in range(sent):
        account.send(0)
    for number, seconds in answers:
        finding = account.answer(number, 64, seconds)
        if finding.kind.value in ("received", "reordered"):
            times.add(seconds)
    for _ in range(wrong):
        account.mistake(None, 64, "wrong")
    return account, times


def test_everything_at_once():
    found = figures(*asked((2, 0.001), (1, 0.002), (1, 0.002), (3, 6.0), wrong=1), awaited=0)
    assert lines(found) == [
        "4 sent, 2 received, 2 lost (50%), 1 late, 1 duplicated, 1 reordered, 1 wrong",
        "min/avg/median/p99/max/stddev = 1.000/1.500/1.500/1.990/2.000/0.500 ms, jitter 1.000 ms",
    ]
    assert json.loads(json.dumps(found)) == {
        "sent": 4,
        "received": 2,
        "lost": 2,
        "lost_percent": 50.0,
        "awaited": 0,
        "late": 1,
        "duplicated": 1,
        "reordered": 1,
        "wrong": 1,
        "min_ms": 1.0,
        "avg_ms": 1.5,
        "median_ms": 1.5,
        "p99_ms": 1.99,
        "max_ms": 2.0,
        "stddev_ms": 0.5,
        "jitter_ms": 1.0,
    }


def test_nothing_received_has_no_times():
    found = figures(*asked(sent=2), awaited=0)
    assert lines(found) == ["2 sent, 0 received, 2 lost (100%), 0 duplicated, 0 reordered, 0 wrong"]
    assert {name for name, value in found.items() if value is None} == {name for name in found if name.endswith("_ms")}


def test_nothing_sent():
    found = figures(*asked(sent=0), awaited=0)
    assert lines(found) == ["0 sent, 0 received, 0 lost (0%), 0 duplicated, 0 reordered, 0 wrong"]


def test_awaited_probes_are_not_lost():
    found = figures(*asked((1, 0.001)), awaited=1)
    assert found["lost_percent"] == pytest.approx(66.6667)
    said = "4 sent, 1 received, 2 lost (66.67%), 1 awaited, 0 duplicated, 0 reordered, 0 wrong"
    assert lines(found)[0] == said


def test_connections():
    found = figures(*asked((1, 0.001), (2, 0.001), (3, 0.001)), awaited=0)
    assert lines(found, connecting=True)[0] == "4 tried, 3 connected, 1 lost (25%)"


@pytest.mark.parametrize(
    ("sent", "received", "percent"),
    [(3, 3, "0"), (3, 0, "100"), (3, 2, "33.33"), (200, 199, "0.5"), (30_000, 29_999, "0.01"), (30_000, 1, "99.99")],
)
def test_a_percentage_is_0_or_100_only_if_exact(sent, received, percent):
    found = figures(*asked(*((number, 0.001) for number in range(1, received + 1)), sent=sent), awaited=0)
    assert f"{sent - received} lost ({percent}%)" in lines(found)[0]
