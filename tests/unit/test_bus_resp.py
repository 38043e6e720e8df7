"""RESP3: what is decoded does not depend on how the bytes are split, and no bytes do more than raise WrongReply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.bus.resp import Decoder, ErrorReply, Push, WrongReply, command

STREAM = (
    b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n"
    b">3\r\n$9\r\nsubscribe\r\n$7\r\nchannel\r\n:1\r\n"
    b">3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n$5\r\na\r\nb\0\r\n"
    b":2\r\n+OK\r\n-WRONGPASS no\r\n_\r\n#t\r\n$-1\r\n*-1\r\n*0\r\n"
)
REPLIES = [
    [(b"server", b"redis"), (b"proto", 3)],
    Push([b"subscribe", b"channel", 1]),
    Push([b"message", b"channel", b"a\r\nb\0"]),
    2,
    "OK",
    "WRONGPASS no",
    None,
    True,
    None,
    [],
    [],
]


def read(*parts, largest=100):
    decoder, found = Decoder(largest), []
    for part in parts:
        decoder.add(part)
        found += decoder.replies()
    return [str(one) if isinstance(one, ErrorReply) else one for one in found]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_all_types_in_parts_of_any_size(size):
    found = read(*(STREAM[at : at + size] for at in range(0, len(STREAM), size)))
    assert found == REPLIES
    assert [type(one) for one in found[:3]] == [list, Push, Push]


def test_a_command_is_an_array_of_strings():
    assert command(b"PUBLISH", b"a", b"b\r\n") == b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$3\r\nb\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"$101\r\n",
        b"$-2\r\n",
        b"$x\r\n",
        b"*257\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        b"hello\r\n",
        b"\r\n",
        b"+" + b"x" * 5000,
        b":1x\r\n",
    ],
    ids=["long", "negative", "word", "items", "depth", "type", "empty", "line", "number"],
)
def test_what_is_wrong_or_too_large_is_refused(data):
    with pytest.raises(WrongReply):
        read(data)


def test_the_items_of_all_levels_of_a_reply_are_bounded():
    """An incomplete reply is read again for each byte that arrives."""
    level = b"*200\r\n" + b":1\r\n" * 200
    with pytest.raises(WrongReply):
        read(b"*200\r\n", level * 6)
    assert read(level * 6) == [[1] * 200] * 6


def test_an_incomplete_reply_of_many_parts_is_bounded():
    with pytest.raises(WrongReply):
        read(b"*200\r\n", *[b"$50\r\n" + b"x" * 50 + b"\r\n"] * 100)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_raise_anything_else(parts):
    try:
        read(*parts)
    except WrongReply:
        pass
