"""All probes of a ping in one session, over a stream or datagrams."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from typing import Any, Final

from echod.address import Address
from echod.client.client_connection import Dialogue, Failed
from echod.client.echo_probe import Datagrams, Probes, Probing, Stream
from echod.client.probe_ledger import ProbeLedger, ProbeResult
from echod.model import Peer, Say
from echod.shape import Shape
from echod.socket_names import SocketAddress
from echod.transports.datagram_client import DatagramDialogue

UNSENT: Final = 64 * 1024 * 1024
"""Maximum bytes pending on a stream: four of the largest probes. A peer with more pending will not catch up."""


class Conversing:
    """Sends all probes in one session. The callbacks are those of `connect_probe.Connections`."""

    def __init__(
        self,
        reactor: Any,
        arguments: argparse.Namespace,
        account: ProbeLedger,
        clock: Callable[[], float],
        opened: Callable[[], None],
        on_result: Callable[[ProbeResult], None],
        over: Callable[[Failed | None], None],
        refused: Callable[[int | None, OSError], None],
    ) -> None:
        self._address: Address = arguments.url
        self._size: int = arguments.size
        self._account = account
        self._clock = clock
        self._opened = opened
        self._on_result = on_result
        self._over = over
        self._session: Probing
        self._say: Say
        self._dialogue = Prompt(reactor, arguments, self._begin, over)
        self._dialogue.refused = lambda error: refused(None, error)
        self._dialogue.answered = self._answered

    @property
    def remote(self) -> SocketAddress:
        """The address of the peer; before any address has replied, the one tried last."""
        datagrams = self._dialogue.datagrams
        return self._peer.remote if datagrams is None else datagrams.remote

    def ask(self) -> None:
        """Send the next probe."""
        if self._dialogue.unsent > UNSENT:
            self._over(Failed(f"{self._address.place}: the peer reads more slowly than probes are sent"))
            return
        if not self._account.sent:
            self._dialogue.hurry()
        self._say(self._session.ask())
        self._dialogue.flush()

    def _begin(self, peer: Peer, say: Say) -> Probing:
        datagram = self._address.shape.keeps_messages
        self._peer = peer
        self._say = say
        probes = Probes(self._size, peer, random.Random(), marked=datagram)
        kind = Datagrams if datagram else Stream
        self._session = kind(probes, self._account, self._clock, self._opened, self._take_result)
        return self._session

    def _answered(self, seconds: float) -> None:
        """An address that was first tried `seconds` ago has replied: its probes are timed from then."""
        self._account.restart_all(self._clock() - seconds)

    def _take_result(self, finding: ProbeResult) -> None:
        self._on_result(finding)
        if finding.number is None and self._address.shape is Shape.STREAM:
            self._over(Failed(f"{self._address.place}: {finding.error}"))


class Prompt(Dialogue):
    """A dialogue that sends each probe at once, because its time has started.

    `answered` and `refused` are those of its DatagramDialogue.
    """

    answered: Callable[[float], None]
    refused: Callable[[OSError], None]
    datagrams: DatagramDialogue | None = None

    def _datagrams_begin(self, datagrams: DatagramDialogue) -> None:
        self.datagrams = datagrams
        datagrams.answered = self.answered
        datagrams.refused = self.refused
        super()._datagrams_begin(datagrams)

    def hurry(self) -> None:
        """Never pause reading: replies must not wait until all probes are sent. Call it before the first probe."""
        if self._conversation is not None:
            self._conversation.never_pause()

    def flush(self) -> None:
        """Send pending output in this turn of the reactor, not in the next."""
        if self._conversation is not None and self._conversation.begun:
            self._conversation.below.flush()

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not accepted."""
        return 0 if self._conversation is None else self._conversation.unsent
