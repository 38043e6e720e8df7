"""The line editor: keys in, lines out, and a display of at most one row."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.lineedit.editor import ERASE, LONGEST, Editor, EndOfInput, width


def edited(keys):
    """The lines of these keys, and the one that is being typed, with the cursor as a bar."""
    editor = Editor(lambda: "> ")
    lines = list(editor.feed(keys.encode() if isinstance(keys, str) else keys))
    return lines, "".join(editor._text[: editor._at]) + "|" + "".join(editor._text[editor._at :])


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("hello", "hello|"),
        ("helo\x1b[Dl", "hell|o"),
        ("ello\x01h", "h|ello"),
        ("hello\x1b[H\x1b[3~j\x1b[F!", "jello!|"),
        ("hello\x7f\x7fp", "help|"),
        ("hello\x02\x02\x0b", "hel|"),
        ("hello\x02\x02\x15", "|lo"),
        ("two  words\x17", "two  |"),
        ("two words \x17\x17", "|"),
        ("\x7f\x1b[3~\x1b[D\x1b[C\x17\x15\x0b", "|"),
        ("a\x00\x1b[20~\x1b[1;5Cb\x07\x1bxc", "abc|"),
        ("caf\u00e9 \u65e5\u672c\x1b[D", "caf\u00e9 \u65e5|\u672c"),
        ("e\u0301\x1b[D", "|e\u0301"),
        ("e\u0301\x01\x1b[C", "e\u0301|"),
        ("a\u202eb\u2028", "ab|"),
        ("tab\tand\x1bOD", "taban|d"),
    ],
)
def test_keys(keys, line):
    assert edited(keys) == ([], line)


def test_lines_and_the_history():
    lines, rest = edited("one\rtwo\n\rthree\x1b[A\x1b[A\x1b[A!\r\x1b[A\x1b[B")
    assert lines == ["one", "two", "", "one!"]
    assert rest == "|"
    assert edited("one\rtyped\x1b[A\x1b[B")[1] == "typed|"
    assert edited("one\rone\rtwo\r\x10\x10\x0e")[1] == "two|"


def test_the_end_of_input():
    assert edited("\x04") == ([EndOfInput.OF_INPUT], "|")
    assert edited("ab\x02\x04") == ([], "a|")


def test_a_line_is_bounded():
    assert len(edited("x" * (LONGEST + 100))[1]) == LONGEST + 1


@pytest.mark.parametrize(
    ("text", "columns"),
    [("日本", 4), ("e\u0301", 1), ("\u2764\ufe0f", 2), ("🚀a", 3), ("", 0)],
)
def test_the_columns_of_a_text(text, columns):
    """U+2764 alone is one column wide; with the selector U+FE0F it is an emoji of two."""
    assert width(text) == columns
    editor = Editor(lambda: "> ")
    list(editor.feed(text.encode()))
    assert editor.drawn(80).endswith(f"\x1b[{2 + columns}C")


def test_the_cursor_steps_over_an_emoji_with_its_selector():
    assert edited("a\u2764\ufe0f\x1b[D") == ([], "a|\u2764\ufe0f")
    assert edited("a\u2764\ufe0fb\x01\x1b[C\x1b[C") == ([], "a\u2764\ufe0f|b")


@given(st.binary(max_size=80), st.sets(st.integers(0, 80)))
def test_keys_may_come_in_any_pieces(keys, places):
    one, other = Editor(lambda: "> "), Editor(lambda: "> ")
    at = sorted({0, len(keys), *(place for place in places if place < len(keys))})
    whole = list(one.feed(keys))
    pieces = [line for begin, end in pairwise(at) for line in other.feed(keys[begin:end])]
    assert pieces == whole
    assert (one._text, one._at) == (other._text, other._at)


@given(st.text(max_size=200), st.integers(0, 250), st.integers(5, 90))
def test_the_drawn_line_is_one_row_and_escaped(text, left, columns):
    editor = Editor(lambda: "to 3> ")
    lines = list(editor.feed((text + "\x1b[D" * left).encode("utf-8", "replace")))
    assert all(isinstance(line, EndOfInput) or line.isprintable() for line in lines)
    picture = editor.drawn(columns)
    assert picture.startswith(ERASE + "to 3> ")
    shown, cursor = re.fullmatch(r"([^\x00-\x1f\x7f-\x9f]*)\r\x1b\[(\d+)C", picture.removeprefix(ERASE)).groups()
    assert width(shown) <= max(columns, 6 + 8) + 1
    assert int(cursor) <= width(shown)


def test_a_sequence_that_arrives_in_parts_is_one_key():
    editor = Editor(lambda: "> ")
    empty = editor.empty
    for part in (b"ab\x1b", b"[", b"Dc"):
        assert list(editor.feed(part)) == []
    assert (empty, editor.empty) == (True, False)
    assert list(editor.feed(b"\x1b[B\r")) == ["acb"]  # the key Down changes nothing on the newest line


def test_a_long_line_is_drawn_around_its_cursor():
    editor = Editor(lambda: "> ")
    text = "".join(map(chr, range(ord("0"), ord("0") + 60)))
    assert list(editor.feed(text.encode())) == []
    assert editor.drawn(40) == f"{ERASE}> {text[-18:]}\r\x1b[20C"  # half of the 37 columns beside the prompt
