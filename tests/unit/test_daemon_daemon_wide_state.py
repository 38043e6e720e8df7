"""Every part of the state that a daemon shares comes from one object."""

import ast
from ipaddress import ip_network
from pathlib import Path

from echod.daemon.daemon_wide_state import LocalState, SharedState
from echod.gate.access import Access
from echod.gate.limits import Limits, Rate
from echod.gate.network_rate import TOTAL
from echod.gate.refusal import Refusal

TOP = Path(__file__).parent.parent.parent
PARTS = {"SendBudget", "MemberGate", "Total", "ConnectionGate", "DatagramGate", "Counters", "LocalMembership"}
EVERYBODY = Access([ip_network("0.0.0.0/0")])


def test_nothing_else_in_the_daemon_makes_a_part():
    made = {
        (path.name, part.func.id)
        for path in (TOP / "echod" / "daemon").glob("*.py")
        for part in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in PARTS
    }
    assert made == {("daemon_wide_state.py", name) for name in PARTS}


def test_services_have_slots_of_their_own_and_one_rate_of_all_networks():
    now = [100.0]
    state: SharedState = LocalState(lambda: now[0], lambda _name, **_fields: None)
    limits = Limits(connections=1, rate=Rate(1_000_000, 1_000_000))
    slots = [state.connection_gate(name, EVERYBODY, limits) for name in ("one", "two")]
    assert [gate.admit(b"", loopback=True) for gate in (*slots, slots[0])] == [None, None, Refusal.CONNECTIONS]
    gates = [state.datagram_gate(name, EVERYBODY, limits, own_ports=set(), broadcasts=set()) for name in ("one", "two")]
    key = bytes([192, 0, 2, 1])
    assert gates[0].admit_run(key, 40_000, int(TOTAL.burst), 0, loopback=False) is True
    other = bytes([198, 51, 100, 1])
    assert gates[1].admit(other, 40_000, b"", loopback=False) is Refusal.TOTAL
