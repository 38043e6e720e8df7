"""Results by the size of probes."""

from echod.client.size_sweep import SizeSweep


def test_results_belong_to_the_size_of_their_probe():
    sweep = SizeSweep((64, 128, 256))
    sweep.received(64, 0.001)
    sweep.received(64, 0.003)
    sweep.received(44, 0.9)  # a size that was not sent
    sweep.lost(2)
    sweep.lost(5)
    assert sweep.figures()["64"] == {"received": 2, "lost": 0, "min_ms": 1.0, "avg_ms": 2.0, "max_ms": 3.0}
    assert sweep.figures()["128"] == {"received": 0, "lost": 2, "min_ms": None, "avg_ms": None, "max_ms": None}
    assert sweep.lines() == [
        "64 bytes: 2 received, 0 lost, min/avg/max = 1.000/2.000/3.000 ms",
        "128 bytes: 0 received, 2 lost",
    ]
