"""The whole days that a certificate has left: one rule wherever they are counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from echod.client.tls_events import described as line_of
from echod.daemon.certificate_watch import CertificateWatch, ServedCertificate
from echod.daemon.certificate_watch import described as json_of
from echod.tls.certificate_facts import facts_of
from echod.tls.days_left import EXPIRING, days_left
from echod.tls.issuing import LEEWAY, self_signed
from echod.tls.verification import _moment
from tests.daemon import TOP

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("left", "days"),
    [
        (timedelta(days=21), 21),
        (timedelta(days=21) - SECOND, 20),
        (timedelta(hours=23), 0),
        (timedelta(0), 0),
        (-SECOND, -1),
        (-timedelta(days=1), -1),
    ],
    ids=str,
)
def test_days_are_whole_and_rounded_down(left, days):
    assert days_left(NOW + left, NOW) == days


@pytest.mark.parametrize(("hours", "days"), [(1, 20), (23, 20), (25, 19)])
def test_every_output_counts_the_same_days(hours, days):
    one = ServedCertificate("echo", "a.pem", facts_of(self_signed(["a"], NOW + LEEWAY, EXPIRING).certificate))
    now = NOW + timedelta(hours=hours)
    told = []
    watch = CertificateWatch(None, now.timestamp, lambda _, **fields: told.append(fields["days"]))
    watch._served = (one,)
    watch.check()
    assert told == [days]
    assert json_of(one, now)["days_left"] == days
    assert f"({days} days left)" in line_of(one.facts, now)


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        (timedelta(days=2), "in 2 days"),
        (timedelta(days=2) - SECOND, "in 1 day"),
        (timedelta(hours=6), "in less than a day"),
        (-timedelta(hours=18), "less than a day ago"),
        (-timedelta(hours=47), "1 day ago"),
    ],
    ids=str,
)
def test_the_distance_of_a_moment_is_in_whole_days(distance, text):
    assert _moment(NOW + distance, NOW).endswith(f" UTC ({text})")


def test_monitoring_and_the_status_page_have_the_same_threshold():
    rules = (TOP / "etc/monitoring/echod.rules.yml").read_text("utf-8")
    assert f"echod_certificate_expiry_timestamp_seconds - time() < {EXPIRING} * 86400" in rules
    assert f"const EXPIRING = {EXPIRING};" in (TOP / "echod/pages/status.js").read_text("utf-8")
