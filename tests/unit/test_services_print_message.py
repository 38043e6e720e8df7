"""The printed messages of a service: one escaped line each, of bounded length."""

import random
from dataclasses import replace
from typing import get_args
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.escaping import decoded
from echod.model import PLAIN, Context, Peer, Show
from echod.services.echo import Echo
from echod.services.print_message import SHOWN, effective, line, printing, show
from echod.services.registry import kinds
from echod.socket_names import Inet, unix_name
from echod.telemetry.service_output_limit import A_SECOND, ServiceOutput

PEER = Peer("udp", Inet("127.0.0.1", 9), Inet("192.0.2.1", 40_000))


class Lines(SynchronousTestCase):
    def test_of_text_leave_the_line_end_out(self) -> None:
        for data, shown in (
            (b"hello", "hello"),
            (b"hello\n", "hello"),
            (b"hello\r\n", "hello"),
            (b"\n", ""),
            (b"", ""),
            (b"one\ntwo\n\n", r"one\x0atwo\x0a"),
            (b"hello\n\r\n", r"hello\x0a"),
            (b"no line end\r", r"no line end\x0d"),
        ):
            self.assertEqual(line(data, "text"), shown)

    def test_of_text_keep_utf8_and_name_the_rest(self) -> None:
        data = "naïve\x1b[31m\u202e".encode() + b"\xff"
        self.assertEqual(line(data, "text"), r"naïve\x1b[31m\u{202e}\xff")

    def test_of_hex_are_every_byte(self) -> None:
        self.assertEqual(line(b"Hi\r\n\x00", "hex"), "48 69 0d 0a 00")
        self.assertEqual(line(b"", "hex"), "")

    def test_of_long_messages_end_with_a_whole_character(self) -> None:
        """Wherever SHOWN bytes end: what is no UTF-8 is named as ever."""
        for character in ("é", "€", "😀"):
            for before in range(4):
                data = b"a" * before + character.encode() * SHOWN
                shown, _, _ = line(data, "text").partition("…")
                self.assertEqual(shown, "a" * before + character * ((SHOWN - before) // len(character.encode())))
        for end, shown in ((b"\xff", r"\xff"), (b"\x80", r"\x80"), (b"\xe2\x28", r"\xe2("), (b"\xc3\xa9", "é")):
            data = b"a" * (SHOWN - len(end)) + end + b"more"
            self.assertTrue(line(data, "text").startswith("a" * (SHOWN - len(end)) + shown + "…"), end)

    @settings(max_examples=200, deadline=None)
    @given(st.text(min_size=SHOWN, max_size=SHOWN + 40), st.integers(0, 3))
    def test_of_long_text_are_its_beginning(self, text: str, before: int) -> None:
        data = b"a" * before + text.encode("utf-8", "replace") + bytes(SHOWN)
        shown = line(data, "text").rpartition("…")[0]
        self.assertTrue(line(data, "text") == shown + f"… ({len(data)} bytes)")
        self.assertTrue(decoded(data).startswith(shown))

    def test_of_long_messages_say_how_long_they_are(self) -> None:
        whole, more = b"a" * SHOWN, b"a" * SHOWN + b"\n"
        self.assertEqual(line(whole, "text"), whole.decode())
        self.assertEqual(line(more, "text"), f"{whole.decode()}… ({SHOWN + 1} bytes)")
        self.assertEqual(line(bytes(65_507), "hex"), f"{bytes(SHOWN).hex(' ')}… (65507 bytes)")
        self.assertTrue(line(b"a" * (SHOWN - 1) + b"\nb", "text").startswith("a" * (SHOWN - 1) + r"\x0a…"))

    @settings(max_examples=100, deadline=None)
    @given(st.one_of(st.binary(), st.text(st.characters(codec="utf-8")).map(str.encode)), st.integers(1, 200))
    def test_are_one_printable_line_of_bounded_length(self, data: bytes, times: int) -> None:
        for message in (data, data * times):
            for said in (line(message, "text"), line(message, "hex")):
                self.assertTrue(said.isprintable())
                self.assertLessEqual(len(said), 4 * SHOWN + 20)


class Showing(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        self.context = Context(show=self.lines.append)

    def test_names_how_a_message_came_and_from_whom(self) -> None:
        show(b"hello\n", PEER, "text", self.context)
        show(b"hi", PEER, "hex", self.context)
        self.assertEqual(self.lines, ["udp 192.0.2.1:40000: hello", "udp 192.0.2.1:40000: 68 69"])

    def test_prints_nothing_by_default(self) -> None:
        show(b"hello", PEER, "no", self.context)
        self.assertEqual(self.lines, [])

    def test_the_default_is_text_on_a_terminal_for_ack_and_discard_and_no_otherwise(self) -> None:
        for name, kind in kinds(plugins=()).items():
            for terminal in (True, False):
                default = "text" if terminal and name in ("ack", "discard") else "no"
                self.assertEqual(effective(None, kind, terminal=terminal), default, name)
                for how in get_args(Show):
                    self.assertEqual(effective(how, kind, terminal=terminal), how)

    def test_without_show_a_service_is_not_wrapped(self) -> None:
        service = Echo(context=self.context)
        self.assertIs(printing(service, "no"), service)

    def test_a_printing_service_cannot_use_the_fast_path(self) -> None:
        self.assertIsNone(type(printing(Echo(), "text")).transform)

    def test_a_datagram_of_any_kind_is_printed_and_gets_the_same_reply(self) -> None:
        for name, kind in kinds(plugins=()).items():
            if kind.conversational or not kind.datagrams:
                continue
            context = replace(self.context, wall_clock=lambda: 1e9, random=random.Random(1))
            plain, printed = list[bytes](), list[bytes]()
            kind(context=context).datagram(b"hi\n", PEER, PLAIN, plain.append)
            context = replace(self.context, wall_clock=lambda: 1e9, random=random.Random(1))
            printing(kind(context=context), "text").datagram(b"hi\n", PEER, PLAIN, printed.append)
            self.assertEqual(plain, printed, name)
            printing(kind(context=context), "text").answer(b"hi\n", PEER)
            self.assertEqual(self.lines, ["udp 192.0.2.1:40000: hi"] * 2, name)
            self.lines.clear()

    def test_a_stream_of_any_kind_is_printed_and_gets_the_same_replies(self) -> None:
        peer = Peer("tcp", Inet("127.0.0.1", 9), Inet("192.0.2.1", 40_000))
        for name, kind in kinds(plugins=()).items():
            if not kind.streams:
                continue
            told = []
            for how in ("no", "text"):
                context = replace(self.context, clock=lambda: 1.0, wall_clock=lambda: 1e9, random=random.Random(1))
                session = printing(kind(context=context), how).session(peer, lambda _reply: None)
                replies = [session.opened(), session.received(b"hi\n"), session.received(b"\x1b[2J"), session.ended()]
                told.append([(one.data, one.end, one.endless, one.held) for one in replies])
                session.lost()
            self.assertEqual(told[0], told[1], name)
            self.assertEqual(self.lines, ["tcp 192.0.2.1:40000: hi", r"tcp 192.0.2.1:40000: \x1b[2J"], name)
            self.lines.clear()

    def test_a_connection_without_data_is_one_line_at_its_end(self) -> None:
        peer = Peer("unix", unix_name("/run/s"), unix_name(""))
        session = printing(Echo(context=self.context), "hex").session(peer, lambda _reply: None)
        session.opened()
        session.ended()
        self.assertEqual(self.lines, [])
        session.lost()
        self.assertEqual(self.lines, ["unix (unnamed) disconnected"])

    def test_escapes_nothing_that_is_only_counted(self) -> None:

        def write(line: str) -> int:
            self.lines.append(line)
            return len(line)

        shown = ServiceOutput(write, lambda: 7.0)
        context = Context(show=shown, shows=shown.has_room)
        for _ in range(A_SECOND):
            show(b"hello", PEER, "text", context)
        with mock.patch("echod.services.print_message.line", side_effect=AssertionError("the line is dropped")):
            show(b"hello", PEER, "text", context)
        shown.report_suppressed()
        self.assertEqual(self.lines[A_SECOND - 1 :], ["udp 192.0.2.1:40000: hello", "… 1 more line in that second"])

    def test_a_name_that_the_peer_chose_cannot_forge_a_line(self) -> None:
        peer = Peer("unix-dgram", unix_name("/run/s"), unix_name(b"\0x\nudp 192.0.2.1:7: forged\x1b[2J\xff"))
        show(b"hello", peer, "text", self.context)
        self.assertEqual(len(self.lines), 1)
        self.assertTrue(self.lines[0].isprintable(), ascii(self.lines[0]))
