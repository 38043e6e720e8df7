"""The curves of `bench.scale`: round values on the axes, names that do not overlap, and one line for each server."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench.curves import LABEL, Curve, Panel, apart, drawing, steps


@pytest.mark.parametrize("highest", [0.03, 0.9, 1.0, 4.2, 9.99, 13, 99, 12_345])
def test_the_axis_has_few_values_and_reaches_the_highest(highest):
    values = steps(highest)
    assert values[0] == 0
    assert values[-2] < highest <= values[-1]
    assert 3 <= len(values) <= 8


def test_names_keep_their_order_and_distance():
    found = apart([10.0, 11.0, 12.0, 100.0])
    assert found == [10.0, 10.0 + LABEL, 10.0 + 2 * LABEL, 100.0]


def test_each_curve_has_a_line_with_its_points_and_its_name_is_escaped():
    curves = [Curve("echod", [(1, 30.0), (64, 6.0), (1_000, 7.0)]), Curve("C & <more>", [(64, 6.1)])]
    text = drawing([Panel("Cost", "µs", "connections", curves), Panel("Nothing", "µs", "flows", [])], "today")
    document = ElementTree.fromstring(text)
    lines = [one for one in document.iter() if one.tag.endswith("polyline")]
    assert [len(one.attrib["points"].split()) for one in lines] == [3, 1]
    texts = {one.text for one in document.iter() if one.tag.endswith("text")}
    assert {"echod", "C & <more>", "1,000", "Cost, µs, by number of connections", "today"} <= texts
    assert not any("Nothing" in (text or "") for text in texts)
