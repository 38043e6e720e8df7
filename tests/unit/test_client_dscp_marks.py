"""The DSCP of each direction."""

from echod.client.dscp_marks import DscpMarks, dscp_line


def test_without_replies_there_are_no_figures():
    assert DscpMarks().figures() is None


def test_each_direction_has_its_own_counts():
    marks = DscpMarks()
    marks.add(46, 46, refused=False, traffic_class=46 << 2 | 1)
    marks.add(46, 46, refused=False, traffic_class=0)
    found = marks.figures()
    assert found == {"sent": 46, "forward": {"46": 2}, "backward": {"0": 1, "46": 1}, "refused": 0}
    assert dscp_line(found) == "dscp 46: forward 46, backward 0 (1 times) and 46 (1 times)"


def test_a_refusal_and_an_unknown_traffic_class_are_shown():
    marks = DscpMarks()
    marks.add(48, 0, refused=True, traffic_class=None)
    found = marks.figures()
    assert found == {"sent": 48, "forward": {"0": 1}, "backward": {}, "refused": 1}
    assert dscp_line(found) == "dscp 48: forward 0, backward unknown; the reflector refused it for 1 replies"
