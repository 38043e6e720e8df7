"""A ping's picture: it contains every time, for any number of probes, and stays small and well-formed."""

import math
import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as some

from echod.client.svg_plot import BOTTOM, HEIGHT, MOST, STEPS, TOP, WIDTH, Plot, _step


def columns(plot):
    root = ElementTree.fromstring(plot.svg("udp://[::1]:7 & <more>", "1 sent"))
    (group,) = root.iter("{http://www.w3.org/2000/svg}g")
    lines = list(group)
    return [tuple(float(line.get(name) or "nan") for name in ("x1", "y1", "y2")) for line in lines]


@given(some.dictionaries(some.integers(1, 10**9), some.floats(0, 1000), max_size=50))
def test_every_time_is_drawn_inside_the_plot(times):
    plot = Plot()
    for number, seconds in sorted(times.items()):
        plot.add(number, seconds)
    drawn = columns(plot)
    assert bool(drawn) == bool(times)
    assert len(drawn) <= min(len(times), MOST)
    for x, up, down in drawn:
        assert 0 <= x <= WIDTH
        assert TOP - 0.1 <= up <= down <= HEIGHT - BOTTOM + 0.2


def test_a_lost_probe_is_a_gap():
    plot = Plot()
    for number in (1, 2, 4):
        plot.add(number, 0.001)
    (first, *_), (second, *_), (fourth, *_) = columns(plot)
    assert math.isclose(fourth - second, 2 * (second - first), abs_tol=0.2)


def test_columns_are_merged_and_keep_the_slowest_time():
    plot = Plot(most=10)
    for number in range(1, 101):
        plot.add(number, 0.100 if number == 37 else 0.001)
    drawn = columns(plot)
    assert len(drawn) == 7  # of 16 probes each
    assert [down - up > 100 for _, up, down in drawn] == [False, False, True, False, False, False, False]


@given(some.floats(0, 1e9))
def test_a_step_is_a_round_number(most):
    step = _step(most)
    assert re.fullmatch(r"[125]0*e[+-]\d+", f"{step:.0e}")
    assert step * STEPS >= most * 0.999999
