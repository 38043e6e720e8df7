"""The options of echoctl bench: their values, their defaults, and which of them fit together."""

import argparse
import itertools

import pytest

from echod.client.bench_options import OPEN_DEPTH
from echod.client.command_definitions import parser
from echod.client.commands.bench import _described


def parsed(*words: str) -> argparse.Namespace:
    return parser().parse_args(["bench", *words])


def test_the_defaults() -> None:
    found = parsed("tcp://127.0.0.1:7")
    assert (found.connections, found.size, found.depth, found.rate) == (1, (64,), 1, None)
    assert (found.time, found.count, found.warm_up, found.timeout) == (10, None, 0, 5)


def test_a_count_has_no_time_unless_one_is_given() -> None:
    assert parsed("-n", "7", "tcp://127.0.0.1:7").time is None
    assert parsed("-n", "7", "-t", "250ms", "tcp://127.0.0.1:7").time == 0.25


def test_sizes_are_a_list_of_sizes_and_ranges() -> None:
    assert parsed("-s", "64,1KiB,100-300/100", "udp://127.0.0.1:7").size == (64, 1024, 100, 200, 300)


def test_a_rate_allows_many_messages_in_flight_within_the_bound_of_memory() -> None:
    assert parsed("-r", "0.5", "tcp://127.0.0.1:7").depth == OPEN_DEPTH
    assert parsed("-r", "5", "-d", "3", "tcp://127.0.0.1:7").depth == 3
    assert parsed("-r", "5", "--connect", "tcp://127.0.0.1:7").depth == 1
    large = parsed("-r", "5", "-c", "8", "-s", "16MiB", "tcp://127.0.0.1:7")
    assert large.depth == 8


def test_large_numbers_of_the_load_have_no_exponent() -> None:
    load = parsed("-r", "1000000", "-t", "14d", "tcp://127.0.0.1:7")
    assert _described(load) == "1 connection, 64 bytes, 1000000 messages/s, at most 256 in flight on each, 1209600 s"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-c", "0", "tcp://127.0.0.1:7"), '-c/--connections: "0" is not a whole number from 1 to 65536'),
        (("-s", "11", "udp://127.0.0.1:7"), "--size 11 is out of range (12–65507 bytes over udp)"),
        (("-s", "64,17MiB", "tcp://127.0.0.1:7"), "--size 17825792 is out of range (1–16777216 bytes over tcp)"),
        (("-r", "fast", "tcp://127.0.0.1:7"), '-r/--rate: "fast" is not a number of messages a second'),
        (("--connect", "udp://127.0.0.1:7"), "--connect: udp://127.0.0.1:7 has no connections"),
        (("--connect", "-d", "2", "tcp://127.0.0.1:7"), "--connect has one message on each connection"),
        (("-c", "1000", "-s", "2MiB", "tcp://127.0.0.1:7"), "more than 1 GiB would be in flight"),
        (("tcp:127.0.0.1:7",), "an endpoint string is not supported"),
        (("udp://239.1.2.3:7?interface=lo",), "is a multicast group"),
        (("--live", "--json", "tcp://127.0.0.1:7"), "--live: leave out --json"),
        (("--plot", "-", "--csv", "tcp://127.0.0.1:7"), "--plot -: leave out --csv"),
        (("--ca", "x", "tcp://127.0.0.1:7"), "--ca: tcp://127.0.0.1:7 has no TLS"),
    ],
    ids=itertools.count(),
)
def test_options_that_do_not_fit_are_usage_errors(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*words)
    printed = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in printed
    assert printed.count("\n") == 1
