"""The plot that `--plot` requests: a file, or characters on standard output."""

from __future__ import annotations

import shutil

from echod.client.output_options import TERMINAL
from echod.client.plots.formats import CannotDraw, check_format, drawn
from echod.client.plots.plot_data import PlotData
from echod.client.plots.terminal_plot import terminal_plot, text
from echod.client.result_files import ResultFile, open_result
from echod.client.stdout import colored, fail, put_text
from echod.escaping import escaped


class PlotOutput:
    """A plot that is written once, at the end."""

    def __init__(self, name: str, file: ResultFile | None, color: str) -> None:
        self._name = name
        self._file = file  # None: standard output
        self._color = color

    def write(self, data: PlotData) -> bool:
        """Draw it. Reports an error, and then returns False."""
        if self._file is not None:
            return self._file.write(drawn(self._name, data))
        for line in terminal_plot(data, shutil.get_terminal_size((80, 24)).columns):
            put_text(f"{text(line, colored=colored(self._color))}\n")
        return True


def open_plot(name: str | None, color: str) -> PlotOutput | None:
    """The plot with the name that `--plot` has, or None without one. Reports an error, and raises OSError."""
    if name is None:
        return None
    try:
        check_format(name)
    except CannotDraw as error:
        fail(f"--plot {escaped(name)}: {error}")
        raise OSError(str(error)) from None
    return PlotOutput(name, None if name == TERMINAL else open_result(name), color)
