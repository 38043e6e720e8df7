"""The random decisions: the same for the same seed, and distributed as the settings say."""

import itertools
import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.faults.pattern import PARETO, Corruption, Fates, Pattern, corrupted, cut, spread
from echod.faults.settings import Faults

SAMPLES = 10_000
CHI_SQUARE = (
    21.67  #: the quantile 0.99 with 9 degrees of freedom; the seeds are fixed, so the result is always the same
)


def fates(faults, seed=42, number=0, count=SAMPLES):
    made = Fates(Pattern(seed, number))
    return [made.next(faults) for _ in range(count)]


def chi_square(counts, expected):
    return sum((count - one) ** 2 / one for count, one in zip(counts, expected, strict=True))


def test_the_same_seed_and_number_give_the_same_decisions():
    faults = Faults(drop=0.3, burst=3, duplicate=0.2, reorder=0.1, corrupt=0.1, delay=0.2, jitter=0.1)
    assert fates(faults, count=200) == fates(faults, count=200)
    assert fates(faults, count=200) != fates(faults, number=1, count=200)
    assert fates(faults, count=200) != fates(faults, seed=43, count=200)


def test_one_fault_does_not_change_the_pattern_of_another():
    alone, together = fates(Faults(drop=0.3)), fates(Faults(drop=0.3, duplicate=0.5, corrupt=0.5, jitter=1.0))
    assert [one.drop for one in alone] == [one.drop for one in together]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("field", ["drop", "duplicate", "reorder", "corrupt"])
def test_the_share_is_the_probability(field, share):
    found = fates(Faults(**{field: share}))
    hits = sum(getattr(one, field) not in (False, None) for one in found)
    assert chi_square([hits, SAMPLES - hits], [SAMPLES * share, SAMPLES * (1 - share)]) < 6.64  # 0.99, 1 degree


def test_the_probabilities_0_and_1():
    assert not any(one.drop for one in fates(Faults(drop=0.0), count=100))
    assert all(one.drop for one in fates(Faults(drop=1.0), count=100))


@pytest.mark.parametrize(("share", "burst"), [(0.1, 4.0), (0.5, 1.0), (0.3, 10.0)])
def test_bursts_have_their_mean_length_and_the_share_of_losses(share, burst):
    lost = [one.drop for one in fates(Faults(drop=share, burst=burst), count=5 * SAMPLES)]
    begun = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / begun == pytest.approx(burst, rel=0.1)
    assert sum(lost) / len(lost) == pytest.approx(share, rel=0.1)


INVERSE = {
    "uniform": lambda u: u,
    "normal": NormalDist().inv_cdf,
    "pareto": lambda u: (1 - u) ** (-1 / PARETO) - 1,
}


@pytest.mark.parametrize("distribution", INVERSE)
def test_delays_have_their_distribution(distribution):
    """Ten classes that are equally likely: their edges are the deciles of the distribution."""
    faults = Faults(delay=100.0, jitter=10.0, distribution=distribution)
    edges = [100 + 10 * INVERSE[distribution](tenth / 10) for tenth in range(1, 10)]
    counts = [0] * 10
    for one in fates(faults):
        counts[sum(one.delay >= edge for edge in edges)] += 1
    assert chi_square(counts, [SAMPLES / 10] * 10) < CHI_SQUARE


def test_a_delay_is_never_negative_and_never_too_long_for_a_timer():
    assert min(one.delay for one in fates(Faults(jitter=1.0, distribution="normal"))) == 0.0
    assert Pattern(1, 1).delay(Faults(delay=2e6, jitter=2e6, distribution="pareto"), 0) <= 24 * 86400
    assert math.isfinite(spread("normal", 0.0))
    assert math.isfinite(spread("pareto", 1 - 2.0**-53))


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)), st.floats(0, 1))
def test_the_changed_bytes_of_a_stream_do_not_depend_on_its_pieces(data, cuts, probability):
    def run(pieces):
        made, offset, out = Corruption(Pattern(7, 0)), 0, b""
        for piece in pieces:
            changed, _ = made.applied(piece, offset, probability)
            offset += len(piece)
            out += changed
        return out

    at = [0, *sorted(min(one, len(data)) for one in cuts), len(data)]
    whole = run([data])
    assert run([data[a:b] for a, b in itertools.pairwise(at)]) == whole
    assert len(whole) == len(data)
    assert all((a ^ b).bit_count() <= 1 for a, b in zip(data, whole, strict=True))


def test_the_least_probability_changes_nothing_and_does_not_fail():
    assert Corruption(Pattern(1, 1)).applied(bytes(1000), 0, 5e-324) == (bytes(1000), 0)


def test_the_share_of_changed_bytes_is_the_probability():
    for probability in (0.001, 0.25, 1.0):
        zeros = bytes(100_000)
        changed, count = Corruption(Pattern(3, 3)).applied(zeros, 0, probability)
        assert count == sum(byte != 0 for byte in changed)
        assert count == pytest.approx(100_000 * probability, rel=0.2)


@given(st.text(min_size=1), st.floats(0, 1, exclude_max=True), st.integers(0, 20))
def test_text_stays_text(written, place, size):
    encoded = written.encode("utf-8", "surrogatepass")
    try:
        encoded.decode()
    except UnicodeDecodeError:
        return
    assert corrupted(encoded, place, True).decode() != written
    part = cut(encoded, size, True)
    assert len(part) <= size
    assert written.startswith(part.decode())


def test_an_empty_message_has_no_bit_to_change():
    assert corrupted(b"", 0.5, None) == b""


@given(st.binary(min_size=1), st.floats(0, 1, exclude_max=True))
def test_one_bit_of_a_message_is_changed(message, place):
    changed = corrupted(message, place, None)
    assert sum((a ^ b).bit_count() for a, b in zip(message, changed, strict=True)) == 1
