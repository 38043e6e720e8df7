"""Files of results: opened before a measurement, written at its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from echod.client.result_files import open_result


def test_a_file_is_empty_until_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"of an earlier run")
    result = open_result(str(path))
    assert result is not None
    assert path.read_bytes() == b""
    assert result.write(b"x" * 200_000)
    assert path.read_bytes() == b"x" * 200_000


def test_no_option_is_no_file() -> None:
    assert open_result(None) is None


def test_a_fifo_without_a_reader_is_an_error_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        open_result(str(path))
    assert "(ENXIO)" in capsys.readouterr().err


def test_a_reader_of_a_fifo_gets_everything(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        result = open_result(str(path))
        assert result is not None
        assert result.write(b"hello")
        assert reader.read() == b"hello"
