"""A console without sockets or terminals: messages and answers of clients and operators."""

import sys
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.gate.total_buffer import SendBudget
from echod.gate.work_budget import PORTION, WorkBudget
from echod.membership import Unanswerable
from echod.model import Context, End, Peer
from echod.services.console import LONGEST, Console, ConsoleOptions
from echod.services.line_buffer import HINT
from echod.services.operator_queue import LONGEST_ANSWER
from echod.services.outbox import WAITING
from echod.socket_names import Inet, UnixName
from tests.turns import Turns

FROM_A_STREAM = Peer("tcp", Inet("127.0.0.1", 10014), Inet("192.0.2.1", 40_000))


def from_host(number):
    """A peer at another host."""
    return Peer("tcp", Inet("127.0.0.1", 10014), Inet(f"192.0.2.{number}", 40_000))


FROM_DATAGRAMS = Peer("unix-dgram", UnixName("/run/x"), UnixName("@a\x1b"))


class Client:
    """A client, and what it was answered."""

    def __init__(self, console, peer=FROM_A_STREAM):
        self.heard = b""
        self.ended = End.NOTHING
        self.session = console.session(peer, self.perform)
        self.perform(self.session.opened())

    def perform(self, reply):
        assert self.ended is End.NOTHING
        self.heard += (reply.data or b"") + b"".join(reply.more or ())
        if reply.end is not End.NOTHING:
            self.ended = reply.end
            self.session.lost()

    def says(self, data):
        self.perform(self.session.received(data))

    def ends(self):
        self.perform(self.session.ended())


class Operator:
    """An operator, and all events it received."""

    def __init__(self, console):
        self.queue = console.queue
        self.events = []
        self.seat = self.queue.add_operator(self._begun, self.events.append, lambda: None)

    def _begun(self, number, waiting):
        self.number = number
        self.events += waiting

    def heard(self, *names):
        """The events of these names since the last call, without their times."""
        events = [{key: value for key, value in event.items() if key != "time"} for event in self.events]
        self.events.clear()
        return [event for event in events if not names or event["event"] in names]

    def answer(self, to, text):
        results = []
        self.queue.answer(to, text, self.number, results.append)
        [result] = results
        if isinstance(result, Unanswerable):
            raise result
        return result


class Consoling(SynchronousTestCase):
    def console(self, **options):
        self.now = 0.0
        return Console(ConsoleOptions(**options), Context(wall_clock=lambda: self.now))

    def test_an_answer_is_sent_only_to_its_client(self):
        console = self.console()
        operator = Operator(console)
        anna, bob = Client(console), Client(console, FROM_DATAGRAMS)
        anna.says("grüß Gott\r\n".encode())
        bob.says(b"hi\nthere\xff")
        self.assertEqual(
            operator.heard(),
            [
                {"event": "here", "operator": 1, "operators": 1, "clients": []},
                {"event": "came", "client": 1, "peer": "tcp 192.0.2.1:40000"},
                {"event": "came", "client": 2, "peer": "unix-dgram @a\\x1b"},
                {"event": "said", "client": 1, "peer": "tcp 192.0.2.1:40000", "text": "grüß Gott"},
                {"event": "said", "client": 2, "peer": "unix-dgram @a\\x1b", "text": "hi"},
                {"event": "said", "client": 2, "peer": "unix-dgram @a\\x1b", "text": "there\udcff"},
            ],
        )
        self.assertEqual(operator.answer(1, "good day"), 1)
        self.assertEqual(operator.answer(None, "to the last client"), 2)
        self.assertEqual((anna.heard, bob.heard), (b"good day\n", b"to the last client\n"))
        self.assertEqual([event["by"] for event in operator.heard("answered")], [1, 1])

    def test_operators_see_each_others_answers_and_waiting_messages(self):
        console = self.console()
        first = Operator(console)
        anna, bob = Client(console), Client(console)
        for number, one in enumerate((bob, anna, bob)):
            self.now = float(number)
            one.says(b"message %d" % number)
        second = Operator(console)
        here, *waiting = second.events
        self.assertEqual((here["operators"], [one["client"] for one in here["clients"]]), (2, [1, 2]))
        self.assertEqual([(one["time"], one["text"]) for one in waiting], [(n, f"message {n}") for n in range(3)])
        second.heard()
        first.answer(2, "yes")
        self.assertEqual(
            second.heard(),
            [{"event": "answered", "client": 2, "peer": "tcp 192.0.2.1:40000", "text": "yes", "by": 1}],
        )
        self.assertEqual([one["text"] for one in Operator(console).heard("said")], ["message 1"])
        second.seat.leave()
        anna.says(b"more")
        self.assertEqual(second.heard(), [])

    def test_without_an_operator_messages_wait_and_away_is_sent_once(self):
        console = self.console()
        anna = Client(console)
        anna.says(b"anybody?")
        self.assertEqual(anna.heard, b"")
        console = self.console(away="Grüße, bin weg")
        anna = Client(console)
        for _ in range(3):
            anna.says(b"anybody?")
        self.assertEqual(anna.heard.decode(), "Grüße, bin weg\n")
        operator = Operator(console)
        anna.says(b"hello")
        operator.answer(None, "back")
        operator.seat.leave()
        anna.says(b"gone again?")
        self.assertEqual(anna.heard.decode(), "Grüße, bin weg\nback\nGrüße, bin weg\n")

    def test_waiting_messages_are_bounded_for_each_client_and_in_all(self):
        console = self.console(unanswered=3, unanswered_in_all=7)
        operator = Operator(console)
        anna, bob = Client(console), Client(console, from_host(2))
        for one in (anna, bob):
            one.says(b"x\n" * 1000)
        self.assertEqual([one["client"] for one in operator.heard("said")], [1, 1, 1, 2, 2])
        self.assertEqual(
            anna.heard, b"-- 3 of your messages wait for an answer: further messages are dropped until then\n"
        )
        self.assertEqual(
            bob.heard, b"-- 2 of your messages wait for an answer: further messages are dropped until then\n"
        )
        carl = Client(console)
        carl.says(b"me too")
        self.assertEqual(
            carl.heard, b"-- too many messages wait for an answer: further messages are dropped until then\n"
        )
        self.assertEqual([one["client"] for one in operator.heard("missed")], [3])
        operator.answer(1, "slowly!")
        for _ in range(5):
            anna.says(b"again")
        self.assertEqual(len(operator.heard("said")), 3)
        anna.session.lost()
        self.assertEqual(operator.heard("left")[0]["unanswered"], 3 + 2)
        self.assertEqual(console.queue._kept, 2)

    def test_one_host_uses_at_most_half_of_the_queue(self):
        console = self.console(unanswered_in_all=100)
        operator = Operator(console)
        crowd = [Client(console) for _ in range(10)]
        for one in crowd:
            one.says(b"x\n" * 100)
        self.assertEqual(len(operator.heard("said")), 50)
        for host in range(2, 5):
            Client(console, from_host(host)).says(b"x\n" * 100)
            self.assertGreater(len(operator.heard("said")), 5)
        for one in crowd:
            one.session.lost()
        self.assertEqual(console.queue._kept, sum(console.queue._kept_of.values()))
        self.assertEqual(len(console.queue._kept_of), 3)

    def test_half_closed_clients_give_way_only_to_clients_of_their_host(self):
        console = self.console(unanswered_in_all=100)
        operator = Operator(console)
        gone = [Client(console) for _ in range(10)]
        for one in gone:
            one.says(b"x\n" * 5)
            one.ends()
        bob = Client(console, from_host(2))
        bob.says(b"x\n" * 100)
        self.assertEqual([one.ended for one in gone], [End.NOTHING] * 10)
        self.assertEqual(operator.heard("missed")[0]["client"], 11)
        anna = Client(console)
        anna.says(b"is anybody here?")
        self.assertEqual([one.ended for one in gone], [End.CLOSE] * 3 + [End.NOTHING] * 7)
        *left, said = operator.heard("said", "left")
        self.assertEqual([(one["client"], one["unanswered"]) for one in left], [(1, 5), (2, 5), (3, 5)])
        self.assertEqual((said["client"], said["text"]), (12, "is anybody here?"))

    def test_the_cost_of_a_message_is_independent_of_the_clients(self):
        console = self.console(unanswered_in_all=4)
        ended = Client(console)
        ended.says(b"one\ntwo\n")
        ended.ends()
        other = Client(console)
        with mock.patch.object(console.queue, "_clients", mock.MagicMock(values=mock.Mock(side_effect=AssertionError))):
            other.says(b"three\n")
        self.assertIs(ended.ended, End.CLOSE)
        other.says(b"four\nfive\n")
        self.assertIn(b"too many" if not other.session._client.waiting else b"2 of your messages wait", other.heard)
        self.assertEqual(console.queue._ended_of, {})

    def test_messages_that_wait_count_in_the_send_budget_and_do_not_exhaust_it(self):
        budget = SendBudget()
        console = Console(
            ConsoleOptions(unanswered=1000, unanswered_in_all=10_000), Context(send_budget=budget.mark(1 << 20))
        )
        people = [Client(console, from_host(number)) for number in range(20)]
        for one in people:
            one.says(("\N{GRINNING FACE}" * 4000).encode() + b"\n")
            one.says((b"x" * 4000 + b"\n") * 100)
        self.assertGreater(budget.total, 1 << 19)
        self.assertLess(budget.total, 1 << 20)
        self.assertIn(b"wait for an answer", people[-1].heard)
        for one in people:
            console.queue.answer(one.session._client.number, "yes", None, lambda _: None)
            one.ends()
        self.assertEqual(budget.total, 0)

    def test_shown_messages_are_not_kept(self):
        one = Client(self.console())
        one.says(b"x" * 65_536)
        self.assertLess(max(sys.getsizeof(value) for value in vars(one.session).values()), 1000)

    def test_hosts_are_identified_by_address_network_and_user(self):
        def host(remote, user=None):
            return Peer("tcp", Inet("::", 1), remote, user=user).share

        self.assertEqual(host(Inet("192.0.2.1", 5)), host(Inet("192.0.2.1", 6)))
        self.assertEqual(host(Inet("2001:db8::1", 5)), host(Inet("2001:db8::ffff", 5)))
        self.assertEqual(host(UnixName("/a"), 7), host(UnixName(""), 7))
        self.assertEqual(host(Inet("a.name", 5)), "a.name")
        others = [Inet("192.0.2.1", 5), Inet("192.0.2.2", 5), Inet("2001:db8::1", 5), Inet("2001:db8:0:1::1", 5)]
        self.assertEqual(len({host(one) for one in others} | {host(UnixName(""), user) for user in (0, 7)}), 6)

    def test_a_read_of_many_lines_is_processed_in_portions(self):
        for line in b"\n", b"x\n":
            turns = Turns()
            console = Console(ConsoleOptions(unanswered=9_000), Context(work=WorkBudget(turns.later)))
            operator, anna = Operator(console), Client(console)
            reply = anna.session.received(line * 1000)
            self.assertTrue(reply.held)
            self.assertLessEqual(len(operator.heard("said")), PORTION)
            portions = 0
            while reply.held:
                turns.turn()
                reply = anna.session.proceed()
                portions += 1
            self.assertEqual(portions, 1000 // PORTION)

    def test_a_client_with_cr_is_notified_and_one_without_a_line_end_is_not(self):
        now = Clock()
        console = Console(None, Context(clock=now.seconds, later=now.callLater))
        anna, bob = Client(console), Client(console)
        anna.says(b"hello\r")
        bob.says(b"hello")
        now.advance(1.1)
        self.assertEqual((anna.heard.decode(), bob.heard), (f"{HINT}\n", b""))

    def test_a_long_line_is_shown_in_part(self):
        console = self.console()
        operator = Operator(console)
        Client(console).says(b"x" * 60_000)
        [said] = operator.heard("said")
        self.assertEqual(said["text"], "x" * LONGEST + "… (60000 characters)")

    def test_a_character_may_be_split(self):
        console = self.console()
        operator = Operator(console)
        anna = Client(console)
        anna.says(b"gr\xc3")
        anna.says(b"\xbc\xc3")
        anna.ends()
        self.assertEqual([one["text"] for one in operator.heard("said")], ["gr", "ü", "\udcc3"])

    def test_a_half_closed_client_is_closed_after_its_answer(self):
        console = self.console()
        operator = Operator(console)
        anna, bob = Client(console), Client(console)
        anna.says(b"a question")
        anna.ends()
        bob.ends()
        self.assertEqual((anna.ended, bob.ended), (End.NOTHING, End.CLOSE))
        operator.answer(1, "an answer")
        self.assertEqual((anna.heard, anna.ended), (b"an answer\n", End.CLOSE))
        self.assertEqual([one["client"] for one in operator.heard("left")], [2, 1])

    def test_impossible_answers_are_refused(self):
        console = self.console()
        operator = Operator(console)
        for to, why in ((None, "no client has sent a message yet"), (7, "client 7 is not connected")):
            self.assertEqual(str(self.assertRaises(Unanswerable, operator.answer, to, "hello")), why)
        anna = Client(console)
        anna.says(b"hi")
        long = self.assertRaises(Unanswerable, operator.answer, None, "x" * LONGEST_ANSWER)
        self.assertEqual(str(long), "an answer of 65537 bytes is too long; the maximum is 65536")
        anna.session.lost()
        anna.session.lost()
        self.assertRaises(Unanswerable, operator.answer, None, "too late")

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.booleans())
    def test_any_data_is_shown_and_counted(self, pieces, whole):
        console = self.console()
        operator = Operator(console)
        anna = Client(console, FROM_DATAGRAMS if whole else FROM_A_STREAM)
        for piece in pieces:
            anna.says(piece)
        said = operator.heard("said")
        self.assertTrue(all(one["text"].strip() and "\n" not in one["text"] for one in said))
        self.assertEqual(console.queue._kept, min(len(said), 100))
        anna.session.lost()
        self.assertEqual(console.queue._kept, 0)

    def test_a_reload_takes_over_members_and_clients(self):
        before = self.console()
        operator, anna = Operator(before), Client(before)
        after = Console(ConsoleOptions(unanswered=1), Context(wall_clock=lambda: self.now))
        after.take_over_from(before)
        for _ in range(3):
            anna.says(b"hello")
        self.assertEqual(len(operator.heard("said")), 1)
        Client(after).says(b"new here")
        operator.answer(None, "welcome")
        self.assertEqual([one["client"] for one in operator.heard("came", "answered")], [2, 2])

    def test_operators_of_a_removed_service_are_dismissed_once(self):
        console = self.console()
        dismissed = []
        for name in "anna", "bob":
            console.queue.add_operator(lambda *_: None, lambda _event: None, lambda name=name: dismissed.append(name))
        client = Client(console)
        console.retire()
        self.assertEqual(dismissed, ["anna", "bob"])
        console.retire()
        self.assertEqual(len(dismissed), 2)
        client.says(b"anybody?")  # it is drained

    def test_a_client_over_datagrams_gets_a_goodbye(self):
        console = self.console()
        one, other = Client(console, FROM_DATAGRAMS), Client(console)
        for each in one, other:
            each.ends()
        self.assertEqual((one.heard, one.ended), (b"-- goodbye\n", End.CLOSE))
        self.assertEqual((other.heard, other.ended), (b"", End.CLOSE), "a stream has an end of its own")

    def test_messages_that_arrive_faster_than_they_are_processed_are_refused(self):
        turns = Turns()
        console = Console(ConsoleOptions(), Context(work=WorkBudget(turns.later, portion=1, turn=1)))
        operator, member = Operator(console), Client(console, FROM_DATAGRAMS)
        operator.heard()
        member.says(b"\n" * 40_000)
        member.says(b"x" * 40_000)
        self.assertIn(b"further messages are dropped until then", member.heard)
        self.assertEqual([event["event"] for event in operator.heard("missed")], ["missed"])

    def test_the_rest_of_held_messages_is_shown_at_the_end(self):
        turns = Turns()
        console = Console(ConsoleOptions(), Context(work=WorkBudget(turns.later, portion=2, turn=2)))
        operator, member = Operator(console), Client(console)
        turns.all()
        member.says(b"one\ntwo\nthree\nfour")
        member.ends()
        self.assertEqual([event["text"] for event in operator.heard("said")], ["one", "two", "three", "four"])

    def test_a_client_that_reads_too_slowly_is_told_how_many_answers_are_missing(self):
        console = Console(ConsoleOptions(), Context())
        operator, replies = Operator(console), []
        console.session(FROM_A_STREAM, replies.append).received(b"a question\n")
        for _ in range(2 * WAITING // LONGEST_ANSWER):
            operator.answer(1, "x" * (LONGEST_ANSWER - 1))
        heard = b"".join(b"".join(reply.more or ()) for reply in replies)
        self.assertRegex(heard, rb"-- [0-9]+ answers are missing here: you read too slowly\n")
