"""The keys of `[services.NAME.faults]`: the type of each value, and the shapes of transports on which it exists.

The configuration, `echoctl faults`, error messages and the tests of docs/FAULTS.md read this table. A key in
snake_case is a field of `Faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, get_args

from echod.config import units
from echod.config.value_types import DURATION, FILE, FLAG, NETWORKS, PROBABILITY, SIZE, Form, number, text, whole, words
from echod.faults.settings import Distribution, TlsFault, WebSocketFault
from echod.shape import Shape

STREAM: Final = frozenset({Shape.STREAM, Shape.REQUEST})
CONNECTIONS: Final = frozenset({Shape.STREAM, Shape.MESSAGE, Shape.REQUEST})
MESSAGES: Final = frozenset({Shape.MESSAGE, Shape.DATAGRAM})
EVERY_SHAPE: Final = frozenset(Shape)

BYTES: Final = text('a number of bytes such as "0" or "64KiB"', units.size, units.size_text)
"""A size that may be 0."""


@dataclass(frozen=True)
class FaultKey:
    """One key: the form of its value, its shapes, and what it does."""

    form: Form
    shapes: frozenset[Shape]
    meaning: str  #: a clause for `echoctl faults` and its help
    of_text: Callable[[str], Any] = str  #: converts the text of `KEY=VALUE` to the value that TOML would have
    layer: str = ""  #: the layer of `Scheme.layers` that an address needs for it
    without: str = ""  #: the layer that an address must not have
    inet: bool = False  #: whether it exists only over IP


def _flag(written: str) -> Any:
    return {"true": True, "false": False}.get(written, written)


def _number(written: str) -> Any:
    for kind in (int, float):
        try:
            return kind(written[: units.SHOWN])
        except ValueError:
            pass
    return written


def _listed(written: str) -> list[str]:
    return [part for part in written.split(",") if part]


KEYS: Final[Mapping[str, FaultKey]] = MappingProxyType(
    {
        "seed": FaultKey(
            whole(0, 2**63 - 1), EVERY_SHAPE, "seed of the random numbers: the same seed, the same faults", _number
        ),
        "delay": FaultKey(DURATION, EVERY_SHAPE, "delay each reply by this time"),
        "jitter": FaultKey(DURATION, EVERY_SHAPE, "add a random time of this scale to the delay"),
        "distribution": FaultKey(words(*get_args(Distribution)), EVERY_SHAPE, "distribution of the random time"),
        "rate": FaultKey(SIZE, EVERY_SHAPE, "send at most this many bytes a second to a peer"),
        "chunk": FaultKey(SIZE, STREAM, "send at most this many bytes at once"),
        "drop": FaultKey(PROBABILITY, MESSAGES, "do not send a message", _number),
        "burst": FaultKey(number(1, 1e6), MESSAGES, "mean number of messages that are dropped in a row", _number),
        "duplicate": FaultKey(PROBABILITY, MESSAGES, "send a message twice", _number),
        "reorder": FaultKey(PROBABILITY, MESSAGES, "send a message after the next one", _number),
        "corrupt": FaultKey(PROBABILITY, EVERY_SHAPE, "change a bit: of a byte of a stream, or of a message", _number),
        "truncate": FaultKey(BYTES, EVERY_SHAPE, "send only this many bytes: of a stream, or of each message"),
        "reset-after": FaultKey(BYTES, CONNECTIONS, "reset the connection after this many bytes"),
        "close-after": FaultKey(BYTES, CONNECTIONS, "close the connection after this many bytes"),
        "half-close-after": FaultKey(BYTES, CONNECTIONS, "send a FIN after this many bytes, and continue to read"),
        "hang-after": FaultKey(BYTES, CONNECTIONS, "send nothing after this many bytes, and do not close"),
        "half-open-after": FaultKey(
            BYTES,
            CONNECTIONS,
            "drop each packet of the peer after this many bytes, as if echod had vanished",
            inet=True,
        ),
        "refuse": FaultKey(FLAG, CONNECTIONS, "accept a connection, then reset it", _flag),
        "silent": FaultKey(FLAG, EVERY_SHAPE, "never reply", _flag),
        "never-read": FaultKey(FLAG, CONNECTIONS, "never read: the window of the peer becomes 0", _flag),
        "delay-close": FaultKey(DURATION, CONNECTIONS, "delay a FIN or a close by this time"),
        "backlog-full": FaultKey(
            FLAG, CONNECTIONS, "accept nothing: the listen queue is full", _flag, without="websocket"
        ),
        "tls": FaultKey(
            words(*get_args(TlsFault)), CONNECTIONS, "how TLS misbehaves, in the handshake or at the end", layer="tls"
        ),
        "websocket": FaultKey(
            words(*get_args(WebSocketFault)), CONNECTIONS, "how WebSocket misbehaves", layer="websocket"
        ),
        "every": FaultKey(whole(1, 10**9), EVERY_SHAPE, "only every nth connection or datagram has faults", _number),
        "first": FaultKey(
            whole(1, 10**9), EVERY_SHAPE, "only the first n connections or datagrams have faults", _number
        ),
        "clients": FaultKey(NETWORKS, EVERY_SHAPE, "only clients in these networks have faults", _listed),
        "script": FaultKey(FILE, EVERY_SHAPE, "a file with steps: faults over time"),
    }
)
"""Every key, in the order of the documentation."""
