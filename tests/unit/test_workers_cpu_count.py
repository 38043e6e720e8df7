"""The CPUs that `workers = "auto"` counts."""

from pathlib import PurePosixPath

import pytest

from echod.workers import cpu_count
from echod.workers.cpu_count import cgroup_of, usable_cpus, workers_of


@pytest.mark.parametrize(
    ("affinity", "quotas", "expected"),
    [
        (4, [], 4),
        (4, ["max 100000\n"], 4),
        (4, ["200000 100000\n"], 2),
        (4, ["150000 100000\n"], 2),
        (4, ["10000 100000\n"], 1),
        (4, ["300000 100000", "max 100000", "100000 50000"], 2),
        (2, ["800000 100000"], 2),
        (4, ["", "x y", "5 0", "max"], 4),
        (0, [], 1),
    ],
    ids=str,
)
def test_the_fewest_of_affinity_and_quotas(affinity, quotas, expected):
    assert usable_cpus(affinity, quotas) == expected


def test_the_own_cgroup():
    assert cgroup_of("1:cpu:/x\n0::/system.slice/echod.service\n") == PurePosixPath("system.slice/echod.service")
    assert cgroup_of("0::/\n") == PurePosixPath()
    assert cgroup_of("1:cpu:/x\n") is None


def test_a_number_is_taken_as_it_is():
    assert workers_of(7) == 7


def test_auto_reads_the_quotas_of_all_cgroups_above(monkeypatch, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "cpu.max").write_text("300000 100000\n")
    (tmp_path / "a" / "b" / "cpu.max").write_text("max 100000\n")
    (tmp_path / "own").write_text("0::/a/b\n")
    monkeypatch.setattr(cpu_count, "CGROUPS", tmp_path)
    monkeypatch.setattr(cpu_count, "OWN", tmp_path / "own")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert workers_of("auto") == 3
    (tmp_path / "own").unlink()
    assert workers_of("auto") == 8
