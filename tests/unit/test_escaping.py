"""The escaper: for any input, the output is one line that is safe to print."""

import errno
import os
import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.escaping import counted, decoded, escaped, system_error

_anything = st.text(st.characters())  # control characters and surrogates included


class Escaping(SynchronousTestCase):
    def test_printable_text_is_unchanged(self) -> None:
        for text in ("", "hello, world", "naïve 日本語 🙂", r"back\slash", "שלום"):
            self.assertEqual(escaped(text), text)

    def test_what_is_not_is_named(self) -> None:
        for text, shown in (
            ("a\nb\r\n", r"a\x0ab\x0d\x0a"),
            ("\x1b[31m", r"\x1b[31m"),
            ("\0\x7f\x9b", r"\x00\x7f\x9b"),
            ("\xa0\xad", r"\xa0\xad"),
            ("\u2028\u2029", r"\u{2028}\u{2029}"),
            ("\u202a\u202e\u2066\u2069\u200f", r"\u{202a}\u{202e}\u{2066}\u{2069}\u{200f}"),
            ("\u200b\ufeff\u3000", r"\u{200b}\u{feff}\u{3000}"),
            ("\ud800\udfff", r"\u{d800}\u{dfff}"),
            ("\udc7f", r"\u{dc7f}"),
            ("\U000e0041", r"\u{e0041}"),
        ):
            self.assertEqual(escaped(text), shown)

    def test_bytes_that_are_not_utf8_are_kept(self) -> None:
        self.assertEqual(decoded(b"caf\xc3\xa9 caf\xe9 \x80\xff"), r"café caf\xe9 \x80\xff")
        self.assertEqual(decoded(b"\xed\xa0\x80\xc0\x80"), r"\xed\xa0\x80\xc0\x80")

    @settings(max_examples=300, deadline=None)
    @given(_anything)
    def test_the_result_is_printable_and_escaping_it_changes_nothing(self, text: str) -> None:
        once = escaped(text)
        self.assertTrue(once.isprintable(), ascii(once))
        self.assertEqual(len(once.splitlines()), 1 if text else 0)
        self.assertEqual(escaped(once), once)
        if text.isprintable():
            self.assertEqual(once, text)

    @settings(max_examples=200, deadline=None)
    @given(_anything, _anything)
    def test_no_text_changes_how_another_beside_it_is_shown(self, one: str, other: str) -> None:
        self.assertEqual(escaped(one + other), escaped(one) + escaped(other))

    @settings(max_examples=200, deadline=None)
    @given(st.binary())
    def test_any_bytes_are_safe_to_print(self, data: bytes) -> None:
        self.assertTrue(decoded(data).isprintable())
        self.assertLessEqual(len(decoded(data)), 4 * len(data))


class SystemErrors(SynchronousTestCase):
    def test_have_the_systems_words_and_its_name(self) -> None:
        said = system_error(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused", "/some/file"))
        self.assertEqual(said, "connection refused (ECONNREFUSED)")
        self.assertEqual(system_error(OSError(errno.EAGAIN, "")), "resource temporarily unavailable (EAGAIN)")

    def test_every_number_is_one_printable_line(self) -> None:
        for number, name in errno.errorcode.items():
            said = system_error(OSError(number, ""))
            self.assertTrue(said.isprintable(), said)
            self.assertEqual(said.lower(), f"{os.strerror(number)} ({name})".lower())

    def test_without_a_number_keep_their_text(self) -> None:
        self.assertEqual(system_error(OSError("no\nsuch thing")), r"no\x0asuch thing")
        self.assertEqual(system_error(OSError(None, "the endpoint does not listen")), "the endpoint does not listen")

    def test_without_a_text_have_the_name_of_their_type(self) -> None:
        self.assertEqual(system_error(TimeoutError()), "TimeoutError")

    def test_of_the_resolver_keep_its_names(self) -> None:
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.assertEqual(system_error(unknown), "no such host (EAI_NONAME)")
        failing = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        self.assertEqual(system_error(failing), "temporary failure in name resolution (EAI_AGAIN)")

    def test_with_an_unknown_number_keep_their_text(self) -> None:
        self.assertEqual(system_error(OSError(99_999, "Strange indeed")), "Strange indeed")


def test_one_has_the_singular():
    assert [counted(number, "line", "lines") for number in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]
