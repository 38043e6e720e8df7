"""The printed report: the table of targets, then a block per workload with every peer's figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Results, summary
from bench.targets import ASYNCIO, COMPARED, ECHOD, ITSELF, PLAIN, PYTHON, STOCK, UVLOOP, YARDSTICK, Measure, targets_of
from bench.workloads import IDLE, WORKLOADS, Idle, Workload

FULL = 0.95
"""Share of its core above which the load generator may have limited the rate."""

_NOTHING = "–"
COLUMNS = (
    (PYTHON, "Python"),
    (ECHOD, "with native loop"),
    (YARDSTICK, "C"),
    (STOCK, "stock Twisted"),
    (UVLOOP, "uvloop"),
    ("go", "Go"),
)
"""The columns of `native_table`."""
_AGAINST = {YARDSTICK: "C", STOCK: "stock Twisted", UVLOOP: "uvloop", ASYNCIO: "asyncio"}


@dataclass(frozen=True)
class Judgement:
    """One target and the figure of this run for it."""

    subject: str
    workload: str
    against: str
    measure: Measure
    sign: str
    bound: float
    figure: float
    met: bool

    def __str__(self) -> str:
        size = f"{self.figure:,.0f} B" if self.measure == "bytes" else f"{self.figure:.2f}×"
        return f"{size} ({self.sign} {self.bound:g}: {_verdict(self.met)})"


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def figure(results: Results, subject: str, row: Workload | Idle, against: str, measure: Measure) -> float | None:
    """The subject's figure for one cell."""
    if isinstance(row, Idle):
        rests = results.rests.get(row.key, {})
        mine, theirs = rests.get(subject), rests.get(against)
        if mine is None or (against != ITSELF and theirs is None):
            return None
        if theirs is None or against == ITSELF:
            return mine.per_connection
        return mine.per_connection / theirs.per_connection if theirs.per_connection > 0 else None
    return results.ratio(row.key, measure, subject, row.yardstick if against == YARDSTICK else against)


def judge(results: Results, subject: str) -> list[Judgement]:
    """Every target that this run has a figure for."""
    rows: list[Workload | Idle] = [*WORKLOADS, *IDLE]
    found = []
    for row in rows:
        for against in (ITSELF, *_compared(subject)):
            for target in targets_of(subject, row.key, against):
                got = figure(results, subject, row, against, target.measure)
                if got is not None:
                    met = target.met(got)
                    found.append(
                        Judgement(
                            subject, target.workload, against, target.measure, target.sign, target.bound, got, met
                        )
                    )
    return found


def _compared(subject: str) -> tuple[str, ...]:
    return COMPARED.get(subject, COMPARED[ECHOD])


def align(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Pad columns to their widest cell: the first `left` columns to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cell(results: Results, subject: str, row: Workload | Idle, against: str, measure: Measure) -> str:
    got = figure(results, subject, row, against, measure)
    if got is None:
        return _NOTHING
    for each in judge(results, subject):
        if (each.workload, each.against, each.measure) == (row.key, against, measure):
            return str(each)
    return f"{got:,.0f} B" if measure == "bytes" else f"{got:.2f}×"


def targets_table(results: Results, subject: str, titles: Mapping[str, str]) -> list[str]:
    """The table of targets that were measured: processor time per message, and rates if one has a target."""
    others = _compared(subject)
    rows = [["workload", titles[subject], *(f"against {_AGAINST[other]}" for other in others)]]
    for workload in WORKLOADS:
        series = results.slices.get(workload.key, {}).get(subject)
        if not series:
            continue
        mine = summary(series)
        cpu = [_cell(results, subject, workload, to, "cpu") for to in others]
        rows.append([workload.title, f"{mine.cpu_us:.2f} µs", *cpu])
        if any(target.measure == "rate" for to in others for target in targets_of(subject, workload.key, to)):
            rate = [_cell(results, subject, workload, to, "rate") for to in others]
            rows.append(["  its rate", f"{mine.rate:,.0f}/s", *rate])
    for idle in IDLE:
        if (rest := results.rests.get(idle.key, {}).get(subject)) is not None:
            cells = [_cell(results, subject, idle, to, "bytes" if to == ITSELF else "cpu") for to in (ITSELF, *others)]
            rows.append([idle.title(rest.connections), *cells])
    return align(rows, left=5) if len(rows) > 1 else []


def native_table(results: Results) -> list[str]:
    """The fast path with and without its native loop beside other servers: processor time relative to C, and targets.

    It is empty unless both were measured.
    """
    rows = [["relative to C", *(title for _, title in COLUMNS)]]
    for workload in WORKLOADS:
        measured = results.slices.get(workload.key, {})
        if not {ECHOD, PYTHON, workload.yardstick} <= measured.keys():
            continue
        cells = []
        for key, _ in COLUMNS:
            if key in (PYTHON, ECHOD):
                cells.append(_cell(results, key, workload, YARDSTICK, "cpu"))
            elif key == YARDSTICK:
                cells.append(f"{summary(measured[workload.yardstick]).cpu_us:.2f} µs")
            else:
                ratio = results.ratio(workload.key, "cpu", key, workload.yardstick) if key in measured else None
                cells.append(_NOTHING if ratio is None else f"{ratio:.2f}×")
        rows.append([workload.title, *cells])
    return align(rows) if len(rows) > 1 else []


def workload_block(results: Results, workload: Workload, subject: str, titles: Mapping[str, str]) -> list[str]:
    """Every peer under one workload, the cheapest first; a ratio is the subject divided by the peer."""
    rows = results.slices.get(workload.key, {})
    lines = []
    for peer in rows:
        s = summary(rows[peer])
        cpu, rate = (results.ratio(workload.key, measure, subject, peer) for measure in ("cpu", "rate"))
        bounded = ">" if s.load_share >= FULL else ""
        lines.append(
            (
                s.cpu_us,
                [
                    f"  {titles[peer]}",
                    f"{s.cpu_us:.2f}",
                    f"{bounded}{s.rate:,.0f}",
                    f"{s.p50:,.0f}",
                    f"{s.p99:,.0f}",
                    f"{s.load_share:.0%}",
                    f"{s.lost:,}" if s.lost else "",
                    _NOTHING if cpu is None or peer == subject else f"{cpu:.2f}×",
                    _NOTHING if rate is None or peer == subject else f"{rate:.2f}×",
                ],
            )
        )
    if not lines:
        return []
    head = ["  peer", "CPU µs/msg", "msg/s", "p50 µs", "p99 µs", "load core", "lost", "CPU ratio", "rate ratio"]
    return [workload.title, *align([head, *(cells for _, cells in sorted(lines, key=lambda line: line[0]))])]


def memory_block(results: Results, row: Idle, titles: Mapping[str, str]) -> list[str]:
    """Every peer's memory."""
    rests = results.rests.get(row.key)
    if not rests:
        return []
    head = ["  peer", "bytes per connection", "connections", "before, KiB", "with them, KiB"]
    ordered = sorted(rests.items(), key=lambda item: item[1].per_connection)
    rows = [
        [
            f"  {titles[peer]}",
            f"{rest.per_connection:,.0f}",
            f"{rest.connections:,}",
            f"{rest.before / 1024:,.0f}",
            f"{max(rest.open, rest.used) / 1024:,.0f}",
        ]
        for peer, rest in ordered
    ]
    return [f"user memory per idle {row.name}", *align([head, *rows])]


def legend(results: Results, subject: str) -> list[str]:
    """The legend of the marks that the report uses."""
    summaries = [summary(series) for rows in results.slices.values() for series in rows.values()]
    lines = []
    if summaries:
        lines += [
            "CPU: user and system time of the server's whole process tree per message; the median of the rounds.",
            f"ratios: {subject} divided by the peer, round by round; their median. p50, p99: of all rounds together.",
        ]
    if any(each.load_share >= FULL for each in summaries):
        lines.append(f"> the load generator's core was at least {FULL:.0%} full: the server could have done more.")
    if any(each.lost for each in summaries):
        lines.append("lost: datagrams that did not come back; the rates count only those that did.")
    return lines


def report(results: Results, subject: str, titles: Mapping[str, str], notes: Iterable[str]) -> str:
    """Everything below the header."""
    blocks = [
        targets_table(results, subject, titles),
        targets_table(results, PLAIN, titles) if subject != PLAIN else [],
        native_table(results),
        [*results.remarks, *notes],
        *(workload_block(results, workload, subject, titles) for workload in WORKLOADS),
        *(memory_block(results, row, titles) for row in IDLE),
        legend(results, titles[subject]),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)
