"""An exporter for Prometheus: GET /metrics over HTTP."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from echod.address import Address
from echod.escaping import clipped
from echod.gate.access import Access
from echod.gate.connections import ConnectionGate
from echod.gate.limits import Limits
from echod.http.messages import TEXT, Answer, Request, Respond, error_answer
from echod.http.own_host import refusal_of_page
from echod.http.session import HTTPSession
from echod.model import Context, Peer, Say, Service, Session
from echod.socket_names import inet
from echod.transports.service_factory import ServiceFactory
from echod.transports.transport import transport_of

PATH: Final = "/metrics"
LIMITS: Final = Limits(connections=64, per_client=32, idle=90.0)
ANY_CLIENT: Final = Access([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])
SWEEP: Final = 1.0  #: seconds between two checks for requests that take too long


class MetricsService(Service):
    """Answers GET of PATH by the metrics, in the format that the client prefers.

    `names` are those that a Host header may have besides IP addresses and localhost.
    """

    kind = "metrics"
    summary = "metrics for Prometheus"
    messages = datagrams = False

    def __init__(self, collector: Collector, names: Collection[str], context: Context) -> None:
        super().__init__(None, context)
        self._names = names
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        self._sessions: set[_MetricsSession] = set()

    def session(self, peer: Peer, say: Say) -> Session:
        """A connection."""
        session = _MetricsSession(peer, say, self._answer, self.context, self._sessions.discard)
        self._sessions.add(session)
        return session

    def end_overdue_requests(self) -> None:
        """Close connections whose requests take too long, now and every SWEEP seconds."""
        for session in tuple(self._sessions):
            session.overdue(self.context.clock())
        self.context.later(SWEEP, self.end_overdue_requests)

    def _answer(self, request: Request, respond: Respond) -> None:
        if request.method not in ("GET", "HEAD"):
            respond(error_answer(405, "the method is not allowed; expected GET", ("allow", "GET, HEAD")))
        elif refusal := refusal_of_page(request, self._names, "--serve-host"):
            respond(refusal)
        elif request.path == "/":
            respond(Answer(200, f"The metrics are at {PATH}.\n".encode(), TEXT))
        elif request.path == PATH:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
            respond(Answer(200, encode(self._registry), content_type))
        else:
            respond(error_answer(404, f"{clipped(request.path)} does not exist; the metrics are at {PATH}"))


class _MetricsSession(HTTPSession):
    def __init__(
        self, peer: Peer, say: Say, handler: Any, context: Context, lost: Callable[[_MetricsSession], object]
    ) -> None:
        super().__init__(peer, say, handler, context.clock, context.work)
        self._on_lost = lost

    def lost(self) -> None:
        super().lost()
        self._on_lost(self)


def serve_metrics(reactor: Any, address: Address, collector: Collector, names: Collection[str]) -> list[str]:
    """Serve the metrics at an address, as MetricsService. Returns the URLs of its sockets. Raises OSError."""
    service = MetricsService(collector, names, Context(clock=reactor.seconds, later=reactor.callLater))
    gate = ConnectionGate(ANY_CLIENT, LIMITS, reactor.seconds)
    factory = ServiceFactory(service, gate=gate, limits=LIMITS, clock=reactor)
    urls = []
    for bound in transport_of(address.scheme).bind(reactor, address):
        with bound:
            port = reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
        urls.append(f"http://{inet(port.getHost().host, port.getHost().port)}{PATH}")
    service.end_overdue_requests()
    return urls
