"""The result of a ping as that of a monitoring plugin."""

import math

import pytest

from echod.client.monitoring import CRITICAL, OK, UNKNOWN, WARNING, line, state_of

FOUND = {"sent": 10, "received": 9, "lost": 1, "wrong": 0, "avg_ms": 50.0, "lost_percent": 10.0}
NOTHING = FOUND | {"received": 0, "lost": 10, "avg_ms": None, "lost_percent": 100.0}


@pytest.mark.parametrize(
    ("found", "warn", "critical", "code"),
    [
        (FOUND, (0.1, 20), (0.2, 50), OK),
        (FOUND, (0.05, 10), None, OK),  # at the limit
        (FOUND, (0.049, 20), (0.2, 50), WARNING),
        (FOUND, (0.1, 9.9), (0.2, 50), WARNING),
        (FOUND, (0.01, 5), (0.04, 50), CRITICAL),
        (FOUND, None, (math.inf, 5), CRITICAL),
        (FOUND | {"wrong": 1}, (0.1, 20), None, WARNING),
        (NOTHING, (math.inf, 100), None, CRITICAL),
        (NOTHING | {"sent": 0, "lost": 0}, (1, 1), None, UNKNOWN),
        (NOTHING | {"lost": 0}, (1, 1), None, UNKNOWN),  # all are awaited
    ],
    ids=range(10),
)
def test_the_code(found, warn, critical, code):
    assert state_of(found, warn, critical) == code


def test_the_line_has_performance_data():
    assert line("udp://h:7", FOUND, WARNING, (0.05, 5), (0.5, math.inf), None) == (
        "PING WARNING - udp://h:7: 50.000 ms, 10% lost | rta=0.050000s;0.05;0.5;0 pl=10%;5;;0;100"
    )
    small = FOUND | {"avg_ms": 0.02, "lost_percent": 0.00005}
    assert line("udp://h:7", small, OK, (0.00005, 0.0001), (20_000_000, 5), None) == (
        "PING OK - udp://h:7: 0.020 ms, 0.00005% lost | rta=0.000020s;0.00005;20000000;0 pl=0.00005%;0.0001;5;0;100"
    )
    assert line("udp://h:7", NOTHING, CRITICAL, None, None, "a | b") == (
        "PING CRITICAL - a / b | rta=U;;;0 pl=100%;;;0;100"
    )
