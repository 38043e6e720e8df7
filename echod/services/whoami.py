"""Whoami: sends a client the addresses of both ends of its socket."""

from __future__ import annotations

import json
from collections.abc import Callable

from echod.model import Arrival, Peer, Say, Service, Session
from echod.services.single_reply import Once
from echod.socket_names import Inet, SocketAddress


def line(peer: Peer, arrival: Arrival | None = None) -> bytes:
    """The protocol and the addresses of a socket as one line of JSON, with the facts of a datagram and of layers."""
    facts: dict[str, object] = {"protocol": peer.scheme, **_end("local", peer.local), **_end("remote", peer.remote)}
    if arrival is not None and arrival.ttl is not None:
        facts["ttl"] = arrival.ttl
    if arrival is not None and arrival.traffic_class is not None:
        facts["dscp"] = arrival.traffic_class >> 2  # RFC 2474 3
        facts["ecn"] = arrival.traffic_class & 3  # RFC 3168 5
    if arrival is not None and arrival.received_ns is not None:
        facts["received_at"] = round(arrival.received_ns / 1e9, 6)
    return json.dumps({**facts, **peer.learned}).encode("ascii") + b"\n"


def _end(which: str, name: SocketAddress) -> dict[str, object]:
    if isinstance(name, Inet):
        return {f"{which}_address": name.host, f"{which}_port": name.port}
    return {f"{which}_path": name.path}


class Whoami(Service):
    """Sends one line and closes. The line for a datagram also has TTL, DSCP, ECN and the time of arrival."""

    kind = "whoami"
    summary = "sends the addresses of both ends of the socket as a line of JSON"

    def session(self, peer: Peer, say: Say) -> Session:
        return Once(line(peer))

    def datagram(self, request: bytes, peer: Peer, arrival: Arrival, reply: Callable[[bytes], object]) -> None:
        reply(line(peer, arrival))

    def answer(self, datagram: bytes, peer: Peer) -> bytes:
        return line(peer)
