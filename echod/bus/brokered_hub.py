"""A hub whose topics span several daemons: a broker orders the messages of all of them (`broker_messages`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.task import LoopingCall

from echod.bus import broker_messages as wire
from echod.bus.broker_interface import Broker
from echod.bus.broker_messages import BrokerMessage
from echod.bus.frame_socket import WAITING
from echod.bus.frames import Frame, Kind, encoded
from echod.bus.link_watch import LinkWatch
from echod.bus.local_hub import LocalHub, Node, Status, Subscription
from echod.bus.shared_topic import SharedTopic, Standing
from echod.bus.state_answers import StateAnswers
from echod.bus.unreturned_messages import UnreturnedMessages
from echod.gate.work_budget import WorkBudget

EVERY: Final = 1.0  #: seconds between two signs of life, and two checks
TRIES: Final = 3  #: JOINs without a reply before FIRST
PATIENCE: Final = 10.0  #: seconds between two parts of a state
UNRETURNED: Final = 16 * WAITING  #: bytes of own messages on their way; after a loss 10,000 members are 1.3 MB
HELD: Final = 16 * WAITING  #: bytes of messages that are held while the state arrives


class BrokeredHub(LocalHub):
    """As LocalHub, over a broker. `say` gets a level and a line for the log; set it before `start`."""

    def __init__(
        self,
        reactor: Any,
        broker: Broker,
        work: WorkBudget | None = None,
        change: Callable[[int], None] = lambda _by: None,
        *,
        bound: int = WAITING,
    ) -> None:
        super().__init__(reactor, work, change, bound=bound)
        self.say: Callable[[str, str], object] = lambda _level, _text: None
        self.broker = broker
        self._link = self._last = 0  # the link, or 0 if no connection is open; the last link
        self._sequence = 0
        self._shared: dict[str, SharedTopic] = {}
        self.unreturned = UnreturnedMessages()
        self._watch = LinkWatch()
        self._answers = StateAnswers()
        self._tick = LoopingCall(self._check)
        self._tick.clock = reactor

    def start(self) -> None:
        """Connect to the broker."""
        self.broker.start(self)

    def close(self) -> None:
        """As LocalHub: leave the broker, too."""
        if self._link:
            self._publish(wire.Kind.GONE, other=self._link)
        self._link = 0
        if self._tick.running:
            self._tick.stop()
        self.broker.stop()
        super().close()

    @property
    def is_connected(self) -> bool:
        """Whether a connection to the broker is open."""
        return self._link != 0

    # as LocalHub

    def new_number(self) -> int:
        """As LocalHub: it must differ from those of all daemons."""
        return secrets.randbits(31) + 1

    def join(self, node: Node, topic: str) -> None:
        """As LocalHub."""
        is_new = topic not in self._shared
        shared = self._shared.setdefault(topic, SharedTopic())
        super().join(node, topic)
        if is_new and self._link and shared.standing is Standing.ALONE:
            self._join(topic)

    def order(self, topic: str, frame: Frame) -> None:
        """As LocalHub: the broker does it, if this hub is current."""
        if self._shared[topic].standing is not Standing.CURRENT:
            self.send_to_all(topic, frame)
            return
        kind = wire.Kind.MESSAGE if frame.kind is Kind.MESSAGE else wire.Kind.LEFT
        sequence = self._publish(kind, number=frame.number, topic=topic, payload=frame.payload)
        self.unreturned.add(sequence, topic, frame)
        if self.unreturned.bytes > UNRETURNED:
            self._cut("it does not return messages quickly enough")

    def restore_without_source(self, one: Subscription) -> None:
        """As LocalHub. If other daemons have the state, ask them."""
        shared = self._shared[one.topic]
        if shared.standing is Standing.ALONE or shared.links == [self._link]:
            self._continue(one, 0)
        elif shared.standing is Standing.CURRENT:
            one.status, one.request = Status.WAITING, 0
            self._join(one.topic)
        elif len(self._topics[one.topic]) == 1:
            self._continue(one, 0)
        else:
            one.status, one.request = Status.WAITING, 0  # the state is on its way

    def state(self, node: Node, frame: Frame) -> None:
        """As LocalHub; the state may be for another link."""
        if frame.number not in self._answers:
            super().state(node, frame)
        elif (answer := self._answers.answer(node, frame)) is not None:
            self._publish(answer[0], **answer[1])

    def remove(self, node: Node) -> None:
        """As LocalHub."""
        self._answers.forget_node(node)
        super().remove(node)

    # as BrokerClient

    def opened(self) -> None:
        """As BrokerClient."""
        before, self._link = self._last, secrets.randbits(63) + 1
        self._last = self._link
        if before:
            self._publish(wire.Kind.GONE, other=before)  # others may still expect it
        self._watch.begin(self._reactor.seconds())
        for topic in self._topics:
            self._join(topic)
        if not self._tick.running:
            self._tick.start(EVERY, now=False)

    def closed(self, reason: str) -> None:
        """As BrokerClient: continue with the nodes of this process."""
        if self._tick.running:
            self._tick.stop()
        if self._link:
            self._continue_alone()
        self.say("warn", f"{reason}; the rooms and consoles of this daemon continue without others")

    def received(self, data: bytes) -> int:
        """As BrokerClient."""
        if (message := wire.decoded(data)) is None or not self._link:
            return 1
        self._watch.heard(message.link, self._link, self._reactor.seconds())
        if message.link == self._link and self.unreturned.is_overtaken(message.sequence):
            self._cut("it has lost a message")
            return 1
        if message.kind is wire.Kind.GONE:
            self._gone(message.other)
        elif (shared := self._shared.get(message.topic)) is not None:
            self._process(shared, message)
        return 2 + len(message.payload) // 4096

    # a topic

    def _join(self, topic: str) -> None:
        """Ask for the state of a topic. Until it arrives, this hub orders the messages."""
        shared = self._shared[topic]
        self._deliver_unreturned(topic)
        shared.standing, shared.tries = Standing.JOINING, shared.tries + 1
        self._forget_answer(shared)
        self._publish(wire.Kind.JOIN, topic=topic)

    def _process(self, shared: SharedTopic, message: BrokerMessage) -> None:
        kind, link, topic = message.kind, message.link, message.topic
        is_own, is_current = link == self._link, shared.standing is Standing.CURRENT
        if kind is wire.Kind.JOIN:
            if is_own and shared.standing is Standing.JOINING:
                self._forget_answer(shared)
                shared.request = message.sequence
            elif is_current and shared.source_for(link) == self._link:
                self._answer(shared, message)
        elif kind is wire.Kind.FIRST:
            self._first(shared, link, topic)
        elif kind in (wire.Kind.PART, wire.Kind.END):
            if message.other == self._link and shared.standing is Standing.JOINING and shared.request:
                self._add_part(shared, message)
        elif is_current:
            self._apply(shared, message)
        elif shared.standing is Standing.JOINING and shared.request:
            self._hold_back(shared, message)

    def _apply(self, shared: SharedTopic, message: BrokerMessage) -> None:
        """A message of a link that takes part, or READY."""
        kind, link, topic, number = message.kind, message.link, message.topic, message.number
        is_own = link == self._link
        if kind is wire.Kind.READY:
            if shared.add_link(link, is_own=is_own):
                self._notify_together(shared, topic)
            return
        if kind is wire.Kind.GONE:
            self._remove_link(topic, shared, message.other)
            return
        if link not in shared.links or (is_own and not self.unreturned.returned(message.sequence)):
            return  # it does not take part, or the message has been delivered already
        if kind is wire.Kind.MESSAGE:
            if shared.add_node(number, link, is_own=is_own):
                self.send_to_all(topic, Frame(Kind.MESSAGE, number, topic, message.payload))
        elif kind is wire.Kind.LEFT and shared.nodes.pop(number, link) == link:
            self.send_to_all(topic, Frame(Kind.LEFT, number, topic))

    def _first(self, shared: SharedTopic, link: int, topic: str) -> None:
        if link == self._link:
            if shared.standing is Standing.JOINING:
                shared.standing, shared.links, shared.nodes = Standing.CURRENT, [link], {}
                self._become_current(shared, topic)
                for one in self._topics.get(topic, {}).values():
                    if one.status is Status.WAITING and one.source is None:
                        self._restore(one)
        elif shared.standing is not Standing.ALONE:
            if shared.standing is Standing.CURRENT:
                self._remove_others(topic, shared)
            shared.tries = 0
            self._join(topic)

    def _answer(self, shared: SharedTopic, join: BrokerMessage) -> None:
        """Ask one of its nodes for the state, for another link."""
        nodes = self._topics.get(join.topic, {}).values()
        source = next((one.node for one in nodes if one.status is Status.CURRENT), None)
        if source is not None:
            self._requests += 1
            self._answers.begin(self._requests, join, source, wire.members_encoded(shared.links, shared.nodes))
            source.socket.send(encoded(Frame(Kind.ASK, self._requests, join.topic)))

    def _add_part(self, shared: SharedTopic, message: BrokerMessage) -> None:
        if message.number != shared.request:
            return
        if message.kind is wire.Kind.PART:
            if not shared.add_part(message.payload, self._reactor.seconds()):  # forged; this hub begins the topic later
                self._forget_answer(shared)
        elif (members := wire.members_decoded(message.payload)) is not None:
            self._take_state(shared, message.topic, *members)

    def _take_state(self, shared: SharedTopic, topic: str, links: list[int], nodes: dict[int, int]) -> None:
        """Give the state to all nodes, and then the messages since JOIN."""
        shared.standing, shared.links, shared.nodes = Standing.CURRENT, links, nodes
        self._requests += 1
        frames = [encoded(Frame(Kind.PART, self._requests, topic, part)) for part in shared.parts]
        for one in self._topics.get(topic, {}).values():
            if one.status is not Status.BEHIND:  # that one gets the state from another one, when it has read the rest
                self._forget_held(one)
                for data in frames:
                    one.node.socket.send(data)
                self._continue(one, self._requests)
        since = shared.since
        self._become_current(shared, topic)
        self._publish(wire.Kind.READY, topic=topic)
        for message in since:
            self._apply(shared, message)
        here = {node.number for node in self._topics.get(topic, {})}
        for number in [number for number, link in shared.nodes.items() if link == self._link and number not in here]:
            self.order(topic, Frame(Kind.LEFT, number, topic))  # it has ended while the state arrived

    def _become_current(self, shared: SharedTopic, topic: str) -> None:
        self._forget_answer(shared)
        shared.tries = 0
        self._notify_together(shared, topic)

    def _notify_together(self, shared: SharedTopic, topic: str) -> None:
        """Notify the nodes when others are there again after a loss."""
        if shared.was_lost and {*shared.links} - {self._link}:
            shared.was_lost = False
            self.send_to_all(topic, Frame(Kind.TOGETHER, 1, topic))

    def _hold_back(self, shared: SharedTopic, message: BrokerMessage) -> None:
        self.change(shared.hold(message))
        if shared.since_bytes > HELD:
            self._join(message.topic)

    def _forget_answer(self, shared: SharedTopic) -> None:
        self.change(-shared.since_bytes)
        shared.forget_answer(self._reactor.seconds())

    def _gone(self, gone: int) -> None:
        if gone == self._link:  # others have heard nothing of this daemon
            self._continue_alone()
            self.opened()
            return
        self._answers.forget_link(gone)
        for topic, shared in self._shared.items():
            if shared.standing is Standing.CURRENT:
                self._remove_link(topic, shared, gone)
            elif shared.standing is Standing.JOINING and shared.request:
                self._hold_back(shared, BrokerMessage(wire.Kind.GONE, gone, gone, topic=topic))

    def _remove_link(self, topic: str, shared: SharedTopic, gone: int) -> None:
        for node in shared.remove(gone):
            self.send_to_all(topic, Frame(Kind.LEFT, node, topic))

    def _remove_others(self, topic: str, shared: SharedTopic) -> None:
        """Let the nodes of all other links leave, because this hub is not connected to them any more."""
        if others := {*shared.links, *shared.nodes.values()} - {self._last}:
            shared.was_lost = True
            self.send_to_all(topic, Frame(Kind.TOGETHER, 0, topic))
        for link in others:
            self._remove_link(topic, shared, link)

    def _continue_alone(self) -> None:
        self._link = 0
        self._answers.clear()
        for topic, shared in self._shared.items():
            if shared.standing is Standing.CURRENT:
                self._remove_others(topic, shared)
            self._deliver_unreturned(topic)
            shared.standing, shared.tries = Standing.ALONE, 0
            shared.links, shared.nodes = [], {}
            self._forget_answer(shared)
            for one in list(self._topics.get(topic, {}).values()):
                if one.status is Status.WAITING and one.source is None:
                    self._restore(one)

    def _deliver_unreturned(self, topic: str) -> None:
        """Deliver messages that have not returned to its nodes. They are ignored when they return."""
        for frame in self.unreturned.take(topic):
            self.send_to_all(topic, frame)

    def _check(self) -> None:
        """Send a sign of life, and look for what is overdue."""
        now = self._reactor.seconds()
        if self._watch.is_overdue(now):
            self._cut("it does not respond")
            return
        self._publish(wire.Kind.ALIVE)
        for topic, shared in self._shared.items():
            if shared.standing is Standing.JOINING:
                if shared.parts and now - shared.part_at < PATIENCE:
                    continue
                if shared.tries >= TRIES:
                    shared.tries = 0
                    self._publish(wire.Kind.FIRST, topic=topic)
                else:
                    self._join(topic)
        current = [one.links for one in self._shared.values() if one.standing is Standing.CURRENT]
        for link in self._watch.silent({link for links in current for link in links} - {self._link}, now):
            self._publish(wire.Kind.GONE, other=link)

    def _cut(self, reason: str) -> None:
        self.broker.drop(reason)
        self.closed(f"the bus is disconnected: {reason}")

    def _publish(self, kind: wire.Kind, **fields: Any) -> int:
        """Publish a message; returns its sequence."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF or 1
        self.broker.publish(wire.encoded(BrokerMessage(kind, self._link, sequence=self._sequence, **fields)))
        return self._sequence
