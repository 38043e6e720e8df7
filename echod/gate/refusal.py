"""The reasons of refusals: counters, events and docs/SECURITY.md use these words."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a connection or a datagram was refused."""

    DENIED = "denied"  #: the access lists
    PROXY = "proxy"  #: the address expects PROXY headers, and the peer is not in `proxy-from`
    HEADER = "header"  #: a datagram without a valid PROXY header, to an address that expects one
    CONNECTIONS = "connections"  #: the service has reached its limit of connections
    PER_CLIENT = "per-client"  #: this client has reached its limit of connections
    NEW_PER_CLIENT = "new-per-client"  #: this client opens connections too fast
    SOURCE_PORT = "source-port"  #: a port whose service replies by itself: a loop, or a reflection
    SOURCE_ADDRESS = "source-address"  #: unspecified, multicast, broadcast, or a host in a form that bypasses lists
    DESTINATION = "destination"  #: sent to many hosts at once, by broadcast or multicast
    RATE = "rate"  #: this network sends too many datagrams
    BYTES = "bytes"  #: replies to this network would have too many bytes
    TOTAL = "total"  #: all networks together send too many datagrams or bytes
    REPEAT = "repeat"  #: the same datagram repeatedly, or text that echod sent: a loop
    LARGER = "larger"  #: the reply would be larger than the request
    CHALLENGED = "challenged"  #: not a member: it was sent a challenge instead
    CONSENT = "consent"  #: output waits: the member has not renewed, and its datagram is smaller
    OUTPUT = "output"  #: output waits: the network of the member has used up its budget
    DELAYED = "delayed"  #: too many datagrams wait for the end of a fault's delay
    NAMELESS = "nameless"  #: a Unix socket without a name: no address for a reply
    TRUNCATED = "truncated"  #: larger than the receive buffer
    SEND = "send"  #: the kernel did not accept the reply
    KERNEL = "kernel"  #: dropped by the kernel: a full receive buffer, or the filter of a flood
    ACCEPT = "accept"  #: accept(2) failed (no descriptors, no memory …)
