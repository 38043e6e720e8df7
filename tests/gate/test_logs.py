"""A log that cannot be written loses lines, and delays no client: test 35 of docs/PROMISES.md."""

import re

import pytest

from tests.chaos.connect_burst import Crowd, Fate
from tests.chaos.logs import TARGETS, logging_to
from tests.chaos.report import Subject
from tests.daemon import SECONDS, eventually

CLIENTS, ROUNDS = 200, 5  #: two lines each: far more than 64 KiB


@pytest.mark.parametrize("subject", [Subject.ECHOD, Subject.PLAIN], ids=["auto", "off"])
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.needs_root if "disk" in kind else ()) for kind in TARGETS]
)
def test_every_client_is_served(kind, subject):
    with TARGETS[kind]() as target, logging_to(target, subject) as (place, process):
        for _ in range(ROUNDS):
            with Crowd(place, CLIENTS) as crowd:
                assert crowd.wait(SECONDS) == {Fate.SERVED: CLIENTS}
        target.relieve()
        process.terminate()

        def over() -> bool:
            target.last()  # or the daemon might wait for the reader
            return process.poll() is not None

        assert eventually(over)
        assert process.returncode == 0
        counted = re.search(r"(\d+) lines could not be written", target.last())
        if "disk" in kind:
            assert counted
            assert 0 < int(counted[1]) <= 2 * CLIENTS * ROUNDS
