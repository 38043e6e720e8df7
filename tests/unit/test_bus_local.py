"""The local bus: a hub and several buses on one reactor that is turned by hand, with real sockets.

A replica here is a list of all messages: the simplest state that depends on their order.
"""

import random
from collections.abc import Iterable, Iterator

import pytest

from echod.bus.bus_interface import MESSAGE
from echod.bus.frame_socket import OVERHEAD, WAITING
from echod.bus.frames import Frame, Kind, encoded
from echod.services import outbox
from tests.bus import Processes

BOUND = 20_000


class Journal:
    """A replica: all messages, and the nodes that have left."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.restorations: list[tuple[bool, int]] = []  # whether a state was given, and the lost messages
        self.node = -1
        self.applied = 0
        self.seen: set[bytes] = set()
        self.twice: list[bytes] = []  # messages that were received again

    def received(self, node: int, message: bytes) -> int:
        if message in self.seen:
            self.twice.append(message)
        self.seen.add(message)
        self.entries.append(f"{node}: {message.decode()}")
        self.applied += 1
        return 1

    def left(self, node: int) -> None:
        self.entries.append(f"{node} left")

    def together(self, connected: bool) -> None:
        self.entries.append("together" if connected else "apart")

    def state(self) -> Iterator[bytes]:
        yield from (entry.encode() for entry in self.entries)

    def restored(self, node: int, parts: Iterable[bytes] | None, lost: int) -> None:
        self.node = node
        self.restorations.append((parts is not None, lost))
        if parts is not None:
            self.entries = [part.decode() for part in parts]


@pytest.fixture
def processes():
    made = Processes(3, bound=BOUND)
    yield made
    made.close()


def journals(processes: Processes, name: str = "topic"):
    made = [Journal() for _ in processes.buses]
    topics = [bus.join(name, journal) for bus, journal in zip(processes.buses, made, strict=True)]
    processes.settle()
    return made, topics


def test_the_bounds_are_those_of_an_outbox():
    assert (WAITING, OVERHEAD) == (outbox.WAITING, outbox.OVERHEAD)


def test_all_nodes_get_all_messages_of_a_topic_in_one_order(processes):
    made, topics = journals(processes)
    others, _ = journals(processes, "another")
    for number in range(100):
        assert topics[number % 3].publish(f"{number}".encode())
        if number % 7 == 0:
            processes.settle()
    processes.settle()
    assert len(made[0].entries) == 100
    assert made[0].entries == made[1].entries == made[2].entries
    assert [one.node for one in made] == [1, 2, 3]
    assert [one.entries for one in others] == [[], [], []]
    assert [one.restorations for one in made] == [[(False, 0)], [(True, 0)], [(True, 0)]]


def test_a_node_that_joins_later_has_the_state_and_each_message_once(processes):
    made, topics = journals(processes)
    for number in range(50):
        topics[number % 3].publish(f"{number}".encode())
    late = Journal()
    processes.start().join("topic", late)
    for number in range(50, 100):
        topics[number % 3].publish(f"{number}".encode())
    processes.settle()
    assert late.entries == made[0].entries
    assert len(late.entries) == 100


def test_a_node_that_ends_is_reported_in_the_order_of_messages(processes):
    made, topics = journals(processes)
    topics[2].publish(b"last words")
    processes.settle()
    processes.kill(processes.buses[2])
    topics[0].publish(b"after")
    processes.settle()
    assert made[0].entries == made[1].entries == ["3: last words", "3 left", "1: after"]


@pytest.mark.parametrize("source", [0, 1])
def test_if_the_node_that_has_the_state_ends_another_is_asked(processes, source):
    """The first node that is current is asked; node 1 has ended or does not reply."""
    made, topics = journals(processes)
    topics[0].publish(b"hello")
    processes.settle()
    processes.stop(processes.buses[0])
    late = Journal()
    processes.start().join("topic", late)
    processes.settle()
    assert late.restorations == []
    if source == 0:
        processes.go_on(processes.buses[0])
        assert late.entries == ["1: hello"]
    else:
        processes.buses[0].close()
        processes.settle()
        assert late.entries == made[1].entries == ["1: hello", "1 left"]
    assert late.restorations == [(True, 0)]


def test_a_slow_node_loses_messages_and_gets_the_state_while_others_get_all(processes):
    made, topics = journals(processes)
    missed: list[int] = []
    processes.hub.miss = missed.append
    processes.stop(processes.buses[2])
    text = "x" * 1000
    for number in range(1000):
        topics[number % 2].publish(f"{number} {text}".encode())
        if number % 10 == 0:
            processes.settle()
    processes.settle()
    assert made[0].applied == made[1].applied == 1000
    assert made[2].applied == 0
    waiting = [node.socket.messages for node in processes.hub._nodes]
    assert max(waiting) <= BOUND + 1100, "it is bounded"
    processes.go_on(processes.buses[2])
    assert made[2].entries == made[0].entries
    assert made[2].restorations[0] == (True, 0)
    [(given, lost)] = made[2].restorations[1:]
    assert given
    assert made[2].applied + lost == 1000
    assert processes.hub.lost == lost == sum(missed) > 0


def test_messages_that_arrive_while_the_state_is_fetched_are_not_lost_or_doubled(processes):
    made, topics = journals(processes)
    topics[0].publish(b"before")
    processes.settle()
    processes.stop(processes.buses[0])
    late = Journal()
    processes.start().join("topic", late)
    processes.settle()
    for number in range(10):
        topics[1].publish(f"{number}".encode())
        processes.settle()
    assert late.restorations == []
    processes.go_on(processes.buses[0])
    assert late.entries == made[0].entries == made[1].entries
    assert late.applied == 10


def test_too_many_messages_while_the_state_is_fetched_are_part_of_another_state(processes):
    made, topics = journals(processes)
    processes.stop(processes.buses[0])
    late = Journal()
    processes.start().join("topic", late)
    for number in range(15):
        topics[1].publish(f"{number}".encode() + bytes(1000))
        processes.settle()
    processes.go_on(processes.buses[0])
    assert late.entries == made[1].entries
    assert len(late.entries) == 15
    for number in range(100):
        topics[1].publish(f"{number}".encode() + bytes(1000))
    processes.settle()
    assert late.entries == made[1].entries == made[0].entries


def test_two_slow_nodes_continue_with_what_the_first_one_has(processes):
    """No node has all messages then: the first one that reads again continues, and the other one with its state."""
    made, topics = journals(processes)
    processes.kill(processes.buses[0])
    for bus in processes.buses[1:]:
        processes.stop(bus)
    for number in range(60):
        processes.hub.publish(*sender(processes), f"{number}".encode() + bytes(1000))
        processes.settle()
    for bus in processes.buses[1:]:
        processes.go_on(bus)
    assert made[1].entries == made[2].entries
    assert topics[1].publish(b"end")
    processes.settle()
    assert made[1].entries[-1] == made[2].entries[-1] == "2: end"


def sender(processes: Processes):
    """A node of the topic, and the topic."""
    return min(processes.hub._nodes, key=lambda node: node.number), "topic"


def test_a_full_bus_refuses_messages_except_those_that_must_be_sent(processes):
    made, topics = journals(processes)
    processes.stop(processes.buses[0])
    sent = 0
    while topics[0].publish(bytes(1000)):
        sent += 1
        assert sent < 10_000
    assert topics[0].publish(b"must", must=True)
    assert not topics[0].publish(b"more")
    assert sent > BOUND // 1100
    processes.go_on(processes.buses[0])
    assert made[1].entries[-1] == "1: must"
    assert len(made[1].entries) == sent + 1
    assert topics[0].publish(b"more")


def test_without_a_hub_a_process_continues_alone_and_joins_the_next_hub(processes):
    made, topics = journals(processes)
    topics[0].publish(b"together")
    processes.settle()
    old, processes.hub = processes.hub, type(processes.hub)(processes.reactor, bound=BOUND)
    old.close()
    processes.settle()
    assert [one.restorations[-1] for one in made] == [(False, 0)] * 3
    assert [one.node for one in made] == [0, 0, 0]
    for topic in topics:
        topic.publish(b"alone")
    assert made[1].entries == ["1: together", "0: alone"]
    for bus in (processes.buses[1], processes.buses[0]):
        processes.connect(bus)
        processes.settle()
    assert made[0].entries == made[1].entries == ["1: together", "0: alone"]
    topics[0].publish(b"again")
    processes.settle()
    assert made[1].entries[-1] == "2: again"
    assert made[2].entries == ["1: together", "0: alone"]


def test_messages_that_a_message_causes_follow_it_while_a_process_is_alone(processes):
    class Answering(Journal):
        def received(self, node: int, message: bytes) -> int:
            super().received(node, message)
            if message == b"question":
                topic.publish(b"answer")
            return 1

    processes.kill(processes.buses[0])
    replica = Answering()
    topic = processes.buses[0].join("topic", replica)
    topic.publish(b"question")
    assert replica.entries == ["0: question", "0: answer"]


def test_messages_and_topics_that_are_too_long_are_refused_by_the_sender(processes):
    _, topics = journals(processes)
    with pytest.raises(ValueError, match="the maximum is 524288"):
        topics[0].publish(bytes(MESSAGE + 1))
    with pytest.raises(ValueError, match="the maximum is 255"):
        processes.buses[0].join("x" * 256, Journal())
    assert topics[0].publish(bytes(MESSAGE))
    processes.settle()


HOSTILE = [
    encoded(Frame(Kind.JOIN, 0, "topic")) * 2,
    encoded(Frame(Kind.PUBLISH, 0, "unknown", b"x")),
    encoded(Frame(Kind.STATE, 7, "unknown", b"x")),
    encoded(Frame(Kind.MESSAGE, 1, "topic", b"x")),
    encoded(Frame(Kind.NODE, 1)),
    b"\xff" * 100,
    b"\0\0\0\6\1\0\0\0\0\1",
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_a_process_that_sends_wrong_frames_is_disconnected_and_others_are_not(processes, data):
    made, topics = journals(processes)
    theirs = processes.hub.connect()
    theirs.setblocking(False)
    theirs.sendall(data)
    processes.settle()
    assert len(processes.hub._nodes) == 3
    while theirs.recv(65_536):
        pass
    theirs.close()
    topics[0].publish(b"hello")
    processes.settle()
    assert [one.entries[-1] for one in made] == ["1: hello"] * 3


@pytest.mark.parametrize("seed", range(6))
def test_any_bytes_leave_the_hub_intact(processes, seed):
    """Frames at random, some of them damaged, from two processes at once."""
    chance = random.Random(seed)
    made, topics = journals(processes)
    for _ in range(40):
        hostile = [processes.hub.connect() for _ in range(2)]
        for theirs in hostile:
            theirs.setblocking(False)
            frames = [
                Frame(chance.choice(list(Kind)), chance.randrange(9), chance.choice(["topic", "other", ""]), b"x")
                for _ in range(chance.randrange(1, 9))
            ]
            data = bytearray(encoded(Frame(Kind.JOIN, 0, "topic")) + b"".join(map(encoded, frames)))
            if chance.random() < 0.3:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            theirs.sendall(data)
        processes.settle()
        for theirs in hostile:
            theirs.close()
        processes.settle()
    assert len(processes.hub._nodes) == 3
    topics[1].publish(b"still here")
    processes.settle()
    assert made[0].entries == made[1].entries == made[2].entries
    assert made[0].entries[-1] == "2: still here"


def test_the_bytes_that_wait_count_in_the_send_budget():
    total = [0]

    def change(by: int) -> None:
        total[0] += by

    processes = Processes(2, change=change)
    made, topics = journals(processes)
    assert total == [0]
    processes.stop(processes.buses[1])
    for _ in range(2):
        topics[0].publish(bytes(300_000), must=True)
    processes.settle()
    assert 0 < total[0] < 600_000
    processes.hub.close()
    assert total == [0]
    assert made[0].applied == 2
    processes.close()
