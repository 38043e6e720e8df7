"""Datagram services that reply several times, or later."""

from ipaddress import ip_network

from twisted.internet.task import Clock

from echod.gate.access import Access
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits
from echod.gate.refusal import Refusal
from echod.model import PLAIN, Peer, Service
from echod.socket_names import Inet
from echod.transports.datagram import ServiceDatagrams

PEER = Peer("udp", Inet("127.0.0.1", 7), Inet("192.0.2.1", 40_000))
HOST = bytes([192, 0, 2, 1])


class Several(Service):
    """Replies with each word of the request, and once more when the test asks for it."""

    kind = "several"
    summary = "for a test"

    def __init__(self):
        super().__init__()
        self.later = []

    def datagram(self, request, peer, arrival, reply):
        for word in request.split():
            reply(word)
        self.later.append(reply)


def served(request, larger=(), send=None):
    everybody = Access([ip_network("0.0.0.0/0")])
    gate = DatagramGate(everybody, Limits(), Clock().seconds, larger_answers_to=Access(map(ip_network, larger)))
    sent = []
    datagrams = ServiceDatagrams(Several(), gate=gate)
    assert datagrams.admits(request, HOST, 40_000)
    datagrams.serve(request, PEER, PLAIN, HOST, send or sent.append)
    return datagrams, sent


def test_a_trusted_peer_receives_each_reply_and_later_ones():
    datagrams, sent = served(b"one two three", larger=["192.0.2.0/24"])
    datagrams.service.later[0](b"a later reply, and a long one")
    assert sent == [b"one", b"two", b"three", b"a later reply, and a long one"]
    assert datagrams.counters.figures() == {
        "datagrams_in": 1,
        "bytes_in": 13,
        "datagrams_out": 4,
        "bytes_out": sum(map(len, sent)),
    }


def test_another_peer_receives_no_more_bytes_than_it_sent():
    datagrams, sent = served(b"one two three")
    datagrams.service.later[0](b"x")
    assert sent == [b"one"]
    assert datagrams.counters.refused == {Refusal.LARGER: 3}


def test_a_reply_that_cannot_be_sent_is_counted():
    datagrams, _ = served(b"one", send=lambda _data: OSError(1, "no"))
    assert datagrams.counters.figures() == {"datagrams_in": 1, "bytes_in": 3, "refused:send": 1}
