"""The whole days until a certificate expires, by one rule for the log, the admin interface and the client. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

DAY: Final = timedelta(days=1)
EXPIRING: Final = 21
"""A certificate with fewer days left is a problem. certbot renews 30 days before the end, so a warning means that a
renewal has failed for nine days. `etc/monitoring` has the same number."""


def days_left(until: datetime, now: datetime) -> int:
    """The whole days from `now` to `until`, rounded down: 0 on the last day, negative when the certificate has expired.

    Therefore `days_left(…) < n` is true exactly if fewer than n times 24 hours are left.
    """
    return (until - now) // DAY
