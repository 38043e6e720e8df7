"""Hubs of several daemons over a broker that a test turns by hand, with real sockets to their nodes."""

import random
from collections import deque

import pytest
from twisted.internet.defer import Deferred

from echod.bus.broker_messages import LINKS, NODES, BrokerMessage, Kind, encoded
from echod.bus.brokered_hub import TRIES, UNRETURNED, BrokeredHub
from echod.bus.bus_interface import MESSAGE
from echod.bus.link_watch import RETURNS, SILENT
from echod.bus.local_bus import LocalBus
from echod.bus.shared_topic import STATE
from echod.gate.work_budget import WorkBudget
from tests.bus import HandTurnedReactor
from tests.unit.test_bus_local import Journal

JOINED = TRIES + 1.5  #: seconds until the first hub has begun a topic


class Server:
    """One channel. Each client gets the messages in one order, when it runs. `paused` is as after SIGSTOP."""

    def __init__(self):
        self.clients = []
        self.waiting = deque()
        self.paused = False

    def run(self):
        while self.waiting and not self.paused:
            message = self.waiting.popleft()
            for client in list(self.clients):
                client.inbox.append(message)


class Client:
    """As Broker."""

    def __init__(self, server):
        self.server = server
        self.inbox = deque()
        self.is_open = False
        self.hub = None
        self.ended = Deferred()
        self.published = self.arrived = self.outages = 0

    def start(self, client):
        self.hub = client

    def publish(self, message):
        if self.is_open:
            self.server.waiting.append(message)

    def drop(self, _reason=""):
        if self.is_open:
            self.is_open = False
            self.inbox.clear()
            self.server.clients.remove(self)

    def stop(self):
        self.drop()

    def open(self):
        self.is_open = True
        self.server.clients.append(self)
        self.hub.opened()

    def cut(self):
        self.drop("")
        self.hub.closed("cut")


class Machines:
    """Daemons with so many nodes each; a node has a journal."""

    def __init__(self, *nodes, bound=1_000_000):
        self.reactor = HandTurnedReactor()
        self.server = Server()
        self.clients, self.hubs, self.journals, self.topics, self.buses = [], [], [], [], []
        for count in nodes:
            client = Client(self.server)
            hub = BrokeredHub(self.reactor, client, WorkBudget(self.reactor.callLater), bound=bound)
            hub.start()
            self.clients.append(client)
            self.hubs.append(hub)
            self.journals.append([])
            self.topics.append([])
            for _ in range(count):
                self.add_node(len(self.hubs) - 1)
        self.settle()

    def add_node(self, at):
        bus = LocalBus(self.reactor, WorkBudget(self.reactor.callLater))
        bus.connect(self.hubs[at].connect())
        journal = Journal()
        self.buses.append(bus)
        self.journals[at].append(journal)
        self.topics[at].append(bus.join("topic", journal))
        return bus

    def settle(self):
        for _ in range(1000):
            self.reactor.settle()
            self.server.run()
            if not any(client.inbox for client in self.clients):
                self.reactor.settle()
                if not self.server.waiting or self.server.paused:
                    return
            for client in self.clients:
                while client.inbox:
                    client.hub.received(client.inbox.popleft())
        raise AssertionError("it does not come to rest")

    def open(self, *which):
        for at in which or range(len(self.clients)):
            self.clients[at].open()
            self.settle()

    def wait(self, seconds=JOINED):
        for _ in range(int(seconds * 2)):
            self.reactor.advance(0.5)
            self.settle()

    def say(self, at, text, node=0):
        assert self.topics[at][node].publish(text.encode())

    def said(self, at, node=0):
        """The messages of a journal, without their nodes."""
        return [entry.partition(": ")[2] for entry in self.journals[at][node].entries if ": " in entry]

    def close(self):
        for hub in self.hubs:
            hub.close()
        for bus in self.buses:
            bus.close()


@pytest.fixture
def machines():
    made = []

    def make(*nodes, **more):
        made.append(Machines(*nodes, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def joined(machines, *nodes, **more):
    made = machines(*nodes, **more)
    made.open()
    made.wait()
    made.wait()
    return made


def test_without_a_connection_a_hub_orders_the_messages_of_its_nodes(machines):
    made = machines(2)
    for number in range(10):
        made.say(0, str(number), number % 2)
    made.settle()
    assert made.said(0) == made.said(0, 1)
    assert sorted(made.said(0)) == [str(number) for number in range(10)]


def test_all_nodes_of_all_hubs_get_all_messages_in_one_order(machines):
    made = joined(machines, 2, 1, 3)
    for number in range(90):
        at = number % 3
        made.say(at, str(number), number % len(made.topics[at]))
    made.settle()
    entries = [journal.entries[-90:] for journals in made.journals for journal in journals]
    assert len(entries[0]) == 90
    assert all(one == entries[0] for one in entries)
    assert len({node.number for hub in made.hubs for node in hub._nodes}) == 6


def test_a_hub_that_joins_gets_the_state_and_each_message_once(machines):
    made = machines(1, 2)
    made.open(0)
    made.wait()
    made.say(0, "before")
    made.settle()
    made.clients[1].open()
    made.say(0, "meanwhile")  # it may be before or after the request
    made.settle()
    made.say(1, "after")
    made.settle()
    for node in (0, 1):
        assert made.said(1, node) == made.said(0) == ["before", "meanwhile", "after"]
        assert made.journals[1][node].restorations[-1] == (True, 0)
    assert made.journals[0][0].restorations == [(False, 0)]


def test_two_hubs_that_begin_together_agree(machines):
    made = machines(1, 1)
    for client in made.clients:
        client.open()
    made.wait()
    made.wait()
    made.say(0, "one")
    made.say(1, "two")
    made.settle()
    assert sorted(made.said(0)[-2:]) == ["one", "two"]
    assert made.said(0)[-2:] == made.said(1)[-2:]


def test_a_loss_is_notified_and_ends_the_nodes_of_others(machines):
    made = joined(machines, 2, 1)
    other = next(iter(made.hubs[1]._nodes)).number
    made.say(1, "hello")
    made.settle()
    made.clients[0].cut()
    made.say(0, "local")
    made.settle()
    for journal in made.journals[0]:
        assert journal.entries[-3:-1] == ["apart", f"{other} left"]
        assert journal.entries[-1].endswith(": local")
    assert "local" not in made.said(1)
    made.open(0)
    made.wait()
    assert made.journals[0][0].entries[-1] == "together"
    made.say(1, "again")
    made.settle()
    assert made.said(0)[-1] == made.said(0, 1)[-1] == "again"


def notices(made, at):
    return [entry for entry in made.journals[at][0].entries if entry in ("apart", "together")]


def test_a_hub_without_others_notifies_of_nothing(machines):
    made = joined(machines, 1)
    made.clients[0].cut()
    made.open()
    made.wait()
    assert notices(made, 0) == []


def test_a_loss_for_all_is_notified_once_and_so_is_its_end(machines):
    """Also if both hubs begin the topic at the same moment afterwards."""
    made = joined(machines, 1, 1)
    for _ in range(2):
        for client in made.clients:
            client.cut()
        for client in made.clients:
            client.open()
        made.wait()
        made.wait()
    assert notices(made, 0) == notices(made, 1) == ["apart", "together"] * 2


def test_messages_that_have_not_returned_are_delivered_once(machines):
    """The broker is stopped; it gets the messages, and delivers them when the daemon has given up."""
    made = joined(machines, 1, 1)
    made.server.paused = True
    made.say(0, "late")
    made.settle()
    assert "late" not in made.said(0)
    made.wait(RETURNS + 2)
    assert made.said(0).count("late") == 1
    made.server.paused = False
    made.open()
    made.wait()
    made.wait(SILENT + 2)
    for at in (0, 1):
        assert made.said(at).count("late") <= 1
    made.say(0, "now")
    made.settle()
    assert made.said(0)[-1] == made.said(1)[-1] == "now"


def test_a_hub_that_is_silent_leaves(machines):
    made = joined(machines, 1, 1)
    gone = next(iter(made.hubs[1]._nodes)).number
    made.say(1, "last words")
    made.settle()
    made.clients[1].drop("")  # without a word to the hub, which does not run any more
    made.hubs[1]._tick.stop()
    made.wait(SILENT + 3)
    assert made.journals[0][0].entries[-1] == f"{gone} left"


def test_a_node_that_ends_leaves_everywhere(machines):
    made = joined(machines, 2, 1)
    bus = made.buses[0]
    number = bus.node
    bus.close()
    made.settle()
    assert made.journals[0][1].entries[-1] == made.journals[1][0].entries[-1] == f"{number} left"


def test_a_hub_that_others_have_given_up_joins_again(machines):
    made = joined(machines, 1, 1)
    link = made.hubs[0]._link
    made.clients[1].publish(encoded(BrokerMessage(Kind.GONE, 1, other=link)))
    made.settle()
    made.wait()
    assert made.hubs[0]._link != link
    made.say(0, "still here")
    made.settle()
    assert made.said(0)[-1] == made.said(1)[-1] == "still here"


def test_messages_of_a_link_that_has_not_joined_are_ignored(machines):
    made = joined(machines, 1)
    made.clients[0].publish(encoded(BrokerMessage(Kind.MESSAGE, 7, number=8, topic="topic", payload=b"forged")))
    made.clients[0].publish(b"nonsense")
    made.settle()
    assert "forged" not in made.said(0)


def test_a_broker_that_returns_nothing_is_dropped_at_a_bound(machines):
    made = joined(machines, 1, bound=2 * UNRETURNED)
    made.server.paused = True
    size = 10_000
    for _ in range(UNRETURNED // size + 2):
        made.say(0, "x" * size)
        made.settle()
    assert not made.clients[0].is_open
    assert len(made.said(0)) == UNRETURNED // size + 2  # all are delivered to its nodes


def test_a_broker_that_loses_a_message_is_dropped(machines):
    """The sign of life after it returns first. Otherwise every later message of this daemon would wait for it."""
    made = joined(machines, 1, 1)
    made.server.paused = True
    made.say(0, "lost")
    made.settle()
    made.server.waiting.clear()
    made.server.paused = False
    made.say(0, "next")
    made.settle()
    assert not made.clients[0].is_open
    assert made.said(0) == ["lost", "next"]
    made.clients[0].open()
    made.settle()
    made.wait()
    made.say(0, "again")
    made.settle()
    assert made.said(0)[-1] == made.said(1)[-1] == "again"


def test_forged_links_and_nodes_are_bounded(machines):
    made = joined(machines, 1)
    hub = made.hubs[0]
    shared = hub._shared["topic"]
    for link in range(1, 2 * LINKS):
        hub.received(encoded(BrokerMessage(Kind.READY, link, topic="topic")))
    assert len(shared.links) == LINKS
    before = len(made.said(0))
    for number in range(2 * NODES):
        hub.received(encoded(BrokerMessage(Kind.MESSAGE, 1, number=number, topic="topic")))
    assert len(shared.nodes) == NODES
    made.say(0, "after")
    made.settle()
    assert made.said(0)[before:][-1] == "after"


def test_a_node_that_is_behind_gets_the_state_of_another_daemon(machines):
    made = joined(machines, 1, 1, bound=5_000)
    made.reactor.stopped.add(made.buses[0]._socket)
    for number in range(300):
        made.say(1, f"{number} {'x' * 5000}")
        made.settle()
    made.reactor.stopped.clear()
    made.settle()
    made.wait()
    assert made.journals[0][0].restorations[-1][0]
    assert made.journals[0][0].restorations[-1][1] > 0
    assert made.said(0)[-1] == made.said(1)[-1]
    made.say(0, "here")
    made.settle()
    assert made.said(0)[-1] == made.said(1)[-1] == "here"


@pytest.mark.parametrize("seed", range(12))
def test_at_random_nothing_comes_twice_and_all_agree_in_the_end(machines, seed):
    chance = random.Random(seed)
    made = joined(machines, 2, 1, 2)
    number = 0
    for _ in range(60):
        at = chance.randrange(3)
        client = made.clients[at]
        what = chance.random()
        if what < 0.15 and client.is_open:
            client.cut()
        elif what < 0.35 and not client.is_open:
            client.open()
        elif what < 0.45:
            made.server.paused = not made.server.paused
        elif what < 0.6:
            made.reactor.advance(chance.choice((0.5, 1.0, 3.0, 9.0)))
        else:
            for _ in range(chance.randrange(1, 6)):
                number += 1
                where = chance.randrange(3)
                made.say(where, f"line {number}", chance.randrange(len(made.topics[where])))
        if chance.random() < 0.8:
            made.settle()
    made.server.paused = False
    for client in made.clients:
        if not client.is_open:
            client.open()
    made.settle()
    made.wait(3 * SILENT)
    for at, client in enumerate(made.clients):
        if not client.is_open:
            made.open(at)
    made.wait(3 * SILENT)
    made.say(0, "the end")
    made.settle()
    first = made.said(0)
    for at in range(3):
        for node in range(len(made.topics[at])):
            said = made.said(at, node)
            assert said[-1] == "the end"
            assert said == first
            assert made.journals[at][node].twice == []


def test_a_forged_state_is_bounded(machines):
    made = machines(1)
    hub = made.hubs[0]
    made.clients[0].open()
    made.settle()
    shared = hub._shared["topic"]
    part = BrokerMessage(Kind.PART, 99, other=hub._link, number=shared.request, topic="topic", payload=bytes(MESSAGE))
    for _ in range(2 * STATE // MESSAGE):
        hub.received(encoded(part))
        assert sum(map(len, shared.parts)) <= STATE
    made.wait(2 * JOINED)
    made.say(0, "after")
    made.settle()
    assert made.said(0) == ["after"]
