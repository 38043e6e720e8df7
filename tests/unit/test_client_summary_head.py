"""The head that summaries share, and their schema."""

import argparse
from pathlib import Path

import pytest

from echod.client.histogram import Histogram
from echod.client.summary_head import SCHEMA, given_options, head, histogram_figures, schema
from echod.version import VERSION
from tests.summaries import check_probe, check_summary

SUMMARY = head("echoctl ping -M probe", "udp://h:7", None, 1_700_000_000.25, 0.5, {"ttl": 3}, "no reply") | {
    "sent": 3,
    "path_mtu": None,
    "largest_size": None,
}


def test_the_schema_is_a_schema_and_has_the_address_that_summaries_name():
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(schema())
    assert schema()["$id"] == SCHEMA


def test_a_head_has_the_time_in_utc_and_the_duration_in_milliseconds():
    check_summary(SUMMARY)
    assert SUMMARY["started"] == "2023-11-14T22:13:20.250Z"
    assert (SUMMARY["duration_ms"], SUMMARY["version"], SUMMARY["$schema"]) == (500.0, VERSION, SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sent": -1},
        {"started": "yesterday"},
        {"remote": 7},
        {"program": "echoctl pong"},
        {"another": 1},
        {"options": {"ttl": [1]}},
        {"$schema": "https://example.org/echod/summary-2.schema.json"},
    ],
    ids=range(7),
)
def test_the_schema_refuses_other_keys_and_values(wrong):
    with pytest.raises(ValueError, match="not a summary"):
        check_summary(SUMMARY | wrong)


def test_the_schema_refuses_a_summary_without_one_of_its_keys():
    for name in SUMMARY:
        with pytest.raises(ValueError, match="not a summary"):
            check_summary({key: value for key, value in SUMMARY.items() if key != name})


def test_lines_are_probes():
    check_probe({"time": 1.5, "url": "udp://h:7", "seq": 1, "result": "lost", "error": "no reply"})
    with pytest.raises(ValueError, match="not a summary"):
        check_probe({"time": 1.5, "url": "udp://h:7", "seq": 0, "result": "lost"})


def test_only_options_that_were_given_are_named():
    given = argparse.Namespace(count=3, poisson=False, flood=True, ttl=None, file=Path("a"), interval=0.5)
    names = ("count", "poisson", "flood", "ttl", "file", "interval")
    assert given_options(given, names) == {"count": 3, "flood": True, "file": "a", "interval": 0.5}


def test_a_histogram_has_its_buckets_in_nanoseconds():
    times = Histogram()
    times.record(1_000_000, 2)
    times.record(3)
    assert histogram_figures(times) == {"unit": "ns", "digits": 3, "buckets": [[3, 3, 1], [999_936, 1_000_447, 2]]}
