"""Access and shares: decisions with many networks, and many clients behind one address."""

from __future__ import annotations

import time
from collections.abc import Iterator

from echod.gate.access import Access, canonical, packed_address
from tests.chaos import probe
from tests.chaos.connect_burst import Crowd, Fate
from tests.chaos.lab import Lab
from tests.chaos.report import Figure, Scenario, Subject
from tests.gate.forms import TABLE, many_networks, networks, verdicts

ECHOD, PLAIN, STOCK, *_ = Subject

# 38

ROUNDS = 200_000


def access(_field: Lab) -> Iterator[Figure]:
    right = sum(verdicts(*row) == {verdict} for row, verdict in TABLE.items())
    few, many = Access(networks("127.0.0.0/8 ::1/128")), Access(*map(networks, map(" ".join, many_networks())))
    small, large = _microseconds(few), _microseconds(many)
    text = (
        f"{right} of {len(TABLE)} notations right; {small:.2f} µs per decision with 2 networks, {large:.2f} with 15,000"
    )
    values = {"right": right, "forms": len(TABLE), "microseconds": {"2": small, "15000": large}}
    yield Figure("echod's gate", text, right == len(TABLE), values)
    yield Figure(STOCK, "has no access lists; logs 127.0.0.1 as ::ffff:127.0.0.1")


def _microseconds(lists: Access) -> float:
    hosts = [packed_address(f"10.{number % 90}.{number % 256}.{number % 250}") for number in range(1000)]
    began = time.perf_counter()
    for _ in range(ROUNDS // len(hosts)):
        for host in hosts:
            lists.allows(canonical(host))
    return round((time.perf_counter() - began) / ROUNDS * 1e6, 2)


# 40

CLIENTS, SHARE = 500, 200
NOISE = 2.0  #: milliseconds of p99 within measurement noise on a machine with other work
NAT, OTHER = "127.0.0.9", "127.0.9.9"
SERVICE = f'[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\nlimits = {{ per-client = {SHARE} }}\n'


def nat(lab: Lab) -> Iterator[Figure]:
    for server in lab.each(ECHOD, PLAIN, STOCK, services=SERVICE):
        place = server.tcp["echo"]
        quiet = probe.stream(place, 2.0, OTHER)
        with Crowd(place, CLIENTS, [NAT]) as crowd:
            fates = crowd.wait(5)
            held = probe.stream(place, 2.0, OTHER)
        with probe.attack("crowd", CLIENTS, 4.0, NAT, *place) as attack:
            under = probe.stream(place, 3.0, OTHER)
        ratio = held.p99 / quiet.p99 if quiet.p99 else 0.0
        text = f"{fates[Fate.SERVED]} of {CLIENTS} served, {fates[Fate.RESET]} reset; another client's p99"
        text += f" {quiet.p99} ms before, {held.p99} ms with them ({ratio:.1f}×), {under.p99} ms while {attack.sent:,}"
        text += " connect and leave"
        kept = fates[Fate.SERVED] == SHARE and not held.lost and not under.lost if server.ours else None
        kept = kept and (ratio <= 2 or held.p99 <= NOISE)
        values = {"fates": dict(fates), "quiet": vars(quiet), "held": vars(held), "coming": vars(under)}
        yield Figure(server.subject, text, kept, values)


SCENARIOS = (
    Scenario(38, "one host in every notation, and many networks", "the same decision, and quickly", access),
    Scenario(
        40,
        "500 clients behind one address",
        f"their share of {SHARE}; another client's p99 at most 2×, or {NOISE:g} ms",
        nat,
    ),
)
