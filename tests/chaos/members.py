"""Attacks on the datagram members of a chat: forged joins of echo services, and consent that is not renewed."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

from echod.gate.address_cookies import answer_to, is_challenge
from echod.gate.consent import VALID
from tests.chaos.echo_peers import CHANGES, FAR, NEAR, EchoPeer
from tests.chaos.lab import Lab, Server
from tests.chaos.network import CLIENT4, SERVER4, Network, linked
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.chaos.spoofed_packets import Spoofer

ECHOD, *_ = Subject
NONE = Figure("others", "none of them has members over UDP")
CHAT = """
[defaults]
allow = ["10.99.0.0/16", "127.0.0.0/8"]
[defaults.limits]
rate = "0"
[services.strangers]
kind = "chat"
history = 1000
lines-per-second = 0
room-lines-per-second = 0
listen = ["udp://*:0", "tcp://127.0.0.1:0"]
[services.trusted]
kind = "chat"
lines-per-second = 0
room-lines-per-second = 0
larger-answers-to = ["10.99.0.0/16"]
listen = ["udp://*:0", "tcp://127.0.0.1:0"]
"""


class Person:
    """A member over TCP, which sends a line now and then."""

    def __init__(self, server: Server, service: str) -> None:
        self._socket = socket.create_connection(server.tcp[service], 10)
        self.until(rb"-- welcome: ")

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def say(self, text: bytes) -> bytes:
        """Send a line; returns everything received until the daemon had processed it."""
        self._socket.sendall(text + b"\n/who\n")
        return self.until(rb"-- in \w+: ")

    def until(self, wanted: bytes) -> bytes:
        """Everything received, up to a line that matches this expression."""
        whole = b""
        while not re.search(wanted + rb"[^\n]*\n", whole):
            whole += self._socket.recv(1 << 16) or wanted + b"\n"
        return whole


# 60


def echo_services(lab: Lab) -> Iterator[Figure]:
    """A member sends ten lines a second for five seconds."""
    with linked(lab.network) as client:
        for server in lab.each(ECHOD, services=CHAT):
            for name, delay in (("near", NEAR), ("far", FAR)):
                joined, came = _strangers(server, client, delay)
                repeated = {count: _trusted(server, client, delay, count) for count in (1, 2)}
                text = f"{name} ({delay * 1000:.0f} ms): {joined} of {len(CHANGES)} strangers joined"
                text += f", {many(came, 'datagram')} to each; in a trusted network 1 repeated {repeated[1]} lines"
                text += f", 2 repeated {repeated[2]}"
                kept = not joined and came <= 1 and all(lines <= 2 * count for count, lines in repeated.items())
                yield Figure(server.subject, text, kept, {"joined": joined, "came": came, "repeated": repeated})
    yield NONE


def _strangers(server: Server, client: Network, delay: float) -> tuple[int, int]:
    """How many spoofed echo services join, and the most datagrams that one of them received."""
    with Person(server, "strangers") as person, ExitStack() as stack, client.inside(), Spoofer() as spoofer:
        peers = [stack.enter_context(EchoPeer((CLIENT4, 0), delay, change)) for change in CHANGES.values()]
        for peer in peers:
            spoofer.send(peer.place, (SERVER4, server.udp["strangers"][1]), b"hello, I am forged\n")
        heard = _talk(person)
        return heard.count(b" has joined\n"), max(peer.received for peer in peers)


def _trusted(server: Server, client: Network, delay: float, count: int) -> int:
    """How many lines that many joined echo services repeat."""
    with Person(server, "trusted") as person, ExitStack() as stack, client.inside(), Spoofer() as spoofer:
        peers = [stack.enter_context(EchoPeer((CLIENT4, 0), delay)) for _ in range(count)]
        for peer in peers:
            spoofer.send(peer.place, (SERVER4, server.udp["trusted"][1]), b" " * 20)
        return len(re.findall(rb"(?m)^guest\d+: ", _talk(person)))


def _talk(person: Person) -> bytes:
    heard = b""
    for number in range(50):
        heard += person.say(b"line %d" % number)
        time.sleep(0.1)
    return heard


# 61

SECONDS = 60.0
FORGED = (b"/join cellar", b"/who", b"/help", b"/join lobby", b"hello " * 9)
INTERVAL = 0.025  #: seconds between forged datagrams


class Victim:
    """A member that answers challenges at first, and whose address is spoofed afterwards. It counts payload."""

    def __init__(self, server: Server, answers: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.socket.bind((CLIENT4, 0))
        self.socket.settimeout(10)
        self.socket.connect((SERVER4, server.udp["strangers"][1]))
        self.place: tuple[str, int] = self.socket.getsockname()
        self.sent = self.came = 0
        self.send(b"hello, may I come in?")
        while answers:
            data = self.socket.recv(65_536)
            self.came += len(data)
            if is_challenge(data):
                self.send(answer_to(data) + b"\n")
                answers -= 1
        self.socket.setblocking(False)

    def send(self, data: bytes) -> None:
        """Send, and count the bytes."""
        self.socket.send(data)
        self.sent += len(data)

    def take(self) -> None:
        """Count the received bytes."""
        while True:
            try:
                self.came += len(self.socket.recv(65_536))
            except BlockingIOError:
                return


def unrenewed(lab: Lab) -> Iterator[Figure]:
    """Two members, measured from the end of their consent: one never renews, and one renewed once."""
    with linked(lab.network) as client:
        for server in lab.each(ECHOD, services=CHAT):
            with Person(server, "strangers") as person:
                person.say(b"\n".join(b"line %d %s" % (number, b"x" * 500) for number in range(500)))
                with client.inside():
                    never, once = Victim(server, answers=1), Victim(server, answers=2)
                    joined = time.monotonic()
                    figures = [_forged(server, person, never)]
                    time.sleep(max(0.0, joined + VALID + 1 - time.monotonic()))
                    once.take()
                    once.sent = once.came = 0
                    figures.append(_forged(server, person, once))
            ratios = [came / sent for sent, came in figures]
            text = "; ".join(
                f"{which}: {came:,} bytes to {sent:,} forged ones ({came / sent:.2f}×)"
                for which, (sent, came) in zip(("never renewed", "renewed once"), figures, strict=True)
            )
            yield Figure(server.subject, text, max(ratios) <= 1.0, {"bytes": figures})
    yield NONE


def _forged(server: Server, person: Person, victim: Victim) -> tuple[int, int]:
    """Bytes sent in a member's name and bytes that it received, over SECONDS."""
    ends, number = time.monotonic() + SECONDS, 0
    with Spoofer() as spoofer:
        while time.monotonic() < ends:
            forged = FORGED[number % len(FORGED)]
            spoofer.send(victim.place, (SERVER4, server.udp["strangers"][1]), forged)
            victim.sent += len(forged)
            number += 1
            if number % 10 == 0:
                person.say(b"and another line")
            victim.take()
            time.sleep(INTERVAL)
    time.sleep(0.5)
    victim.take()
    return victim.sent, victim.came


SCENARIOS = (
    Scenario(
        60,
        "forged joins of echo services in a chat, near and far",
        "no stranger joins; in a trusted network each repeats at most 2 lines",
        echo_services,
    ),
    Scenario(
        61,
        "a chat member that does not renew, and 40 forged datagrams a second for 60 s",
        "it receives no more bytes than are sent in its name",
        unrenewed,
    ),
)
