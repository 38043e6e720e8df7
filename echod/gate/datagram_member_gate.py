"""The gate of datagram members, one for the whole daemon: cookies, the output budget of each network, muted echoes.

Members receive lines of other members without a request. Independent of the consent of each member, one network
receives at most its budget. A member that was found to be an echo service cannot join again for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from echod.gate.access import canonical
from echod.gate.address_cookies import LENGTH, AddressCookies
from echod.gate.buckets import Buckets
from echod.gate.limits import Rate
from echod.gate.network_rate import network_of
from echod.gate.refusal import Refusal

OUTPUT: Final = Rate(262_144, 524_288)  #: bytes a second to one /24 or /56, as for replies (`network_rate.BYTES`)
CHALLENGES: Final = Rate(1, 10)
"""Challenges a second to one address, and their burst. A client repeats its first datagram until it gets a reply. A
service that returns a challenge in a form that is not recognized causes no more challenges than this."""
MUTED: Final = 60.0  #: seconds: after that, nothing that was sent to it is still in flight
REMEMBERED: Final = 4096  #: muted addresses at once

_LOOPBACK6: Final = bytes(15) + b"\x01"


def is_local(host: bytes) -> bool:
    """Whether a sender is on this machine: the kernel drops packets from outside with such an address.

    `host` is 4 or 16 bytes, or empty for a Unix peer.
    """
    key = canonical(host)
    return not host or (key[:1] == b"\x7f" and len(key) == 4) or key == _LOOPBACK6


class ConsentsElsewhere(Protocol):
    """The consents that members have given to any process of the daemon."""

    def keep(self, address: bytes, until: float) -> None:
        """Keep the consent of an address until this time, for other processes; 0 ends it."""

    def until(self, address: bytes) -> float:
        """When the consent of an address ends; 0 without one."""


class NoOtherProcess:
    """The only process of a daemon: as `ConsentsElsewhere`. A member has its own consent."""

    def keep(self, _address: bytes, _until: float) -> None:
        """As ConsentsElsewhere."""

    def until(self, _address: bytes) -> float:
        """As ConsentsElsewhere."""
        return 0.0


class MemberGate:
    """The state that all datagram members of a daemon share.

    `clock` counts seconds and never steps back; `secret` is that of `AddressCookies`; `buckets` makes the table of a
    rate. `consents` are those of all processes: a member of a process that has ended continues with its consent.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        secret: bytes | None = None,
        buckets: Callable[[Rate], Buckets[bytes]] = Buckets,
        consents: ConsentsElsewhere | None = None,
    ) -> None:
        self.cookies = AddressCookies(clock, secret)
        self.consents = consents or NoOtherProcess()
        self._clock = clock
        self._output = buckets(OUTPUT)
        self._challenges = buckets(CHALLENGES)
        self._muted: OrderedDict[bytes, float] = OrderedDict()  # addresses, and until when

    def may_send(self, host: bytes, size: int) -> bool:
        """Take `size` bytes from the budget of a host's network; False takes nothing. This machine has no budget."""
        return is_local(host) or self._output.take(network_of(canonical(host)), self._clock(), size)

    def refuses_to_challenge(self, address: bytes, host: bytes, datagram: bytes) -> Refusal | None:
        """Why a peer that is not a member gets no challenge in reply to its datagram, or None.

        None takes the bytes of the challenge from the budget. `address` distinguishes the peer from every other, `host`
        is its 4 or 16 bytes. The datagram must be longer than a challenge: otherwise a service that returns challenges
        unchanged would get the next one.
        """
        if len(datagram) <= LENGTH:
            return Refusal.LARGER
        if self.cookies.returned(address, datagram):
            return Refusal.REPEAT
        if not self._challenges.take(address, self._clock()):
            return Refusal.RATE
        return None if self.may_send(host, LENGTH) else Refusal.OUTPUT

    def mute(self, address: bytes) -> None:
        """Ignore an address for MUTED seconds."""
        self._muted[address] = self._clock() + MUTED
        self._muted.move_to_end(address)
        if len(self._muted) > REMEMBERED:
            self._muted.popitem(last=False)

    def muted(self, address: bytes) -> bool:
        """Whether an address is ignored now."""
        until = self._muted.get(address)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._muted[address]
        return False
