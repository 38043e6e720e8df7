"""The administrator's interface as a service: who may ask, what there is to ask, and how many may ask at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from echod.admin.http import HTTPSession
from echod.admin.messages import Answer, Handler, Request, Respond, fault
from echod.admin.turn_budget import TurnBudget
from echod.model import Context, End, Peer, Reply, Say, Service, Session

AT_ONCE: Final = 32  #: connections; beyond them, who has waited longest without asking anything is reset
READING: Final = frozenset({"GET", "HEAD"})


class Resources(Protocol):
    """What can be asked for."""

    def find(self, path: str) -> Mapping[str, Handler] | None:
        """The handlers of a path by their methods, or None."""

    def paths(self) -> Iterator[str]:
        """Every path, for who asked for another."""


class AdminService(Service):
    """Answers HTTP: over a Unix socket to root and our own user, over TCP for reading only."""

    kind = "admin"
    summary = "the administrator's interface"
    datagrams = False

    def __init__(self, resources: Resources, context: Context | None = None) -> None:
        super().__init__(None, context)
        self._resources = resources
        self._budget = TurnBudget(self.context.clock, self.context.later)
        self._sessions: dict[HTTPSession, Say] = {}  # the one that has been there longest first

    def session(self, peer: Peer, say: Say) -> Session:
        """A connection; it takes the place of one that asks nothing where there are too many."""
        if len(self._sessions) >= AT_ONCE:
            idle = next((one for one in self._sessions if not one.is_busy), None)
            if idle is not None:
                self._sessions.pop(idle)(Reply(end=End.RESET))
        session = _Leaving(peer, say, self._answer, self.context.clock, self._budget, self._left)
        self._sessions[session] = say
        return session

    def look(self) -> None:
        """End what takes too long; to be called about once a second."""
        now = self.context.clock()
        for session in list(self._sessions):
            session.overdue(now)

    def _left(self, session: HTTPSession) -> None:
        self._sessions.pop(session, None)

    def _answer(self, request: Request, respond: Respond) -> None:
        if refusal := self._refusal(request):
            respond(refusal)
            return
        methods = self._resources.find(request.path)
        if methods is None:
            known = ", ".join(self._resources.paths())
            respond(fault(404, f"there is no such resource; there are {known}"))
            return
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ", ".join(sorted({*methods, *(("HEAD",) if "GET" in methods else ())}))
            respond(fault(405, f"this resource takes {allowed}", ("allow", allowed)))
            return
        handler(request, respond)

    def _refusal(self, request: Request) -> Answer | None:
        """Why this peer may not ask that, or None."""
        if request.peer.is_unix:
            if request.peer.user not in (0, os.geteuid()):
                return fault(403, "only root and the daemon's own user may ask here")
            return None
        if request.method not in READING:
            return fault(403, "over TCP this interface is for reading; ask over its Unix socket")
        # A page of another site may make a browser ask: its Origin is then not the host it asked.
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            return fault(403, "a page of another site may not read this")
        return None


class _Leaving(HTTPSession):
    """A session that says when it is over."""

    def __init__(
        self,
        peer: Peer,
        say: Say,
        handler: Handler,
        clock: Callable[[], float],
        budget: TurnBudget,
        left: Callable[[HTTPSession], None],
    ) -> None:
        super().__init__(peer, say, handler, clock, budget)
        self._left = left

    def lost(self) -> None:
        super().lost()
        self._left(self)
