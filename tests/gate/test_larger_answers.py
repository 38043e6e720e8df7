"""A reply larger than its request goes only to `larger-answers-to`: test 1 of docs/PROMISES.md.

tests/contract/test_amplification.py has every size for other networks. None of these kinds has a fast path.
"""

from tests.daemon import Daemon
from tests.gate.configurations import asking, configuration, heard, refused

KINDS = ("ack", "daytime", "qotd", "time", "whoami")
LISTED, OTHER = "127.0.1.1", "127.0.2.1"
CONFIG = configuration(
    "auto",
    'ack]\nlisten = ["udp://127.0.0.1:0"]\nshow = "no"',
    *(f'{kind}]\nlisten = ["udp://127.0.0.1:0"]' for kind in KINDS[1:]),
    'chargen]\nlisten = ["udp://127.0.0.1:0"]',
    'chargen-rfc864]\nkind = "chargen"\nrfc864 = true\nlisten = ["udp://127.0.0.1:0"]',
    defaults='larger-answers-to = ["127.0.1.0/24"]',
)
ENOUGH = bytes(1000)  # more bytes than any of these replies
SHORT = (b"", b"?", b"??")


def test_only_listed_networks_get_more_than_they_sent():
    with Daemon(CONFIG) as daemon, asking(daemon, LISTED) as listed, asking(daemon, OTHER) as other:
        for kind in KINDS:
            place = daemon.inet(kind, "udp")
            for question in (*SHORT, ENOUGH):
                listed.sendto(question, place)
                other.sendto(question, place)
            larger = [listed.recv(1000) for _ in (*SHORT, ENOUGH)]
            assert all(len(answer) > 2 for answer in larger), kind
            assert len(other.recv(1000)) < len(ENOUGH), kind
        assert heard(other) == heard(listed) == []

        place = daemon.inet("chargen", "udp")
        for size, expected in ((1, 1), (74, 74), (512, 512), (513, 512)):
            listed.sendto(b"", place)  # never has a reply, from any source
            listed.sendto(bytes(size), place)
            assert len(listed.recv(1000)) == expected

        place = daemon.inet("chargen-rfc864", "udp")
        for _ in range(50):
            other.sendto(bytes(100), place)
            listed.sendto(b"", place)  # the last reply comes after all others
        sizes = [len(listed.recv(1000)) for _ in range(50)]
        assert max(sizes) <= 512
        assert len(set(sizes)) > 10
        no_larger = [len(answer) for answer in heard(other)]
        assert all(size <= 100 for size in no_larger)

        daemon.check()
        figures = daemon.counters()
        for kind in KINDS:
            assert refused(figures[f"{kind} {daemon.url(kind, 'udp')}"]) == {"larger": len(SHORT)}, kind
        last = figures[f"chargen-rfc864 {daemon.url('chargen-rfc864', 'udp')}"]
        assert refused(last) == {"larger": 50 - len(no_larger)}
        assert last["datagrams_out"] == 50 + len(no_larger)
        assert last["bytes_out"] == sum(sizes) + sum(no_larger)
