"""Axes: their ranges, and the positions and labels of their ticks. Pure.

Latency has a logarithmic axis, because a slow reply takes a hundred times longer than most: on a linear axis it would
flatten all others. Time has a linear axis, and percentiles one that is logarithmic in the distance to 100 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

UNITS: Final = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns"))  #: nanoseconds of each unit
MANTISSAS: Final = (1, 2, 5)
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
STEPS: Final = (
    *(mantissa * 10.0**power for power in (-3, -2, -1, 0) for mantissa in MANTISSAS),
    *(10, 15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY),
)
"""Seconds between two ticks of a time axis. Beyond the last one: any number of weeks."""

Ticks = Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Axis:
    """A range of values, and its ticks. `at` gives the position of a value: 0 at the start, 1 at the end."""

    low: float
    high: float
    ticks: Ticks
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The position of a value, from 0 to 1; a value outside of the range is at its nearest end."""
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)


def latency_axis(lowest: int, highest: int, most: int = 9) -> Axis:
    """A logarithmic axis with round ends for latencies in nanoseconds, with about `most` ticks."""
    low, high = _round_down(max(1, lowest)), _round_up(max(1, highest))
    if low == high:
        high = _round_up(high + 1)
    power = len(str(low)) - 1
    values = [mantissa * 10**each for each in range(power, len(str(high))) for mantissa in MANTISSAS]
    ticks = [value for value in values if low <= value <= high]
    if len(ticks) > most:
        ticks = [value for value in ticks if str(value)[0] == "1"]
    while len(ticks) > most:
        ticks = ticks[::2]
    return Axis(low, high, [(value, latency_text(value)) for value in ticks], logarithmic=True)


def latency_text(nanoseconds: float) -> str:
    """A latency with three significant digits and its unit: `1.23 ms`."""
    size, unit = next((size, unit) for size, unit in UNITS if nanoseconds >= 0.9995 * size or size == 1)
    value = nanoseconds / size
    return f"{value:.{max(0, 2 - int(math.log10(max(value, 1)))) if value % 1 else 0}f} {unit}"


def time_axis(span: float, most: int = 8) -> tuple[Axis, str]:
    """An axis from 0 to `span` seconds with at most `most` ticks after 0, and the unit of their labels."""
    step = next((step for step in STEPS if span / step <= most), 0.0) or 7 * _DAY * math.ceil(span / most / 7 / _DAY)
    count = math.floor(span / step + 1e-9)
    write, unit = _time_labels(span, step)
    return Axis(0, span, [(step * number, write(step * number)) for number in range(count + 1)]), unit


def _time_labels(span: float, step: float) -> tuple[Callable[[float], str], str]:
    """A function that writes a time, and the unit of what it writes."""
    if span < 2 * _MINUTE:
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return (lambda at: f"{at:.{decimals}f}"), "s"
    if span < 2 * _HOUR:
        return (lambda at: f"{int(at) // _MINUTE}:{int(at) % _MINUTE:02}"), "min:s"
    if span < 2 * _DAY:
        return (lambda at: f"{int(at) // _HOUR}:{int(at) % _HOUR // _MINUTE:02}"), "h:min"
    return (lambda at: f"{at / _DAY:g}"), "days"


def percentile_axis(most: float) -> Axis:
    """A logarithmic axis of 1 / (1 - fraction) from 1 to `most`, with the labels 0%, 50%, 90%, 99% and so on."""
    high = max(most, 2.0)
    ticks = [(1.0, "0%"), (2.0, "50%")]
    power = 1
    while 10**power <= high:
        share = "9" * power
        ticks.append((10.0**power, f"{share[:2]}{'.' if power > 2 else ''}{share[2:]}%" if power > 1 else "90%"))
        power += 1
    return Axis(1, high, ticks, logarithmic=True)


def _round_down(value: int) -> int:
    power: int = 10 ** (len(str(value)) - 1)
    return next(mantissa * power for mantissa in reversed(MANTISSAS) if mantissa * power <= value)


def _round_up(value: int) -> int:
    power: int = 10 ** (len(str(value)) - 1)
    return next(mantissa * power for mantissa in (*MANTISSAS, 10) if mantissa * power >= value)
