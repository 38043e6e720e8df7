"""The figures of a ping beyond round-trip times, and their lines."""

from echod.client.loss_pattern import LossPattern
from echod.client.path_figures import (
    direction_figures,
    histogram,
    loss_figures,
    more_lines,
    pacing_figures,
    percentile_figures,
)
from echod.client.statistics import Times
from echod.measurement.clock_quality import ClockQuality
from tests.unit.test_client_stamp_session import Lab

GOOD = ClockQuality(True, 0.0001)


def of(*seconds):
    times = Times()
    for each in seconds:
        times.add(each)
    return times


def found(session=None, *, sent=4, received=4, lost=0, here=GOOD, pattern=None, times=None):
    """All figures of a ping."""
    counts = {"sent": sent, "received": received, "lost": lost}
    times = times or of(0.001, 0.002)
    whole = counts | percentile_figures(times) | loss_figures(pattern or LossPattern(), lost, lost + received)
    return whole | pacing_figures(of(0.00001)) | direction_figures(session, sent, here)


def test_nothing_is_said_that_was_not_found():
    assert more_lines(found(), verbose=False) == []
    nothing = direction_figures(None, 0, GOOD)
    assert set(nothing.values()) == {None}
    assert pacing_figures(Times()) == {"pacing": None}
    assert set(percentile_figures(Times()).values()) == {None}


def test_a_reflector_whose_replies_have_no_times_of_its_clock_is_named_only():
    lab = Lab()
    lab.exchange()
    lab.session.directions = type(lab.session.directions)()
    figures = direction_figures(lab.session, 1, GOOD)
    assert figures.pop("service") == "reflector"
    assert {name for name, value in figures.items() if value} <= {"server"}


def test_percentiles_and_pacing_are_shown_on_request_or_with_100_probes():
    percentiles = "p50/p90/p95/p99/p99.9 = 1.500/1.900/1.950/1.990/1.999 ms"
    pacing = "pacing: late by 10.0/10.0/10.0 us"
    assert more_lines(found(), verbose=True) == [percentiles, pacing]
    assert more_lines(found(sent=100, received=100), verbose=False) == [percentiles]


def test_a_loss_has_its_interval_its_bursts_and_its_outages():
    pattern = LossPattern()
    for number in range(1, 5):
        pattern.lost(number, number)
    pattern.received(5.0)
    said = more_lines(found(sent=104, received=100, lost=4, pattern=pattern), verbose=False)
    assert said[1] == "loss 1.51–9.47% (95% confidence), longest burst 4, 1 outage of 4.000 s"
    assert not [line for line in more_lines(found(received=0, lost=4), verbose=False) if "loss" in line]


def test_a_stateful_reflector_has_both_directions():
    lab = Lab(stateful=True)
    lab.service._quality = lambda: GOOD
    for _ in range(3):
        lab.exchange()
    figures = found(lab.session, sent=3)
    assert (figures["service"], figures["forward"]["lost"], figures["backward"]["reordered"]) == ("reflector", 0, 0)
    assert more_lines(figures, verbose=False) == [
        "forward min/avg/max = 10.000/10.000/10.000 ms, jitter 0.000 ms, 0 lost, 0 duplicated, 0 reordered",
        "backward min/avg/max = 20.000/20.000/20.000 ms, jitter 0.000 ms, 0 lost, 0 duplicated, 0 reordered",
        "server avg/p99/max = 1.000/1.000/1.000 ms",
        "clock offset -5.000 ± 15.000 ms",
    ]


def test_doubts_drift_and_steps_are_shown():
    lab = Lab()
    lab.service._quality = lambda: GOOD
    for _ in range(20):
        lab.exchange()
        lab.pass_time(1000)
    lab.wall += 3600 * 10**9
    lab.exchange()
    said = more_lines(found(lab.session, here=ClockQuality(False, 16)), verbose=False)
    assert said[0] == "forward min/avg/max = 10.000/10.000/10.000 ms, jitter 0.000 ms"
    assert said[3] == "clock offset -5.000 ± 15.000 ms, drift 0.0 ppm"
    assert said[4].startswith("warning: the delays of each direction may be wrong: this machine's clock is not sync")
    assert said[5].startswith("warning: this machine's clock was stepped 1 times")


def test_udpechoplus_has_the_time_in_the_server_and_losses_by_direction():
    from echod.services.udpechoplus import UDPEchoPlus

    lab = Lab(UDPEchoPlus)
    lab.exchange()
    figures = found(lab.session)
    assert (figures["service"], figures["clock"]) == ("udpechoplus", None)
    for name in ("forward", "backward"):
        assert figures[name]["avg_ms"] is None
        assert [figures[name][what] for what in ("lost", "duplicated", "reordered")] == [0, 0, 0]
    assert more_lines(figures, verbose=False) == [
        "forward: 0 lost, 0 duplicated, 0 reordered",
        "backward: 0 lost, 0 duplicated, 0 reordered",
        "server avg/p99/max = 1.000/1.000/1.000 ms",
    ]


def test_a_histogram_has_buckets_that_double():
    assert histogram(Times()) == []
    lines = histogram(of(*[0.001] * 4, 0.002, 0.008))
    assert [line.split()[2] for line in lines] == ["4", "1", "0", "1"]
    assert [line.count("#") for line in lines] == [40, 10, 0, 10]
    assert lines[0].startswith("     0.524 ms        4  ####")


def test_a_dscp_that_a_reflector_states_is_shown():
    lab = Lab()
    lab.exchange()
    lab.session.dscp.add(46, 0, refused=False, traffic_class=46 << 2)
    figures = found(lab.session)
    assert figures["dscp"] == {"sent": 46, "forward": {"0": 1}, "backward": {"46": 1}, "refused": 0}
    assert "dscp 46: forward 0, backward 46" in more_lines(figures, verbose=False)
