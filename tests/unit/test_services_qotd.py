"""Quote of the day (RFC 865): the quotations of a file, and the errors of a file without any."""

import os
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod import small_files
from echod.model import Context, End, Peer, Reply
from echod.services.qotd import BUILT_IN, LARGEST, Qotd, QotdOptions, WrongQuotes, quotations, read
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 17), Inet("192.0.2.1", 40_000))


class Quotations(SynchronousTestCase):
    def test_stand_between_lines_of_a_single_percent_sign(self) -> None:
        for text, found in (
            ("one", [b"one\r\n"]),
            ("one\n", [b"one\r\n"]),
            ("one\n%\ntwo\n", [b"one\r\n", b"two\r\n"]),
            ("%\none\n%\n", [b"one\r\n"]),
            ("one\n%\n%\n%\ntwo", [b"one\r\n", b"two\r\n"]),
            ("one\n  - me  \n%\ntwo", [b"one\r\n  - me\r\n", b"two\r\n"]),
            ("\n\none\n\nmore\n\n%\n", [b"one\r\n\r\nmore\r\n"]),
            ("100 %\n%%\n%x", [b"100 %\r\n%%\r\n%x\r\n"]),
            ("  \n%\none", [b"one\r\n"]),
            ("naïve", ["naïve\r\n".encode()]),
        ):
            self.assertEqual(quotations(text), found, repr(text))

    def test_there_must_be_one(self) -> None:
        for text in ("", "\n", "%", "%\n%\n", "  \n\t\n"):
            error = self.assertRaises(WrongQuotes, quotations, text)
            self.assertIn("has no quotations; expected quotations, separated by lines with a single %", str(error))

    def test_have_512_bytes_at_most_and_are_found_by_their_line(self) -> None:
        fits, long = "x" * (LARGEST - 2), "x" * (LARGEST - 1)
        self.assertEqual(len(quotations(fits)[0]), LARGEST)
        for text, place in (
            (long, "line 1 "),
            (f"one\n%\n{long}", "line 3 "),
            (f"one\n%\ntwo\n%\n{long}", "line 5 "),
            (f"one\nmore\n%\ntwo\nmore\n%\n{long}", "line 7 "),
            (f"%\n%\n{long}\n%\none", "line 3 "),
        ):
            error = self.assertRaises(WrongQuotes, quotations, text)
            self.assertIn(f"the quotation at {place}has {LARGEST + 1} bytes", str(error), repr(text))

    def test_of_bytes_are_counted_and_not_of_characters(self) -> None:
        self.assertRaises(WrongQuotes, quotations, "é" * (LARGEST // 2))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.sampled_from(["%", "one", "two ", "", " ", "%%"])))
    def test_contain_every_line_with_text_and_nothing_else(self, lines: list[str]) -> None:
        said = [line.rstrip() for line in lines if line != "%" and line.strip()]
        if not said:
            self.assertRaises(WrongQuotes, quotations, "\n".join(lines))
            return
        found = quotations("\n".join(lines))
        self.assertEqual([line for quotation in found for line in quotation.decode().split("\r\n") if line], said)
        for quotation in found:
            self.assertTrue(quotation.endswith(b"\r\n"))
            self.assertTrue(quotation.strip())


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "quotes")

    def test_are_read(self) -> None:
        self.file.write_bytes(b"one\r\n%\r\ntwo\r\n")
        self.assertEqual(read(self.file), [b"one\r\n", b"two\r\n"])
        self.assertEqual(list(Qotd.configuration_errors(QotdOptions(self.file))), [])

    def test_that_cannot_be_used_say_why(self) -> None:
        self.assertEqual(self.error(), "no such file or directory (ENOENT)")
        self.file.write_bytes(b"tea\ncaf\xe9")
        not_utf8 = "line 2: is not UTF-8 (byte 8 of the file is 0xe9); save the file as UTF-8"
        self.assertEqual(self.error(), not_utf8)
        self.file.write_bytes(b"")
        self.assertEqual(self.error(), "has no quotations; expected quotations, separated by lines with a single %")
        self.file.unlink()
        self.file.mkdir()
        self.assertEqual(self.error(), "is a directory (EISDIR)")
        self.file.rmdir()
        self.file.symlink_to("/dev/zero")
        self.assertEqual(self.error(), "is not a regular file")
        self.file.unlink()
        os.mkfifo(self.file)
        self.assertEqual(self.error(), "is not a regular file")
        self.file.unlink()
        self.file.write_bytes(b"%\n" * (small_files.MOST // 2) + b"x")
        self.assertEqual(self.error(), "is larger than 1048576 bytes")

    def error(self) -> str:
        """The error of the file, without its name."""
        ((key, text),) = Qotd.configuration_errors(QotdOptions(self.file))
        self.assertEqual(key, "quotes")
        self.assertTrue(text.startswith(f"{self.file}: "), text)
        self.assertRaises(WrongQuotes, Qotd, QotdOptions(self.file))
        return text.removeprefix(f"{self.file}: ")

    def test_need_not_be_there(self) -> None:
        self.assertEqual(list(Qotd.configuration_errors(QotdOptions())), [])


class Saying(SynchronousTestCase):
    def test_every_quotation_has_its_turn(self) -> None:
        service = Qotd(context=Context(random=random.Random(7)))
        said = {service.answer(b"", PEER) for _ in range(200)}
        self.assertEqual(said, {quotations(text)[0] for text in BUILT_IN})

    def test_streams_get_one_and_the_close(self) -> None:
        reply = Qotd().session(PEER, lambda _reply: None).opened()
        self.assertEqual(reply, Reply(reply.data, end=End.CLOSE))
        self.assertIn(reply.data, [quotations(text)[0] for text in BUILT_IN])

    def test_the_built_in_ones_are_short_lines_of_ascii(self) -> None:
        for text in BUILT_IN:
            (quotation,) = quotations(text)
            self.assertTrue(
                all(line.isprintable() and len(line) <= 120 for line in quotation.decode("ascii").split("\r\n"))
            )

    def test_of_a_file_are_its_own(self) -> None:
        descriptor, name = tempfile.mkstemp()
        self.addCleanup(os.unlink, name)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write("mine\n")
        self.assertEqual(Qotd(QotdOptions(Path(name))).answer(b"", PEER), b"mine\r\n")
