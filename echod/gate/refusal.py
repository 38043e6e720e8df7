"""The closed vocabulary of why something was refused: counters, events and docs/SECURITY.md use these words."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a connection or a datagram got no service."""

    DENIED = "denied"  #: the access lists
    CONNECTIONS = "connections"  #: the service has all the connections it may have
    PER_CLIENT = "per-client"  #: this client has all the connections it may have
    NEW_PER_CLIENT = "new-per-client"  #: this client opens connections too fast
    SOURCE_PORT = "source-port"  #: a port that answers by itself: a loop, or a reflection
    SOURCE_ADDRESS = "source-address"  #: nobody's address, everybody's, or another host's in disguise
    DESTINATION = "destination"  #: asked of many hosts at once, by broadcast or multicast
    RATE = "rate"  #: this network sends too many datagrams
    BYTES = "bytes"  #: this network asks for too many bytes
    TOTAL = "total"  #: all networks together do
    REPEAT = "repeat"  #: the same datagram again and again, or our own text: a loop
    LARGER = "larger"  #: the answer would be larger than the question
    CHALLENGED = "challenged"  #: not a member: it was sent a challenge instead
    CONSENT = "consent"  #: output waits: the member has not renewed, and its datagram is smaller
    OUTPUT = "output"  #: output waits: the network of the member has used up its budget
    NAMELESS = "nameless"  #: a Unix socket without a name: there is nobody to answer
    TRUNCATED = "truncated"  #: larger than any datagram that is taken whole
    SEND = "send"  #: the kernel did not take the answer
    KERNEL = "kernel"  #: dropped before we saw it: a full receive buffer, or the filter of a flood
    ACCEPT = "accept"  #: the kernel could not hand the connection over (no descriptors, no memory …)
