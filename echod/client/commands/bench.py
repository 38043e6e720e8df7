"""`echoctl bench`: sends a load to a service, verifies every byte of the replies, and prints throughput and latency."""

from __future__ import annotations

import argparse
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from echod.client import output_options
from echod.client.bench_output import output
from echod.client.histogram import percentile_text
from echod.client.load.bench_summary import summary
from echod.client.load.datagram_flow import DatagramFlow
from echod.client.load.dialer import Dialer
from echod.client.load.epoll_loop import EpollLoop
from echod.client.load.figures import figures, lines
from echod.client.load.flow import ConnectionFlow, Flow, MessageConnectionFlow, MessageFlow
from echod.client.load.load_run import LoadRun, Phase
from echod.client.load.pacing import Pace
from echod.client.load.pattern import Pattern, Transform
from echod.client.load.slices import STEP, Second, Slices
from echod.client.plots.plot_data import PlotData
from echod.client.plots.plot_output import PlotOutput, open_plot
from echod.client.result_files import ResultFile, open_result
from echod.client.stdout import INTERRUPTED, fail
from echod.config.units import number_text
from echod.escaping import counted, escaped, system_error
from echod.services.echo import Echo
from echod.services.registry import kinds
from echod.shape import Shape
from echod.stdio import report

SPARE: Final = 32  #: descriptors besides those of the connections: of the loop, of standard streams, of files
A_SECOND: Final = round(1 / STEP)  #: steps
DIGITS: Final = b"0123456789"  #: every kind that is recognized returns them unchanged


def run(arguments: argparse.Namespace) -> int:
    """Send the load. Returns the exit code: 0, 1 after any failure or without a reply, 130 if interrupted."""
    if wrong := _too_few_descriptors(arguments.connections) or output_options.live_error(arguments):
        fail(wrong)
        return 1
    loop = EpollLoop()
    try:
        return Bench(arguments, loop).run()
    finally:
        loop.close()


def recognized() -> dict[str, Transform]:
    """The kinds whose replies can be verified: each byte of the reply is a function of the byte that was sent."""
    found: dict[str, Transform] = {Echo.kind: bytes}
    for name, kind in kinds().items():
        if kind.transform is not None and name != Echo.kind and kind.transform(DIGITS) == DIGITS:
            found[name] = kind.transform
    return found


class Bench:
    """One run of the command."""

    def __init__(self, arguments: argparse.Namespace, loop: EpollLoop) -> None:
        self._arguments = arguments
        self._label = escaped(arguments.url.label)
        self._loop = loop
        self._output = output(arguments)
        self._percentiles: ResultFile | None = None
        self._picture: PlotOutput | None = None
        self._interrupted = False
        self._load = LoadRun(
            loop,
            Pattern(recognized()),
            arguments.size,
            arguments.depth,
            Pace(arguments.rate, arguments.count, arguments.time),
            patience=arguments.timeout,
            warm_up=arguments.warm_up,
            begun=lambda: self._output.started(f"{self._label}: {_described(arguments)}"),
            measuring=self._measuring,
            reported=lambda text: self._output.failure(f"{self._label}: {text}"),
            over=loop.stop,
        )
        self._slices = Slices(self._load.counts, fine=arguments.plot is not None)
        self._last: Second | None = None
        self._steps = 0  # since measuring began
        self._started = time.time_ns() / 1e9

    def run(self) -> int:
        """Send the load, and print progress and summary. Returns the exit code."""
        arguments, load = self._arguments, self._load
        if not self._open_files():
            return 1
        try:
            load.dialer = Dialer(arguments, self._loop)
        except OSError as error:
            fail(f"{self._label}: {system_error(error)}")
            return 1
        except ValueError as error:
            fail(f"{self._label}: {escaped(str(error))}")
            return 1
        kind = _flow_of(arguments)
        load.flows += [kind(load, number) for number in range(arguments.connections)]
        self._loop.tick = load.tick
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.on_signal(number, self._interrupt)
        self._loop.on_signal(signal.SIGQUIT, self._report)
        load.start()
        try:
            self._loop.run()
        finally:
            self._output.finished()
        return self._finish()

    def _open_files(self) -> bool:
        """Open the files of options before the load. Returns False after an error, which is reported."""
        try:
            self._picture = open_plot(self._arguments.plot, self._arguments.color)
            self._percentiles = open_result(self._arguments.hgrm)
        except OSError:
            return False
        return True

    def _interrupt(self) -> None:
        self._interrupted = True
        self._load.interrupt()

    def _report(self) -> None:
        """Print the figures so far on standard error. A live display shows them anyway."""
        if self._arguments.live:
            return
        self._cut(self._load.seconds, whole=False)
        for line in self._lines(self._figures()):
            report(line)

    def _measuring(self) -> None:
        self._slices.restart()
        self._started = time.time_ns() / 1e9
        self._loop.callLater(STEP, self._step)

    def _step(self) -> None:
        """A step of STEP seconds has ended; every tenth ends a second."""
        load = self._load
        if load.phase is not Phase.MEASURING:
            return
        self._steps += 1
        now = load.seconds
        self._cut(now, whole=not self._steps % A_SECOND)
        self._output.progress(load.progress, self._last)
        self._loop.callLater(max(0.0, (self._steps + 1) * STEP - now), self._step)

    def _cut(self, now: float, *, whole: bool) -> None:
        """A step ends, and with `whole` a second, too."""
        times, failed = self._slices.step(now)
        self._output.step(now, times, failed)
        if whole:
            self._last = self._slices.second(now)
            self._output.second(self._last)

    def _figures(self) -> dict[str, Any]:
        load = self._load
        return figures(load.counts, load.seconds, load.usage, load.unsent, self._arguments.rate)

    def _lines(self, found: Mapping[str, Any]) -> list[str]:
        return lines(found, self._arguments.rate, datagrams=not self._arguments.url.shape.has_connections)

    def _finish(self) -> int:
        """Print the summary. Returns the exit code."""
        load = self._load
        if load.seconds:
            self._cut(load.seconds, whole=True)
        if load.error:
            fail(f"{self._label}: {load.error}")
        found = self._figures()
        if load.counts.sent and not (load.error and not load.counts.received):
            kind = f" ({load.pattern.kind})" if load.counts.received else ""  # without a reply it is only a guess
            self._output.summary(f"{self._label}{kind}", self._lines(found))
        self._output.facts(self._facts(found))
        written = self._write_files(self._lines(found))
        if self._interrupted:
            return INTERRUPTED
        return int(bool(not written or load.error or load.counts.failed or not load.counts.received))

    def _write_files(self, said: Sequence[str]) -> bool:
        """Write the percentiles and the plot, if they were requested. Returns False if a file cannot be written."""
        times = self._load.counts.latencies
        written = self._percentiles is None or self._percentiles.write(percentile_text(times).encode())
        if self._picture is None or self._slices.plotted is None:
            return written
        return self._picture.write(PlotData(self._label, said, self._slices.plotted, times)) and written

    def _facts(self, found: dict[str, Any]) -> dict[str, Any]:
        load = self._load
        return summary(
            self._arguments,
            found,
            self._slices,
            kind=load.pattern.kind if load.counts.received else None,
            remote=load.dialer.remote if load.reached else None,
            started=self._started,
            seconds=load.seconds,
            error=load.error or None,
        )


def _flow_of(arguments: argparse.Namespace) -> type[Flow] | type[DatagramFlow]:
    shape = arguments.url.shape
    if shape is Shape.DATAGRAM:
        return DatagramFlow
    if shape is Shape.MESSAGE:
        return MessageConnectionFlow if arguments.connect else MessageFlow
    return ConnectionFlow if arguments.connect else Flow


def _described(arguments: argparse.Namespace) -> str:
    """The load in words."""
    sizes = sorted(set(arguments.size))
    size = counted(sizes[0], "byte", "bytes") if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} bytes"
    units = ("connection", "connections") if arguments.url.shape.has_connections else ("socket", "sockets")
    words = [f"{counted(arguments.connections, *units)}, {size}"]
    if arguments.connect:
        words.append("a connection for each message")
    if arguments.rate is not None:
        words.append(f"{number_text(arguments.rate)} messages/s")
    if not arguments.connect:
        words.append(f"{'at most ' if arguments.rate is not None else ''}{arguments.depth} in flight on each")
    if arguments.count is not None:
        words.append(counted(arguments.count, "message", "messages"))
    if arguments.time is not None:
        words.append(f"{number_text(arguments.time, 9)} s")
    return ", ".join(words)


def _too_few_descriptors(connections: int) -> str:
    """Raise the soft limit of open files. Returns the error if the hard one is too low, or ""."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if connections + SPARE > hard:
        return f"--connections {connections}: this process may open {hard} files; expected at most {hard - SPARE}"
    return ""
