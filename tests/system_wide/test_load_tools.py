"""`python -m bench.load_tools`: each table has its rows, with the tools that are installed."""

import subprocess
import sys

import pytest

from tests.daemon import SECONDS, TOP, environment

pytestmark = pytest.mark.needs_tools


def rows(*words: str) -> list[list[str]]:
    """The cells of the rows that it prints, without the headings."""
    command = [sys.executable, "-m", "bench.load_tools", "--rounds", "1", "--seconds", "0.2", *words]
    ended = subprocess.run(
        command, check=False, cwd=TOP, env=environment(), capture_output=True, text=True, timeout=4 * SECONDS
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_closed_loops_has_both_generators_on_every_transport() -> None:
    found = rows("--tables", "1", "--only", "tcp-1,udp-64,ws-64,tls-64,connect,tcp-8x32")
    assert len(found) == 6
    assert all(float(cell.replace(",", "")) > 0 for row in found for cell in row[1:])


def test_the_table_of_a_stall_has_an_open_loop_and_two_closed_ones() -> None:
    found = rows("--tables", "3")
    assert [row[0].partition(" (")[2] for row in found] == ["open loop)", "closed loop)", "closed loop)"]
    assert all(float(cell.replace(",", "")) > 0 for row in found for cell in row[1:])
