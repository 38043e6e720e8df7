"""TLS that misbehaves on purpose: what a client of Python's ssl, and a reader of records, get for each word."""

from __future__ import annotations

import ssl

import pytest
from twisted.internet.task import Clock

from echod.socket_names import Inet
from echod.tls import hello_messages as hello
from echod.tls.transcript import HELLO_RETRY_REQUEST
from echod.transports.layers.fault_injection import FaultInjected
from echod.transports.layers.layer_interface import Facts, HandshakeTimeout
from echod.transports.layers.tls_faults import TEXT, TINY, FaultyTls
from tests.tls import V12, V13, client_context, server_contexts
from tests.unit.test_transports_tls import Top
from tests.wire import Wire

SECONDS = 10.0
DATA = 23  #: the type of records with data


class Exchange:
    """A client of Python's ssl and a layer with one fault; `error` is what the client reports."""

    def __init__(self, word, version=V13, *, context=None):
        self.clock, self.top = Clock(), Top(echo=True)
        self.wire = Wire(Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000)))
        self.layer = FaultyTls(lambda: self.top, self.clock, SECONDS, server_contexts(), choose_fault=self.choose)
        self.wire.receiver = self.layer
        self.to_client, self.to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context(version)).wrap_bio(
            self.to_client, self.to_server, server_hostname="localhost"
        )
        self.delivered, self.error, self.done = 0, None, False
        self.word, self.asked = word, []
        self.layer.begin(self.wire)

    def choose(self, facts, name):
        self.asked.append((facts, name))
        return self.word

    @property
    def reason(self):
        return getattr(self.error, "reason", None)

    def run(self, call):
        """The result of a call of the client, which may need several turns; None after an error or a stall."""
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                self.error = error
                self._carry()
                return None
            if not self._carry():
                return None

    def _carry(self):
        """Deliver everything. Returns whether anything moved."""
        sent = self.to_server.read()
        if sent and self.wire.ended != "reset":
            self.layer.received(sent)
        came = self.wire.sent[self.delivered :]
        self.delivered += len(came)
        self.to_client.write(came)
        return bool(sent or came)

    def shake(self):
        self.run(self.tls.do_handshake)
        return self


def records(data):
    """The type and the length of each record."""
    at = 0
    while at + 5 <= len(data):
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        yield data[at], size
        at += 5 + size


@pytest.fixture(params=[V12, V13], ids=["1.2", "1.3"])
def version(request):
    return request.param


def test_without_a_fault_it_is_tls(version):
    exchange = Exchange(None, version).shake()
    assert exchange.asked == [(exchange.wire.facts, "localhost")]
    exchange.tls.write(b"hello")
    assert exchange.run(lambda: exchange.tls.read(100)) == b"hello"


def test_a_stall_lasts_until_the_time_limit(version):
    exchange = Exchange("stall", version).shake()
    assert (exchange.wire.sent, exchange.wire.ended, exchange.error) == (b"", "", None)
    exchange.clock.advance(SECONDS)
    assert exchange.wire.ended == "reset"
    assert isinstance(exchange.wire.facts.error, HandshakeTimeout)


def test_an_alert_ends_the_handshake(version):
    exchange = Exchange("alert", version).shake()
    assert "ALERT_HANDSHAKE_FAILURE" in exchange.reason
    assert exchange.wire.ended == "closed"
    assert not exchange.clock.getDelayedCalls()


def test_a_reset_follows_the_client_hello(version):
    exchange = Exchange("reset", version).shake()
    assert (exchange.wire.sent, exchange.wire.ended) == (b"", "reset")
    assert isinstance(exchange.wire.facts.error, FaultInjected)


def test_text_instead_of_tls(version):
    exchange = Exchange("plaintext", version).shake()
    assert exchange.wire.sent == TEXT
    assert exchange.reason == "WRONG_VERSION_NUMBER"


def test_an_old_version_is_refused_by_a_client_of_today(version):
    exchange = Exchange("old-version", version).shake()
    assert exchange.reason in ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW")
    assert exchange.wire.sent[9:11] == b"\x03\x01" or exchange.wire.sent[1:3] in (b"\x03\x01", b"\x03\x02")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_version_is_complete_for_an_old_client():
    context = client_context(V12)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    exchange = Exchange("old-version", context=context).shake()
    assert exchange.error is None
    exchange.tls.write(b"hello")
    assert (exchange.tls.version(), exchange.run(lambda: exchange.tls.read(100))) == ("TLSv1.1", b"hello")


def test_renegotiation_information_is_missing():
    context = client_context(V12)
    context.maximum_version = V13
    exchange = Exchange("no-renegotiation-info", context=context).shake()
    assert exchange.reason == "UNSAFE_LEGACY_RENEGOTIATION_DISABLED"
    assert extensions(exchange.wire.sent) == extensions(served(V12)) - {hello.RENEGOTIATION_INFO}


def test_grease_is_an_extension_that_no_client_offers(version):
    exchange = Exchange("grease", version).shake()
    assert extensions(exchange.wire.sent) == extensions(served(version)) | {hello.GREASE}
    assert exchange.error is not None


def served(version):
    """The bytes of a server without a fault."""
    return Exchange(None, version).shake().wire.sent


def extensions(flight):
    """The numbers of the extensions of the ServerHello, which a request for another ClientHello may precede."""
    while flight[11:43] == HELLO_RETRY_REQUEST:  # and a record of middlebox compatibility, ChangeCipherSpec
        for _ in range(2):
            flight = flight[5 + int.from_bytes(flight[3:5], "big") :]
    assert flight[5] == hello.SERVER_HELLO
    end = 9 + int.from_bytes(flight[6:9], "big")
    at = 43 + 1 + flight[43] + 3
    return {number for number, _ in hello._extensions(flight[at + 2 : end])}


def test_every_record_has_one_byte(version):
    exchange = Exchange("tiny-records", version).shake()
    assert exchange.error is None
    clear = [size for kind, size in records(exchange.wire.sent) if kind == hello.HANDSHAKE]
    assert set(clear[:-1]) == {1}  # the last one is encrypted in TLS 1.2
    assert len(clear) > 100
    before = len(exchange.wire.sent)
    sent = bytes(range(256)) * 32
    exchange.tls.write(sent)
    came = b""
    while len(came) < len(sent):
        came += exchange.run(lambda: exchange.tls.read(len(sent)))
    assert came == sent
    sizes = [size for kind, size in records(exchange.wire.sent[before:]) if kind == DATA]
    assert sizes.count(min(sizes)) == TINY
    assert max(sizes) > len(sent) - TINY


def test_the_end_has_no_close_notify(version):
    exchange = Exchange("no-close-notify", version).shake()
    exchange.tls.write(b"hello")
    assert exchange.run(lambda: exchange.tls.read(100)) == b"hello"
    before = len(exchange.wire.sent)
    exchange.layer.close()
    assert (exchange.wire.ended, exchange.wire.sent[before:]) == ("closed", b"")


def test_a_flight_without_a_server_hello_is_not_changed():
    flight = served(V13)
    assert hello.with_extensions(flight, dict)[0] == flight
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    assert hello.with_extensions(alert, lambda _: {1: b""}) == (alert, False)
