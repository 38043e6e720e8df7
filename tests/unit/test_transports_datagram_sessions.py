"""Datagram peers that join: the rules for joining, the replies before that, and the ends of a membership."""

import codecs
import errno
import os
from ipaddress import ip_network
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.events import Closing
from echod.gate.access import Access, packed_address
from echod.gate.address_cookies import LENGTH, SLOT, answer_to, is_challenge
from echod.gate.connections import ConnectionGate
from echod.gate.consent import RENEW_AFTER, RETRY, VALID
from echod.gate.datagram_member_gate import CHALLENGES, OUTPUT
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import UNLIMITED, Limits
from echod.gate.refusal import Refusal
from echod.gate.work_budget import PORTION, TURN, WorkBudget
from echod.model import CLOSE, PLAIN, Arrival, Context, Peer, Quiet, Reply, Service
from echod.shared_memory.memory import PARENT, SharedMemory
from echod.shared_memory.state import SharedMemoryState
from echod.socket_names import Inet, unix_name
from echod.transports.datagram_member import DATAGRAM, WAITING
from echod.transports.datagram_sessions import SessionDatagrams
from tests.turns import Turns

EVERYBODY = Access([ip_network("0.0.0.0/0"), ip_network("::/0")])


class Parrot(Service):
    """Greets, repeats twice, and keeps its sessions for unsolicited replies."""

    kind = "parrot"
    summary = "repeats"
    conversational = True

    def __init__(self, clock):
        super().__init__(context=Context(work=WorkBudget(clock.callLater)))
        self.sessions = []

    def session(self, peer, say):
        session = Repeating(say)
        self.sessions.append(session)
        return session


class Repeating(Quiet):
    def __init__(self, say):
        self.say = say
        self.calls = []
        self.arrivals = []

    def opened(self):
        self.calls.append("opened")
        return Reply(b"welcome to the parrot, with a greeting longer than requests")

    def received(self, data, arrival=PLAIN):
        self.calls.append(data)
        self.arrivals.append(arrival)
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


def rot13(text):
    return codecs.encode(text.decode("latin-1"), "rot13").encode("latin-1")


def no_service(_name, _context):
    """The membership of services: none is asked for."""
    raise NotImplementedError


def broken():
    """Pieces of a session that fails after the first."""
    yield b"one"
    raise ZeroDivisionError


class Conversing(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.parrot = Parrot(self.clock)
        self.sent = []
        self.broken = {}

    def datagrams(self, scheme="udp", larger_answers_to=None, members=None, **limits):
        granted = Limits(**{"rate": UNLIMITED, "idle": 60.0, **limits})
        made = SessionDatagrams(
            self.parrot,
            gate=DatagramGate(EVERYBODY, granted, self.clock.seconds, larger_answers_to=larger_answers_to),
            connections=ConnectionGate(EVERYBODY, granted, self.clock.seconds),
            members=members,
            scheme=scheme,
            clock=self.clock,
        )
        made.startProtocol()
        self.addCleanup(made.stopProtocol)
        return made

    def deliver(self, datagrams, data, host="127.0.0.1", port=40_000, refusal=None):
        """Deliver one datagram from a host and port; return the datagrams that were sent immediately."""
        name = (host, port)
        before = len(self.sent)

        def send(answer):
            if name in self.broken:
                return self.broken[name]
            self.sent.append((name, answer))
            return None

        peer = Peer("udp", Inet("127.0.0.1", 10012), Inet(host, port))
        if datagrams.admits(data, packed_address(host), port, refusal):
            datagrams.handle(data, peer, PLAIN, packed_address(host), name, send)
        return [answer for _, answer in self.sent[before:]]

    def test_a_local_peer_joins_with_the_first_datagram(self):
        for host in ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"):
            said = self.deliver(self.datagrams(), b"hi", host)
            self.assertTrue(said[0].startswith(b"welcome"), host)
            self.assertEqual(said[1:], [b"hi"] * 3)
        self.assertEqual(self.parrot.sessions[0].calls, ["opened", b"hi"])

    def test_a_remote_peer_joins_by_an_answer_and_receives_after_a_second_one(self):
        datagrams = self.datagrams()
        for host in ("192.0.2.1", "::ffff:192.0.2.7", "2001:db8::1"):
            [first] = self.deliver(datagrams, b"hello, I am from elsewhere", host)
            self.assertEqual(len(datagrams.peers), len(self.parrot.sessions))
            [second] = self.deliver(datagrams, answer_to(first) + b"\n", host)
            self.assertNotEqual(first, second)
            self.assertEqual(self.parrot.sessions[-1].calls, ["opened"])
            [welcome] = self.deliver(datagrams, answer_to(second), host)
            self.assertTrue(welcome.startswith(b"welcome"))
            self.assertEqual(self.deliver(datagrams, answer_to(first), host), [])  # a repeated answer
            self.assertEqual(self.deliver(datagrams, answer_to(second), host), [])
            self.assertEqual(self.deliver(datagrams, b"hi", host), [b"hi"] * 3)
        self.assertEqual(datagrams.counters.accepted, 3)

    def processes(self):
        """Three processes that share their memory: the parent and two workers."""
        memory = SharedMemory.create(2)
        self.addCleanup(os.close, memory.descriptor)
        self.clock.advance(1000)
        made = []
        for column in (PARENT, memory.assign(), memory.assign()):
            state = SharedMemoryState(
                self.clock.seconds, lambda *_: None, memory=memory, column=column, membership=no_service
            )
            made.append((state, self.datagrams(members=state.members)))
        return made

    def joined(self, datagrams, host="192.0.2.1"):
        [first] = self.deliver(datagrams, b"hello, I am from elsewhere", host)
        [second] = self.deliver(datagrams, answer_to(first) + b"\n", host)
        [welcome] = self.deliver(datagrams, answer_to(second), host)
        self.assertTrue(welcome.startswith(b"welcome"))

    def test_a_member_of_a_process_that_has_ended_continues_with_its_consent(self):
        (parent, _), (_, one), (_, other) = self.processes()
        self.joined(one)
        self.clock.advance(VALID - 10)
        parent.release(1)
        self.assertEqual(self.deliver(other, b"hi, anyone who forges this gets nothing", "192.0.2.2"), [mock.ANY])
        said = self.deliver(other, b"hi", "192.0.2.1")
        self.assertTrue(said[0].startswith(b"welcome"))
        self.assertEqual(said[1:], [b"hi"] * 3)
        self.clock.advance(9)
        self.assertEqual(self.deliver(other, b"hi", "192.0.2.1"), [b"hi"] * 3)
        self.clock.advance(2)
        sent = self.deliver(other, b"what is longer than a challenge", "192.0.2.1")
        self.assertTrue(is_challenge(sent[0]), "it has the rest of its consent, not another one")
        self.assertLessEqual(sum(map(len, sent)), 2 * len(b"what is longer than a challenge"))

    def test_a_consent_that_has_ended_or_was_withdrawn_is_not_continued(self):
        (parent, _), (_, one), (_, other) = self.processes()
        self.joined(one, "192.0.2.1")
        self.deliver(one, b"bye", "192.0.2.1")
        self.joined(one, "192.0.2.3")
        self.assertEqual(len(self.deliver(other, b"hello, I am from elsewhere", "192.0.2.1")), 1)
        self.clock.advance(VALID + 1)
        parent.release(1)
        [challenge] = self.deliver(other, b"hello, I am from elsewhere", "192.0.2.3")
        self.assertTrue(is_challenge(challenge))
        self.assertEqual(len(other.peers), 0)

    def test_data_that_an_echo_service_returns_does_not_join_or_loop(self):
        changes = (
            *(bytes, bytes.upper, bytes.swapcase, rot13),
            *(lambda text: text[::-1], lambda text: text[:10], lambda text: text + b"\n", lambda text: b"you: " + text),
        )
        for port, change in enumerate(changes, 40_000):
            datagrams = self.datagrams()
            said, rounds = self.deliver(datagrams, b"hello, I am forged", "192.0.2.1", port), 0
            while said:
                said, rounds = self.deliver(datagrams, change(said[0]), "192.0.2.1", port), rounds + 1
            self.assertEqual(rounds, 1, change)
            self.assertEqual(datagrams.counters.accepted, 0)
        self.assertEqual(self.parrot.sessions, [])

    def test_an_echo_that_is_not_recognised_is_limited_in_rate(self):
        datagrams = self.datagrams()
        said, rounds = self.deliver(datagrams, b"hello, I am forged", "192.0.2.1"), 0
        while said:
            said, rounds = self.deliver(datagrams, b"you said: " + rot13(said[0]), "192.0.2.1"), rounds + 1
        self.assertEqual(rounds, CHALLENGES.burst)
        self.assertEqual(datagrams.counters.refused[Refusal.RATE], 1)

    def test_a_peer_that_has_not_joined_receives_one_reply_no_larger_than_its_request(self):
        datagrams = self.datagrams()
        sizes = (*range(40), 512, 65_507)
        for port, size in enumerate(sizes, 40_000):
            said = self.deliver(datagrams, b"x" * size, "192.0.2.1", port)
            self.assertEqual(len(said), size > LENGTH)
            self.assertLessEqual(sum(map(len, said)), size)
        counted = {Refusal.LARGER: LENGTH + 1, Refusal.CHALLENGED: len(sizes) - LENGTH - 1}
        self.assertEqual(datagrams.counters.refused, counted)
        self.assertEqual(self.parrot.sessions, [])

    def test_an_answer_of_another_address_or_an_expired_one_does_not_join(self):
        datagrams = self.datagrams()
        [challenge] = self.deliver(datagrams, b"x" * 64, "192.0.2.1")
        answer = answer_to(challenge).ljust(LENGTH + 1)
        for host, port in (("192.0.2.2", 40_000), ("192.0.2.1", 40_001)):
            [other] = self.deliver(datagrams, answer, host, port)
            self.assertNotEqual(other, challenge)
        self.clock.advance(2 * SLOT)
        self.deliver(datagrams, answer, "192.0.2.1")
        self.assertEqual(self.parrot.sessions, [])

    def member(self, datagrams, host="192.0.2.1", port=40_000):
        """A remote member that has just renewed."""
        [first] = self.deliver(datagrams, b" " * 64, host, port)
        [second] = self.deliver(datagrams, answer_to(first).ljust(64), host, port)
        self.deliver(datagrams, answer_to(second).ljust(64), host, port)
        return self.parrot.sessions[-1]

    def test_a_member_that_does_not_renew_receives_no_more_than_it_sends(self):
        datagrams = self.datagrams(idle=0)
        session = self.member(datagrams)
        self.clock.pump([1] * int(VALID))
        self.sent.clear()
        came = went = 0
        for number in range(3000):  # ten a second, with a forged source
            session.say(Reply(b"unasked", more=iter([b"x" * 1000] * 3)))
            said = b"" if number % 10 == 0 else b"/who" if number % 3 else b"a line of some length %d" % number
            before = len(self.sent)
            self.deliver(datagrams, said, "192.0.2.1")
            came += len(said)
            self.assertLessEqual(sum(len(data) for _, data in self.sent[before:]), len(said))
            self.clock.advance(0.1)
            went = sum(len(data) for _, data in self.sent)
            self.assertLessEqual(went, came)
        self.assertGreater(went, 0)  # challenges, at least
        self.assertEqual(datagrams.counters.closed, {Closing.IDLE: 1})  # after UNRENEWED, though `idle` is 0

    def test_a_member_that_does_not_renew_receives_one_datagram_for_each_of_its_own(self):
        datagrams = self.datagrams(idle=0)
        session = self.member(datagrams)
        self.clock.pump([1] * int(VALID))
        for _ in range(60):
            session.say(Reply(b"", more=iter([b"a", b"b"])))
            for size in (0, 100, 400):
                self.assertLessEqual(len(self.deliver(datagrams, b"x" * size, "192.0.2.1")), 1)
            self.clock.advance(0.4)
        self.assertGreater(datagrams.counters.refused[Refusal.CONSENT], 0)

    def test_a_session_receives_the_metadata_of_each_datagram(self):
        datagrams = self.datagrams()
        peer, host = Peer("udp", Inet("127.0.0.1", 10012), Inet("127.0.0.1", 40_000)), packed_address("127.0.0.1")
        known = [Arrival(ttl=ttl, received_ns=1) for ttl in (63, 64)]
        for arrival in known:
            datagrams.handle(b"hi", peer, arrival, host, "name", lambda _data: None)
        self.assertEqual(self.parrot.sessions[0].arrivals, known)

    def test_forged_datagrams_do_not_keep_a_member(self):
        datagrams = self.datagrams(idle=40)
        self.member(datagrams)
        for number in range(39):
            self.clock.advance(1)
            self.deliver(datagrams, b"I am still here, believe me, %d" % number, "192.0.2.1")
        self.assertEqual(len(datagrams.peers), 1)
        self.clock.advance(1)
        self.assertEqual(datagrams.counters.closed, {Closing.IDLE: 1})

    def test_a_member_that_answers_challenges_keeps_receiving(self):
        datagrams = self.datagrams(idle=60)
        session = self.member(datagrams)
        answered = 0
        for number in range(600):
            self.sent.clear()
            self.clock.advance(1)
            for _, challenge in self.sent:
                self.deliver(datagrams, answer_to(challenge).ljust(64), "192.0.2.1")
                answered += 1
            self.sent.clear()
            session.say(Reply(b"line %d" % number))
            self.assertEqual([data for _, data in self.sent], [b"line %d" % number])
        self.assertGreaterEqual(answered, 600 // VALID)
        self.assertEqual(len(datagrams.peers), 1)

    def test_a_silent_member_is_challenged_only_while_its_consent_is_valid(self):
        datagrams = self.datagrams(idle=0)
        self.member(datagrams)
        self.sent.clear()
        self.clock.pump([1] * 60)
        self.assertEqual(len(self.sent), (VALID - RENEW_AFTER) // RETRY)  # and none after consent is lost
        self.assertEqual({is_challenge(data) for _, data in self.sent}, {True})

    def test_queued_replies_are_sent_after_a_member_has_renewed(self):
        datagrams = self.datagrams(idle=0)
        session = self.member(datagrams)
        self.clock.pump([1] * int(VALID))
        session.say(Reply(b"one", more=iter([b"two", b"three"])))
        session.say(Reply(b"four"))
        self.sent.clear()
        [challenge] = self.deliver(datagrams, b" " * LENGTH, "192.0.2.1")
        self.assertEqual(
            self.deliver(datagrams, answer_to(challenge), "192.0.2.1"),
            [b"one", b"two", b"three", b"four", *[b" " * LENGTH] * 3],
        )

    def test_queued_replies_are_bounded(self):
        datagrams = self.datagrams(idle=0)
        session = self.member(datagrams)
        self.clock.pump([1] * int(VALID))
        for _ in range(10 * WAITING):
            session.say(Reply(b"line"))
        [challenge] = self.deliver(datagrams, b" " * LENGTH, "192.0.2.1")
        self.sent.clear()
        self.deliver(datagrams, answer_to(challenge), "192.0.2.1")
        self.clock.advance(0)
        self.assertEqual([data for _, data in self.sent].count(b"line"), WAITING)

    def test_networks_with_larger_answers_join_with_the_first_datagram_without_consent(self):
        datagrams = self.datagrams(idle=0, larger_answers_to=Access([ip_network("192.0.2.0/24")]))
        [welcome, *_] = self.deliver(datagrams, b"hi", "192.0.2.1")
        self.assertTrue(welcome.startswith(b"welcome"))
        self.clock.pump([1] * 600)
        self.sent.clear()
        self.parrot.sessions[0].say(Reply(b"by the way"))
        self.assertEqual([data for _, data in self.sent], [b"by the way"])
        datagrams.gate.reconfigure(EVERYBODY, datagrams.gate.limits, Access([]), ())  # a reload removes the network
        self.sent.clear()
        self.parrot.sessions[0].say(Reply(b"by the way"))
        self.assertEqual(self.sent, [])

    def test_output_above_the_budget_of_a_network_is_queued(self):
        datagrams = self.datagrams(idle=0, larger_answers_to=Access([ip_network("192.0.2.0/24")]))
        for host in ("192.0.2.1", "192.0.2.2"):
            self.deliver(datagrams, b"hi", host)
        self.sent.clear()
        for session in self.parrot.sessions:
            session.say(Reply(more=iter([b"x" * 1000] * 600)))
        self.clock.pump([0] * 20)
        first = sum(len(data) for _, data in self.sent)
        self.assertLessEqual(first, OUTPUT.burst)
        self.assertGreater(first, OUTPUT.burst - 2000)
        self.assertGreater(datagrams.counters.refused[Refusal.OUTPUT], 0)
        for _ in range(10):
            self.clock.advance(1)
            self.clock.pump([0] * 20)
        self.assertEqual(len(self.sent), 1200)

    def test_a_member_that_only_returns_its_input_leaves_and_is_muted(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi")
        session = self.parrot.sessions[0]
        for number in range(3):
            session.say(Reply(b"guest1: %d\n" % number))
            self.clock.advance(0.08)
            self.deliver(datagrams, b"guest1: %d\n" % number)
        self.assertEqual(datagrams.counters.closed, {Closing.ECHO: 1})
        self.assertEqual(session.calls[-1], "lost")
        self.assertEqual(self.deliver(datagrams, b"hi again"), [])
        self.assertEqual(datagrams.counters.refused, {Refusal.REPEAT: 1})
        self.assertTrue(self.deliver(datagrams, b"hi", port=40_001))
        self.clock.advance(60)
        self.assertTrue(self.deliver(datagrams, b"hi"))

    def test_a_member_that_answers_ok_with_ok_once_stays(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi")
        for number in range(20):
            self.parrot.sessions[0].say(Reply(b"ok\n"))
            self.deliver(datagrams, b"ok")
            self.deliver(datagrams, b"and a line of my own, %d" % number)
        self.assertEqual(len(datagrams.peers), 1)

    def test_a_port_that_is_unreachable_ends_the_membership(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi")
        datagrams.unreachable(("127.0.0.1", 40_001))
        self.assertEqual(len(datagrams.peers), 1)
        datagrams.unreachable(("127.0.0.1", 40_000))
        self.assertEqual(datagrams.counters.closed, {Closing.LOST: 1})
        self.assertEqual(self.parrot.sessions[0].calls[-1], "lost")

    def test_a_long_reply_is_sent_in_several_turns(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi")
        self.sent.clear()
        self.parrot.sessions[0].say(Reply(more=iter([b"x"] * 200)))
        self.assertEqual(len(self.sent), PORTION // DATAGRAM)
        self.clock.pump([0] * 5)
        self.assertEqual(len(self.sent), 200)

    def test_datagrams_to_all_members_in_one_turn_are_within_the_work_budget(self):
        turns = Turns()
        self.parrot.context = Context(work=WorkBudget(turns.later))
        datagrams = self.datagrams()
        for port in range(40_000, 40_020):
            self.deliver(datagrams, b"hi", port=port)
        turns.all()
        self.sent.clear()
        for session in self.parrot.sessions:
            session.say(Reply(more=iter([b"x"] * 100)))
        in_turns = [len(self.sent)]
        while turns.calls:
            turns.turn()
            in_turns.append(len(self.sent) - sum(in_turns))
        self.assertEqual(sum(in_turns), 2000)
        self.assertLessEqual(max(in_turns), TURN // DATAGRAM)
        self.clock.advance(70)  # all members leave in one turn, and each receives the end of its session
        self.assertEqual([data for _, data in self.sent].count(b"the end"), 20)

    def test_a_member_leaves_after_all_its_queued_datagrams_are_sent(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi")
        [session] = self.parrot.sessions
        self.sent.clear()
        session.say(Reply(more=iter([b"x"] * 200)))
        self.deliver(datagrams, b"bye")
        self.assertNotIn("lost", session.calls)
        session.say(Reply(b"after the end"))
        self.clock.pump([0] * 5)
        self.assertEqual([data for _, data in self.sent], [b"x"] * 200 + [b"bye"])
        self.assertEqual(session.calls[-1], "lost")
        self.assertEqual(datagrams.peers, {})

    def test_only_members_receive_unsolicited_data(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"x" * 64, "192.0.2.1")
        self.deliver(datagrams, b"hi")
        self.sent.clear()
        [session] = self.parrot.sessions
        session.say(Reply(b"by the way"))
        self.assertEqual(self.sent, [(("127.0.0.1", 40_000), b"by the way")])
        self.deliver(datagrams, b"bye")
        self.sent.clear()
        session.say(Reply(b"and another thing"))
        self.assertEqual(self.sent, [])

    def test_a_member_that_leaves_may_join_again(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi")
        self.assertEqual(self.deliver(datagrams, b"bye"), [b"bye"])
        self.assertEqual(self.parrot.sessions[0].calls[-1], "lost")
        self.assertEqual((datagrams.counters.open, datagrams.counters.closed), (0, {Closing.DONE: 1}))
        self.assertTrue(self.deliver(datagrams, b"hi again")[0].startswith(b"welcome"))

    def test_an_idle_member_leaves_even_if_data_is_sent_to_it(self):
        datagrams = self.datagrams(idle=30)
        self.deliver(datagrams, b"hi", port=40_001)
        self.deliver(datagrams, b"hi", port=40_002)
        self.clock.pump([1] * 20)
        self.deliver(datagrams, b"here", port=40_001)
        self.parrot.sessions[1].say(Reply(b"are you there?"))
        self.clock.pump([1] * 15)
        self.assertEqual(list(datagrams.peers), [("127.0.0.1", 40_001)])
        self.assertEqual(self.sent[-1], (("127.0.0.1", 40_002), b"the end"))
        self.assertEqual(self.parrot.sessions[1].calls[-2:], ["ended", "lost"])
        self.assertEqual(datagrams.counters.closed, {Closing.IDLE: 1})

    def test_without_idle_a_local_member_stays(self):
        datagrams = self.datagrams(idle=0)
        self.deliver(datagrams, b"hi")
        self.clock.pump([3600] * 10)
        self.assertEqual(len(datagrams.peers), 1)

    def test_members_are_limited_in_total_and_for_each_client(self):
        datagrams = self.datagrams(connections=4, per_client=3)
        for host in ("127.0.0.1", "127.0.0.2"):
            for port in range(40_000, 40_005):
                self.deliver(datagrams, b"hi", host, port)
        self.assertEqual(len(datagrams.peers), 4)
        self.assertEqual(datagrams.counters.refused, {Refusal.PER_CLIENT: 2, Refusal.CONNECTIONS: 4})
        self.deliver(datagrams, b"bye", "127.0.0.1", 40_000)
        self.assertTrue(self.deliver(datagrams, b"hi", "127.0.0.9"))

    def test_the_gate_decides_before_the_session(self):
        datagrams = self.datagrams()
        self.assertEqual(self.deliver(datagrams, b"hi", port=53), [])
        self.assertEqual(self.deliver(datagrams, b"hi", refusal=Refusal.DESTINATION), [])
        self.assertEqual(self.deliver(datagrams, b"x" * 64, "0.1.2.3"), [])
        self.assertEqual(
            datagrams.counters.refused,
            {Refusal.SOURCE_PORT: 1, Refusal.DESTINATION: 1, Refusal.SOURCE_ADDRESS: 1},
        )
        self.deliver(datagrams, b"hi")
        datagrams.gate.reconfigure(Access([]), datagrams.gate.limits, Access([]), ())
        self.assertEqual(self.deliver(datagrams, b"hi"), [])
        self.assertEqual(datagrams.counters.refused[Refusal.DENIED], 1)

    def test_a_bug_of_the_service_ends_only_its_own_session(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi", port=40_001)
        self.deliver(datagrams, b"bug", port=40_002)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(list(datagrams.peers), [("127.0.0.1", 40_001)])
        self.assertEqual(datagrams.counters.closed, {Closing.FAILED: 1})

    def test_send_errors_are_counted_and_do_not_end_the_membership(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi")
        name = ("127.0.0.1", 40_000)
        self.broken[name] = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.deliver(datagrams, b"lost")
        self.assertEqual(datagrams.counters.refused[Refusal.SEND], 3)
        self.assertEqual(len(datagrams.peers), 1)
        self.broken[name] = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        self.deliver(datagrams, b"an error that may be about another peer")
        self.assertEqual(len(datagrams.peers), 1)

    def test_a_unix_peer_that_closed_its_socket_leaves(self):
        datagrams = self.datagrams("unix-dgram")
        gone = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        peer = Peer("unix-dgram", unix_name("/run/x"), unix_name("/tmp/one"))
        datagrams.handle(b"hi", peer, PLAIN, b"", "/tmp/one", lambda _data: gone)
        self.assertEqual(datagrams.counters.closed, {Closing.LOST: 1})
        self.assertEqual(self.parrot.sessions[0].calls[-1], "lost")

    def test_a_unix_peer_needs_a_name(self):
        datagrams = self.datagrams("unix-dgram")
        said = []
        for name in ("", "\0abstract", "/tmp/one"):
            peer = Peer("unix-dgram", unix_name("/run/x"), unix_name(name))
            datagrams.handle(b"hi", peer, PLAIN, b"", name, said.append)
        self.assertEqual(len(datagrams.peers), 2)
        self.assertEqual(datagrams.counters.refused, {Refusal.NAMELESS: 1})

    def test_every_member_receives_the_last_data_at_the_stop(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi")
        datagrams.stopProtocol()
        self.assertEqual(self.sent[-1][1], b"the end")
        self.assertEqual(datagrams.counters.open, 0)
        self.clock.advance(0)  # the last turn of the work budget
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_failing_session_does_not_end_the_session_that_caused_its_output(self):
        datagrams = self.datagrams()
        self.deliver(datagrams, b"hi")
        self.deliver(datagrams, b"hi", port=40_001)
        self.parrot.sessions[0].say(Reply(more=broken()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.sent[-1], (("127.0.0.1", 40_000), b"one"))
        self.assertEqual(datagrams.counters.closed, {Closing.FAILED: 1})
        self.assertEqual(self.deliver(datagrams, b"on", port=40_001), [b"on"] * 3)
