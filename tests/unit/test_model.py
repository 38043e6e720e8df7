"""The interface of services and transports: the defaults of a service."""

import random
import time
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import (
    CLOSE,
    NOTHING,
    Arrival,
    Context,
    End,
    NoOptions,
    Peer,
    Quiet,
    Reply,
    Service,
    Transforming,
    identity,
)
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000))


class Backwards(Service):
    kind = "backwards"
    summary = "is a pure function of each message"
    transform = staticmethod(lambda data: data[::-1])


class Mute(Service):
    kind = "mute"
    summary = "has no transform and overrides nothing"


def ignore(_reply: Reply) -> None:
    """A `send` for sessions that send only replies."""


class Replies(SynchronousTestCase):
    def test_a_default_reply_sends_and_closes_nothing(self) -> None:
        self.assertEqual(Reply(), NOTHING)
        self.assertEqual((NOTHING.data, NOTHING.end, NOTHING.more), (None, End.NOTHING, None))
        self.assertEqual((CLOSE.data, CLOSE.end, CLOSE.more), (None, End.CLOSE, None))


class Contexts(SynchronousTestCase):
    def test_a_default_context_uses_real_clocks_and_random_numbers(self) -> None:
        context = Context()
        self.assertIs(context.clock, time.monotonic)
        self.assertIs(context.wall_clock, time.time)
        self.assertIsInstance(context.random, random.Random)
        self.assertIsNot(context.random, Context().random)

    def test_a_default_context_prints_nothing(self) -> None:
        context = Context()
        context.show("a line")
        lines: list[str] = []
        Context(show=lines.append).show("a line")
        self.assertEqual(lines, ["a line"])


class Services(SynchronousTestCase):
    def test_a_kind_lets_clients_choose_no_faults_unless_it_says_so(self) -> None:
        self.assertIsNone(Service().chosen_faults("tls", "delay-1s.echo.example"))

    def test_a_kind_writes_no_reply_over_its_request_unless_it_says_so(self) -> None:
        self.assertIsNone(Service().in_place())

    def test_a_service_has_default_options_and_context(self) -> None:
        service = Mute()
        self.assertEqual(service.options, NoOptions())
        self.assertIsInstance(service.context, Context)

    def test_a_service_keeps_given_options_and_context(self) -> None:
        options, context = NoOptions(), Context()
        service = Mute(options, context)
        self.assertIs(service.options, options)
        self.assertIs(service.context, context)

    def test_options_have_no_faults_by_default(self) -> None:
        self.assertEqual(list(Mute.configuration_errors(NoOptions())), [])

    def test_a_service_with_a_transform_needs_no_other_method(self) -> None:
        service = Backwards()
        self.assertEqual(service.answer(b"abc", PEER), b"cba")
        self.assertEqual(service.answer(b"", PEER), b"")
        session = service.session(PEER, ignore)
        self.assertEqual(session.opened(), NOTHING)
        self.assertEqual(session.received(b"abc"), Reply(b"cba"))
        self.assertEqual(session.ended(), CLOSE)
        session.lost()

    def test_a_service_without_a_transform_must_implement_replies(self) -> None:
        calls: tuple[Callable[[], Any], ...] = (
            lambda: Mute().answer(b"", PEER),
            lambda: Mute().session(PEER, ignore),
        )
        for call in calls:
            error = self.assertRaises(NotImplementedError, call)
            self.assertIn("Mute has no transform", str(error))

    def test_a_service_serves_streams_and_datagrams_by_default(self) -> None:
        self.assertTrue(Service.streams)
        self.assertTrue(Service.datagrams)


class Sessions(SynchronousTestCase):
    def test_a_quiet_session_sends_nothing_and_closes_after_its_peer(self) -> None:
        session = Quiet()
        self.assertEqual([session.opened(), session.received(b"x"), session.ended()], [NOTHING, NOTHING, CLOSE])
        self.assertEqual(session.proceed(), NOTHING)
        session.lost()

    @settings(max_examples=50, deadline=None)
    @given(st.binary())
    def test_a_transforming_session_replies_at_once(self, data: bytes) -> None:
        self.assertEqual(Transforming(bytes.swapcase).received(data), Reply(data.swapcase()))

    @settings(max_examples=50, deadline=None)
    @given(st.binary())
    def test_identity_returns_its_argument(self, data: bytes) -> None:
        self.assertIs(identity(data), data)


class Peers(SynchronousTestCase):
    def test_peers_are_equal_if_all_their_fields_are(self) -> None:
        self.assertEqual(PEER, Peer("tcp", Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000)))
        self.assertNotEqual(PEER, Peer("tcp", PEER.local, PEER.remote, user=64))
        arrival = Arrival()
        self.assertEqual((arrival.ttl, arrival.traffic_class, arrival.received_ns), (None, None, None))
