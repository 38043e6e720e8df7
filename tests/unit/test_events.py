"""Events reach every subscriber, and counters count."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.events import Closing, Counters, Events
from echod.gate.refusal import Refusal


class Heard:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, fields: Mapping[str, Any]) -> None:
        self.events.append((name, dict(fields)))


def broken(_name: str, _fields: Mapping[str, Any]) -> None:
    raise RuntimeError("a bug in a sink")


class Telling(SynchronousTestCase):
    def test_every_sink_receives_every_event_in_order(self) -> None:
        events, first, second = Events(), Heard(), Heard()
        events.subscribe(first)
        events.tell("daemon.ready", listeners=2)
        events.subscribe(second)
        events.tell("daemon.stopped", counters={})
        self.assertEqual(first.events, [("daemon.ready", {"listeners": 2}), ("daemon.stopped", {"counters": {}})])
        self.assertEqual(second.events, [("daemon.stopped", {"counters": {}})])

    def test_an_event_outside_the_catalogue_is_an_error_without_sinks_too(self) -> None:
        self.assertRaises(KeyError, Events().tell, "daemon.exploded")

    def test_a_sink_that_raises_is_counted_and_keeps_its_place(self) -> None:
        events, heard = Events(), Heard()
        events.subscribe(broken)
        events.subscribe(heard)
        events.tell("daemon.ready", listeners=1)
        events.tell("daemon.ready", listeners=1)
        self.assertEqual(events.failures, 2)
        self.assertEqual(len(heard.events), 2)

    def test_events_of_connections_are_sent_if_a_sink_wants_them(self) -> None:
        events = Events()
        self.assertFalse(events.connections)
        events.subscribe(Heard())
        self.assertFalse(events.connections)
        events.subscribe(Heard(), connections=True)
        self.assertTrue(events.connections)
        events.subscribe(Heard())
        self.assertTrue(events.connections)

    def test_a_sink_can_add_a_sink(self) -> None:
        events, late = Events(), Heard()
        events.subscribe(lambda _name, _fields: None if late.events else events.subscribe(late))
        events.tell("daemon.ready", listeners=1)
        events.tell("daemon.draining", connections=1, seconds=1)
        self.assertIn("daemon.draining", [name for name, _ in late.events])

    def test_an_event_with_other_fields_is_an_error(self) -> None:
        events, heard = Events(), Heard()
        events.subscribe(heard)
        self.assertRaises(TypeError, events.tell, "daemon.ready")
        self.assertRaises(TypeError, events.tell, "daemon.ready", listeners=1, proxy="192.0.2.1:5")
        self.assertEqual(heard.events, [])
        denied = {"service": "echo", "address": "tcp://*:7", "peer": "192.0.2.1:5", "host": "192.0.2.1"}
        events.tell("client.denied", **denied)
        events.tell("client.denied", **denied, proxy="192.0.2.2:5")
        self.assertEqual(len(heard.events), 2)


class Counting(SynchronousTestCase):
    def test_a_fresh_tally_has_no_figures(self) -> None:
        self.assertEqual(Counters().figures(), {})

    def test_figures_are_the_counters_above_0_with_reasons_after_a_colon(self) -> None:
        counters = Counters(accepted=3, open=2, bytes_in=5)
        counters.refuse(Refusal.PER_CLIENT)
        counters.refuse(Refusal.PER_CLIENT, 2)
        counters.close(Closing.IDLE)
        self.assertEqual(
            counters.figures(),
            {"accepted": 3, "open": 1, "bytes_in": 5, "refused:per-client": 3, "closed:idle": 1},
        )

    def test_tallies_share_nothing(self) -> None:
        one, other = Counters(), Counters()
        one.refuse(Refusal.RATE)
        one.close(Closing.DONE)
        self.assertEqual(other.figures(), {})

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.sampled_from(Closing)),
        st.lists(st.tuples(st.sampled_from(Refusal), st.integers(1, 9))),
        st.integers(0, 9),
    )
    def test_every_reason_is_counted_once(
        self, closings: list[Closing], refusals: list[tuple[Refusal, int]], datagrams: int
    ) -> None:
        counters = Counters(accepted=len(closings), open=len(closings), datagrams_in=datagrams, datagrams_out=datagrams)
        for closing in closings:
            counters.close(closing)
        for refusal, count in refusals:
            counters.refuse(refusal, count)
        figures = counters.figures()
        self.assertEqual(counters.open, 0)
        self.assertNotIn("open", figures)
        self.assertEqual(figures.get("datagrams_in", 0), datagrams)
        closed = sum(count for name, count in figures.items() if name.startswith("closed:"))
        refused = sum(count for name, count in figures.items() if name.startswith("refused:"))
        self.assertEqual(closed, len(closings))
        self.assertEqual(refused, sum(count for _, count in refusals))

    def test_reasons_print_as_their_words(self) -> None:
        self.assertEqual(f"{Closing.DONE} {Refusal.PER_CLIENT}", "done per-client")
        for reason in (*Closing, *Refusal):
            self.assertRegex(str(reason), r"^[a-z]+(-[a-z]+)*$")
