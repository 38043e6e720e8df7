"""echod.daemon.certificate_watch: warnings before the end of a certificate, and reports of other ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.daemon.certificate_watch import EVERY, CertificateWatch, ServedCertificate, described
from echod.tls.certificate_facts import facts_of
from echod.tls.issuing import LEEWAY, self_signed

DAY = 86_400.0
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def served(days: int, service: str = "echo", name: str = "a.example") -> ServedCertificate:
    """A certificate with so many days left."""
    return ServedCertificate(service, f"/etc/{name}.pem", facts_of(self_signed([name], NOW + LEEWAY, days).certificate))


class Watch(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.watch = CertificateWatch(
            self.clock,
            lambda: NOW.timestamp() + self.clock.seconds(),
            lambda name, **more: self.told.append((name, more)),
        )
        self.addCleanup(self.watch.stop)

    def pass_days(self, days: float) -> list[tuple[str, int]]:
        """Let the time pass in steps of an hour. Returns the events since the last call, with their days."""
        for _ in range(round(days * DAY / EVERY)):
            self.clock.advance(EVERY)
        told, self.told[:] = [(name, fields["days"]) for name, fields in self.told], []
        return told

    def test_a_warning_is_logged_once_a_day_when_fewer_than_21_days_are_left(self) -> None:
        self.watch.update([served(23)])
        self.assertEqual(self.pass_days(2), [])
        self.assertEqual(self.pass_days(2), [("certificate.expiring", 20), ("certificate.expiring", 19)])
        self.pass_days(17)
        self.assertEqual(self.pass_days(4)[-1], ("certificate.expiring", 0))

    def test_a_warning_has_service_file_and_date(self) -> None:
        one = served(3)
        self.watch.update([one, ServedCertificate("web", one.source, one.facts)])
        self.assertEqual(
            self.told,
            [
                (
                    "certificate.expiring",
                    {
                        "services": "echo, web",
                        "source": "/etc/a.example.pem",
                        "subject": "CN=a.example",
                        "until": "2026-11-04 00:00 UTC",
                        "days": 3,
                    },
                )
            ],
        )

    def test_only_other_certificates_are_loaded_and_only_by_a_reload(self) -> None:
        kept, old, new = served(100), served(10, name="b.example"), served(100, name="b.example")
        self.watch.update([kept, old])
        self.assertEqual(self.pass_days(0), [("certificate.expiring", 10)])
        self.watch.update([kept, new])
        self.assertEqual(self.pass_days(2), [("certificate.loaded", 100)])
        self.watch.update([kept, new])
        self.watch.update([])
        self.assertEqual(self.pass_days(200), [])

    def test_a_reload_does_not_repeat_a_warning(self) -> None:
        one = served(10)
        for _ in range(3):
            self.watch.update([one])
        self.assertEqual(len(self.told), 1)

    def test_a_step_of_the_wall_clock_back_does_not_silence_warnings(self) -> None:
        self.watch.update([served(10)])
        self.watch._wall_clock = lambda: NOW.timestamp() - 365 * DAY
        self.watch.check()
        self.watch._wall_clock = lambda: NOW.timestamp() + DAY
        self.watch.check()
        self.assertEqual(len(self.told), 2)

    def test_after_the_stop_nothing_is_scheduled(self) -> None:
        self.watch.stop()
        self.watch.update([served(10)])
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


def test_the_json_of_a_certificate():
    told = described(served(10), NOW)
    assert told["names"] == ["a.example"]
    assert (told["until"], told["days_left"]) == ("2026-11-11T00:00:00+00:00", 10)
    assert set(told) == {
        *("source", "subject", "issuer", "names", "since", "until", "days_left", "serial", "sha256", "on_purpose"),
    }
