"""The admin interface as a service: who may ask what, and how many connections there may be at once."""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from echod.admin.http import HTTPSession
from echod.admin.messages import TEXT, Answer, Handler, Request, Respond, fault
from echod.admin.turn_budget import TurnBudget
from echod.model import RESET, Context, Peer, Quiet, Say, Service, Session
from echod.peercred import overflow, own_user

AT_ONCE: Final = 32
"""Connections of each class of clients. Above it, the connection that has been idle longest is reset; if none is idle,
the new one."""
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})

Places = Literal["owners", "readers", "tcp"]
"""Classes of clients, each with its own places, so that none can crowd out another: root and the daemon's own user,
other users of the Unix socket, and TCP."""


@dataclass(frozen=True)
class AdminOptions:
    """What `[admin]` says besides its addresses."""

    hosts: tuple[str, ...] = ()  #: names by which the interface may be asked over TCP, in lower case
    group: str = ""  #: the group whose members may read, as it is written
    gid: int | None = None  #: its number


class Resources(Protocol):
    """What can be asked for."""

    def find(self, path: str) -> Mapping[str, Handler] | None:
        """The handlers of a path by their methods, or None."""

    def paths(self) -> Iterator[str]:
        """Every path, for a client that asked for another."""

    def only_reads(self, path: str) -> bool:
        """Whether GET of this path changes nothing, and shows nothing that is for operators only."""


class AdminService(Service):
    """Answers HTTP: over a Unix socket to root and our own user, to others for reading only."""

    kind = "admin"
    summary = "the admin interface"
    messages = datagrams = False
    Options = AdminOptions

    def __init__(self, resources: Resources, context: Context | None = None) -> None:
        super().__init__(None, context)
        self._resources = resources
        self._budget = TurnBudget(self.context.clock, self.context.later)
        self._sessions: dict[Places, dict[HTTPSession, Say]] = {"owners": {}, "readers": {}, "tcp": {}}  # oldest first

    def session(self, peer: Peer, say: Say) -> Session:
        """A connection; if its class has too many, it takes the place of one that asks nothing, or is reset."""
        held = self._sessions["tcp" if not peer.is_unix else "owners" if _is_owner(peer) else "readers"]
        if len(held) >= AT_ONCE:
            idle = next((one for one in held if not one.is_busy), None)
            if idle is None:
                say(RESET)
                return Quiet()
            held.pop(idle)(RESET)
        session = _Leaving(peer, say, self._answer, self.context.clock, self._budget, lambda one: held.pop(one, None))
        held[session] = say
        return session

    def look(self) -> None:
        """End what takes too long; to be called about once a second."""
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
            respond(fault(404, f"there is no such resource; there are {known}"))
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
            respond(fault(405, f"this resource takes {allow[1]}", allow))
        else:
            handler(request, respond)

    def _refusal(self, request: Request) -> Answer | None:
        """Why this client may not ask that, or None."""
        if not request.peer.is_unix:
            return self._refusal_over_tcp(request)
        if _is_owner(request.peer):
            return None
        if not self._is_member(request.peer):
            # An end to the connection: a user that may not ask has no reason to keep a place.
            return fault(403, f"permission denied: {self._who_may()}", ("connection", "close"))
        if request.method not in READING or not self._resources.only_reads(request.path):
            who = f"root or {_name_of(os.geteuid())}"
            return fault(403, f"members of group {self.options.group} may only read: run this as {who}")
        return None

    def _refusal_over_tcp(self, request: Request) -> Answer | None:
        if request.method not in READING:
            return fault(403, "over TCP this interface is for reading; ask over its Unix socket")
        # A name that an attacker's name server answers for may lead here: its page could then read everything.
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return fault(421, f"this is not {host}: ask by address, as localhost, or by a name in admin.hosts")
        # A page of another site may make a browser ask: its Origin is then not the host it asked.
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return fault(403, "a page of another site may not read this")
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header can mean this machine: absent, an IP address, localhost, or one of `hosts`."""
        name, colon, port = host.rpartition(":")
        if not colon or (port and not port.isdecimal()) or name.endswith(":"):  # an IPv6 address without brackets
            name = host
        if not host or is_address(name.removeprefix("[").removesuffix("]")):
            return True
        return name.lower().removesuffix(".") in ("localhost", *self.options.hosts)

    def _is_member(self, peer: Peer) -> bool:
        gid = self.options.gid
        return gid is not None and gid in peer.groups and gid != overflow("gid")

    def _who_may(self) -> str:
        group = f", or join group {self.options.group}" if self.options.group else ""
        return f"run this as root or {_name_of(os.geteuid())}{group}"


def _is_owner(peer: Peer) -> bool:
    """Whether this is root or our own user, at a Unix socket."""
    return peer.is_unix and peer.user is not None and peer.user in (0, own_user())


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except (KeyError, OSError):
        return f"user {user}"


def is_address(text: str) -> bool:
    """Whether this is an IP address, IPv6 with or without a zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class _Leaving(HTTPSession):
    """A session that says when it is over."""

    def __init__(
        self,
        peer: Peer,
        say: Say,
        handler: Handler,
        clock: Callable[[], float],
        budget: TurnBudget,
        left: Callable[[HTTPSession], object],
    ) -> None:
        super().__init__(peer, say, handler, clock, budget)
        self._left = left

    def lost(self) -> None:
        super().lost()
        self._left(self)
