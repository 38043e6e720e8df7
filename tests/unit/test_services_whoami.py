"""Whoami: one JSON line with the addresses of both ends."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.model import Arrival, End, Peer, Reply
from echod.services.whoami import Whoami, line
from echod.socket_names import Inet, UnixName, unix_name

_inet = st.builds(Inet, st.one_of(st.ip_addresses().map(str), st.just("fe80::1%eth0")), st.integers(0, 65535))
_unix = st.binary(max_size=108).map(unix_name)


def of_datagram(peer: Peer, **facts: Any) -> bytes:
    replies: list[bytes] = []
    Whoami().datagram(b"", peer, Arrival(**facts), replies.append)
    [said] = replies
    return said


class Lines(SynchronousTestCase):
    def test_have_the_five_parts_of_a_sockets_identity(self) -> None:
        peer = Peer("tcp", Inet("127.0.0.1", 10_011), Inet("::1", 40_000))
        self.assertEqual(
            line(peer),
            b'{"protocol": "tcp", "local_address": "127.0.0.1", "local_port": 10011,'
            b' "remote_address": "::1", "remote_port": 40000}\n',
        )

    def test_have_paths_for_unix_sockets(self) -> None:
        facts = json.loads(line(Peer("unix", UnixName("/run/s"), UnixName(""))))
        self.assertEqual(facts, {"protocol": "unix", "local_path": "/run/s", "remote_path": ""})

    def test_have_the_kernels_metadata_of_a_datagram(self) -> None:
        ends = (Inet("127.0.0.1", 1), Inet("127.0.0.1", 2))
        facts = json.loads(
            of_datagram(Peer("udp", *ends), ttl=64, traffic_class=46 << 2 | 1, received_ns=1_234_567_890)
        )
        self.assertEqual([facts[name] for name in ("ttl", "dscp", "ecn", "received_at")], [64, 46, 1, 1.234568])
        facts = json.loads(of_datagram(Peer("udp", *ends), ttl=0, traffic_class=0, received_ns=0))
        self.assertEqual([facts[name] for name in ("ttl", "dscp", "ecn", "received_at")], [0, 0, 0, 0])

    @settings(max_examples=100, deadline=None)
    @given(
        st.tuples(_inet, _inet) | st.tuples(_unix, _unix),
        st.none() | st.integers(0, 255),
        st.none() | st.integers(0, 255),
        st.none() | st.integers(0, 10**20),
    )
    def test_are_one_line_of_json_in_ascii(
        self, ends: tuple[Inet, Inet] | tuple[UnixName, UnixName], ttl: int | None, octet: int | None, at: int | None
    ) -> None:
        said = of_datagram(Peer("udp", ends[0], ends[1]), ttl=ttl, traffic_class=octet, received_ns=at)
        self.assertTrue(said.endswith(b"\n"))
        self.assertTrue(said[:-1].decode("ascii").isprintable())
        facts = json.loads(said)
        self.assertEqual(
            ("ttl" in facts, "ecn" in facts, "received_at" in facts),
            (ttl is not None, octet is not None, at is not None),
        )


class Saying(SynchronousTestCase):
    def test_streams_get_it_and_the_close_and_datagrams_get_it_too(self) -> None:
        peer = Peer("tcp", Inet("127.0.0.1", 1), Inet("127.0.0.1", 2))
        self.assertEqual(Whoami().session(peer, lambda _reply: None).opened(), Reply(line(peer), end=End.CLOSE))
        self.assertEqual(Whoami().answer(b"", peer), line(peer))
