"""All probes of a ping in one session, over a stream or datagrams."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

from echod.client.client_connection import Dialogue, Failed
from echod.client.echo_probe import Datagrams, Probes, Probing, Stream
from echod.client.ping_options import is_udp
from echod.client.probe_context import ProbeContext
from echod.client.probe_ledger import REMEMBERED, ProbeResult
from echod.client.stamp_probe import StampProbes
from echod.client.stamp_session import StampSession
from echod.measurement.clock_quality import CachedClockQuality
from echod.model import Peer, Quiet, Reply, Say, Session
from echod.shape import Shape
from echod.socket_names import SocketAddress
from echod.transports.datagram_client import DatagramDialogue, OnSent

UNSENT: Final = 64 * 1024 * 1024
"""Maximum bytes pending on a stream: four of the largest probes. A peer with more pending will not catch up."""


class Conversing:
    """Sends all probes in one session."""

    def __init__(self, setup: ProbeContext) -> None:
        self._setup = setup
        self._address, self._account, self._clock = setup.address, setup.account, setup.clock
        self._session: Probing | StampSession
        self.stamps: StampSession | None = None  #: the session, if probes are STAMP packets
        self._say: Say
        self._peer: Peer | None = None
        self._dialogue = Prompt(setup.reactor, setup.arguments, self._begin, setup.over)
        self._dialogue.refused = lambda error: setup.refused(None, error)
        self._dialogue.answered = self._answered

    @property
    def remote(self) -> SocketAddress:
        """The address of the peer; before any address has replied, the one tried last."""
        datagrams = self._dialogue.datagrams
        if datagrams is not None:
            return datagrams.remote
        assert self._peer is not None, "no peer yet"
        return self._peer.remote

    def ask(self) -> None:
        """Send the next probe."""
        if self._dialogue.unsent > UNSENT:
            self._setup.over(Failed(f"{self._address.label}: the peer reads more slowly than probes are sent"))
            return
        if not self._account.sent:
            self._dialogue.hurry()
        if self._setup.arguments.ping_frames:
            self._dialogue.ping(self._session.ask().data or b"", self._session)
        else:
            self._say(self._session.ask())
        self._dialogue.flush()

    def close(self) -> None:
        """End the session; a connection is reset."""
        self._dialogue.close()

    def _begin(self, peer: Peer, say: Say) -> Session:
        datagram = self._address.shape.keeps_messages
        self._peer = peer
        self._say = say
        if is_udp(self._address):
            self._session = self.stamps = self._stamp_session()
            return self._session
        probes = Probes(self._setup.arguments.size, peer, random.Random(), marked=datagram)
        kind = Datagrams if datagram else Stream
        self._session = kind(probes, self._account, self._clock, self._setup.opened, self._take_result)
        return PongsOnly(self._session) if self._setup.arguments.ping_frames else self._session

    def _stamp_session(self) -> StampSession:
        setup, chance = self._setup, random.Random()
        quality = CachedClockQuality(setup.clock)
        arguments = setup.arguments
        key = arguments.hmac_key
        dscp = arguments.url.options.get("dscp")
        probes = StampProbes(
            arguments.sizes, chance, quality, remembered=REMEMBERED, key=key, token=arguments.token, dscp=dscp
        )
        session = StampSession(
            probes, self._account, setup.clock, time.time_ns, setup.opened, self._take_result, REMEMBERED
        )
        self._dialogue.on_sent = session.sent
        return session

    def _answered(self, seconds: float) -> None:
        """An address that was first tried `seconds` ago has replied: its probes are timed from then."""
        self._account.restart_all(self._clock() - seconds)

    @property
    def local(self) -> SocketAddress | None:
        """The source address, as soon as it is known."""
        return self._peer.local if self._peer is not None else None

    def _take_result(self, finding: ProbeResult) -> None:
        self._setup.on_result(finding)
        if finding.number is None and self._address.shape is Shape.STREAM:
            self._setup.over(Failed(f"{self._address.label}: {finding.error}"))


class PongsOnly(Quiet):
    """The session of a connection whose probes are ping frames: messages of the service are ignored."""

    def __init__(self, probing: Probing) -> None:
        self._probing = probing

    def opened(self) -> Reply:
        return self._probing.opened()


class Prompt(Dialogue):
    """A dialogue that sends each probe at once, because its time has started.

    `answered` and `refused` are those of its DatagramDialogue.
    """

    answered: Callable[[float], None]
    refused: Callable[[OSError], None]
    on_sent: OnSent | None = None
    datagrams: DatagramDialogue | None = None

    def _datagrams_begin(self, datagrams: DatagramDialogue) -> None:
        self.datagrams = datagrams
        datagrams.answered = self.answered
        datagrams.refused = self.refused
        if self.on_sent is not None:
            datagrams.stamp(self.on_sent)
        super()._datagrams_begin(datagrams)

    def hurry(self) -> None:
        """Never pause reading: replies must not wait until all probes are sent. Call it before the first probe."""
        if self._conversation is not None:
            self._conversation.never_pause()

    def ping(self, data: bytes, session: Session) -> None:
        """Send a WebSocket ping frame. The session receives the pong."""
        if self._conversation is not None and self._conversation.begun:
            layer: Any = self._conversation.below
            layer.on_pong = session.received
            layer.ping(data)

    def flush(self) -> None:
        """Send pending output in this turn of the reactor, not in the next."""
        if self._conversation is not None and self._conversation.begun:
            self._conversation.below.flush()

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not accepted."""
        return 0 if self._conversation is None else self._conversation.unsent
