"""Records are cut out of any pieces, and the cost of many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.transports.layers.tls_record_queue import AT_ONCE, READ, RecordQueue


def record(size):
    return b"\x17\x03\x03" + size.to_bytes(2, "big") + bytes(size)


def taken(records):
    pieces = []
    while piece := bytes(records.take()):
        pieces.append((piece, records.begun))
    return pieces


@given(
    st.lists(st.integers(0, 65_535) | st.integers(0, 40), max_size=80), st.lists(st.integers(1, 70_000), max_size=20)
)
def test_records_cut_anywhere_are_whole_and_bounded(sizes, cuts):
    everything = b"".join(map(record, sizes))
    records, at, pieces = RecordQueue(), 0, []
    for cut in [*cuts, len(everything)]:
        if at < len(everything):
            records.add(everything[at : at + cut])
            pieces += taken(records)
            at += cut
    assert b"".join(piece for piece, _ in pieces) == everything
    assert sum(begun for _, begun in pieces) == len(sizes)
    assert len(records) == 0
    assert all(len(piece) <= READ and begun <= AT_ONCE for piece, begun in pieces)


def test_a_part_of_a_header_waits():
    records = RecordQueue()
    for byte in record(3)[:4]:
        records.add(bytes([byte]))
        assert (bytes(records.take()), records.begun) == (b"", 0)
    records.add(record(3)[4:6])
    assert (bytes(records.take()), records.begun) == (record(3)[:6], 1)
    records.add(record(3)[6:])
    assert (bytes(records.take()), records.begun) == (record(3)[6:], 0)


def test_a_part_of_a_header_does_not_keep_the_read_that_it_came_with():
    records = RecordQueue()
    records.add(record(10_000) * 6 + b"\x17\x03")
    assert sum(len(piece) for piece, _ in taken(records)) == 6 * 10_005
    assert records._data == b"\x17\x03"
    assert type(records._data) is bytes


def test_one_whole_record_needs_no_queue():
    records = RecordQueue()
    assert records.is_whole(record(3))
    assert not any(map(records.is_whole, (record(3) * 2, record(3)[:-1], record(3)[:4], b"")))
    records.add(record(3)[:6])
    assert not records.is_whole(record(3))
    records.take()
    assert not records.is_whole(record(3))
    records.add(record(3)[6:])
    records.take()
    assert records.is_whole(record(3))


@pytest.mark.parametrize("size", [0, 17])
def test_small_records_are_taken_in_portions(size):
    records = RecordQueue()
    records.add(record(size) * 100)
    assert [begun for _, begun in taken(records)] == [AT_ONCE] * 3 + [4]
