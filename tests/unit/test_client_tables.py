"""Tables in the columns of a terminal: wide characters, narrow terminals, and control characters."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from wcwidth import wcswidth

from echod.client import tables
from echod.client.tables import cut, cut_left, fitted, needed, screen, table, wrapped

HEADINGS = ("NAME", "ADDRESS", "OPEN", "IN")
ROWS = [
    ("回声服务", "tcp://127.0.0.1:10007", "1,234", "1.2 GiB"),
    ("🚀", "unix:///run/上り.sock", "", "0 B"),
    ("[bold red]x[/]", ":smile: \x1b[2J", "7", "0 B"),
]


def printed(drawn, width=10_000, color="never"):
    console = screen(color)
    console.width = width
    with console.capture() as captured:
        console.print(drawn)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_columns_are_aligned_by_their_drawn_width():
    heading, *rows = printed(table(HEADINGS, ROWS))
    assert [wcswidth(row) for row in rows] == [wcswidth(heading)] * 3
    at = wcswidth(heading[: heading.index("ADDRESS")])
    for row, (name, address, *_) in zip(rows, ROWS, strict=True):
        shown = address.replace("\x1b", "\\x1b")
        assert row.startswith(name)
        assert wcswidth(row[: row.index(shown)]) == at
    assert needed(HEADINGS, ROWS) == wcswidth(heading)


def test_numbers_are_right_aligned_and_peers_are_not():
    _, *rows = printed(table(("PEER", "IN"), [("127.0.0.1:7", "1.2 GiB"), ("10.0.0.1:77777", "7 B")]))
    assert rows == ["127.0.0.1:7     1.2 GiB", "10.0.0.1:77777      7 B"]


def test_text_of_a_peer_is_not_markup_emoji_or_control_characters():
    [*_, row] = printed(table(HEADINGS, ROWS), color="always")
    assert row.startswith("[bold red]x[/]  ")
    assert ":smile: \\x1b[2J" in row


def test_a_closed_pipe_ends_the_process(monkeypatch):
    class Died(Exception):
        pass

    def die():
        raise Died

    class Gone(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(tables, "die_of_pipe", die)
    console = screen("never")
    console.file = Gone()
    with pytest.raises(Died):
        console.print(table(HEADINGS, ROWS))


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_narrow_table_leaves_nothing_out(width):
    found = printed(fitted(HEADINGS, ROWS, width), width)
    assert max(map(wcswidth, found)) <= width
    together = "".join(line.strip() for line in found)
    for name, address, figure, size in ROWS:
        for part in (name, address.replace("\x1b", "\\x1b"), figure, size):
            assert part.replace(" ", "") in together.replace(" ", "")


def test_a_list_without_figures_has_no_empty_lines():
    rows = [("echo", "tcp://127.0.0.1:10007"), ("回声", "udp://127.0.0.1:7")]
    assert printed(fitted(("", ""), rows, 80)) == ["echo  tcp://127.0.0.1:10007", "回声  udp://127.0.0.1:7"]
    narrow = printed(fitted(("", ""), rows, 20), 20)
    assert "".join(narrow).replace(" ", "") == "echotcp://127.0.0.1:10007回声udp://127.0.0.1:7"
    assert all(narrow)


@given(st.text(max_size=40), st.integers(1, 30))
def test_a_cut_text_fits_and_keeps_its_end(text, width):
    for shortened in (cut(text, width), cut_left(text, width)):
        assert cell_len(shortened) <= width
        assert shortened.isprintable()


def test_an_address_keeps_its_end():
    assert cut("abcdef", 4) == "abc…"
    assert cut_left("tcp://127.0.0.1:7", 6) == "…0.1:7"
    assert cut("回声服务", 5) == "回声…"


def test_text_is_wrapped_by_its_drawn_width():
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert max(map(wcswidth, wrapped("回声 服务 回声 服务", 10))) <= 10
    assert wrapped("a" * 10, 4) == ["aaaa", "aaaa", "aa"]


def test_chinese_text_is_wrapped_between_characters_and_not_before_a_comma():
    assert wrapped("连接 127.0.0.1 的端口，发送", 10) == ["连接", "127.0.0.1", "的端口，发", "送"]
    assert wrapped("一二三四五，六", 10) == ["一二三四", "五，六"]
    assert wrapped("一二三四（五六）", 10) == ["一二三四", "（五六）"]
