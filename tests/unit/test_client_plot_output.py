"""The plot that --plot requests, and its errors."""

import os
import sys

import pytest

from echod.client.histogram import Histogram
from echod.client.plots.plot_data import PlotData
from echod.client.plots.plot_output import open_plot
from echod.client.time_series import TimeSeries

NOTHING = PlotData("udp://h:7", ["0 sent"], TimeSeries(0.001), Histogram())


def test_without_the_option_there_is_no_plot():
    assert open_plot(None, "never") is None


def test_a_file_is_opened_at_once_and_written_at_the_end(tmp_path):
    file = tmp_path / "times.svg"
    plot = open_plot(str(file), "never")
    assert file.read_bytes() == b""
    assert plot.write(NOTHING)
    assert file.read_bytes().startswith(b"<svg ")


def test_the_terminal_gets_characters(capfd):
    assert open_plot("-", "never").write(NOTHING)
    assert capfd.readouterr().out.splitlines()[::16] == ["udp://h:7", "no reply"]


@pytest.mark.parametrize("name", ["/nowhere/times.svg", "/nowhere/\x1b.html"])
def test_a_file_that_cannot_be_opened_is_reported(name, capfd):
    with pytest.raises(OSError, match="No such file"):
        open_plot(name, "never")
    shown = name.replace("\x1b", "\\x1b")
    assert capfd.readouterr().err == f"echoctl: {shown}: no such file or directory (ENOENT)\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_reported(tmp_path, capfd):
    (tmp_path / "full.svg").symlink_to("/dev/full")
    assert not open_plot(f"{tmp_path}/full.svg", "never").write(NOTHING)
    assert "no space left on device (ENOSPC)" in capfd.readouterr().err


def test_a_missing_library_is_one_line_that_names_the_extra(monkeypatch, capfd, tmp_path):
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(OSError, match="CairoSVG"):
        open_plot(f"{tmp_path}/times.png", "never")
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "pip install cairosvg" in error
    assert not (tmp_path / "times.png").exists()
