"""The catalogue of events: fields, texts and severities agree."""

import fnmatch
import re

import pytest

from echod.event_catalogue import CATALOGUE, FIELDS, LONGEST, Severity, matching


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_text_and_the_fields_of_each_event_agree(name):
    event = CATALOGUE[name]
    assert re.fullmatch(r"[a-z]+\.[a-z]+", name)
    assert set(re.findall(r"{([a-z_]+)", event.text)) == set(event.fields)
    assert {*event.fields, *event.optional} <= set(FIELDS)
    assert event.meaning


def test_every_field_is_used():
    assert {name for event in CATALOGUE.values() for name in (*event.fields, *event.optional)} == set(FIELDS)


def test_events_that_clients_can_cause_have_a_rate():
    free = {name for name, event in CATALOGUE.items() if event.rate is None}
    assert {name.partition(".")[0] for name in free} == {"listener", "certificate", "worker", "daemon", "log"}


def test_fields_that_are_missing_or_unknown_are_named():
    event = CATALOGUE["client.denied"]
    fields = {"service": "echo", "address": "tcp://*:7", "peer": "192.0.2.1:5", "host": "192.0.2.1"}
    assert event.mismatch(fields) is None
    assert event.mismatch({**fields, "proxy": "192.0.2.2:5"}) is None
    assert event.mismatch({**fields, "other": 1}) == "missing [], unknown ['other']"
    assert event.mismatch({"service": "echo"}) == "missing ['address', 'peer', 'host'], unknown []"


def test_fields_of_another_type_are_named():
    event = CATALOGUE["daemon.draining"]
    assert event.wrong_types({"connections": 1, "seconds": 2}) == []
    assert event.wrong_types({"connections": "1", "seconds": None}) == ["connections", "seconds"]


def test_severities_rise():
    order = [Severity.DEBUG, Severity.INFO, Severity.WARN, Severity.ERROR]
    assert list(Severity) == order
    for at, severity in enumerate(order):
        assert [severity.at_least(lowest) for lowest in order] == [at >= other for other in range(4)]


def test_patterns_match_names():
    assert matching(["daemon.ready"]) == {"daemon.ready"}
    assert matching(["certificate.*", "daemon.r?ady"]) == {
        "certificate.loaded",
        "certificate.expiring",
        "daemon.ready",
    }
    assert matching(["echo"]) == matching([]) == frozenset()


def test_patterns_are_bounded():
    assert matching(["*" * LONGEST]) == frozenset(CATALOGUE)
    assert matching(["*" * (LONGEST + 1)]) == frozenset()
    before = vars(fnmatch)["_compile_pattern"].cache_info().currsize
    matching(f"pattern-{at}" for at in range(8))
    assert vars(fnmatch)["_compile_pattern"].cache_info().currsize == before, "the patterns of clients are not kept"
