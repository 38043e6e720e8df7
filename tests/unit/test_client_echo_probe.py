"""The probes of a ping: echo and upper send the same reply, and each reply is verified."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.client.echo_probe import Datagrams, Probes, Probing, Stream
from echod.client.probe_ledger import ProbeLedger, ProbeResult, ReplyClass
from echod.model import CLOSE, NOTHING, Peer
from echod.services.echo import Echo
from echod.services.upper import Upper
from echod.socket_names import Inet

PEER = Peer("udp", Inet("127.0.0.1", 40000), Inet("127.0.0.1", 7))
PATIENCE = 5.0


def probes_of(size: int = 64, *, marked: bool = True, seed: int = 1) -> Probes:
    return Probes(size, PEER, random.Random(seed), marked=marked)


class Questions(SynchronousTestCase):
    @given(st.integers(16, 3000), st.integers(1, 2**32 - 1))
    def test_of_datagrams_have_the_size_and_their_number(self, size: int, number: int) -> None:
        probes = probes_of(size)
        question = probes.request(number)
        self.assertEqual(len(question), size)
        self.assertEqual(probes.number(question), number)
        self.assertIsNone(probes_of(size, seed=2).number(question))

    @given(st.integers(1, 3000), st.integers(1, 2**32 - 1), st.booleans())
    def test_are_answered_alike_by_echo_and_upper(self, size: int, number: int, marked: bool) -> None:
        probes = probes_of(max(size, 16) if marked else size, marked=marked)
        question = probes.request(number)
        for kind in (Echo, Upper):
            self.assertEqual(kind().answer(question, PEER), probes.answer(number))

    def test_differ_from_the_previous_one_in_almost_every_byte(self) -> None:
        probes = probes_of(1000, marked=False)
        for number in range(1, 600):
            one, other = probes.request(number), probes.request(number + 1)
            self.assertLess(sum(a == b for a, b in zip(one, other, strict=True)), 60)

    def test_contain_every_byte_except_lower_case_letters(self) -> None:
        self.assertEqual(set(probes_of(10_000).request(1)), set(range(256)) - set(b"abcdefghijklmnopqrstuvwxyz"))

    def test_of_other_pings_have_no_number(self) -> None:
        probes = probes_of()
        for answer in (b"", b"received", b"X" * 64, probes.request(1)[:15], probes.request(1).lower()):
            self.assertIsNone(probes.number(answer))


class Judging(SynchronousTestCase):
    """A session, a clock that stands where `now` says, and everything that was found."""

    session: Probing

    def prepare(self, kind: type[Probing], size: int = 64) -> None:
        self.now = 0.0
        self.found: list[ProbeResult] = []
        self.begun: list[bool] = []
        self.probes = probes_of(size, marked=kind is Datagrams)
        self.account = ProbeLedger(PATIENCE)
        self.session = kind(
            self.probes, self.account, lambda: self.now, lambda: self.begun.append(True), self.found.append
        )
        self.assertEqual(self.session.opened(), NOTHING)
        self.assertEqual(self.begun, [True])

    def ask(self) -> bytes:
        question = self.session.ask().data
        assert question is not None
        return question

    def verdicts(self) -> list[tuple[ReplyClass, int | None]]:
        return [(finding.kind, finding.number) for finding in self.found]


class OfDatagrams(Judging):
    def setUp(self) -> None:
        self.prepare(Datagrams)

    def wrong(self, answer: bytes) -> ProbeResult:
        self.found.clear()
        self.assertEqual(self.session.received(answer), NOTHING)
        [finding] = self.found
        self.assertEqual(finding.kind, ReplyClass.WRONG)
        self.assertEqual(finding.size, len(answer))
        self.assertIsNone(finding.seconds)
        return finding

    def test_each_is_identified_by_its_mark(self) -> None:
        one, two, three = (self.ask() for _ in range(3))
        self.now = 0.5
        for answer in (two, one, two, three):
            self.session.received(answer)
        self.assertEqual(
            self.verdicts(),
            [(ReplyClass.RECEIVED, 2), (ReplyClass.REORDERED, 1), (ReplyClass.DUPLICATED, 2), (ReplyClass.RECEIVED, 3)],
        )
        self.assertEqual({finding.seconds for finding in self.found}, {0.5})

    def test_a_changed_byte_is_reported(self) -> None:
        question = bytearray(self.ask())
        was, question[40] = question[40], 0x61
        finding = self.wrong(bytes(question))
        self.assertEqual(finding.number, 1)
        self.assertEqual(finding.error, f"byte 40 is 0x61, expected 0x{was:02x}")

    def test_too_short_and_too_long_are_wrong(self) -> None:
        question = self.ask()
        for answer in (question[:-1], question[:16], question + b"!", question * 2):
            finding = self.wrong(answer)
            self.assertEqual((finding.number, finding.error), (1, "64 bytes were sent"))

    def test_a_datagram_without_our_mark_belongs_to_no_probe(self) -> None:
        question = self.ask()
        unsent = self.probes.request(2)
        for answer in (b"", b"received", question[1:], unsent, self.probes.request(0), question[:15]):
            finding = self.wrong(answer)
            self.assertEqual((finding.number, finding.error), (None, "it belongs to no probe of this ping"))

    @given(st.binary(max_size=100))
    def test_any_datagram_is_counted_without_an_exception(self, answer: bytes) -> None:
        self.prepare(Datagrams)
        self.ask()
        self.wrong(answer)


class OfStreams(Judging):
    def setUp(self) -> None:
        self.prepare(Stream)

    @given(st.integers(1, 100), st.lists(st.integers(1, 300), max_size=20), st.integers(1, 8))
    def test_each_is_received_once_for_any_split(self, size: int, pieces: list[int], count: int) -> None:
        self.prepare(Stream, size)
        rest = b"".join(self.ask() for _ in range(count))
        for piece in (*pieces, len(rest)):
            if rest:
                self.assertEqual(self.session.received(rest[:piece]), NOTHING)
            rest = rest[piece:]
        self.assertEqual(self.verdicts(), [(ReplyClass.RECEIVED, number) for number in range(1, count + 1)])

    @given(st.integers(1, 50), st.integers(1, 6), st.data())
    def test_a_wrong_byte_affects_only_its_reply(self, size: int, count: int, data: st.DataObject) -> None:
        self.prepare(Stream, size)
        answer = bytearray(b"".join(self.ask() for _ in range(count)))
        place = data.draw(st.integers(0, len(answer) - 1))
        step = data.draw(st.integers(1, len(answer)))
        was, answer[place] = answer[place], answer[place] ^ 0xFF
        for begin in range(0, len(answer), step):
            self.session.received(bytes(answer[begin : begin + step]))
        spoiled = place // size + 1
        expected = [(ReplyClass.RECEIVED, number) for number in range(1, count + 1)]
        expected[spoiled - 1] = (ReplyClass.WRONG, spoiled)
        self.assertEqual(self.verdicts(), expected)
        error = f"byte {place % size} is 0x{was ^ 0xFF:02x}, expected 0x{was:02x}"
        self.assertEqual(self.found[spoiled - 1].error, error)
        self.assertEqual(self.account.received, count - 1)
        self.assertTrue(self.account.settled(0))

    def test_only_the_first_wrong_byte_of_a_reply_is_reported(self) -> None:
        for octet in self.ask():
            self.session.received(bytes([octet ^ 0xFF]))
        self.assertEqual(self.verdicts(), [(ReplyClass.WRONG, 1)])

    def test_the_time_ends_with_the_last_byte(self) -> None:
        question = self.ask()
        self.now = 1.0
        self.session.received(question[:-1])
        self.now = 3.0
        self.session.received(question[-1:])
        self.assertEqual([finding.seconds for finding in self.found], [3.0])

    def test_a_reply_after_the_timeout_is_late_and_the_next_is_correct(self) -> None:
        one = self.ask()
        self.now = 6.0
        two = self.ask()
        self.session.received(one + two)
        self.assertEqual(self.verdicts(), [(ReplyClass.LATE, 1), (ReplyClass.RECEIVED, 2)])

    def test_more_bytes_than_sent_are_wrong_and_end_the_session(self) -> None:
        question = self.ask()
        self.assertEqual(self.session.received(question + b"more"), CLOSE)
        self.assertEqual(self.verdicts(), [(ReplyClass.RECEIVED, 1), (ReplyClass.WRONG, None)])
        self.assertEqual((self.found[1].size, self.found[1].error), (4, "more bytes were received than sent"))

    def test_data_before_the_first_probe_is_wrong(self) -> None:
        self.assertEqual(self.session.received(b"220 welcome\r\n"), CLOSE)
        self.assertEqual(self.verdicts(), [(ReplyClass.WRONG, None)])


del Judging  # its subclasses are the tests


class Marks(SynchronousTestCase):
    def test_are_readable_digits(self) -> None:
        self.assertTrue(re.match(rb"[0-9A-F]{8}0000002A", probes_of().request(42)))
