"""The faults of a service, a connection or a datagram, as frozen values. `echod.faults.keys` describes each key."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final, Literal

from echod.gate.access import Network

Distribution = Literal["uniform", "normal", "pareto"]

TlsFault = Literal[
    "stall", "alert", "no-close-notify", "reset", "plaintext", "tiny-records", "old-version", "no-renegotiation-info",
    "grease",
]  # fmt: skip
WebSocketFault = Literal[
    "bad-accept", "bad-close-code", "masked", "invalid-utf8", "ping-flood", "no-pong", "endless-fragments"
]


@dataclass(frozen=True)
class Faults:
    """The faults that are injected. The defaults inject nothing."""

    seed: int | None = None  #: of the random numbers; None: a random seed for each start
    delay: float = 0.0  #: seconds that each reply is delayed
    jitter: float = 0.0  #: seconds that scale the random part of the delay
    distribution: Distribution = "uniform"  #: of the random part
    rate: int | None = None  #: bytes a second that are sent to one peer
    chunk: int | None = None  #: bytes of one send
    drop: float = 0.0  #: probability that a message is not sent
    burst: float | None = None  #: mean number of messages that are dropped in a row; None: independent
    duplicate: float = 0.0  #: probability that a message is sent twice
    reorder: float = 0.0  #: probability that a message is sent after the next one
    corrupt: float = 0.0  #: probability that a byte of a stream, or one byte of a message, is changed
    truncate: int | None = None  #: bytes of a stream, or of each message, after which the rest is not sent
    reset_after: int | None = None  #: bytes sent to the peer; then the connection is reset
    close_after: int | None = None  #: bytes sent to the peer; then the connection is closed
    half_close_after: int | None = None  #: bytes sent to the peer; then a FIN is sent, and reading continues
    hang_after: int | None = None  #: bytes sent to the peer; then nothing is sent, and the connection stays open
    half_open_after: int | None = None  #: bytes sent to the peer; then each packet of the peer is dropped
    refuse: bool = False  #: connections are accepted, then reset
    silent: bool = False  #: nothing is sent
    never_read: bool = False  #: nothing is read: the peer sees a window of 0
    delay_close: float = 0.0  #: seconds that a close or a FIN is delayed
    backlog_full: bool = False  #: connections are not accepted, and the listen queue is full
    tls: TlsFault | None = None  #: how TLS misbehaves, see `echod.transports.layers.tls_faults`
    websocket: WebSocketFault | None = None  #: how WebSocket does, see `echod.transports.layers.websocket_faults`
    every: int | None = None  #: only every nth connection or datagram has faults
    first: int | None = None  #: only the first n connections or datagrams have faults
    clients: tuple[Network, ...] = ()  #: only peers in these networks have faults; empty: all peers
    script: Script | None = None  #: the faults over time

    @property
    def active(self) -> frozenset[str]:
        """The fields that differ from their defaults."""
        return frozenset(one.name for one in fields(self) if getattr(self, one.name) != one.default)

    def limit(self, *, cuts: bool) -> tuple[int | None, str]:
        """The number of bytes after which the output ends, and its field; with `cuts`, `truncate` is a limit too."""
        found = {name: value for name in AFTER if (value := getattr(self, name)) is not None}
        if cuts and self.truncate is not None:
            found["truncate"] = self.truncate
        name = min(found, key=found.__getitem__, default="")
        return found.get(name), name


@dataclass(frozen=True)
class Step:
    """One step of a script: its faults, and its seconds; None lasts until the faults are changed."""

    faults: Faults
    seconds: float | None = None


@dataclass(frozen=True)
class Script:
    """Faults over time. After the last step the script begins again if it `repeats`; otherwise no fault is left."""

    steps: tuple[Step, ...]
    repeat: bool = False
    source: str = field(default="", compare=False)  #: the path of its file

    def __str__(self) -> str:
        return self.source


NO_FAULTS: Final = Faults()
AFTER: Final = ("reset_after", "close_after", "half_close_after", "hang_after", "half_open_after")
"""The fields that end the output of a connection after a number of bytes. At most one of them is set."""
