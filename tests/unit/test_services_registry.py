"""The registry finds built-in kinds and those of other packages, and reports a kind that cannot be used."""

import dataclasses
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from itertools import islice, pairwise
from types import ModuleType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import Context, End, Peer, Reply, Service
from echod.services.registry import GROUP, PLANNED, kinds
from echod.socket_names import Inet

PEER = Peer("tcp", Inet("127.0.0.1", 7), Inet("192.0.2.1", 40_000))
OURS = kinds(())


class Reverse(Service):
    kind = "reverse"
    summary = "another package's kind"
    transform = staticmethod(lambda data: data[::-1])


class Raising(Service):
    kind = "reverse"
    summary = "cannot be created"
    transform = staticmethod(bytes)

    def __init__(self, *_: object, **__: object) -> None:
        raise KeyError("lemons")


class Mute(Service):
    kind = "reverse"
    summary = "has no reply"


class Shortening(Service):
    kind = "reverse"
    summary = "replies with less"
    transform = staticmethod(lambda data: data[1:])


class Unsummarised(Service):
    kind = "reverse"
    transform = staticmethod(bytes)


class Nameless(Service):
    summary = "forgot its kind"


class Kinds(SynchronousTestCase):
    def test_built_in_ones_are_one_file_each(self) -> None:
        self.assertEqual(
            list(OURS),
            [
                *("ack", "bin", "chargen", "chat", "console", "daytime", "discard", "echo", "qotd", "reflector"),
                *("revocation", "sockperf", "time", "udpechoplus", "upper", "whoami"),
            ],
        )
        for name, kind in OURS.items():
            self.assertEqual((kind.kind, kind.__module__), (name, f"echod.services.{name}"))

    def test_that_are_planned_do_not_exist_yet(self) -> None:
        self.assertEqual(set(OURS) & PLANNED, set())

    def test_have_a_summary_and_document_every_key(self) -> None:
        for name, kind in OURS.items():
            self.assertTrue(kind.summary.isprintable(), name)
            self.assertTrue(kind.__doc__, name)
            options: Any = kind.Options
            self.assertEqual(kind().options, options(), name)
            for key in dataclasses.fields(options):
                self.assertTrue(key.metadata["help"], f"{name}: {key.name}")
                self.assertRaises(dataclasses.FrozenInstanceError, setattr, options(), key.name, None)

    def test_are_found_in_installed_packages(self) -> None:
        asked: list[dict[str, str]] = []

        def installed(**asked_for: str) -> Iterator[EntryPoint]:
            asked.append(asked_for)
            return iter([self.plugin("reverse", Reverse)])

        self.patch(sys.modules["echod.services.registry"], "entry_points", installed)
        self.assertIs(kinds()["reverse"], Reverse)
        self.assertEqual(asked, [{"group": GROUP}])

    def test_that_cannot_serve_are_reported_at_the_start(self) -> None:
        for kind, reason in (
            (Raising, "cannot be created with default options: KeyError: 'lemons'"),
            (Mute, "has neither a transform nor session(); or set streams = False"),
            (Shortening, "has a transform whose result has another length than its argument"),
            (Unsummarised, "has no summary"),
        ):
            found = kinds([self.plugin("reverse", kind)])
            self.assertNotIn("reverse", found)
            self.assertEqual(found.unusable, {"reverse": f"kind 'reverse': another_package:Kind {reason}"})

    def plugin(self, name: str, what: object, value: str = "another_package:Kind") -> EntryPoint:
        """An entry point of a package that is there for the length of a test."""
        module = ModuleType("another_package")
        vars(module)["Kind"] = what
        self.patch(sys, "modules", {**sys.modules, "another_package": module})
        return EntryPoint(name, value, GROUP)

    def unusable(self, plugin: EntryPoint) -> str:
        """Why a plugin's kind cannot be used; the others can."""
        found = kinds([plugin])
        self.assertEqual(list(found), list(OURS))
        self.assertEqual(list(found.unusable), [plugin.name])
        return found.unusable[plugin.name]

    def test_of_other_packages_stand_among_ours_in_the_order_of_the_alphabet(self) -> None:
        found = kinds([self.plugin("reverse", Reverse)])
        self.assertEqual(list(found), sorted([*OURS, "reverse"]))
        self.assertIs(found["reverse"], Reverse)

    def test_of_other_packages_cannot_replace_ours_or_each_other(self) -> None:
        self.assertEqual(
            self.unusable(self.plugin("echo", Reverse)),
            "kind 'echo' of another_package:Kind exists already: echod.services.echo",
        )
        twice = [self.plugin("reverse", Reverse)] * 2
        found = kinds(twice)
        self.assertEqual(list(found), list(OURS))
        said = f"kind 'reverse' of another_package:Kind exists already: {Reverse.__module__}"
        self.assertEqual(found.unusable, {"reverse": said})

    def test_that_cannot_be_loaded_say_which_and_why(self) -> None:
        for value, why in (
            ("echod_has_no_such_module:Kind", "No module named 'echod_has_no_such_module'"),
            ("another_package:Missing", "has no attribute 'Missing'"),
        ):
            said = self.unusable(self.plugin("reverse", Reverse, value))
            self.assertTrue(said.startswith(f"kind 'reverse': {value} cannot be loaded: "), said)
            self.assertIn(why, said)

    def test_that_are_not_services_are_reported(self) -> None:
        for what in (object, "Service", Reverse()):
            self.assertIn("is not a subclass of echod.model.Service", self.unusable(self.plugin("reverse", what)))
        self.assertIn("has the kind 'reverse'", self.unusable(self.plugin("other", Reverse)))
        self.assertIn("has the kind None", self.unusable(self.plugin("other", Nameless)))


def said(replies: list[Reply]) -> tuple[bytes, bool]:
    """The data that a stream's peer reads (its beginning if endless), and whether the stream was closed."""
    whole = b""
    for reply in replies:
        whole += (reply.data or b"") + b"".join(islice(reply.more or (), 2))
        if reply.end is End.CLOSE:
            return whole, True
    return whole, False


class Conversations(SynchronousTestCase):
    """Rules for every built-in kind."""

    @settings(max_examples=50, deadline=None)
    @given(st.binary(min_size=1, max_size=300), st.sets(st.integers(1, 299)), st.integers(0, 2**32))
    def test_do_not_depend_on_the_chunks(self, data: bytes, places: set[int], seed: int) -> None:
        at = [0, *sorted(place for place in places if place < len(data)), len(data)]
        pieces = [data[begin:end] for begin, end in pairwise(at)]
        for name, kind in OURS.items():
            if not kind.streams:
                continue
            answers = []
            for chunks in ([data], pieces):
                context = Context(wall_clock=lambda: 0.0)
                context.random.seed(seed)
                session = kind(context=context).session(PEER, lambda _reply: None)
                answers.append(said([session.opened(), *map(session.received, chunks), session.ended()]))
                session.lost()
            self.assertEqual(answers[0], answers[1], name)

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=2000))
    def test_of_datagrams_are_bytes_or_nothing_and_hold_no_state(self, datagram: bytes) -> None:
        for name, kind in OURS.items():
            if (
                kind.conversational or not kind.datagrams or name == "udpechoplus"
            ):  # a conversation, and counters of replies
                continue
            service = kind(context=Context(wall_clock=lambda: 0.0, wall_clock_ns=lambda: 0))
            service.context.random.seed(7)
            first = service.answer(datagram, PEER)
            service.context.random.seed(7)
            self.assertIsInstance(first, (bytes, type(None)), name)
            self.assertEqual(service.answer(datagram, PEER), first, name)
