"""How many connections a plain listener accepts in one turn of the reactor."""

import socket

from echod.gate.work_budget import TURN, WorkBudget
from echod.model import Context
from echod.services.echo import Echo
from echod.transports.stream_port import A_TURN, ACCEPT, AT_LEAST
from tests.fastpath.listener import listener
from tests.turns import Turns


def test_connections_cost_units_of_the_work_budget(tmp_path):
    """A burst of connections is bounded together with lines and requests; at least a few are accepted in each turn."""
    turns = Turns()
    work = WorkBudget(turns.later)
    with listener("plain", "tcp", tmp_path, Echo(None, Context(work=work))) as made:
        for _ in range(A_TURN):
            made.clients.enter_context(socket.create_connection(made.place, 10))
        made.port.doRead()
        assert made.counters.accepted == TURN // ACCEPT
        assert work.is_used_up
        made.port.doRead()
        assert made.counters.accepted == TURN // ACCEPT + AT_LEAST
        turns.turn()
        made.port.doRead()
        assert made.counters.accepted == A_TURN


def test_a_listener_that_stops_accepts_its_whole_backlog(tmp_path):
    work = WorkBudget(Turns().later)
    with listener("plain", "tcp", tmp_path, Echo(None, Context(work=work))) as made:
        for _ in range(A_TURN):
            made.clients.enter_context(socket.create_connection(made.place, 10))
        made.port.stopListening()
        assert made.counters.accepted == A_TURN
