"""Tests of a Twisted client with trial: the daemon runs on the same reactor. `trial test_with_trial`."""

from twisted.internet import defer, endpoints, protocol, reactor
from twisted.trial.unittest import TestCase

from echod.testing.twisted_daemon import TwistedDaemon


class Asking(protocol.Protocol):
    """The client under test: sends a question, and fires `answer` with the reply."""

    def connectionMade(self):
        self.answer = defer.Deferred()
        self.transport.write(b"hello")

    def dataReceived(self, data):
        self.answer.callback(data)

    def connectionLost(self, reason=protocol.connectionDone):
        if not self.answer.called:
            self.answer.errback(reason)


class ClientTest(TestCase):
    """A daemon for each test; at its end the reactor is clean."""

    def setUp(self):
        self.echod = TwistedDaemon(reactor, "echo=tcp://127.0.0.1:0")
        self.addCleanup(self.echod.stop)
        self.echod.start()

    async def test_the_reply(self):
        endpoint = endpoints.HostnameEndpoint(reactor, *self.echod.address)
        client = await endpoints.connectProtocol(endpoint, Asking())
        self.assertEqual(await client.answer, b"hello")
        self.assertEqual([one.data for one in self.echod.received()], [b"hello"])

    async def test_a_reset(self):
        await self.echod.set_faults(reset_after="2")
        endpoint = endpoints.HostnameEndpoint(reactor, *self.echod.address)
        client = await endpoints.connectProtocol(endpoint, Asking())
        self.assertEqual(await client.answer, b"he")
        await self.echod.wait_until(lambda: not client.transport.connected)
