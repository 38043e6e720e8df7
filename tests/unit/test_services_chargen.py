"""Character generator (RFC 864): the pattern, streams without end, datagrams without amplification."""

import random
import string
from itertools import islice, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import NOTHING, Context, End, Peer
from echod.services.chargen import LARGEST, PERIOD, Chargen, ChargenOptions
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 19), Inet("192.0.2.1", 40_000))
PRINTING = " " + "".join(sorted(string.digits + string.ascii_letters + string.punctuation))


class Pattern(SynchronousTestCase):
    def test_has_95_lines_of_72_characters(self) -> None:
        lines = PERIOD.decode("ascii").split("\r\n")
        self.assertEqual(lines.pop(), "")
        self.assertEqual(len(lines), 95)
        self.assertEqual({len(line) for line in lines}, {72})

    def test_begins_as_the_rfc_shows_it(self) -> None:
        lines = PERIOD.decode("ascii").split("\r\n")
        self.assertEqual(lines[0], " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg")
        self.assertEqual(lines[1], "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh")

    def test_each_line_begins_one_character_later_around_the_ring_of_all_95(self) -> None:
        self.assertEqual(len(PRINTING), 95)
        lines = (PERIOD + PERIOD[:74]).decode("ascii").split("\r\n")[:-1]
        for line, following in pairwise(lines):
            at = PRINTING.index(line[-1]) + 1
            self.assertEqual(following, line[1:] + PRINTING[at % 95])


class Streams(SynchronousTestCase):
    def test_get_the_pattern_again_and_again_and_no_end(self) -> None:
        reply = Chargen().session(PEER, lambda _reply: None).opened()
        self.assertEqual((reply.data, reply.end), (None, End.NOTHING))
        assert reply.more is not None
        self.assertEqual(b"".join(islice(reply.more, 3)), PERIOD * 3)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.binary(min_size=1)))
    def test_get_it_for_any_input_and_after_their_half_close(self, pieces: list[bytes]) -> None:
        session = Chargen().session(PEER, lambda _reply: None)
        self.assertEqual([session.received(piece) for piece in pieces], [NOTHING] * len(pieces))
        self.assertEqual(session.ended(), NOTHING)
        session.lost()


class Datagrams(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.integers(1, 65_507))
    def test_get_as_many_characters_as_they_had_and_512_at_most(self, length: int) -> None:
        answer = Chargen().answer(bytes(length), PEER)
        assert answer is not None
        self.assertEqual(len(answer), min(length, LARGEST))
        self.assertEqual(answer, PERIOD[: len(answer)])

    def test_get_nothing_for_nothing(self) -> None:
        self.assertIsNone(Chargen().answer(b"", PEER))

    def test_with_rfc864_get_0_to_512_at_random_for_any_request(self) -> None:
        service = Chargen(ChargenOptions(rfc864=True), Context(random=random.Random(7)))
        answers = [service.answer(b"", PEER) for _ in range(20_000)]
        lengths = {len(answer) for answer in answers if answer is not None}
        self.assertEqual(lengths, set(range(LARGEST + 1)))
        self.assertTrue(all(answer is not None and PERIOD.startswith(answer) for answer in answers))
