"""The summaries for operators: a line for each service at the start, and a sentence at the end."""

from echod.telemetry.start_and_stop_summary import Opened, stopped


def test_the_addresses_of_a_start_are_one_line_for_each_service() -> None:
    opened = Opened()
    for service, address in (("echo", "tcp://*:7"), ("upper", "tcp://*:8"), ("echo", "udp://*:7")):
        assert opened.lines("listener.opened", {"service": service, "address": address}) == ()
    assert opened.lines("accept.paused", {}) is None
    assert opened.lines("daemon.ready", {"listeners": 3}) == [
        "echo  tcp://*:7  udp://*:7",
        "upper  tcp://*:8",
        "ready: 3 listeners",
    ]
    assert opened.lines("listener.opened", {"service": "late", "address": "tcp://*:9"}) is None


def test_the_totals_are_one_sentence() -> None:
    assert stopped({}) == "stopped: 0 connections, 0 datagrams, 0 bytes received, 0 sent"
    counters = {
        "echo tcp://*:7": {"accepted": 1, "bytes_in": 1, "closed:done": 1, "refused:denied": 2},
        "echo udp://*:7": {"datagrams_in": 4, "datagrams_out": 3, "bytes_in": 6, "bytes_out": 5, "refused:rate": 1},
        "daemon": {"internal_errors": 1, "lines_suppressed": 9},
    }
    said = "stopped: 1 connection, 4 datagrams, 7 bytes received, 5 sent, 3 refused, 1 internal errors"
    assert stopped(counters) == said
