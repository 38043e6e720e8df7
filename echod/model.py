"""The types that services and transports share.

A *service* turns bytes into a `Reply`. It has no socket and no reactor; its clock is in its `Context`. A *transport*
moves the bytes and performs the Reply. This module depends on no service and no transport.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol

from echod.faults.settings import Faults
from echod.gate.access import key_of
from echod.gate.connections import client_of
from echod.gate.limits import Limits
from echod.gate.total_buffer import SendBudget, Watermark
from echod.gate.work_budget import WorkBudget
from echod.in_place_replies import InPlaceReplies
from echod.membership import Membership
from echod.shape import Shape
from echod.socket_names import SocketAddress, UnixName
from echod.transports.registry import EVERY_FORM

Transform = Callable[[bytes], bytes]
Show = Literal["no", "text", "hex"]
"""Whether and how the messages of clients are printed."""


class End(Enum):
    """The action on a stream after the data of a Reply has been sent."""

    NOTHING = "nothing"
    HALF_CLOSE = "half-close"  #: send a FIN; the peer may continue to send
    CLOSE = "close"  #: flush pending output, drop further input, and close
    RESET = "reset"  #: immediately, with RST; pending output is dropped


class Reply(NamedTuple):
    """The output of a session, and the action after it.

    `data` is sent first (None is nothing; b"" is an empty datagram, and nothing on a stream), then `more`. Then `end`
    is performed. The next piece of `more` is taken only while the peer reads. If `more` is `endless`, a stop of the
    service cuts it; otherwise all of it is sent first.

    `text` is for transports that distinguish text from binary. It is True or False for all of this reply. None is the
    type of the last message received, or the default of the transport.

    `held` is set in the return value of a session's method if the session has unprocessed input. The transport then
    stops reading from this peer, and calls `Session.proceed` in a later turn, in the order of `Context.work`.
    `ended` is called after the last of it.
    """

    data: bytes | None = None
    end: End = End.NOTHING
    more: Iterator[bytes] | None = None
    endless: bool = False
    held: bool = False
    text: bool | None = None


NOTHING: Final = Reply()
CLOSE: Final = Reply(end=End.CLOSE)
RESET: Final = Reply(end=End.RESET)


NO_FACTS: Final[Mapping[str, object]] = MappingProxyType({})


def share_of(remote: SocketAddress, user: int | None = None) -> str:
    """The key of a client in shared limits: an IPv4 host, an IPv6 /64, or a local user."""
    if isinstance(remote, UnixName):
        return f"user {user}"
    try:
        return client_of(key_of(remote.host)).hex()
    except ValueError:  # an endpoint string whose peers have other names
        return remote.host


class Peer(NamedTuple):
    """The other end of a connection, or the sender of a datagram.

    `user` and `groups` are the numbers of the user and the groups at the other end of a Unix stream, from the kernel.
    `learned` are the facts of layers below the conversation, by the layer's name, as values of JSON. `choose_faults`
    replaces the faults of this connection, or those of the replies to this datagram; None if there are none.
    `set_traffic_class` sets the byte of DSCP and ECN of the replies to this datagram; None if they have none.
    """

    scheme: str
    local: SocketAddress
    remote: SocketAddress
    user: int | None = None
    groups: frozenset[int] = frozenset()
    learned: Mapping[str, object] = NO_FACTS
    choose_faults: Callable[[Faults], None] | None = None
    set_traffic_class: Callable[[int], None] | None = None

    @property
    def shape(self) -> Shape:
        """The shape of the transport."""
        return EVERY_FORM[self.scheme].shape

    @property
    def keeps_messages(self) -> bool:
        """Whether each read is one whole message, rather than a part of a stream."""
        return self.shape.keeps_messages

    @property
    def share(self) -> str:
        """The key of a client in shared limits: an IPv4 host, an IPv6 /64, or a local user."""
        return share_of(self.remote, self.user)

    @property
    def is_unix(self) -> bool:
        """Whether the peer is a process of this machine, at the other end of a Unix socket."""
        return isinstance(self.local, UnixName)


class Arrival(NamedTuple):
    """The metadata of one arrival: a datagram, a message, or a read of a stream. None means unknown.

    `text` is whether a message came as text, on a transport that distinguishes text from binary. `ttl` is the number of
    remaining hops, `traffic_class` the byte of DSCP and ECN, and `received_ns` the time of arrival by the kernel's
    clock, in nanoseconds since 1970.
    """

    text: bool | None = None
    ttl: int | None = None
    traffic_class: int | None = None
    received_ns: int | None = None


PLAIN: Final = Arrival()  #: nothing is known: the arrival of every read of a stream


class Session(Protocol):
    """One conversation. Its methods never block, and do not raise for any input from a peer."""

    def opened(self) -> Reply:
        """The peer has connected."""

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        """Process received bytes: one piece of a stream, of any length above 0, or one whole message."""

    def proceed(self) -> Reply:
        """Process the next portion of the input that the last Reply said is `held`."""

    def ended(self) -> Reply:
        """The peer has finished sending; it may still be reading."""

    def lost(self) -> None:
        """The conversation is over. Nothing can be sent any more."""


Say = Callable[[Reply], None]
"""Sends a Reply without a request; after `lost` it does nothing."""


def _nowhere(_line: str) -> None:
    """The default of `Context.show`: discards lines."""


def _always() -> bool:
    """The default of `Context.shows`: no line is suppressed."""
    return True


def _at_once(_seconds: float, call: Callable[[], None]) -> None:
    """The default of `Context.later`: calls immediately."""
    call()


@dataclass(frozen=True)
class Context:
    """The environment of a service; a test can replace all of it."""

    clock: Callable[[], float] = time.monotonic  #: seconds, never stepping back
    wall_clock: Callable[[], float] = time.time  # noqa: TID251 - the only place that reads the date
    wall_clock_ns: Callable[[], int] = time.time_ns  #: the same in nanoseconds, for timestamps of packets
    random: random.Random = field(default_factory=random.Random)
    show: Callable[[str], None] = _nowhere  #: prints one line, already escaped, as the service's output
    shows: Callable[[], bool] = _always  #: whether `show` would print now; above the rate limit lines are only counted
    terminal: bool = False  #: whether the output goes to a terminal, and is not stored
    later: Callable[[float, Callable[[], None]], object] = _at_once  #: calls after some seconds: `callLater`
    send_budget: Watermark = field(default_factory=lambda: SendBudget().mark(Limits().total_buffer))
    """The limit of pending output of all connections; outboxes count in it. Set to `total-buffer` of the service."""
    work: WorkBudget = field(default_factory=WorkBudget)  #: for input that is split into items
    membership: Membership | None = None  #: rooms and queues that other processes share; None: they are local


@dataclass(frozen=True)
class NoOptions:
    """The options of a kind without options."""


class Service:
    """One kind of service; a subclass is one file in `echod.services`.

    `Options` is a frozen dataclass or attrs class with a default for every field. Its fields are the configuration keys
    of the service, and `metadata={"help": …}` of a field is its documentation.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type] = NoOptions
    transform: ClassVar[staticmethod[[bytes], bytes] | None] = None
    """Set if every reply is a pure function of the received bytes, byte by byte, however they are split. This permits a
    faster path. With `identity` the bytes may be forwarded without being read."""
    streams: ClassVar[bool] = True  #: whether the kind can be served on tcp, unix …
    messages: ClassVar[bool] = True  #: and on unix-seqpacket; needs `streams`, and a reply that ends
    datagrams: ClassVar[bool] = True  #: and on udp, unix-dgram …
    requests: ClassVar[bool] = False  #: and on http
    conversational: ClassVar[bool] = False
    """Whether a datagram peer has a session, like a stream. It joins, receives output without a request, and leaves by
    an end of its session or after `idle`."""

    chooses_faults: ClassVar[bool] = False  #: whether sessions call `Peer.choose_faults`

    shown_on_terminal: ClassVar[bool] = False
    """Whether messages of clients are printed by default if standard output is a terminal."""

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        self.options = self.Options() if options is None else options
        self.context = context or Context()

    @classmethod
    def configuration_errors(cls, options: Any) -> Iterable[tuple[str, str]]:
        """Errors in options whose types are right: the name of the field in Options, and the message.

        The configuration calls it before anything is served. Check only files and combinations of keys here.
        """
        return ()

    @classmethod
    def is_served_over(cls, shape: Shape) -> bool:
        """Whether the kind can be served on transports of a shape."""
        if shape is Shape.DATAGRAM:
            return cls.datagrams
        if shape is Shape.REQUEST:
            return cls.requests
        return cls.streams and (cls.messages or shape is Shape.STREAM)

    def chosen_faults(self, layer: str, text: str) -> Faults | None:
        """The faults that a client has chosen in a handshake, before its session begins; None without a valid choice.

        `text` is the server name of the layer `tls`, or the query of the layer `websocket`.
        """
        return None

    def take_over_from(self, predecessor: Any) -> None:
        """Replace another service of this kind after a reload; the state for its sessions may be taken over."""

    def retire(self) -> None:
        """A reload has removed the service: notify everything that is not a session. Sessions are still drained."""

    def session(self, peer: Peer, say: Say) -> Session:
        """A new conversation with `peer`; `say` sends a Reply without a request."""
        return Transforming(self._pure())

    def datagram(self, request: bytes, peer: Peer, arrival: Arrival, reply: Callable[[bytes], object]) -> None:
        """Reply to one datagram: call `reply` for each, now or later, or not at all.

        A reply above the allowance of the gate is not sent, but counted. Then, and if the kernel refuses a reply,
        `reply` returns False.
        """
        answer = self.answer(request, peer)
        if answer is not None:
            reply(answer)

    def in_place(self) -> InPlaceReplies | None:
        """Replies that are written over their requests; None if these options have none. It permits a faster path."""
        return None

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        """The simple form of `datagram`: the only reply, or None."""
        return self._pure()(datagram)

    def _pure(self) -> Transform:
        transform = type(self).transform
        if transform is None:
            raise NotImplementedError(f"{type(self).__name__} has no transform: define session() and answer()")
        return transform


def identity(data: bytes) -> bytes:
    """The transform of `echo`: returns the same bytes."""
    return data


class Quiet:
    """A session that sends nothing, and closes when the peer has finished; the base of most others."""

    def opened(self) -> Reply:
        return NOTHING

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        return NOTHING

    def proceed(self) -> Reply:
        return NOTHING

    def ended(self) -> Reply:
        return CLOSE

    def lost(self) -> None:
        pass


class Transforming(Quiet):
    """The session of every service whose reply is a pure function of the received bytes."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        return Reply(self.transform(data))
