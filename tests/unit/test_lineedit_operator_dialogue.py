"""An operator's view: shown lines, typed lines, and answers that reach the client for which they were begun."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.lineedit.operator_dialogue import HELP, Answer, Leave, OperatorView


class View(OperatorView):
    """A view, and the lines that it showed."""

    def __init__(self, clients=2):
        self.lines = []
        super().__init__(self.lines.append, time.gmtime)
        here = [{"client": number, "peer": f"tcp 192.0.2.{number}:4000"} for number in range(1, clients + 1)]
        self.event({"event": "here", "time": 0.0, "operator": 7, "operators": 1, "clients": here})
        self.lines.clear()

    def hears(self, event, client, **fields):
        self.event({"event": event, "time": 3661.0, "client": client, "peer": f"tcp 192.0.2.{client}:4000", **fields})

    def shown(self):
        lines, self.lines[:] = list(self.lines), []
        return lines


def test_every_event_is_a_line():
    view = View()
    view.hears("came", 3)
    view.hears("said", 3, text="hello")
    view.hears("answered", 3, text="hi", by=8)
    view.hears("answered", 3, text="hi", by=7)
    view.hears("answered", 3, text="hi", by=None)
    view.hears("missed", 3)
    view.hears("left", 3, unanswered=2)
    view.hears("left", 1, unanswered=0)
    assert view.shown() == [
        "01:01:01 [3] tcp 192.0.2.3:4000 connected",
        "01:01:01 [3] tcp 192.0.2.3:4000: hello",
        "01:01:01 [3] operator 8 answered: hi",
        "01:01:01 [3] you answered: hi",
        "01:01:01 [3] another operator answered: hi",
        "01:01:01 [3] tcp 192.0.2.3:4000 has too many unanswered messages: more are dropped until you answer",
        "01:01:01 [3] tcp 192.0.2.3:4000 disconnected, 2 unanswered",
        "01:01:01 [1] tcp 192.0.2.1:4000 disconnected",
    ]
    view.event({"event": "missed", "time": 0.0, "events": 3})
    view.event({"event": "ended", "time": 0.0, "reason": "a\x1b reload"})
    assert view.shown() == [
        "-- 3 events are missing here: you read too slowly",
        "-- the daemon closed your session: a\\x1b reload",
    ]
    view.event({"event": "bus", "time": 0.0, "connected": False})
    view.event({"event": "bus", "time": 0.0, "connected": True})
    assert view.shown() == [
        "-- the connection to other servers is lost: other clients and operators have left",
        "-- the connection to other servers is restored",
    ]
    view.event({"event": "something of a later version", "time": 0.0})
    view.hears("something of a later version", 1)
    assert view.shown() == []


@pytest.mark.parametrize(
    ("clients", "operators", "line"),
    [(0, 1, "-- no clients"), (1, 2, "-- 1 client; 1 other operator"), (2, 4, "-- 2 clients; 3 other operators")],
)
def test_the_clients_are_shown_at_the_start(clients, operators, line):
    view = View()
    here = [{"client": number, "peer": "unix (unnamed)"} for number in range(clients)]
    view.event({"event": "here", "time": 0.0, "operator": 9, "operators": operators, "clients": here})
    assert view.shown() == [line]


def test_a_line_answers_the_client_of_the_last_message():
    view = View()
    assert view.prompt() == "> "
    assert view.typed("hello") is None
    assert view.shown() == ["-- no client has sent a message yet"]
    view.hears("said", 1, text="hi")
    assert view.prompt() == "to 1> "
    assert view.typed("  hello  ") == Answer(1, "hello")
    view.hears("said", 2, text="hi")
    assert view.typed("//who") == Answer(2, "/who")
    assert view.typed("   ") is None


def test_a_message_during_typing_does_not_change_the_target():
    view = View()
    view.hears("said", 1, text="what is my balance?")
    view.typing(True)
    view.hears("said", 2, text="hi")
    assert view.prompt() == "to 1> "
    assert view.typed("1,000,000") == Answer(1, "1,000,000")
    view.typing(False)
    assert view.prompt() == "to 2> "
    view.typing(True)
    view.hears("left", 2, unanswered=1)
    assert view.prompt() == "> "
    assert view.typed("hello") is None


def test_a_client_is_chosen_for_one_line_or_for_all():
    view = View()
    view.hears("said", 1, text="hi")
    assert view.typed("@2 hello") == Answer(2, "hello")
    assert view.typed("/to 2") is None
    view.hears("said", 1, text="hi")
    assert view.typed("hello") == Answer(2, "hello")
    assert view.typed("/to") is None
    assert view.typed("hello") == Answer(1, "hello")
    view.shown()
    for line in ("@9 x", "@x y", "/to 9", "@", "@2", "/dance", "/\x1b[2J"):
        assert view.typed(line) is None
    assert view.shown() == [
        "-- unknown client 9; /who lists the clients",
        "-- unknown client x; /who lists the clients",
        "-- unknown client 9; /who lists the clients",
        "-- unknown client (no number); /who lists the clients",
        "-- an answer needs a text: @3 TEXT",
        "-- unknown command /dance; /help lists the commands",
        "-- unknown command /\\x1b[2J; /help lists the commands",
    ]
    view.typed("/to 2")
    view.hears("left", 2, unanswered=0)
    assert view.prompt() == "to 1> "


def test_the_commands_who_help_and_quit():
    view = View()
    assert view.typed("/who") is None
    assert view.shown() == ["-- [1] tcp 192.0.2.1:4000", "-- [2] tcp 192.0.2.2:4000"]
    view.typed("/help")
    assert view.shown() == [f"-- {line}" for line in HELP]
    assert view.typed("/quit") == Leave()
    nobody = View(clients=0)
    nobody.typed("/who")
    assert nobody.shown() == ["-- no clients"]


@given(st.text(), st.text(), st.text())
def test_text_of_a_client_is_escaped(peer, text, typed):
    view = View()
    for event in ("came", "said", "answered", "missed", "left"):
        view.event({"event": event, "time": 0.0, "client": 5, "peer": peer, "text": text, "by": 1})
        view.typed(typed)
    assert all(line.isprintable() for line in view.lines)
