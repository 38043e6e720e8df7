"""The memory that the processes of a daemon share: columns, meters and tables, against simple models."""

import os
import random
import tempfile
from itertools import pairwise

import pytest

from echod.shared_memory.memory import CELLS, PARENT, WAYS, Keys, Meter, Row, SharedMemory, Table


@pytest.fixture
def memory():
    memory = SharedMemory.create(2)
    yield memory
    os.close(memory.descriptor)


def test_another_map_of_the_descriptor_is_the_same_memory(memory):
    other = SharedMemory(memory.descriptor)
    assert (other.columns, other.secret) == (memory.columns, memory.secret)
    memory.words[memory.row_start(Row.UNSENT) + 1] = 5
    assert sum(other.row(other.row_start(Row.UNSENT))) == 5
    assert other.hash_of(b"a", b"b") == memory.hash_of(b"a", b"b")
    assert other.hash_of(b"ab") != other.hash_of(b"a", b"b") != other.hash_of(b"", b"ab")


def test_each_daemon_has_its_own_secret(memory):
    another = SharedMemory.create(2)
    assert another.secret != memory.secret
    assert another.hash_of(b"key") != memory.hash_of(b"key")
    os.close(another.descriptor)


def test_another_file_is_refused_and_the_memory_cannot_shrink(memory):
    with tempfile.TemporaryFile() as other:
        with pytest.raises(ValueError, match="has 0 bytes; expected the shared memory"):
            SharedMemory(other.fileno())
        os.ftruncate(other.fileno(), os.fstat(memory.descriptor).st_size)
        os.pwrite(other.fileno(), os.pread(memory.descriptor, 16, 0)[8:], 8)
        with pytest.raises(ValueError, match="not the shared memory of this version"):
            SharedMemory(other.fileno())
    with pytest.raises(PermissionError):
        os.ftruncate(memory.descriptor, 4096)


def test_columns_are_assigned_once_and_again_after_their_release(memory):
    assert memory.in_use() == (PARENT,)
    columns = [memory.assign() for _ in range(memory.columns - 1)]
    assert sorted(columns) == list(range(1, memory.columns))
    with pytest.raises(RuntimeError, match="all 7 columns"):
        memory.assign()
    memory.release(3)
    assert memory.assign() == 3


def test_too_many_workers_are_refused():
    with pytest.raises(ValueError, match="the maximum is 126"):
        SharedMemory.create(127)


def test_rows_and_cells_and_sets_do_not_overlap(memory):
    """Each word that any of them can address belongs to one of them, and lies within the memory."""
    rows = [memory.row_start(row) for row in Row]
    rows += [memory.cell_start(meter, cell) for meter in Meter for cell in (0, 1, CELLS - 1)]
    spans = [(at, at + memory.columns) for at in rows]
    spans += [
        (at, at + 2 * WAYS)
        for table in Table
        for column in range(memory.columns)
        for at in (memory.set_start(table, column, 0), memory.set_start(table, column, -1))
    ]
    spans.sort()
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    assert spans[0][0] > 6 + memory.columns  # the header
    assert spans[-1][1] == len(memory.words)


@pytest.mark.parametrize("seed", range(4))
def test_a_table_is_a_dictionary_for_each_process(memory, seed):
    chance = random.Random(seed)
    columns = [memory.assign(), memory.assign()]
    tables = {column: Keys(SharedMemory(memory.descriptor), Table.SLOTS, column) for column in columns}
    keys = [memory.hash_of(bytes([number])) for number in range(50)]
    model = {column: dict.fromkeys(keys, 0) for column in columns}
    for _ in range(2000):
        column, key = chance.choice(columns), chance.choice(keys)
        if chance.random() < 0.5:
            value = chance.randrange(3)
            assert tables[column].set(key, value)
            model[column][key] = value
        else:
            by = chance.randrange(5)
            assert tables[column].add(key, by)
            model[column][key] += by
        other = columns[1 - columns.index(column)]
        assert tables[other].elsewhere(key) == model[column][key]
        assert tables[column].of(column, key) == model[column][key]
    used = {
        key: value
        for _, values, its in memory.used_sets(Table.SLOTS, columns[0])
        for value, key in zip(values, its, strict=True)
        if value
    }
    assert used == {key: value for key, value in model[columns[0]].items() if value}


def test_a_full_set_refuses_another_key_until_one_is_0(memory):
    """Keys of one set: equal modulo the number of sets."""
    table, column = Keys(memory, Table.SLOTS, memory.assign()), 1
    keys = [1 + number * 8192 for number in range(WAYS + 1)]
    assert len({memory.set_start(Table.SLOTS, column, key) for key in keys}) == 1
    assert all(table.set(key, 1) for key in keys[:-1])
    assert not table.set(keys[-1], 1)
    assert table.of(column, keys[-1]) == 0
    assert table.set(keys[-1], 0), "0 is what it has"
    assert table.set(keys[3], 0)
    assert table.set(keys[-1], 7)
    assert [table.of(column, key) for key in keys] == [1, 1, 1, 0, 1, 1, 1, 1, 7]


def test_a_released_column_has_no_slots_and_leaves_its_counters_to_the_parent(memory):
    column = memory.assign()
    slots, counters = (Keys(memory, table, column) for table in (Table.SLOTS, Table.COUNTERS))
    kept = Keys(memory, Table.COUNTERS, PARENT)
    kept.add(-5, 2)
    slots.set(7, 3)
    counters.set(-5, 40)
    counters.set(9, 1)
    for row in Row:
        memory.words[memory.row_start(row) + column] = 11
    at = memory.cell_start(Meter.REPLIES, 4) + column
    memory.words[at] = 100
    memory.release(column)
    assert [kept.of(PARENT, key) for key in (-5, 9)] == [42, 1]
    assert not list(memory.used_sets(Table.SLOTS, column)) + list(memory.used_sets(Table.COUNTERS, column))
    left = {row: memory.row(memory.row_start(row)) for row in Row}
    kept_rows = (Row.REPLIES, Row.REPLY_BYTES)
    assert {row for row in Row if left[row][column]} == set(kept_rows)
    assert {row for row in Row if left[row][PARENT]} == {Row.IN_USE, Row.MISSED, Row.ENDED}
    assert memory.words[at] == 100, "a meter only grows: others compare it with what they saw"


def test_reading_the_keys_of_an_unused_column_creates_no_pages(memory):
    before = os.fstat(memory.descriptor).st_blocks
    assert not list(memory.used_sets(Table.COUNTERS, 2))
    assert os.fstat(memory.descriptor).st_blocks == before
