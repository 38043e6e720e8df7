"""Lines: whole ones, whatever the pieces, and bounded."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from echod.services.lines import LONGEST, Lines


def cut(data, *pieces):
    """The lines of these pieces, the last one included."""
    lines = Lines()
    found = [line for piece in pieces or (data,) for line in lines.take(piece)]
    return [*found, lines.last()]


def test_line_ends():
    assert cut(b"one\ntwo\r\n\nthree") == [b"one", b"two", b"", b"three"]
    assert cut(b"") == [b""]
    assert cut(b"a\rb\n") == [b"a\rb", b""]


def test_the_longest_line_and_one_octet_more():
    assert cut(b"x" * LONGEST + b"\r\n") == [b"x" * LONGEST, b""]
    assert cut(b"x" * LONGEST) == [b"x" * LONGEST]
    assert cut(b"x" * (LONGEST + 1) + b"\nnext\n") == [None, b"next", b""]
    assert cut(b"x" * LONGEST + b"\ry\nnext") == [None, b"next"]


def test_an_endless_line_is_told_once_and_not_kept():
    lines = Lines()
    assert list(lines.take(b"x" * LONGEST)) == []
    told = [line for _ in range(1000) for line in lines.take(b"x" * 65_536)]
    assert told == [None]
    assert not lines._line
    assert lines.last() == b""


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"x" * 4000, b"y" * 97]), max_size=12), st.data())
def test_the_same_lines_however_the_stream_is_cut(parts, draws):
    data = b"".join(parts)
    places = draws.draw(st.sets(st.integers(0, len(data))))
    at = sorted({0, len(data), *places})
    assert cut(data, *(data[begin:end] for begin, end in pairwise(at))) == cut(data)
    assert all(line is None or (len(line) <= LONGEST and b"\n" not in line) for line in cut(data))
