"""The admin interface as a service: access control, and limits of its connections."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from echod.escaping import clipped, counted
from echod.gate.admin_limits import MOST, AdminLimits
from echod.http.messages import TEXT, Answer, Handler, Request, Respond, error_answer
from echod.http.own_host import refusal_of_page
from echod.http.session import HTTPSession
from echod.model import RESET, Context, Peer, Quiet, Say, Service, Session
from echod.peercred import overflow, own_user

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})

Places = Literal["owners", "readers", "tcp"]
"""Classes of clients, each with its own limit, so that one cannot lock out another: root and the daemon's own user,
other users of the Unix socket, and TCP."""


@dataclass(frozen=True)
class AdminOptions:
    """The keys of `[admin]` except its addresses."""

    hosts: tuple[str, ...] = ()  #: allowed names in a Host header over TCP, in lower case
    group: str = ""  #: the group whose members may read, as configured
    gid: int | None = None  #: its number


class Resources(Protocol):
    """The resources of the interface."""

    def find(self, path: str) -> Mapping[str, Handler] | None:
        """The handlers of a path by method, or None."""

    def paths(self) -> Iterator[str]:
        """Every path, for the error message about an unknown one."""

    def only_reads(self, path: str) -> bool:
        """Whether GET of this path changes nothing, and returns no data that is for operators only."""


class AdminService(Service):
    """Serves HTTP: over a Unix socket to root and the daemon's own user, to other clients for reading only."""

    kind = "admin"
    summary = "the admin interface"
    messages = datagrams = False
    Options = AdminOptions

    def __init__(self, resources: Resources, context: Context | None = None, limits: AdminLimits = MOST) -> None:
        super().__init__(None, context)
        self._limits = limits
        self._resources = resources
        own_user(), overflow("gid")  # read now: later there may be no descriptor for it, and the result is remembered
        self._sessions: dict[Places, dict[HTTPSession, Say]] = {"owners": {}, "readers": {}, "tcp": {}}  # oldest first

    def session(self, peer: Peer, say: Say) -> Session:
        """A connection; if its class has too many, the longest idle one is reset, or the new one if all are busy."""
        held = self._sessions_of(peer)
        others = [one for one in held if not one.is_streaming]
        if len(others) >= self._limits.at_once:
            idle = next((one for one in others if not one.is_busy), None)
            if idle is None:
                say(RESET)
                return Quiet()
            held.pop(idle)(RESET)
        session = _Leaving(peer, say, self._answer, self.context, lambda one: held.pop(one, None))
        held[session] = say
        return session

    def _sessions_of(self, peer: Peer) -> dict[HTTPSession, Say]:
        """The sessions of the class of a client."""
        return self._sessions["tcp" if not peer.is_unix else "owners" if _is_owner(peer) else "readers"]

    def end_overdue_requests(self) -> None:
        """Close connections whose requests take too long. Call it about once a second."""
        now = self.context.clock()
        for held in self._sessions.values():
            for session in list(held):
                session.overdue(now)

    def _answer(self, request: Request, respond: Respond) -> None:
        if refusal := self._refusal(request):
            respond(refusal)
            return
        methods = self._resources.find(request.path)
        if methods is None and not (request.method == "OPTIONS" and request.path == "*"):
            known = ", ".join(self._resources.paths())
            respond(error_answer(404, f"{clipped(request.path)} does not exist; the resources are {known}"))
            return
        allowed = {"OPTIONS", *(methods or ("GET", "POST"))}
        allowed |= {"HEAD"} if "GET" in allowed else set()
        if not _is_owner(request.peer):
            allowed &= READING
        allow = ("allow", ", ".join(sorted(allowed)))
        handler = (methods or {}).get("GET" if request.method == "HEAD" else request.method)
        if request.method == "OPTIONS":
            respond(Answer(200, b"", TEXT, headers=(allow,)))
        elif handler is None:
            respond(error_answer(405, f"the method is not allowed; this resource accepts {allow[1]}", allow))
        else:
            handler(request, lambda answer: respond(self._within_streams(request.peer, answer)))

    def _within_streams(self, peer: Peer, answer: Answer) -> Answer:
        """The response, or a refusal if the class of the client has too many streams."""
        most = self._limits.streams
        if answer.stream is None or sum(one.is_streaming for one in self._sessions_of(peer)) < most:
            return answer
        return error_answer(503, f"{counted(most, 'stream is', 'streams are')} open already", ("retry-after", "10"))

    def _refusal(self, request: Request) -> Answer | None:
        """The response that refuses this request, or None."""
        if not request.peer.is_unix:
            return self._refusal_over_tcp(request)
        if _is_owner(request.peer):
            return None
        if not self._is_member(request.peer):
            # Close the connection: a user without access must not occupy one of the connections.
            return error_answer(403, f"permission denied: {self._who_may()}", ("connection", "close"))
        if request.method not in READING or not self._resources.only_reads(request.path):
            who = f"root or {_name_of(os.geteuid())}"
            return error_answer(403, f"members of group {self.options.group} may only read: run this as {who}")
        return None

    def _refusal_over_tcp(self, request: Request) -> Answer | None:
        if request.method not in READING:
            return error_answer(403, "over TCP this interface is read-only; use its Unix socket")
        return refusal_of_page(request, self.options.hosts, "admin.hosts")

    def _is_member(self, peer: Peer) -> bool:
        gid = self.options.gid
        return gid is not None and gid in peer.groups and gid != overflow("gid")

    def _who_may(self) -> str:
        group = f", or join group {self.options.group}" if self.options.group else ""
        return f"run this as root or {_name_of(os.geteuid())}{group}"


def _is_owner(peer: Peer) -> bool:
    """Whether the peer is root or the daemon's own user, at a Unix socket."""
    return peer.is_unix and peer.user is not None and peer.user in (0, own_user())


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except (KeyError, OSError):
        return f"user {user}"


class _Leaving(HTTPSession):
    """A session that calls `left` when its connection is closed."""

    def __init__(
        self,
        peer: Peer,
        say: Say,
        handler: Handler,
        context: Context,
        left: Callable[[HTTPSession], object],
    ) -> None:
        super().__init__(peer, say, handler, context.clock, context.work)
        self._left = left

    def lost(self) -> None:
        super().lost()
        self._left(self)
