"""An answer larger than its question goes to `larger-answers-to` and to nobody else: test 1 of docs/PROMISES.md.

tests/contract/test_amplification.py has every size for who is not on that list.
"""

import pytest

from tests.daemon import Daemon
from tests.gate.room import asked, asking, configuration, counted, refused

KINDS = ("ack", "daytime", "qotd", "time", "whoami")
LISTED, OTHER = "127.0.1.1", "127.0.2.1"
DEFAULTS = 'larger-answers-to = ["127.0.1.0/24"]'
ENOUGH = bytes(1000)  # octets: more than any of these answers


def serving(plane: str) -> str:
    show = {"ack": 'show = "no"'}
    services = [f'{kind}]\nlisten = ["udp://127.0.0.1:0"]\n{show.get(kind, "")}' for kind in KINDS]
    services.append('plain-chargen]\nkind = "chargen"\nlisten = ["udp://127.0.0.1:0"]')
    services.append('rfc-chargen]\nkind = "chargen"\nrfc864 = true\nlisten = ["udp://127.0.0.1:0"]')
    return configuration(plane, *services, defaults=DEFAULTS)


def test_only_the_listed_get_more_than_they_sent(plane):
    with Daemon(serving(plane)) as daemon:
        for kind in KINDS:
            place = daemon.inet(kind, "udp")
            with asking(daemon, LISTED) as listed, asking(daemon, OTHER) as other:
                short, long = asked(listed, place, b"?"), asked(other, place, ENOUGH)
                assert short is not None, kind
                assert len(short) > 1, kind
                assert long is not None, kind
                assert len(long) < len(ENOUGH), kind
                for question in (b"", b"?", b"??"):
                    assert asked(other, place, question) is None, (kind, question)
        for kind in KINDS:
            assert refused(counted(daemon, kind, "udp")) == {"larger": 3}, kind


def test_chargen_is_never_larger_unless_the_rfc_is_asked_for(plane):
    with Daemon(serving(plane)) as daemon:
        place = daemon.inet("plain-chargen", "udp")
        with asking(daemon, LISTED) as listed:
            for size, expected in ((0, None), (1, 1), (74, 74), (512, 512), (513, 512)):
                answer = asked(listed, place, bytes(size))
                assert (None if answer is None else len(answer)) == expected
        place = daemon.inet("rfc-chargen", "udp")
        with asking(daemon, LISTED) as listed:
            sizes = {len(asked(listed, place, b"") or b"") for _ in range(20)}
            assert max(sizes) <= 512
            assert len(sizes) > 5
        assert not refused(counted(daemon, "rfc-chargen", "udp"))


def test_chargen_of_the_rfc_is_no_larger_for_others(plane):
    with Daemon(serving(plane)) as daemon:
        place = daemon.inet("rfc-chargen", "udp")
        with asking(daemon, OTHER) as other:
            for _ in range(100):
                other.sendto(bytes(100), place)
            other.settimeout(0.5)
            came = []
            with pytest.raises(TimeoutError):
                while True:
                    came.append(len(other.recv(1000)))
        assert all(size <= 100 for size in came)
        figures = counted(daemon, "rfc-chargen", "udp")
        assert refused(figures) == {"larger": 100 - len(came)}
        assert figures["datagrams_out"] == len(came)
        assert figures["bytes_out"] == sum(came)
