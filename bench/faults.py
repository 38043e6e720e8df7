"""The faults that a daemon injects, compared with those that were asked for: `python -m bench.faults`.

A daemon answers 10,000 datagrams for each row. The client counts the losses, and measures the delay of each reply. A
chi-square test compares the counts with the configured distribution; the critical value is its quantile 0.99. The
median delay without jitter, beyond `delay`, is subtracted: it is that of the two programs. On a busy machine the
measured delays also include waits for a processor, and the test fails.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist, mean, median
from typing import Any, Final

from bench.option_values import whole_number
from echod.faults.pattern import PARETO
from echod.testing import Daemon

SAMPLES: Final = 10_000
A_SECOND: Final = 2_000  #: datagrams that are sent in a second
CLASSES: Final = 10  #: of delays, equally likely
CRITICAL: Final = {1: 6.63, 9: 21.67}  #: the quantile 0.99 of chi-square, by degrees of freedom
SILENCE: Final = 1.5  #: seconds after which a datagram is lost
DELAY: Final = 0.2  #: seconds
JITTER: Final = 0.1

INVERSE: Final[Mapping[str, Callable[[float], float]]] = {
    "uniform": lambda share: share,
    "normal": NormalDist().inv_cdf,
    "pareto": lambda share: (1 - share) ** (-1 / PARETO) - 1,
}
"""The quantile functions of the delays, in units of `jitter`."""


def delays(faults: dict[str, Any], samples: int) -> list[float | None]:
    """The seconds until each reply, or None for a datagram without one."""
    found: list[float | None] = [None] * samples
    sent = [0.0] * samples
    with Daemon("echo=udp://127.0.0.1:0", faults=faults) as daemon, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        client.connect(daemon.address)
        client.setblocking(False)
        begin = last = time.perf_counter()
        number = 0
        while number < samples or time.perf_counter() - last < SILENCE:
            now = time.perf_counter()
            while number < samples and now >= begin + number / A_SECOND:
                sent[number] = time.perf_counter()
                client.send(struct.pack("!I", number))
                number += 1
                last = now
            try:
                (which,) = struct.unpack("!I", client.recv(4))
            except BlockingIOError:
                time.sleep(0.0001)
                continue
            last = time.perf_counter()
            found[which] = last - sent[which]
    return found


def chi_square(counts: Sequence[int], expected: Sequence[float]) -> float:
    """The statistic of Pearson's test."""
    return sum((count - one) ** 2 / one for count, one in zip(counts, expected, strict=True))


def verdict(statistic: float, freedom: int) -> str:
    """The statistic, the critical value, and whether the hypothesis holds."""
    holds = "as asked" if statistic < CRITICAL[freedom] else "NOT as asked"
    return f"chi-square {statistic:6.2f} of at most {CRITICAL[freedom]:5.2f}: {holds}"


def bursts_of(lost: Sequence[bool]) -> list[int]:
    """The lengths of the runs of losses."""
    lengths, length = [], 0
    for one in (*lost, False):
        if one:
            length += 1
        elif length:
            lengths.append(length)
            length = 0
    return lengths


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each fault."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--samples", type=whole_number(400), default=SAMPLES, help=f"datagrams of each fault ({SAMPLES:,})"
    )
    parser.add_argument("--seed", type=int, default=42, help="the seed of the faults (42)")
    options = parser.parse_args(arguments)
    samples, seed = options.samples, options.seed
    for share in (0.01, 0.3):
        lost = sum(one is None for one in delays({"drop": share, "seed": seed}, samples))
        statistic = chi_square([lost, samples - lost], [samples * share, samples * (1 - share)])
        print(f"drop {share:g}: {lost} of {samples} lost; {verdict(statistic, 1)}", flush=True)
    runs = bursts_of([one is None for one in delays({"drop": 0.3, "burst": 5, "seed": seed}, samples)])
    print(f"drop 0.3, burst 5: {sum(runs)} of {samples} lost, {mean(runs):.2f} in a row on average", flush=True)
    plain = [one for one in delays({"delay": f"{DELAY}s"}, samples // 4) if one is not None]
    own = median(plain) - DELAY
    print(
        f"delay {DELAY * 1e3:g} ms: median {median(plain) * 1e3:.2f} ms, largest {max(plain) * 1e3:.2f} ms", flush=True
    )
    for distribution, inverse in INVERSE.items():
        faults = {"delay": f"{DELAY}s", "jitter": f"{JITTER}s", "distribution": distribution, "seed": seed}
        measured = [one - own for one in delays(faults, samples) if one is not None]
        edges = [DELAY + JITTER * inverse(part / CLASSES) for part in range(1, CLASSES)]
        counts = [0] * CLASSES
        for one in measured:
            counts[sum(one >= edge for edge in edges)] += 1
        statistic = chi_square(counts, [len(measured) / CLASSES] * CLASSES)
        print(
            f"delay {DELAY * 1e3:g} ms, jitter {JITTER * 1e3:g} ms, {distribution}: {len(measured)} replies,"
            f" mean {mean(measured) * 1e3:.2f} ms; {verdict(statistic, CLASSES - 1)}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
