"""The data of an input that was not taken yet: in the kernel, or read by the thread."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from echod.lineedit import stdin_thread
from echod.lineedit.stdin_thread import Input
from tests.daemon import SECONDS


class Calls:
    """The part of a reactor that the thread uses: the test makes the calls."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., None], *given: Any) -> None:
        self._calls.put((call, given))

    def wait(self) -> Callable[[], None]:
        call, given = self._calls.get(timeout=SECONDS)
        return lambda: call(*given)


def unexpected(_result: object) -> None:
    raise AssertionError("nothing may be read")


class Pipe:
    """A pipe whose read end is an input."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.calls = Calls()
        self.taken: list[bytes] = []
        self.input = Input(self.calls, self.read, self.taken.append, unexpected)

    def end(self) -> None:
        os.close(self.write)
        self.write = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    if made.write >= 0:
        made.end()
    made.input.more()
    while b"" not in made.taken:  # the thread ends
        made.calls.wait()()
        made.input.more()
    os.close(made.read)


def test_data_counts_until_it_is_taken(pipe):
    assert not pipe.input.has_data
    os.write(pipe.write, b"hello")
    assert pipe.input.has_data, "in the kernel"
    pipe.input.more()
    deliver = pipe.calls.wait()
    assert pipe.input.has_data, "read"
    deliver()
    assert not pipe.input.has_data
    assert pipe.taken == [b"hello"]


def test_the_end_of_input_is_no_data(pipe):
    pipe.end()
    assert not pipe.input.has_data
    pipe.input.more()
    deliver = pipe.calls.wait()
    assert not pipe.input.has_data
    deliver()
    assert pipe.taken == [b""]


def test_data_that_another_process_has_taken_does_not_count(pipe, monkeypatch):
    """The thread waits in its read then."""
    monkeypatch.setattr(stdin_thread, "STOLEN", 0.01)
    waiting = threading.Event()
    monkeypatch.setattr(stdin_thread, "_wait_for_input", lambda _descriptor: waiting.set())  # the poll said: readable
    pipe.input.more()
    assert waiting.wait(SECONDS)
    assert not pipe.input.has_data
    os.write(pipe.write, b"late")
    pipe.calls.wait()()
    assert pipe.taken == [b"late"]


@pytest.mark.parametrize(("size", "expected"), [(0, False), (5, True)], ids=["empty", "with data"])
def test_a_file_has_data_up_to_its_end(tmp_path: Path, size, expected):
    file = tmp_path / "file"
    file.write_bytes(b"x" * size)
    with file.open("rb") as opened:
        assert Input(Calls(), opened.fileno(), unexpected, unexpected).has_data is expected


def test_a_device_has_no_data_to_count():
    with open(os.devnull, "rb") as opened:
        assert not Input(Calls(), opened.fileno(), unexpected, unexpected).has_data
