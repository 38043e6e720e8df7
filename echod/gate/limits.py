"""How much of everything a service grants; the configuration's `[defaults.limits]` and each service's `limits`.

Every default carries its reason, for a limit nobody can explain is a limit nobody dares to change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple


class Rate(NamedTuple):
    """So many a second in the long run, and so many at once; `Rate(0, 0)` is no limit."""

    per_second: float
    burst: float

    @property
    def unlimited(self) -> bool:
        return self.per_second == 0


Auto = Literal["auto"]
UNLIMITED: Final = Rate(0, 0)

AUTO_RATE: Final = Rate(200, 400)
"""Datagrams: NSD answers one network 200 times a second; a latency tool that asks 100 times a second must pass."""
AUTO_NEW_PER_CLIENT: Final = Rate(200, 500)
"""Connections: far above what a person, a monitor or a test suite needs, far below what a scan of ours costs."""


@dataclass(frozen=True)
class Limits:
    """The limits of one service. Sizes are octets, durations seconds."""

    connections: int = 10_000  #: at once, for the service: what one process holds within half a GiB of kernel memory
    per_client: int = 1_000  #: at once, from one address or /64: a tenth, so that no one client fills the service
    new_per_client: Rate | Auto = "auto"  #: connections a second from one address or /64
    rate: Rate | Auto = "auto"  #: datagrams a second from one /24 or /56
    idle: float = 300.0  #: silence in both directions; as redis and most load balancers grant; 0 is for ever
    stall: float = 60.0  #: unsent bytes, and nothing taken: a reader that sleeps this long has gone
    handshake: float = 10.0  #: TLS, WebSocket: absolute, for a byte now and then must not extend it
    buffer: int = 65_536  #: unsent bytes of one connection before reading from it pauses: one full read
    total_buffer: int = 268_435_456  #: the same for all together
    message: int = 16_777_216  #: one WebSocket or seqpacket message

    def new_connections(self, loopback: bool) -> Rate:
        """The rate of new connections for a listener; `loopback` says whether only this machine reaches it."""
        if self.new_per_client == "auto":
            return UNLIMITED if loopback else AUTO_NEW_PER_CLIENT
        return self.new_per_client

    def datagrams(self, loopback: bool) -> Rate:
        """The rate of datagrams for a listener; `loopback` says whether only this machine reaches it."""
        if self.rate == "auto":
            return UNLIMITED if loopback else AUTO_RATE
        return self.rate
