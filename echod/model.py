"""What is answered: the few words that services and transports share.

A *service* turns bytes into a `Reply`. It owns no socket, no reactor and no clock but the one in its
`Context`; a *transport* carries the bytes and performs the Reply. This module knows neither side by name.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from echod.gate.limits import Limits
from echod.gate.send_budget import SendBudget, Watermark
from echod.gate.work_budget import WorkBudget
from echod.names import SocketAddress, UnixName
from echod.shape import Shape
from echod.transports.registry import EVERY_FORM

Transform = Callable[[bytes], bytes]


class End(Enum):
    """What happens to a stream once the data of a Reply has gone."""

    NOTHING = "nothing"
    HALF_CLOSE = "half-close"  #: we say no more; the peer may
    CLOSE = "close"  #: we say no more and take no more; nothing already said is lost
    RESET = "reset"  #: at once, with RST; what was not sent yet is dropped


class Reply(NamedTuple):
    """What a session wants done next.

    `data` is sent first (None is nothing; b"" is an empty datagram, and nothing on a stream), then `more`,
    which is asked for its next piece only while the peer takes what it is given, then `end` is done. `more` that
    is `endless` is cut where it is when the service stops; else all of it is said before.

    `held` is set in the return value of a session's method if the session has input that it has not processed: the
    transport reads nothing more from this peer and calls `Session.proceed` in a later turn, in the order of
    `Context.work`. `ended` is called after the last of it.
    """

    data: bytes | None = None
    end: End = End.NOTHING
    more: Iterator[bytes] | None = None
    endless: bool = False
    held: bool = False


NOTHING: Final = Reply()
CLOSE: Final = Reply(end=End.CLOSE)
RESET: Final = Reply(end=End.RESET)


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, or the sender of a datagram: the five parts of a socket's identity, and more.

    `user` and `groups` are the numbers of the user and the groups at the other end of a Unix stream, as the kernel
    tells them.
    """

    scheme: str
    local: SocketAddress
    remote: SocketAddress
    user: int | None = None
    groups: frozenset[int] = frozenset()

    @property
    def shape(self) -> Shape:
        """The shape of the transport between us."""
        return EVERY_FORM[self.scheme].shape

    @property
    def keeps_messages(self) -> bool:
        """Whether what comes at once is one whole message, rather than a part of a stream."""
        return self.shape.keeps_messages

    @property
    def is_unix(self) -> bool:
        """Whether it is a process of this machine, at the other end of a Unix socket."""
        return isinstance(self.local, UnixName)


@dataclass(frozen=True, slots=True)
class Arrival:
    """The facts of one datagram. None is not known.

    `ttl` is the hops that were left, `traffic_class` the byte that holds DSCP and ECN, and `received_at` the time of
    arrival by the kernel's clock, in seconds since 1970.
    """

    peer: Peer
    ttl: int | None = None
    traffic_class: int | None = None
    received_at: float | None = None


class Session(Protocol):
    """One conversation. Its methods never block, and never raise on anything that a peer may send."""

    def opened(self) -> Reply:
        """The peer is there."""

    def received(self, data: bytes) -> Reply:
        """Some bytes came: one piece of a stream, of any length above 0, or one whole message."""

    def proceed(self) -> Reply:
        """Process the next portion of the input that the last Reply said is `held`."""

    def ended(self) -> Reply:
        """The peer has finished sending; it may still be reading."""

    def lost(self) -> None:
        """The conversation is over. Nothing can be said any more."""


Say = Callable[[Reply], None]
"""How a session speaks unasked; after `lost` it does nothing."""


def _nowhere(_line: str) -> None:
    """Where services show their lines until somebody says where."""


def _always() -> bool:
    """Where nobody counts lines, each is shown."""
    return True


def _at_once(_seconds: float, call: Callable[[], None]) -> None:
    """How services put something off where nobody keeps the time."""
    call()


@dataclass(frozen=True)
class Context:
    """What a service may use of the world: all of it can be replaced in a test."""

    clock: Callable[[], float] = time.monotonic  #: seconds, never stepping back
    wall_clock: Callable[[], float] = time.time  # noqa: TID251 - the one place where the date is asked for
    random: random.Random = field(default_factory=random.Random)
    show: Callable[[str], None] = _nowhere  #: prints one line, already escaped, as the service's output
    shows: Callable[[], bool] = _always  #: whether it would, now: in a flood lines are counted, and need no text
    terminal: bool = False  #: whether what is shown goes to a terminal, and is not kept
    later: Callable[[float, Callable[[], None]], object] = _at_once  #: calls after so many seconds; `callLater`
    send_budget: Watermark = field(default_factory=lambda: SendBudget().mark(Limits().total_buffer))
    """What may wait to be sent to all connections: outboxes count in it. Set to `total-buffer` of the service."""
    work: WorkBudget = field(default_factory=WorkBudget)  #: for input that is split into items; by default no bound


@dataclass(frozen=True)
class NoOptions:
    """The options of a kind that has none."""


class Service:
    """One kind of answer; a subclass is one file in `echod.services`.

    `Options` is a frozen dataclass or attrs class with a default for every field: its fields are the keys that
    the configuration knows under the service, and `metadata={"help": …}` of a field is its documentation.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type] = NoOptions
    transform: ClassVar[staticmethod[[bytes], bytes] | None] = None
    """Set where every answer is a pure function of its octets, one for each, whatever the chunking: the licence for
    any faster way to carry them. `identity` itself may be carried without ever being read."""
    streams: ClassVar[bool] = True  #: whether the kind makes sense on tcp, unix …
    messages: ClassVar[bool] = True  #: and on unix-seqpacket: with `streams`, and if the answer has a last message
    datagrams: ClassVar[bool] = True  #: and on udp, unix-dgram …
    conversational: ClassVar[bool] = False
    """Whether a datagram peer has a session, as a stream has, in place of one answer to each: it joins, is spoken to
    unasked, and leaves by an end of its session or by silence."""

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        self.options = self.Options() if options is None else options
        self.context = context or Context()

    @classmethod
    def faults(cls, options: Any) -> Iterable[tuple[str, str]]:
        """What is wrong with options whose types are right: a key as Options has it, and the text that says so.

        The configuration asks before anything is served; only what looks at files or compares keys belongs here.
        """
        return ()

    @classmethod
    def is_served_over(cls, shape: Shape) -> bool:
        """Whether the kind makes sense on transports of a shape."""
        if shape is Shape.DATAGRAM:
            return cls.datagrams
        return cls.streams and (cls.messages or shape is Shape.STREAM)

    def succeed(self, predecessor: Any) -> None:
        """Take the place of another of this kind after a reload; what it holds for its sessions may be taken over."""

    def retire(self) -> None:
        """A reload has taken it away, and nothing has its place: tell who is no session. Those are still drained."""

    def session(self, peer: Peer, say: Say) -> Session:
        """A new conversation with `peer`; `say` sends a Reply that nothing asked for."""
        return Transforming(self._pure())

    def datagram(self, request: bytes, arrival: Arrival, reply: Callable[[bytes], None]) -> None:
        """Reply to one datagram: call `reply` for each, now or later, or not at all.

        What exceeds the allowance of the gate is not sent, but counted.
        """
        answer = self.answer(request, arrival.peer)
        if answer is not None:
            reply(answer)

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        """The short form of `datagram`, for one reply at most: the reply, or None."""
        return self._pure()(datagram)

    def _pure(self) -> Transform:
        transform = type(self).transform
        if transform is None:
            raise NotImplementedError(f"{type(self).__name__} has no transform: it must answer by itself")
        return transform


def identity(data: bytes) -> bytes:
    """The transform that changes nothing."""
    return data


class Quiet:
    """A session that says nothing, and closes when the peer has finished: the base of most others."""

    def opened(self) -> Reply:
        return NOTHING

    def received(self, data: bytes) -> Reply:
        return NOTHING

    def proceed(self) -> Reply:
        return NOTHING

    def ended(self) -> Reply:
        return CLOSE

    def lost(self) -> None:
        pass


class Transforming(Quiet):
    """The session of every service whose answer is a pure function of the bytes."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def received(self, data: bytes) -> Reply:
        return Reply(self.transform(data))
