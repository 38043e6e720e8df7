"""The messages between daemons: each is decoded as it was sent, and other bytes are ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.bus.broker_messages import (
    LARGEST,
    LINKS,
    NODES,
    BrokerMessage,
    Kind,
    decoded,
    encoded,
    members_decoded,
    members_encoded,
)
from echod.bus.bus_interface import MESSAGE, TOPIC

MESSAGES = st.builds(
    BrokerMessage,
    st.sampled_from(Kind),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.text(max_size=60),
    st.binary(max_size=200),
)


@given(MESSAGES)
def test_it_is_decoded_as_it_was_sent(message):
    assert decoded(encoded(message)) == message


def test_the_most_links_and_nodes_fit_into_one_message():
    links, nodes = [2**64 - 1 - link for link in range(LINKS)], {2**32 - 1 - node: 2**64 - 1 for node in range(NODES)}
    members = members_encoded(links, nodes)
    assert len(members) <= MESSAGE
    assert members_decoded(members) == (links, nodes)
    assert members_decoded(members_encoded([*links, 1], nodes)) is None
    assert members_decoded(members_encoded(links, {**nodes, 1: 1})) is None


def test_the_largest_one_fits():
    message = BrokerMessage(Kind.MESSAGE, 1, topic="t" * TOPIC, payload=bytes(MESSAGE))
    assert len(encoded(message)) == LARGEST
    assert decoded(encoded(message)) == message
    assert decoded(encoded(message) + b"x") is None


@given(st.binary(max_size=80))
def test_other_bytes_are_ignored(data):
    decoded(b"\1" + data)
    decoded(data)
    members_decoded(data)


def test_another_version_and_an_unknown_kind_are_ignored():
    data = encoded(BrokerMessage(Kind.ALIVE, 7))
    assert decoded(b"\2" + data[1:]) is None
    assert decoded(data[:1] + b"\xff" + data[2:]) is None
    assert decoded(data[:-1]) is None


def test_links_and_nodes():
    assert members_decoded(members_encoded([5, 2**63], {1: 5, 2: 2**63})) == ([5, 2**63], {1: 5, 2: 2**63})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[1]",
        b"[[1], [[1]]]",
        b'[["x"], []]',
        b"[" * 5000,
        b"[[1e999], []]",
        b"[[], [[1, 1e999]]]",
        b"[[], [[4294967296, 1]]]",
        b"[[-1], []]",
        b"[[18446744073709551616], []]",
        b'["12", []]',
    ],
    ids=["empty", "object", "short", "pair", "word", "deep", "infinite", "link", "node", "negative", "large", "text"],
)
def test_wrong_links_and_nodes(payload):
    assert members_decoded(payload) is None
