"""Datagrams with a PROXY header of version 2 each: the client that it names is served, and the reply goes to the proxy.

A reply has no header, as dnsdist, BIND and go-mmproxy expect it: the proxy knows its client by the socket that it sent
from. Rules for the gate (docs/SECURITY.md):

* The peer of the socket must be one of `proxies`, and its port must not be one that replies by itself.
* Lists, rates and the loop guard apply to the named client. The size of a request is that of its payload.
* A reply may be larger than that only if both the client and the proxy may get a larger one.
* LOCAL and UNSPEC name no client; the first rule and the rates apply to the proxy. Its address can be forged.
"""

from __future__ import annotations

from typing import Any

from echod.gate.access import Access, canonical, in_disguise, packed_address
from echod.gate.datagram_member_gate import is_local
from echod.gate.refusal import Refusal
from echod.model import Arrival, Peer
from echod.socket_names import Inet
from echod.transports.datagram import Send, ServiceDatagrams
from echod.transports.layers.proxy import NAME, facts_of
from echod.transports.layers.proxy_header import Header, HeaderError, parse


class ProxiedDatagrams(ServiceDatagrams):
    """Serves the clients of `proxies`. A port calls `admits`, and then `serve` for the same datagram."""

    proxied = True

    def __init__(self, *arguments: Any, proxies: Access, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.proxies = proxies
        self._header: Header  # of the last datagram that was admitted

    def admits(self, datagram: bytes, host: bytes, port: int, refusal: Refusal | None = None) -> bool:
        """As ServiceDatagrams, for the client that the header names."""
        header = None
        if refusal is None:
            refusal = self._refusal_of_proxy(host, port)
        if refusal is None:
            try:
                header = parse(datagram, "v2", datagrams=True)
            except HeaderError:
                pass
        if header is None:
            return super().admits(datagram, host, port, refusal or Refusal.HEADER)
        self._header, client = header, header.source
        payload = datagram[header.size :]
        if not isinstance(client, Inet):  # the proxy itself, which `proxies` has admitted
            if self.gate is not None:
                loopback = self.on_loopback(host)
                refusal = self.gate.admit_permitted(canonical(host), port, payload, loopback=loopback)
            return super().admits(payload, b"", 0, refusal)
        return super().admits(payload, packed_address(client.host), client.port)

    def on_loopback(self, host: bytes) -> bool:
        """As ServiceDatagrams: a client of a proxy on this machine may be on another one."""
        return self.loopback and is_local(host)

    def serve(
        self,
        request: bytes,
        peer: Peer,
        arrival: Arrival,
        host: bytes,
        send: Send,
        unreachable: Refusal | None = None,
    ) -> None:
        """As ServiceDatagrams, for the payload and the client of the datagram that was just admitted."""
        header = self._header
        learned = {NAME: facts_of(header, peer.remote)}
        client = header.source
        if isinstance(client, Inet):
            peer = peer._replace(remote=client)
            if self.gate is None or self.gate.may_be_larger(host):  # else the host of the proxy decides
                host = packed_address(client.host)
        super().serve(request[header.size :], peer._replace(learned=learned), arrival, host, send, unreachable)

    def _refusal_of_proxy(self, host: bytes, port: int) -> Refusal | None:
        if not host or in_disguise(host) or not self.proxies.allows(canonical(host)):
            return Refusal.PROXY
        if self.gate is not None and self.gate.replies_by_itself(port):
            return Refusal.SOURCE_PORT
        return None
