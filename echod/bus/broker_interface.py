"""The interface of a broker: a channel of an existing server, whose messages reach all its clients in one order."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred


class BrokerClient(Protocol):
    """The callbacks of a broker. They are called by the reactor, never within a call of the broker."""

    def say(self, level: str, text: str) -> object:
        """Write a line to the log."""

    def opened(self) -> None:
        """A connection is open, and gets all messages from now on."""

    def received(self, message: bytes) -> int:
        """A message of any client, also of this one. Returns its cost in units of work (`gate.work_budget`)."""

    def closed(self, reason: str) -> None:
        """The connection is lost. Sent messages may have reached other clients, and will not return."""


class Broker(Protocol):
    """One connection at a time; a lost one is replaced, with back-off."""

    ended: Deferred[None]
    published: int  #: messages that were sent
    arrived: int  #: messages that were received, also those of this client
    outages: int  #: connections that were lost

    def start(self, client: BrokerClient) -> None:
        """Connect, and connect again after each loss."""

    def publish(self, message: bytes) -> None:
        """Send a message to all clients, this one too, if a connection is open. It never waits."""

    def drop(self, reason: str) -> None:
        """Close the connection, and connect again. `closed` is not called."""

    def stop(self) -> None:
        """Send what waits, and close for good. `ended` fires when that is done."""
