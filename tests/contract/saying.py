"""Services that send the same over streams and datagrams: `said` is the output, and each class here tests it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

BETWEEN = 2_208_988_800  #: seconds from 1900 to 1970 (RFC 868)


class Said:
    """A source of the output, which differs by transport."""

    def said(self) -> bytes:
        raise NotImplementedError


class TheTime(Said):
    def test_the_output_is_the_time(self) -> None:
        before = int(time.time())
        said = self.said()
        assert len(said) == 4
        assert before <= int.from_bytes(said, "big") - BETWEEN <= time.time()


class TheDate(Said):
    def test_the_output_is_the_date(self) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        said = datetime.strptime(self.said().decode("ascii"), "%A, %B %d, %Y %H:%M:%S-%Z\r\n").replace(tzinfo=UTC)
        assert before <= said <= datetime.now(UTC)


class AQuotation(Said):
    def test_the_output_is_a_quotation(self) -> None:
        said = self.said()
        assert len(said) <= 512
        assert re.fullmatch(rb"([\x20-\x7e]+\r\n)+", said)
