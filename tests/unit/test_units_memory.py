"""The memory that the units allow follows from the limits that echod keeps."""

import re
from pathlib import Path

import pytest

from echod.config.loading import load
from echod.gate.limits import Limits
from echod.gate.total_buffer import LITTLE
from echod.services.registry import kinds
from echod.telemetry.background_writer import WAITING_BYTES

TOP = Path(__file__).parents[2]
UNITS = {"echod.service": "echod.toml", "echod-activated.service": "activated.toml"}
MIB = 1 << 20


@pytest.mark.parametrize("unit", UNITS)
def test_it_equals_the_derivation_in_the_comment(unit: str) -> None:
    text = (TOP / "systemd" / unit).read_text("utf-8")
    prose = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    said = re.search(
        r"(\d+) MiB for Python and echod, (\d+) MiB of total-buffer, and (\d+) log queues of (\d+) MiB\. "
        r"Each of (\d+) services has (\d+) connections with (\d+) KiB \((\d+) unsent [^,]*, (\d+) of objects, "
        r"(\d+) of [^)]*\)\. The sum is (\d+) MiB",
        prose,
    )
    assert said
    base, total, logs, waiting, services, connections, each, *parts, in_all = map(int, said.groups())
    limits = Limits()
    assert total * MIB == limits.total_buffer
    assert waiting * MIB == WAITING_BYTES
    assert services == len(load(TOP / "systemd" / UNITS[unit], kinds(), {}).services)
    assert connections == limits.connections
    assert each == sum(parts)
    assert parts[0] * 1024 == LITTLE
    assert in_all == -(-(base + total + logs * waiting + services * connections * each / 1024) // 1)
    assert f"\nMemoryHigh={in_all}M\n" in text
    assert f"\nMemoryMax={-(-in_all * 3 // 2)}M\n" in text
