"""The limits of a service: `[defaults.limits]` of the configuration, and `limits` of each service.

Each default has its reason beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple


class Rate(NamedTuple):
    """A rate per second and a burst; `Rate(0, 0)` is unlimited."""

    per_second: float
    burst: float

    @property
    def unlimited(self) -> bool:
        return self.per_second == 0


Auto = Literal["auto"]
UNLIMITED: Final = Rate(0, 0)

AUTO_RATE: Final = Rate(200, 400)
"""Datagrams: NSD sends one network 200 replies a second; a latency tool with 100 probes a second must pass."""
AUTO_NEW_PER_CLIENT: Final = Rate(200, 500)
"""Connections: far more than a person, a monitor or a test suite needs, and too few to load the daemon."""


@dataclass(frozen=True)
class Limits:
    """The limits of one service. Sizes are in bytes, durations in seconds."""

    connections: int = 10_000  #: at once, for the service: what one process holds within half a GiB of kernel memory
    per_client: int = 1_000  #: at once, from one address or /64: a tenth, so that one client cannot use up the service
    new_per_client: Rate | Auto = "auto"  #: connections a second from one address or /64
    rate: Rate | Auto = "auto"  #: datagrams a second from one /24 or /56
    idle: float = 300.0  #: without traffic in both directions; as in redis and most load balancers; 0: never
    stall: float = 60.0  #: pending output that the peer does not accept: such a reader is gone
    handshake: float = 10.0  #: TLS, WebSocket: absolute, because single bytes must not extend it
    buffer: int = 65_536  #: unsent bytes of one connection, above which reading from it stops: one full read
    total_buffer: int = 268_435_456  #: the same for all together
    message: int = 16_777_216  #: one WebSocket or seqpacket message

    def new_connections(self, loopback: bool) -> Rate:
        """The rate of new connections for a listener; `loopback` is whether only this machine can reach it."""
        if self.new_per_client == "auto":
            return UNLIMITED if loopback else AUTO_NEW_PER_CLIENT
        return self.new_per_client

    def datagrams(self, loopback: bool) -> Rate:
        """The rate of datagrams for a listener; `loopback` is whether only this machine can reach it."""
        if self.rate == "auto":
            return UNLIMITED if loopback else AUTO_RATE
        return self.rate
