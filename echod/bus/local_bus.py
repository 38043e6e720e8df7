"""The local bus in one process of a daemon. Its interface is `echod.bus.bus_interface`.

While the hub is gone, this process continues alone with the members that it has. After `connect` with a new hub it
joins all its topics again.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger

from echod.bus.bus_interface import MESSAGE, Replica
from echod.bus.frame_socket import OVERHEAD, WAITING, FrameSocket, Owner
from echod.bus.frames import Frame, Kind, WrongFrame, encoded
from echod.gate.work_budget import WorkBudget

_log = Logger()

ALONE: Final = 0  #: the number of a node that is not connected to a hub


class LocalBus(Owner):
    """The bus, in one process: a worker, or the parent itself.

    `work` and `change` are as in LocalHub; `gone` is called with the reason when the hub is gone.

    A worker: `LocalBus(reactor, work)`, then `connect(socket)` with the socket of `LocalHub.connect` that it inherited.
    The parent, which has the seats of the operators: the same, with a socket of its own hub.
    """

    def __init__(
        self,
        reactor: Any,
        work: WorkBudget | None = None,
        change: Callable[[int], None] = lambda _by: None,
        gone: Callable[[str], None] = lambda _reason: None,
        *,
        bound: int = WAITING,
    ) -> None:
        self.node = ALONE
        self._reactor = reactor
        self._work = work or WorkBudget(reactor.callLater)
        self.change = change  # set it before `connect`
        self._gone = gone
        self._bound = bound
        self._socket: FrameSocket | None = None
        self._topics: dict[str, LocalTopic] = {}

    def connect(self, connected: socket.socket) -> None:
        """Use a connection to a hub: the first one, or after the last hub is gone."""
        if self._socket is not None:
            self._socket.close()
        self._socket = FrameSocket(self._reactor, connected, self, self._work, self.change)
        for name in self._topics:
            self.send(Frame(Kind.JOIN, 0, name))

    def close(self) -> None:
        """Leave all topics."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def join(self, topic: str, replica: Replica) -> LocalTopic:
        """As Bus."""
        made = self._topics[topic] = LocalTopic(self, topic, replica)
        if not self.send(Frame(Kind.JOIN, 0, topic)):
            replica.restored(ALONE, None, 0)
        return made

    def is_full(self) -> bool:
        """Whether too many bytes of messages wait for the hub."""
        if self._socket is not None and self._socket.messages > self._bound:
            self._socket.flush()
            return self._socket.messages > self._bound
        return False

    def send(self, frame: Frame) -> bool:
        """Send a frame to the hub, if this process is connected to one."""
        data = encoded(frame)
        if self._socket is None:
            return False
        self._socket.send(data, frame.topic if frame.kind is Kind.PUBLISH else None)
        return True

    def received(self, frame: Frame) -> int:
        """As Owner."""
        if frame.kind is Kind.NODE:
            self.node = frame.number
            return 1
        topic = self._topics.get(frame.topic)
        if topic is None:
            raise WrongFrame(f"topic {frame.topic!a} was not joined")
        return topic.frame(frame)

    def lost(self, reason: str) -> None:
        """As Owner: continue alone."""
        self._socket = None
        self.node = ALONE
        for topic in self._topics.values():
            topic.continue_alone()
        self._gone(reason)


class LocalTopic:
    """As `Topic`."""

    def __init__(self, bus: LocalBus, name: str, replica: Replica) -> None:
        self._bus = bus
        self._name = name
        self._replica = replica
        self._parts: dict[int, list[bytes]] = {}  # of states, by request
        self._own: deque[bytes] = deque()  # messages that have not been applied, while this process is alone
        self._applying = False

    def publish(self, message: bytes, *, must: bool = False) -> bool:
        """As Topic."""
        if len(message) > MESSAGE:
            raise ValueError(f"a message of {len(message)} bytes is too long; the maximum is {MESSAGE}")
        if not must and self._bus.is_full():
            return False
        if not self._bus.send(Frame(Kind.PUBLISH, 0, self._name, message)):
            self._own.append(message)
            self._apply()
        return True

    def frame(self, frame: Frame) -> int:
        """Process a frame of the hub. Returns its cost. Raises WrongFrame."""
        kind, number = frame.kind, frame.number
        if kind is Kind.MESSAGE:
            return self._received(number, frame.payload)
        if kind is Kind.LEFT:
            self._replica.left(number)
        elif kind is Kind.TOGETHER:
            self._replica.together(bool(number))
        elif kind is Kind.ASK:
            return self._send_state(number)
        elif kind is Kind.PART:
            if number not in self._parts:  # of an older request, which was not completed
                self._parts = {number: []}
            self._parts[number].append(frame.payload)
        elif kind is Kind.RESTORED:
            parts, self._parts = self._parts.get(number, []), {}
            self._restored(parts if number else None, int(frame.payload))
            return 1 + len(parts)
        else:
            raise WrongFrame(f"the hub sent a frame of kind {kind.name}")
        return 1

    def continue_alone(self) -> None:
        """The hub is gone."""
        self._parts = {}
        self._replica.restored(ALONE, None, 0)

    def _restored(self, parts: list[bytes] | None, lost: int) -> None:
        """Give the replica a state. If it is wrong, by a bug or forged, the replica continues with its own."""
        try:
            self._replica.restored(self._bus.node, parts, lost)
        except Exception:
            if parts is None:
                raise
            _log.failure("a state of {topic} was not applied", topic=self._name)
            self._replica.restored(self._bus.node, None, lost)

    def _send_state(self, request: int) -> int:
        size = 0
        for part in self._replica.state():
            self._bus.send(Frame(Kind.STATE, request, self._name, part))
            size += len(part) + OVERHEAD
        self._bus.send(Frame(Kind.STATE_END, request, self._name))
        return 1 + size // 1024

    def _received(self, node: int, message: bytes) -> int:
        """Apply a message. If that fails, for a bug or a broken process, it is skipped: all nodes fail alike."""
        try:
            return self._replica.received(node, message)
        except Exception:
            _log.failure("a message of node {node} for {topic} was not applied", node=node, topic=self._name)
            return 1

    def _apply(self) -> None:
        """Apply the messages of this process, each after the one before: one may cause the next."""
        if self._applying:
            return
        self._applying = True
        try:
            while self._own:
                self._received(ALONE, self._own.popleft())
        finally:
            self._applying = False
