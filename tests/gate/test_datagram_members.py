"""Members of chat and console over UDP: echo services, spoofed sources, and peers that have gone."""

from __future__ import annotations

import re
import socket
import time

import pytest

from echod.gate.address_cookies import LENGTH, answer_to, is_challenge
from echod.gate.consent import VALID
from tests.chaos.echo_peers import CHANGES, FAR, NEAR, EchoPeer
from tests.chaos.network import CLIENT4, CLIENT6, SERVER4, SERVER6
from tests.chaos.spoofed_packets import Spoofer
from tests.daemon import ECHOCTL, SECONDS, Daemon, eventually, run

# Fixed ports in a private network: a port that the kernel chose could also be a client's, which would be refused.
UNLIMITED = """
[defaults]
allow = ["10.99.0.0/16", "fd00:99::/64", "127.0.0.0/8"]
larger-answers-to = [{larger}]
[defaults.limits]
rate = "0"
[services.chat]
history = 1000
lines-per-second = 0
room-lines-per-second = 0
listen = ["udp://*:10012", "tcp://127.0.0.1:0"]
[services.console]
away = "away for lunch, and this is longer than what a stranger sent"
listen = ["udp://*:10014"]
"""
STRANGERS = UNLIMITED.replace("{larger}", "")
TRUSTED = UNLIMITED.replace("{larger}", '"10.99.0.0/16"')
HOW_FAR = {"near": NEAR, "far": FAR}


def figures(daemon, service, scheme="udp"):
    """The counters of a service's address."""
    [found] = [one for name, one in daemon.counters().items() if name.startswith(service) and f"{scheme}:" in name]
    return found


def port_of(daemon, service="chat"):
    return int(daemon.url(service, "udp").rpartition(":")[2])


def until(client, last):
    """Everything received on a stream, up to a line that matches this expression."""
    whole = b""
    while not re.search(last + rb"[^\n]*\n", whole):
        piece = client.recv(1 << 16)
        assert piece, whole[-200:]
        whole += piece
    return whole


class Remote:
    """A peer in the client's network. It counts bytes, and answers challenges as often as `answers` says."""

    def __init__(self, two, daemon, service="chat", host=CLIENT4, server=SERVER4):
        with two.client.inside():
            self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(SECONDS)
        self.socket.bind((host, 0))
        self.socket.connect((server, port_of(daemon, service)))
        self.sent = self.came = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.sent += len(data)
        self.socket.send(data)

    def hear(self):
        data = self.socket.recv(65_536)
        self.came += len(data)
        return data

    def join(self):
        self.send(b"hello, may I come in?")
        self.send(answer_to(self.hear()) + b"\n")

    def renew(self):
        while not is_challenge(challenge := self.hear()):
            pass
        self.send(answer_to(challenge) + b"\n")

    def drain(self):
        """Receive everything that is in flight: the daemon replies to the peer's own last datagram in order."""
        self.socket.settimeout(0.3)
        try:
            while True:
                self.hear()
        except TimeoutError:
            self.socket.settimeout(SECONDS)


@pytest.mark.parametrize("service", ["chat", "console"])
@pytest.mark.parametrize("delay", HOW_FAR)
def test_a_spoofed_datagram_does_not_make_an_echo_service_a_member(two, service, delay):
    with Daemon(STRANGERS) as daemon, two.client.inside():
        peers = {name: EchoPeer((CLIENT4, 0), HOW_FAR[delay], change) for name, change in CHANGES.items()}
        try:
            with Spoofer() as spoofer:
                for peer in peers.values():
                    spoofer.send(peer.place, (SERVER4, port_of(daemon, service)), b"hello, I am forged\n")
            assert eventually(lambda: all(peer.received for peer in peers.values()))
            time.sleep(10 * HOW_FAR[delay])
            assert {name: peer.received for name, peer in peers.items()} == dict.fromkeys(CHANGES, 1)
        finally:
            for peer in peers.values():
                peer.close()
        found = figures(daemon, service)
        assert "accepted" not in found
        assert found["bytes_out"] == LENGTH * len(CHANGES)
        daemon.check()


@pytest.mark.parametrize("delay", HOW_FAR)
@pytest.mark.parametrize("count", [1, 2])
def test_an_echo_service_in_a_trusted_network_repeats_two_lines_at_most(two, delay, count):
    with Daemon(TRUSTED) as daemon, socket.create_connection(daemon.inet("chat", "tcp"), SECONDS) as person:
        until(person, b"-- welcome: ")
        with two.client.inside(), Spoofer() as spoofer:
            peers = [EchoPeer((CLIENT4, 0), HOW_FAR[delay]) for _ in range(count)]
            for peer in peers:
                spoofer.send(peer.place, (SERVER4, port_of(daemon)), b" " * 20)
        heard = until(person, b"-- guest%d has joined" % (1 + count))
        try:
            number = 0
            ends = time.monotonic() + SECONDS
            while b"-- in lobby: guest1\n" not in heard:
                assert time.monotonic() < ends, heard[-500:]
                person.sendall(b"line %d\n/who\n" % number)
                heard += until(person, b"-- in lobby: ")
                number += 1
                time.sleep(2 * HOW_FAR[delay])
            assert heard.count(b" has left\n") == count
            person.sendall(b"".join(b"line %d\n" % number for number in range(100)) + b"/who\n")
            heard += until(person, b"-- in lobby: guest1(?=\n)")
            assert all(peer.received < number + 10 for peer in peers)  # none of the 100 lines
        finally:
            for peer in peers:
                peer.close()
        repeated = [line for line in heard.split(b"\n") if re.match(rb"guest[23]: ", line)]
        assert len(repeated) <= 2 * count, repeated
        assert figures(daemon, "chat")["closed:echo"] == count
        daemon.check()


def test_a_member_that_never_renews_receives_no_more_than_it_sends(two):
    with Daemon(STRANGERS) as daemon, Remote(two, daemon) as victim:
        with socket.create_connection(daemon.inet("chat", "tcp"), SECONDS) as person:
            person.sendall(b"".join(b"line %d %s\n" % (number, b"x" * 500) for number in range(500)))
            person.sendall(b"/who\n")
            until(person, b"-- in lobby: guest1(?=\n)")
            victim.join()
            with two.client.inside(), Spoofer() as spoofer:
                source = victim.socket.getsockname()
                for number in range(500):
                    forged = (b"/join room%d" % (number % 3), b"/who", b"/help", b"/join lobby", b"hello " * 9)[
                        number % 5
                    ]
                    spoofer.send(source, (SERVER4, port_of(daemon)), forged)
                    victim.sent += len(forged)
            with Remote(two, daemon) as other:  # its challenge is after the replies to all forged datagrams
                other.send(b"hello, may I come in?")
                other.hear()
            person.sendall(b"and more\n" * 100 + b"/who\n")
            until(person, b"-- in lobby: ")
        found = figures(daemon, "chat")
        victim.drain()
        assert 0 < victim.came <= victim.sent
        assert found["refused:consent"] > 100
        assert found["bytes_out"] == victim.came + other.came
        daemon.check()


def test_consent_expires_after_thirty_seconds_and_an_answer_renews_it(two):
    with Daemon(STRANGERS) as daemon, Remote(two, daemon) as member:
        with socket.create_connection(daemon.inet("chat", "tcp"), SECONDS) as person:
            member.join()
            member.renew()
            assert member.hear().startswith(b"-- welcome: ")
            renewed = time.monotonic()
            person.sendall(b"can you read me?\n")
            assert member.hear().endswith(b": can you read me?\n")
            while time.monotonic() - renewed < VALID + 1:
                time.sleep(0.5)
            member.drain()  # the challenges without an answer
            member.sent = member.came = 0
            person.sendall(b"and now?\n" * 50)
            member.drain()
            assert member.came == 0
            member.send(b"I do not answer")
            challenge = member.hear()
            assert member.came <= member.sent
            member.send(answer_to(challenge))
            assert member.hear().endswith(b": and now?\n")
        daemon.check()


@pytest.mark.parametrize(("host", "server"), [(CLIENT4, SERVER4), (CLIENT6, SERVER6)])
def test_a_port_that_is_unreachable_ends_the_membership_and_no_other(two, host, server):
    with (
        Daemon(STRANGERS) as daemon,
        Remote(two, daemon, host=host, server=server) as stays,
        socket.create_connection(daemon.inet("chat", "tcp"), SECONDS) as person,
    ):
        for member in (stays, gone := Remote(two, daemon, host=host, server=server)):
            member.join()
            member.renew()
            assert member.hear().startswith(b"-- welcome: ")
        until(person, b"-- guest3 has joined")
        gone.socket.close()
        person.sendall(b"1\n")
        until(person, b"-- guest3 has left")
        person.sendall(b"still here?\n")
        while not stays.hear().endswith(b"still here?\n"):
            pass
        stays.send(b"yes")
        until(person, b": yes")
        found = figures(daemon, "chat")
        assert (found["closed:lost"], found["closed:done"]) == (1, 1)
        assert "refused:send" not in found
        daemon.check()


def test_a_person_joins_by_hand(two):
    with Daemon(STRANGERS) as daemon, Remote(two, daemon) as person:
        person.send(b"hello, may I come in?\n")
        for _ in range(2):
            letters, digits = person.hear().decode().split("<>")
            person.send(f"{digits} {letters}\n".encode())
        assert person.hear().startswith(b"-- welcome: you are guest1")
        person.send(b"/quit\n")
        assert person.hear() == b"-- goodbye\n"


def test_echoctl_talk_answers_challenges_and_sends_its_first_lines_again(two):
    with Daemon(STRANGERS) as daemon:
        url = f"udp://{SERVER4}:{port_of(daemon, 'console')}"
        with two.client.inside():
            ended = run(*ECHOCTL, "talk", url, input=b"hello, operators?\n")
        assert b"away for lunch" in ended.stdout, ended
        assert b"<>" not in ended.stdout
        daemon.check()
