"""Plots: each request is in them, their size is bounded, and no text of the network is more than text."""

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from echod.client.histogram import HIGHEST, Histogram
from echod.client.plots import axes, formats, html_page, svg_plot
from echod.client.plots.axes import latency_axis, latency_text, percentile_axis, time_axis
from echod.client.plots.formats import CannotDraw, check_format, drawn
from echod.client.plots.plot_data import PlotData
from echod.client.plots.terminal_plot import NARROWEST, ROWS, Role, terminal_plot, text
from echod.client.time_series import TimeSeries

HOSTILE = 'udp://a"><script>alert(1)</script>&lt;</script>\x1b[31m\u202e\ud800'
SPACE = "{http://www.w3.org/2000/svg}"
latencies = some.integers(0, HIGHEST)


def measured(times, lost=(), title="udp://h:7", lines=("3 sent",)):
    """A measurement of (second, latency in seconds) and the seconds at which requests were lost."""
    series, histogram = TimeSeries(0.001), Histogram()
    for at, seconds in times:
        series.received(at, seconds)
        histogram.record(round(seconds * 1e9))
    for at in lost:
        series.lost(at)
    return PlotData(title, lines, series, histogram)


SHAPES = {
    "usual": measured([(at, 0.001 if at != 7 else 0.5) for at in range(200) if at not in (50, 51)], lost=[50, 51]),
    "one": measured([(0, 0.0003)]),
    "lost": measured([], lost=[0.5, 1.5]),
    "nothing": measured([]),
    "equal": measured([(0, 0), (1, 0)]),
    "many": measured([(number / 1000, number % 97 / 1e4) for number in range(5000)], lost=range(2, 4)),
    "months": measured([(day * 86_400, 0.01) for day in range(90)]),
}


@pytest.fixture(params=SHAPES)
def data(request):
    return SHAPES[request.param]


# axes


@given(latencies, latencies, some.integers(2, 12))
def test_an_axis_of_latency_contains_its_values_and_has_few_ticks(one, other, most):
    lowest, highest = sorted((one, other))
    axis = latency_axis(lowest, highest, most)
    assert axis.low <= max(1, lowest)
    assert axis.high >= highest
    assert 1 <= len(axis.ticks) <= most
    for value, label in axis.ticks:
        assert re.fullmatch(r"\d+ (?:ns|µs|ms|s)", label) or value >= 10**12
        assert re.fullmatch(r"[125]0*", str(value))
        assert axis.low <= value <= axis.high


@given(latencies, latencies)
def test_a_longer_latency_is_not_lower(one, other):
    axis = latency_axis(min(one, other), max(one, other))
    assert 0 <= axis.at(min(one, other)) <= axis.at(max(one, other)) <= 1


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        *[(0, "0 ns"), (999, "999 ns"), (1_000, "1 µs"), (123_456, "123 µs"), (999_600, "1.00 ms")],
        *[(12_345_678, "12.3 ms"), (1_234_567_890, "1.23 s"), (90_000_000_000, "90 s")],
    ],
)
def test_a_latency_has_three_digits(nanoseconds, shown):
    assert latency_text(nanoseconds) == shown


@given(some.floats(0.001, 1e9), some.integers(2, 12))
def test_an_axis_of_time_has_few_ticks_within_it(span, most):
    axis, unit = time_axis(span, most)
    assert 1 <= len(axis.ticks) <= most + 1
    assert axis.ticks[0][0] == 0
    assert axis.ticks[-1][0] <= span * (1 + 1e-9)
    assert unit in html_page.SECONDS


@pytest.mark.parametrize(
    ("span", "labels", "unit"),
    [
        (0.9, ["0.0", "0.2", "0.4", "0.6", "0.8"], "s"),
        (60, ["0", "10", "20", "30", "40", "50", "60"], "s"),
        (150, ["0:00", "0:30", "1:00", "1:30", "2:00", "2:30"], "min:s"),
        (3 * 3600, ["0:00", "0:30", "1:00", "1:30", "2:00", "2:30", "3:00"], "h:min"),
        (3 * 86_400, ["0", "0.5", "1", "1.5", "2", "2.5", "3"], "days"),
    ],
)
def test_labels_of_time_have_the_unit_that_fits(span, labels, unit):
    axis, found = time_axis(span)
    assert ([label for _, label in axis.ticks], found) == (labels, unit)


def test_labels_of_percentiles():
    assert [label for _, label in percentile_axis(99_999).ticks] == ["0%", "50%", "90%", "99%", "99.9%", "99.99%"]
    assert [label for _, label in percentile_axis(1).ticks] == ["0%", "50%"]


# SVG


def elements(data, name):
    return list(ElementTree.fromstring(svg_plot.svg(data)).iter(SPACE + name))


def test_an_svg_is_well_formed_and_small(data):
    text = svg_plot.svg(data)
    assert len(text) < 60_000
    assert not re.search(r"[\"' (](?:https?:)?//(?!www\.w3\.org/2000/svg)", text)
    _, _, width, height = map(float, ElementTree.fromstring(text).attrib["viewBox"].split())
    for found in elements(data, "text"):
        assert 0 <= float(found.attrib["x"]) <= width
        assert 0 < float(found.attrib["y"]) < height


def test_an_outlier_does_not_flatten_the_rest():
    (medians, *_) = [path.attrib["d"] for path in elements(SHAPES["usual"], "path") if path.attrib["class"] == "p"]
    heights = {float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", medians)}
    assert len(heights) == 2
    assert max(heights) < svg_plot.TOP + 3 * svg_plot.LINE + svg_plot.LOSS + 18 + svg_plot.TIME_HEIGHT - 1


def test_losses_are_marked_and_interrupt_the_line():
    paths = {path.attrib["class"]: path.attrib["d"] for path in reversed(elements(SHAPES["usual"], "path"))}
    assert paths["l"].count("M") == 2
    assert paths["p"].count("M") == 2
    assert "2 lost" in [found.text for found in elements(SHAPES["usual"], "text")]


def test_text_of_the_network_stays_text_in_svg():
    found = elements(measured([(0, 0.1)], title=HOSTILE, lines=[HOSTILE * 9]), "text")
    assert found[0].text == 'udp://a"><script>alert(1)</script>&lt;</script>\\x1b[31m\\u{202e}\\u{d800}'
    assert len(found[1].text) <= 121
    assert not elements(measured([], title=HOSTILE), "script")


# the page


class Elements(HTMLParser):
    """The elements of a page with their contents."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes), ""))

    def handle_endtag(self, tag):
        self.found.append(("", {}, ""))

    def handle_data(self, text):
        if self.found:
            tag, attributes, before = self.found[-1]
            self.found[-1] = (tag, attributes, before + text)

    def named(self, name):
        return [(attributes, text) for tag, attributes, text in self.found if tag == name]


def test_a_page_loads_nothing_and_allows_only_its_own_scripts_and_styles(data):
    page = Elements(html_page.html(data))
    assert not page.named("link") + page.named("img") + page.named("iframe")
    assert not any({"src", "href", "style"} & set(attributes) for _, attributes, _ in page.found)
    [policy] = [each["content"] for each, _ in page.named("meta") if each.get("http-equiv")]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    scripts = [code for attributes, code in page.named("script") if "type" not in attributes]
    styles = [code for _, code in page.named("style")]
    assert len(scripts) == 2
    assert "Permission is hereby granted" in html_page.html(data)  # the licence of uPlot
    for code in scripts + styles:
        assert base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() in policy


def content(data):
    [(_, found)] = [one for one in Elements(html_page.html(data)).named("script") if one[0].get("type")]
    return json.loads(found)


def test_a_page_has_every_interval_and_the_distribution(data):
    found = content(data)
    intervals = list(data.series)
    assert {len(column) for column in found["time"]} == {len(intervals)}
    assert found["time"][1] == [one.times.maximum if one.times.total else None for _, one in intervals]
    assert found["time"][5] == [one.lost for _, one in intervals]
    assert found["distribution"][1][-1:] == ([data.times.maximum] if data.times.total else [])


def test_text_of_the_network_stays_text_on_the_page():
    page = html_page.html(measured([(0, 0.1)], title=HOSTILE, lines=[HOSTILE]))
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert len(Elements(page).named("script")) == 3
    page.encode()


def test_the_table_of_a_page_has_only_percentiles_that_the_number_of_replies_allows():
    page = html_page.html(measured([(0, 0.001)] * 99))
    assert re.findall(r"<tr><th>(.*?)</th>", page) == ["min", "50%", "90%", "95%", "max"]
    assert "<tr><th>replies</th><td>0</td></tr>" in html_page.html(SHAPES["lost"])


# the terminal


@pytest.mark.parametrize("columns", [1, 40, 80, 200])
def test_a_terminal_plot_fits_its_width(columns, data):
    for line in terminal_plot(data, columns):
        assert len(text(line, colored=False)) <= max(columns, NARROWEST)
        assert text(line, colored=False).isprintable()


def test_a_terminal_plot_has_losses_and_the_outlier():
    title, losses, *rest = (text(line, colored=False) for line in terminal_plot(SHAPES["usual"], 80))
    assert title == "udp://h:7"
    assert losses.startswith("  2 lost ")
    assert losses.count("×") in (1, 2)
    graph, bars = rest[:ROWS], rest[ROWS + 2 :]
    columns = {row.index(cell) for row in graph[: ROWS // 2] for cell in row[9:] if cell != " "}
    assert len(columns) == 1
    assert [bar.split()[:3] for bar in bars] == [
        ["min", "1", "ms"],
        ["p50", "1.00", "ms"],
        ["p90", "1.00", "ms"],
        ["p99", "1.00", "ms"],
        ["max", "500", "ms"],
    ]


def test_a_plot_without_replies_says_so():
    assert text(terminal_plot(SHAPES["lost"], 80)[-1], colored=False) == "no reply"


def test_colors_are_of_the_sixteen_and_change_no_text():
    for line in terminal_plot(SHAPES["many"], 80):
        painted = text(line, colored=True)
        assert re.sub(r"\x1b\[\d*m", "", painted).rstrip() == text(line, colored=False)
        assert set(re.findall(r"\x1b\[(\d*)m", painted)) <= {"0", "31", "34", "36"}
        assert painted.count("\x1b[0m") == len(re.findall(r"\x1b\[3\dm", painted))
    assert {span.role for line in terminal_plot(SHAPES["many"], 80) for span in line} == set(Role)


def test_text_of_the_network_is_escaped_in_the_terminal():
    assert "\x1b" not in text(terminal_plot(measured([], title=HOSTILE), 200)[0], colored=False)


@settings(max_examples=30)
@given(some.lists(some.tuples(some.floats(0, 1e7), some.floats(0, 1e4)), max_size=20), some.integers(1, 250))
def test_any_measurement_can_be_drawn(times, columns):
    data = measured(times)
    ElementTree.fromstring(svg_plot.svg(data))
    assert all(len(text(line, colored=False)) <= max(columns, NARROWEST) for line in terminal_plot(data, columns))


# formats


def test_the_ending_chooses_the_format():
    assert drawn("a.svg", SHAPES["one"]).startswith(b"<svg ")
    assert drawn("a.html", SHAPES["one"]).startswith(b"<!doctype html>")


def test_a_png_is_drawn_from_the_svg():
    try:
        check_format("a.png")
    except CannotDraw:
        pytest.skip("the system's cairo is missing")
    png = drawn("a.png", SHAPES["usual"])
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") == formats.PIXELS


def test_without_the_library_png_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    for draw in (check_format, lambda name: drawn(name, SHAPES["one"])):
        with pytest.raises(CannotDraw, match=r"PNG needs CairoSVG, .*: pip install cairosvg"):
            draw("a.png")
    check_format("a.svg")


def test_axes_know_the_units_of_every_latency():
    assert [unit for _, unit in axes.UNITS] == ["s", "ms", "µs", "ns"]
