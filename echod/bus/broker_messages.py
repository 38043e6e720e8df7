"""The messages between the daemons of a broker: one channel carries all of them, and so gives them one order.

    version     1 byte
    kind        1 byte
    link        8 bytes: the sender, a random number for each of its connections to the broker
    other       8 bytes: another link, or 0
    number      4 bytes: a node, or the number of a request
    sequence    4 bytes: counts the messages of a link
    topic       1 byte for its length, then its bytes
    payload     the rest

A message that is not of this form is ignored: any client with access to the broker can send it.

Each connection of a daemon to the broker is a *link* with a random number. For each topic, a link joins in this order:

* It publishes JOIN. The first link that is READY asks one of its nodes for the state, and publishes that.
* The new link gives the state to all its nodes, then the messages since JOIN, and publishes READY. From then on its
  messages are those of the broker, in the order of the broker. Its nodes publish again what the state does not have.
* Without a reply it publishes FIRST, and begins with its own state. The latest FIRST wins: others join again.

Until then, and whenever the connection is lost, the hub orders the messages of its own nodes, as a LocalHub. A message
that has not returned is then delivered to them at once. A message of a link that is not READY is ignored. Therefore
none is delivered twice, also if the broker was stopped and delivers it later. A message is lost for other daemons if
the broker has not sent it to them; they get the state, and no lines, after the next JOIN.

A link ends with GONE, which another one publishes if it receives nothing of it. A link that receives its own end
begins again with a new number.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from echod.bus.bus_interface import MESSAGE, TOPIC

VERSION: Final = 1
_HEAD: Final = struct.Struct("!BBQQIIB")
LARGEST: Final = _HEAD.size + TOPIC + MESSAGE
LINKS: Final = 1_000  #: of a topic; further ones are ignored, so that forged ones take no more memory
NODES: Final = 10_000  #: the same; with the links they fit into one END


class Kind(IntEnum):
    """The kind of a message."""

    ALIVE = 1  #: a sign of life; it also shows the sender that its messages return
    GONE = 2  #: the link `other` has ended: all its nodes leave all topics
    JOIN = 3  #: the sender asks for the state of a topic; request `number`
    PART = 4  #: a part of the state for link `other`, request `number`
    END = 5  #: the end of that state; the payload has the links and nodes of the topic
    READY = 6  #: the sender has the state, and takes part from here on
    FIRST = 7  #: the sender has got no state, and begins the topic with its own
    MESSAGE = 8  #: a message of node `number`
    LEFT = 9  #: node `number` has left the topic


class BrokerMessage(NamedTuple):
    """One message."""

    kind: Kind
    link: int
    other: int = 0
    number: int = 0
    sequence: int = 0
    topic: str = ""
    payload: bytes = b""


def encoded(message: BrokerMessage) -> bytes:
    """The bytes of a message, whose topic and payload have at most TOPIC and MESSAGE bytes."""
    kind, link, other, number, sequence, name, payload = message
    topic = name.encode()
    head = _HEAD.pack(VERSION, kind, link, other, number, sequence & 0xFFFFFFFF, len(topic))
    return head + topic + payload


def decoded(data: bytes) -> BrokerMessage | None:
    """A message, or None if the bytes are not one of this version."""
    if not _HEAD.size <= len(data) <= LARGEST:
        return None
    version, kind, link, other, number, sequence, size = _HEAD.unpack_from(data)
    end = _HEAD.size + size
    if version != VERSION or end > len(data):
        return None
    try:
        return BrokerMessage(
            Kind(kind), link, other, number, sequence, data[_HEAD.size : end].decode(), bytes(data[end:])
        )
    except ValueError:  # an unknown kind, or a topic that is not UTF-8
        return None


def members_encoded(links: Iterable[int], nodes: Mapping[int, int]) -> bytes:
    """The payload of END: the links of a topic in their order, and the link of each node."""
    return json.dumps([list(links), list(nodes.items())]).encode()


def members_decoded(payload: bytes) -> tuple[list[int], dict[int, int]] | None:
    """The links and nodes of a topic, or None if the bytes are not a payload of END."""
    try:
        links, pairs = json.loads(payload)
        nodes = dict(pairs)
    except (ValueError, TypeError, RecursionError):
        return None
    if (
        not isinstance(links, list)
        or len(links) > LINKS
        or len(nodes) > NODES
        or not all(_is_number(link, 8) for link in (*links, *nodes.values()))
    ):
        return None
    return (links, nodes) if all(_is_number(node, 4) for node in nodes) else None


def _is_number(value: object, size: int) -> bool:
    """Whether a value is a whole number that fits into `size` bytes."""
    return type(value) is int and 0 <= value < 1 << 8 * size
