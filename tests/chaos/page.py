"""The table of docs/PROMISES.md: a row for each attack, written from the last run that tried it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from tests.chaos.report import NOT_TRIED, Outcome

HELD_BY: Final[Mapping[int, tuple[str, ...]]] = {
    1: ("tests/contract/test_amplification.py", "tests/gate/test_larger_answers.py"),
    2: ("tests/gate/test_loops.py",),
    3: ("tests/gate/test_loops.py",),
    4: ("tests/gate/test_sources.py",),
    5: ("tests/gate/test_shares.py", "tests/unit/test_transports_socket_filter.py"),
    7: ("tests/gate/test_floods.py",),
    8: ("tests/gate/test_datagram_sizes.py",),
    9: ("tests/gate/test_slow_readers.py",),
    10: ("tests/fastpath/test_total_buffer.py",),
    12: ("tests/contract/test_streams_that_answer.py",),
    13: ("tests/fastpath/test_many_connections.py",),
    14: ("tests/gate/test_bursts.py",),
    15: ("tests/gate/test_fd_exhaustion.py",),
    16: ("tests/gate/test_fd_exhaustion.py",),
    17: ("tests/gate/test_fd_exhaustion.py",),
    20: ("tests/fastpath/test_endings.py",),
    21: ("tests/gate/test_bursts.py",),
    22: ("tests/gate/test_vanished_peers.py",),
    23: ("tests/gate/test_links.py",),
    25: ("tests/unit/test_transports_websocket.py", "tests/system/test_websocket.py"),
    26: ("tests/system/test_workers.py",),
    27: ("tests/gate/test_process_stops.py",),
    28: ("tests/system/test_workers.py",),
    29: ("tests/system/test_reload.py", "tests/system/test_workers.py"),
    30: ("tests/system/test_reload.py", "tests/system/test_workers.py"),
    31: ("tests/system/test_descriptor_store.py", "tests/system/test_workers.py"),
    32: ("tests/system/test_descriptor_store.py", "tests/system/test_workers.py"),
    33: ("tests/fastpath/test_drain.py", "tests/system/test_signals.py", "tests/system/test_workers.py"),
    34: ("tests/gate/test_process_stops.py",),
    35: ("tests/gate/test_logs.py", "tests/system/test_output.py"),
    38: ("tests/gate/test_access.py",),
    40: ("tests/gate/test_shares.py",),
    41: ("tests/gate/test_text_escaping.py", "tests/gate/test_conversations.py", "tests/unit/test_escaping.py"),
    42: ("tests/system/test_locales.py",),
    43: ("tests/system/test_unix_paths.py", "tests/system/test_socket_activation.py"),
    44: ("tests/system/test_echoctl_admin.py", "tests/unit/test_http_session.py"),
    47: ("tests/system/test_workers.py",),
    48: ("tests/system_wide/test_failing_calls.py",),
    80: ("tests/system/test_reload_leaks.py",),
    82: ("tests/system/test_workers.py",),
    84: ("tests/system/test_workers.py", "tests/unit/test_transports_accept_share.py"),
    83: ("tests/system/test_workers_members.py", "tests/unit/test_services_replicated_membership.py"),
    81: ("tests/contract/test_urgent_data.py",),
    60: ("tests/gate/test_datagram_members.py",),
    61: ("tests/gate/test_datagram_members.py", "tests/unit/test_transports_datagram_sessions.py"),
    66: ("tests/gate/test_slow_conversations.py", "tests/unit/test_gate_work_budget.py"),
    67: ("tests/gate/test_slow_conversations.py", "tests/unit/test_admin_operator_sessions.py"),
    68: ("tests/gate/test_slow_conversations.py", "tests/unit/test_services_outbox.py"),
    70: ("tests/system/test_admin_interface.py", "tests/unit/test_http_session.py"),
    71: ("tests/system/test_admin_interface.py", "tests/unit/test_http_session.py"),
}
"""The tests that check the countable part of each promise at every commit."""

_ROW: Final = re.compile(r"(?m)^\| (\d+) \| .*\n")
_HEAD: Final = "| number | promise | counted by | last figures | verdict |\n| --- | --- | --- | --- | --- |\n"


def row(outcome: Outcome, day: str) -> str:
    """The row of one attack."""
    scenario = outcome.scenario
    held_by = "<br>".join(f"`{name}`" for name in HELD_BY[scenario.number])
    figures = "<br>".join(f"**{figure.subject}**: {figure.text.replace(' | ', '; ')}" for figure in outcome.figures)
    promise = f"{scenario.title}: {scenario.promise}"
    return (
        f"| {scenario.number} | {promise} | {held_by} | {figures} | {outcome.verdict} ({day}, {outcome.busy:.0%}) |\n"
    )


def updated(page: str, outcomes: Iterable[Outcome], day: str) -> str:
    """The page with a new row for each attack that was run, and the other rows unchanged. Raises ValueError."""
    if _HEAD not in page:
        raise ValueError("the page has no table of attacks")
    rows = {int(found[1]): found[0] for found in _ROW.finditer(page)}
    rows |= {one.scenario.number: row(one, day) for one in outcomes if one.verdict != NOT_TRIED}
    before, _, behind = page.partition(_HEAD)
    return before + _HEAD + "".join(rows[number] for number in sorted(rows)) + _ROW.sub("", behind)
