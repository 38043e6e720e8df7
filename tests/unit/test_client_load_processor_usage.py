"""The processor time of this process, and its time in the run queue."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.client.load import processor_usage
from echod.client.load.processor_usage import usage


class Schedstat:
    """Stands in for /proc/self/schedstat: the time in the run queue at each reading."""

    def __init__(self, readings: Iterator[int]) -> None:
        self._readings = readings

    def read_text(self) -> str:
        return f"123 {next(self._readings)} 4\n"


def test_a_wait_between_the_readings_is_part_of_both_or_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000, 9000, 1000))
    monkeypatch.setattr(processor_usage, "perf_counter_ns", lambda: next(clock))
    monkeypatch.setattr(processor_usage, "SCHEDSTAT", Schedstat(iter((5, 900, 900))))
    assert usage()[1:] == (900, 2000)


def test_a_process_that_always_waits_gets_the_last_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor_usage, "SCHEDSTAT", Schedstat(iter(range(100))))
    assert usage().waiting == processor_usage.ATTEMPTS


def test_a_kernel_without_the_file_has_no_waiting_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor_usage, "SCHEDSTAT", tmp_path / "schedstat")
    assert usage().waiting == 0
    assert usage().running > 0
