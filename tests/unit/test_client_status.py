"""`echoctl status`: the certificates of the daemon."""

from __future__ import annotations

from typing import Any

import pytest

from echod.client.commands.status import page
from echod.client.tables import screen, show


def certificate(subject: str, days: int, *names: str) -> dict[str, Any]:
    return {"subject": subject, "days_left": days, "names": list(names)}


def printed(capfd: Any, *certificates: dict[str, Any], **more: Any) -> list[str]:
    status = {
        "version": "1",
        "ready": True,
        "pid": 7,
        "uptime": 5,
        "files": [],
        "last_reload": None,
        "lines_lost": 0,
        "events_lost": 0,
        "services": [{"name": "echo-tls", "kind": "echo", "listeners": [], "certificates": list(certificates)}],
        **more,
    }
    for part in page(status, 200):
        show(screen("never"), part)
    return [line.rstrip() for line in capfd.readouterr().out.splitlines()]


def test_the_first_certificate_to_expire_is_first_and_a_problem_has_a_line(capfd):
    lines = printed(
        capfd, certificate("CN=b", 21, "b.example", "192.0.2.7"), certificate("CN=a\x1b[2J", 20, "a.example")
    )
    at = next(at for at, line in enumerate(lines) if line.startswith("SERVICE") and "DAYS LEFT" in line)
    assert [line.split() for line in lines[at + 1 : at + 3]] == [
        ["echo-tls", r"CN=a\x1b[2J", "20", "a.example"],
        ["echo-tls", "CN=b", "21", "b.example,", "192.0.2.7"],
    ]
    assert lines[at + 3] == r"CN=a\x1b[2J of echo-tls expires soon: 20 days left"
    assert not any("CN=b of" in line for line in lines)


@pytest.mark.parametrize(
    ("days", "when"),
    [(1, "expires soon: 1 day left"), (0, "expires soon: 0 days left"), (-1, "has expired")],
)
def test_a_line_says_that_a_certificate_has_expired_or_will(capfd, days, when):
    assert printed(capfd, certificate("CN=a", days))[-1] == f"CN=a of echo-tls {when}"


@pytest.mark.parametrize(
    ("status", "how"),
    [
        ({"plane": True, "native": True}, "on, with the native loop"),
        ({"plane": True, "native": False}, "on, in Python"),
        ({"plane": True}, "on, in Python"),  # of an earlier version
        ({"plane": False, "native": False}, "off"),
    ],
    ids=["native", "python", "earlier", "off"],
)
def test_a_line_says_how_the_fast_path_serves(capfd, status, how):
    assert f"fast path: {how}" in printed(capfd, **status)


def test_workers_have_a_table(capfd):
    serving = {"worker": 0, "pid": 71, "serving": True, "connections": 1234, "uptime": 3725}
    starting = {"worker": 1, "pid": 72, "serving": False, "connections": 0, "uptime": 1}
    hung = {"worker": 2, "pid": 73, "serving": True, "responding": False, "connections": 7, "uptime": 60}
    lines = printed(capfd, workers=[serving, starting, hung])
    at = next(at for at, line in enumerate(lines) if line.startswith("WORKER"))
    assert [line.split(maxsplit=3) for line in lines[at + 1 : at + 4]] == [
        ["0", "71", "1,234", "1 h 2 min"],
        ["1", "72", "0", "starting"],
        ["2", "73", "7", "does not respond"],
    ]


def test_a_certificate_that_is_wrong_on_purpose_needs_no_renewal(capfd):
    lines = printed(capfd, {**certificate("CN=a", -15, "a.example"), "source": "expired", "on_purpose": True})
    assert lines[-1] == "CN=a of echo-tls is wrong on purpose: expired"
    assert not any("has expired" in line for line in lines)


def test_without_certificates_there_is_only_the_other_table(capfd):
    assert not any("DAYS LEFT" in line for line in printed(capfd))


def test_lost_lines_are_counted_from_the_start(capfd):
    assert "the log has lost 3 lines since the start of the daemon" in printed(capfd, lines_lost=2, events_lost=1)


def test_a_bus_has_a_line(capfd):
    assert "bus: redis://h:6379/0, connected" in printed(capfd, bus={"url": "redis://h:6379/0", "connected": True})
    lost = {"url": "redis://h:6379/0", "connected": True, "outages": 2}
    assert "bus: redis://h:6379/0, connected; it was lost 2 times" in printed(capfd, bus=lost)
    assert r"bus: \x1b, not connected" in printed(capfd, bus={"url": "\x1b", "connected": False})
