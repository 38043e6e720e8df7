"""Datagram peers that join: who may, what a stranger gets before, and how each of them leaves."""

import errno
import os
from ipaddress import ip_network

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.events import Closing
from echod.gate.access import Access, octets_of
from echod.gate.address_cookies import LENGTH, SLOT
from echod.gate.connections import ConnectionGate
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import UNLIMITED, Limits
from echod.gate.refusal import Refusal
from echod.model import CLOSE, Peer, Quiet, Reply, Service
from echod.names import Inet, unix_name
from echod.transports.datagram_sessions import SessionDatagrams

EVERYBODY = Access([ip_network("0.0.0.0/0"), ip_network("::/0")])


class Parrot(Service):
    """Greets, repeats twice, and keeps its sessions to speak unasked."""

    kind = "parrot"
    summary = "repeats"
    conversational = True

    def __init__(self):
        super().__init__()
        self.sessions = []

    def session(self, peer, say):
        session = Repeating(say)
        self.sessions.append(session)
        return session


class Repeating(Quiet):
    def __init__(self, say):
        self.say = say
        self.calls = []

    def opened(self):
        self.calls.append("opened")
        return Reply(b"welcome to the parrot, who says much more than it was told")

    def received(self, data):
        self.calls.append(data)
        if data == b"bye":
            return Reply(b"bye", end=CLOSE.end)
        if data == b"bug":
            raise ZeroDivisionError
        return Reply(data, more=iter([data, data]))

    def ended(self):
        self.calls.append("ended")
        return Reply(b"the end", end=CLOSE.end)

    def lost(self):
        self.calls.append("lost")


def broken():
    """What a session says until it fails."""
    yield b"one"
    raise ZeroDivisionError


class Conversing(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.parrot = Parrot()
        self.sent = []
        self.broken = {}

    def datagrams(self, scheme="udp", **limits):
        granted = Limits(**{"rate": UNLIMITED, "idle": 60.0, **limits})
        made = SessionDatagrams(
            self.parrot,
            gate=DatagramGate(EVERYBODY, granted, self.clock.seconds),
            connections=ConnectionGate(EVERYBODY, granted, self.clock.seconds),
            scheme=scheme,
            clock=self.clock,
        )
        made.startProtocol()
        self.addCleanup(made.stopProtocol)
        return made

    def hear(self, datagrams, data, host="127.0.0.1", port=40_000, refusal=None):
        """One datagram from there; what was sent at once."""
        name = (host, port)
        before = len(self.sent)

        def send(answer):
            if name in self.broken:
                return self.broken[name]
            self.sent.append((name, answer))
            return None

        peer = Peer("udp", Inet("127.0.0.1", 10012), Inet(host, port))
        if datagrams.admits(data, octets_of(host), port, refusal):
            datagrams.heard(data, peer, octets_of(host), name, send)
        return [answer for _, answer in self.sent[before:]]

    def test_who_is_on_this_machine_joins_with_the_first_datagram(self):
        for host in ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"):
            said = self.hear(self.datagrams(), b"hi", host)
            self.assertTrue(said[0].startswith(b"welcome"), host)
            self.assertEqual(said[1:], [b"hi"] * 3)
        self.assertEqual(self.parrot.sessions[0].calls, ["opened", b"hi"])

    def test_who_is_elsewhere_returns_a_token_first(self):
        datagrams = self.datagrams()
        for host in ("192.0.2.1", "::ffff:192.0.2.7", "2001:db8::1"):
            [token] = self.hear(datagrams, b"hello, I am from elsewhere", host)
            self.assertTrue(token.startswith(b"/token "))
            self.assertEqual(len(datagrams.peers), len(self.parrot.sessions))
            [welcome] = self.hear(datagrams, token + b"\n", host)
            self.assertTrue(welcome.startswith(b"welcome"))
            self.assertEqual(self.hear(datagrams, token, host), [])  # it came twice
            self.assertEqual(self.hear(datagrams, b"hi", host), [b"hi"] * 3)
        self.assertEqual(datagrams.tally.accepted, 3)

    def test_a_stranger_never_gets_more_than_was_sent_nor_twice(self):
        datagrams = self.datagrams()
        for size in (*range(40), 512, 65_507):
            said = self.hear(datagrams, b"x" * size, "192.0.2.1")
            self.assertEqual(len(said), size >= LENGTH)
            self.assertLessEqual(sum(map(len, said)), size)
        self.assertEqual(datagrams.tally.refused, {Refusal.LARGER: LENGTH})
        self.assertEqual(self.parrot.sessions, [])

    def test_a_token_of_another_address_or_of_long_ago_opens_nothing(self):
        datagrams = self.datagrams()
        [token] = self.hear(datagrams, b"x" * 64, "192.0.2.1")
        for host, port in (("192.0.2.2", 40_000), ("192.0.2.1", 40_001)):
            [other] = self.hear(datagrams, token, host, port)
            self.assertNotEqual(other, token)
        self.clock.advance(2 * SLOT)
        self.hear(datagrams, token, "192.0.2.1")
        self.assertEqual(self.parrot.sessions, [])

    def test_who_has_joined_is_spoken_to_unasked_and_nobody_else_is(self):
        datagrams = self.datagrams()
        self.hear(datagrams, b"x" * 64, "192.0.2.1")
        self.hear(datagrams, b"hi")
        self.sent.clear()
        [session] = self.parrot.sessions
        session.say(Reply(b"by the way"))
        self.assertEqual(self.sent, [(("127.0.0.1", 40_000), b"by the way")])
        self.hear(datagrams, b"bye")
        self.sent.clear()
        session.say(Reply(b"and another thing"))
        self.assertEqual(self.sent, [])

    def test_leaving(self):
        datagrams = self.datagrams()
        self.hear(datagrams, b"hi")
        self.assertEqual(self.hear(datagrams, b"bye"), [b"bye"])
        self.assertEqual(self.parrot.sessions[0].calls[-1], "lost")
        self.assertEqual((datagrams.tally.open, datagrams.tally.closed), (0, {Closing.DONE: 1}))
        self.assertTrue(self.hear(datagrams, b"hi again")[0].startswith(b"welcome"))

    def test_silence_leaves_and_what_we_say_is_not_the_peers_word(self):
        datagrams = self.datagrams(idle=30)
        self.hear(datagrams, b"hi", port=40_001)
        self.hear(datagrams, b"hi", port=40_002)
        self.clock.pump([1] * 20)
        self.hear(datagrams, b"here", port=40_001)
        self.parrot.sessions[1].say(Reply(b"are you there?"))
        self.clock.pump([1] * 15)
        self.assertEqual(list(datagrams.peers), [("127.0.0.1", 40_001)])
        self.assertEqual(self.sent[-1], (("127.0.0.1", 40_002), b"the end"))
        self.assertEqual(self.parrot.sessions[1].calls[-2:], ["ended", "lost"])
        self.assertEqual(datagrams.tally.closed, {Closing.IDLE: 1})

    def test_no_idle_is_for_ever(self):
        datagrams = self.datagrams(idle=0)
        self.hear(datagrams, b"hi")
        self.clock.pump([3600] * 10)
        self.assertEqual(len(datagrams.peers), 1)

    def test_there_are_so_many_in_all_and_from_one_client(self):
        datagrams = self.datagrams(connections=4, per_client=3)
        for host in ("127.0.0.1", "127.0.0.2"):
            for port in range(40_000, 40_005):
                self.hear(datagrams, b"hi", host, port)
        self.assertEqual(len(datagrams.peers), 4)
        self.assertEqual(datagrams.tally.refused, {Refusal.PER_CLIENT: 2, Refusal.CONNECTIONS: 4})
        self.hear(datagrams, b"bye", "127.0.0.1", 40_000)
        self.assertTrue(self.hear(datagrams, b"hi", "127.0.0.9"))

    def test_the_gate_stays_in_front(self):
        datagrams = self.datagrams()
        self.assertEqual(self.hear(datagrams, b"hi", port=53), [])
        self.assertEqual(self.hear(datagrams, b"hi", refusal=Refusal.DESTINATION), [])
        self.assertEqual(self.hear(datagrams, b"x" * 64, "0.1.2.3"), [])
        self.assertEqual(
            datagrams.tally.refused,
            {Refusal.SOURCE_PORT: 1, Refusal.DESTINATION: 1, Refusal.SOURCE_ADDRESS: 1},
        )
        self.hear(datagrams, b"hi")
        datagrams.gate.govern(Access([]), datagrams.gate.limits, Access([]), ())
        self.assertEqual(self.hear(datagrams, b"hi"), [])
        self.assertEqual(datagrams.tally.refused[Refusal.DENIED], 1)

    def test_a_bug_of_the_service_costs_its_own_conversation(self):
        datagrams = self.datagrams()
        self.hear(datagrams, b"hi", port=40_001)
        self.hear(datagrams, b"bug", port=40_002)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(list(datagrams.peers), [("127.0.0.1", 40_001)])
        self.assertEqual(datagrams.tally.closed, {Closing.FAILED: 1})

    def test_who_has_vanished_leaves_and_a_full_queue_is_counted(self):
        datagrams = self.datagrams()
        self.hear(datagrams, b"hi")
        name = ("127.0.0.1", 40_000)
        self.broken[name] = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.hear(datagrams, b"lost")
        self.assertEqual(datagrams.tally.refused[Refusal.SEND], 3)
        self.assertEqual(len(datagrams.peers), 1)
        self.broken[name] = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        self.hear(datagrams, b"gone")
        self.assertEqual(datagrams.tally.closed, {Closing.LOST: 1})
        self.assertEqual(self.parrot.sessions[0].calls[-1], "lost")

    def test_a_unix_peer_needs_a_name(self):
        datagrams = self.datagrams("unix-dgram")
        said = []
        for name in ("", "\0abstract", "/tmp/one"):
            peer = Peer("unix-dgram", unix_name("/run/x"), unix_name(name))
            datagrams.heard(b"hi", peer, b"", name, said.append)
        self.assertEqual(len(datagrams.peers), 2)
        self.assertEqual(datagrams.tally.refused, {Refusal.NAMELESS: 1})

    def test_at_the_stop_everybody_hears_goodbye(self):
        datagrams = self.datagrams()
        self.hear(datagrams, b"hi")
        datagrams.stopProtocol()
        self.assertEqual(self.sent[-1][1], b"the end")
        self.assertEqual(datagrams.tally.open, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_makes_another_speak_that_fails_does_not_fail_itself(self):
        datagrams = self.datagrams()
        self.hear(datagrams, b"hi")
        self.hear(datagrams, b"hi", port=40_001)
        self.parrot.sessions[0].say(Reply(more=broken()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.sent[-1], (("127.0.0.1", 40_000), b"one"))
        self.assertEqual(datagrams.tally.closed, {Closing.FAILED: 1})
        self.assertEqual(self.hear(datagrams, b"on", port=40_001), [b"on"] * 3)
