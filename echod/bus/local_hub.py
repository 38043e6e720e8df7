"""The hub of a local bus: it orders the messages of all processes of a daemon. It runs in their parent.

The hub does not look into messages. It sends each message to all nodes of its topic, in the order of arrival. If more
than `bound` bytes wait for a process that reads too slowly, its messages are dropped. When it has read the rest, it
gets the state of another node, and the number of its lost messages; it continues from there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from echod.bus.frame_socket import OVERHEAD, WAITING, FrameSocket, Owner
from echod.bus.frames import Frame, Kind, WrongFrame, encoded
from echod.gate.work_budget import WorkBudget


class Status(Enum):
    """The status of a node in a topic."""

    CURRENT = "current"  #: it gets each message
    WAITING = "waiting"  #: it waits for the state; its messages are held
    BEHIND = "behind"  #: messages were dropped, and it has not read the rest yet


@dataclass(eq=False)
class Subscription:
    """One node in one topic."""

    node: Node
    topic: str
    status: Status = Status.WAITING
    lost: int = 0  #: messages that were dropped
    held: list[bytes] = field(default_factory=list)  #: messages since the request
    held_bytes: int = 0
    request: int = 0  #: the number of the request for the state
    source: Subscription | None = None  #: the node that was asked
    outdated: bool = False  #: messages since the request were dropped: the state must be requested again


class LocalHub:
    """The hub. `connect` returns the other end of a connection: pass it to a process, for its LocalBus.

    `work` is the work budget of this process. `change` gets the change of the bytes that wait, for the send budget, and
    `miss` the number of messages that were dropped.
    """

    def __init__(
        self,
        reactor: Any,
        work: WorkBudget | None = None,
        change: Callable[[int], None] = lambda _by: None,
        *,
        bound: int = WAITING,
    ) -> None:
        self.lost = 0  #: messages that were dropped
        self._reactor = reactor
        self._work = work or WorkBudget(reactor.callLater)
        self.change = change  # set it before `connect`
        self.miss: Callable[[int], None] = lambda _count: None
        self._bound = bound
        self._topics: dict[str, dict[Node, Subscription]] = {}  # in the order of joining
        self._nodes: set[Node] = set()
        self._numbers = 0
        self._requests = 0

    def connect(self) -> socket.socket:
        """A connected socket for one process. Close it here after the process has inherited it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        node = Node(self, self.new_number())
        node.socket = FrameSocket(self._reactor, ours, node, self._work, self.change)
        node.socket.send(encoded(Frame(Kind.NODE, node.number)))
        self._nodes.add(node)
        return theirs

    def close(self) -> None:
        """Close all connections."""
        for node in list(self._nodes):
            node.socket.close()
        self._nodes.clear()
        self._topics.clear()

    def new_number(self) -> int:
        """The number of a new node."""
        self._numbers += 1
        return self._numbers

    # for nodes

    def join(self, node: Node, topic: str) -> None:
        """Add a node to a topic. Raises WrongFrame if it is there already."""
        nodes = self._topics.setdefault(topic, {})
        if node in nodes:
            raise WrongFrame(f"topic {topic!a} was joined twice")
        nodes[node] = Subscription(node, topic)
        self._restore(nodes[node])

    def publish(self, node: Node, topic: str, message: bytes) -> None:
        """Send a message to all nodes of a topic. Raises WrongFrame if its sender has not joined it."""
        self._subscription(node, topic)
        self.order(topic, Frame(Kind.MESSAGE, node.number, topic, message))

    def state(self, node: Node, frame: Frame) -> None:
        """A part or the end of the state that this node was asked for. An outdated request is ignored."""
        self._subscription(node, frame.topic)
        for one in self._topics[frame.topic].values():
            if one.status is Status.WAITING and one.request == frame.number and one.source and one.source.node is node:
                if frame.kind is Kind.STATE:
                    one.node.socket.send(encoded(frame._replace(kind=Kind.PART)))
                elif one.outdated:
                    self._restore(one)
                else:
                    self._continue(one, one.request)
                return

    def sent(self, node: Node) -> None:
        """A node has read everything: it can have the state of the topics in which it is behind."""
        for nodes in self._topics.values():
            if (one := nodes.get(node)) and one.status is Status.BEHIND:
                self._restore(one)

    def remove(self, node: Node) -> None:
        """A node is gone: tell the others."""
        self._nodes.discard(node)
        for topic in [name for name, nodes in self._topics.items() if node in nodes]:
            gone = self._topics[topic].pop(node)
            self.order(topic, Frame(Kind.LEFT, node.number, topic))
            self._ask_others(gone)
            if not self._topics[topic]:
                del self._topics[topic]

    def order(self, topic: str, frame: Frame) -> None:
        """Send a frame to all nodes, in the order of the topic."""
        self.send_to_all(topic, frame)

    def restore_without_source(self, one: Subscription) -> None:
        """No other node of this hub has the state: a node continues with its own."""
        self._continue(one, 0)

    def _subscription(self, node: Node, topic: str) -> Subscription:
        try:
            return self._topics[topic][node]
        except KeyError:
            raise WrongFrame(f"topic {topic!a} was not joined") from None

    def send_to_all(self, topic: str, frame: Frame) -> None:
        """Send a frame to all nodes of this hub."""
        data = encoded(frame)
        for one in list(self._topics.get(topic, {}).values()):
            if one.status is Status.CURRENT:
                one.node.socket.send(data, topic)
                if one.node.socket.messages > self._bound:
                    one.node.socket.flush()  # more than this may arrive in one turn of the reactor
                    if one.node.socket.messages > self._bound and len(one.node.socket) > 1:
                        self._fall_behind(one.node)
            elif one.status is Status.WAITING:
                self._hold(one, data)
            else:
                self._lose(one, 1)

    def _hold(self, one: Subscription, data: bytes) -> None:
        one.held.append(data)
        self._count_held(one, len(data) + OVERHEAD)
        if one.held_bytes > self._bound:
            self._lose(one, len(one.held))
            self._forget_held(one)
            one.outdated = True

    def _fall_behind(self, node: Node) -> None:
        """Drop the messages that wait for a node."""
        for topic, count in node.socket.drop().items():
            one = self._topics[topic][node]
            self._lose(one, count)
            one.status = Status.BEHIND
            self._ask_others(one)

    def _ask_others(self, source: Subscription) -> None:
        """A node cannot return its state any more: ask another one."""
        for one in self._topics[source.topic].values():
            if one.status is Status.WAITING and one.source is source:
                self._restore(one)

    def _restore(self, one: Subscription) -> None:
        """Request the state for a node from the first one that is current; without any, it continues with its own."""
        self._forget_held(one)
        one.outdated = False
        others = (other for other in self._topics[one.topic].values() if other.status is Status.CURRENT)
        one.source = next(others, None)
        if one.source is None:
            self.restore_without_source(one)
            return
        self._requests += 1
        one.status, one.request = Status.WAITING, self._requests
        one.source.node.socket.send(encoded(Frame(Kind.ASK, one.request, one.topic)))

    def _continue(self, one: Subscription, request: int) -> None:
        """A node has its state: send it the messages since then."""
        one.status, one.source = Status.CURRENT, None
        lost, one.lost = one.lost, 0
        one.node.socket.send(encoded(Frame(Kind.RESTORED, request, one.topic, str(lost).encode())))
        held = one.held
        self._forget_held(one)
        for data in held:
            one.node.socket.send(data, one.topic)

    def _forget_held(self, one: Subscription) -> None:
        one.held = []
        self._count_held(one, -one.held_bytes)

    def _count_held(self, one: Subscription, size: int) -> None:
        one.held_bytes += size
        self.change(size)

    def _lose(self, one: Subscription, count: int) -> None:
        one.lost += count
        self.lost += count
        self.miss(count)


class Node(Owner):
    """One process, at the other end of a connection."""

    socket: FrameSocket

    def __init__(self, hub: LocalHub, number: int) -> None:
        self.number = number
        self._hub = hub

    def received(self, frame: Frame) -> int:
        """As Owner. A message costs one unit."""
        if frame.kind is Kind.PUBLISH:
            self._hub.publish(self, frame.topic, frame.payload)
        elif frame.kind is Kind.JOIN:
            self._hub.join(self, frame.topic)
        elif frame.kind in (Kind.STATE, Kind.STATE_END):
            self._hub.state(self, frame)
        else:
            raise WrongFrame(f"a process sent a frame of kind {frame.kind.name}")
        return 1

    def sent(self) -> None:
        """As Owner."""
        self._hub.sent(self)

    def lost(self, reason: str) -> None:
        """As Owner."""
        self._hub.remove(self)
