"""echod.daemon.refusal_watch: events when a limit refuses clients, and how often."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.config.settings import Admin, Configuration, Daemon, ServiceConfig
from echod.daemon.refusal_settings import KEYS
from echod.daemon.refusal_watch import AGAIN_AFTER, LIMITS, RefusalWatch
from echod.event_catalogue import CATALOGUE
from echod.events import Counters
from echod.gate.refusal import Refusal
from echod.model import NoOptions
from echod.services.echo import Echo

CONFIGURATION = Configuration(
    Daemon(),
    (ServiceConfig("echo", Echo, NoOptions(), ()), ServiceConfig("other", Echo, NoOptions(), ())),
    Admin(),
    origins={"services.echo.limits.rate": (Path("/etc/echod.toml"),)},
)


class Watch(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[dict[str, Any]] = []
        self.counters = {("echo", "tcp"): Counters(), ("echo", "udp"): Counters(), ("other", "tcp"): Counters()}
        self.watch = RefusalWatch(self.clock.seconds, self.tell)

    def tell(self, name: str, **fields: Any) -> None:
        self.assertIsNone(CATALOGUE[name].mismatch(fields))
        self.told.append(fields)

    def refuse(self, reason: Refusal, count: int = 1, address: tuple[str, str] = ("echo", "tcp")) -> None:
        self.counters[address].refuse(reason, count)

    def check(self, seconds: float = 0.0) -> list[tuple[str, str, int]]:
        """Let time pass and check. Returns service, reason and number of each event."""
        self.clock.advance(seconds)
        self.watch.check(CONFIGURATION, self.counters)
        found, self.told = [(one["service"], one["reason"], one["refused"]) for one in self.told], []
        return found

    def test_nothing_refused_is_no_event(self) -> None:
        self.assertEqual(self.check(), [])

    def test_the_first_refusal_is_reported_at_once_and_then_the_rest_after_a_minute(self) -> None:
        self.refuse(Refusal.CONNECTIONS, 3)
        self.assertEqual(self.check(), [("echo", "connections", 3)])
        self.refuse(Refusal.CONNECTIONS, 4)
        self.assertEqual(self.check(AGAIN_AFTER - 1), [])
        self.refuse(Refusal.CONNECTIONS, 5)
        self.assertEqual(self.check(1), [("echo", "connections", 9)])
        self.assertEqual(self.check(AGAIN_AFTER), [])

    def test_the_addresses_of_a_service_are_one_and_services_are_separate(self) -> None:
        self.refuse(Refusal.RATE, 2)
        self.refuse(Refusal.RATE, 5, ("echo", "udp"))
        self.refuse(Refusal.RATE, 1, ("other", "tcp"))
        self.assertEqual(self.check(), [("echo", "rate", 7), ("other", "rate", 1)])

    def test_the_event_names_the_limit_and_its_file(self) -> None:
        self.refuse(Refusal.RATE)
        self.refuse(Refusal.PER_CLIENT)
        self.watch.check(CONFIGURATION, self.counters)
        settings = {one["reason"]: one["setting"] for one in self.told}
        self.assertRegex(settings["rate"], r"^\[services.echo.limits\] rate = .+ in /etc/echod.toml$")
        self.assertRegex(settings["per-client"], r"^\[services.echo.limits\] per-client = \d+$")

    def test_refusals_before_a_change_of_the_limit_do_not_name_the_new_one(self) -> None:
        """An administrator who has raised a limit must not read that the new one refuses clients."""
        self.refuse(Refusal.PER_CLIENT, 3)
        self.check()
        self.refuse(Refusal.PER_CLIENT, 50)
        echo = CONFIGURATION.services[0]
        raised = replace(CONFIGURATION, services=(replace(echo, limits=replace(echo.limits, per_client=9_999)),))
        for _ in range(3):
            self.clock.advance(AGAIN_AFTER)
            self.watch.check(raised, self.counters)
        self.assertEqual(self.told, [])
        self.refuse(Refusal.PER_CLIENT, 2)
        self.watch.check(raised, self.counters)
        [event] = self.told
        self.assertEqual(event["refused"], 2)
        self.assertIn("per-client = 9999", event["setting"])

    def test_only_limits_are_reported(self) -> None:
        for reason in Refusal:
            self.refuse(reason)
        self.assertEqual({reason for _, reason, _ in self.check()}, {str(reason) for reason in LIMITS})
        self.assertEqual({KEYS[reason].partition(".")[0] for reason in LIMITS}, {"limits"})

    def test_counters_of_a_closed_address_may_disappear(self) -> None:
        self.refuse(Refusal.RATE, 9)
        self.refuse(Refusal.RATE, 2, ("echo", "udp"))
        self.check()
        del self.counters["echo", "tcp"]
        self.assertEqual(self.check(AGAIN_AFTER), [])
        self.refuse(Refusal.RATE, 1, ("echo", "udp"))
        self.assertEqual(self.check(AGAIN_AFTER), [("echo", "rate", 1)])
