"""Streams on the fast path: a connection is a descriptor and a few numbers, not an object.

      accept4 ─► gate ─► [ carry ] ◄──────────── all is sent ───┐
                          │  (`forwarding`)                    │
                          ├─ short write ─► [ send rest ]: only EPOLLOUT is watched, reading stops
                          ├─ end of input ─► close: everything has been sent back
                          └─ error ─► reset

Rules:

* A read takes at most `limits.buffer` bytes, and nothing is read before the bytes of the last read were sent. So a
  connection holds no more than that.
* One read for each connection in a round. With the native loop, up to 16 full reads if fewer connections are ready.
* A short write stops reading. This is the backpressure, and makes half-close correct: the end of input is seen only
  after all bytes before it have been sent.
* Pending bytes stay in their pipe (`pipes`), and count as unsent. While the send budget of all connections is used up
  (`gate.total_buffer`), a read is limited to a page.
* Gate, counters, events and time limits are those of the factory, as on the plain path.
* When the listener stops, its connections become Conversations with their pending bytes; the plain path drains them.
* Connections that begin with a PROXY header are accepted by the plain path. It hands each over when the header has
  named the client, with the bytes that came with the header.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from select import EPOLLIN, EPOLLOUT
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.logger import Logger

from echod.events import Closing
from echod.fastpath import syscalls
from echod.fastpath.acceptor import Accepting
from echod.fastpath.forwarding import Forwarder
from echod.fastpath.loop import Loop
from echod.fastpath.pipes import Pipes, Waiting
from echod.gate.total_buffer import LITTLE, Pressure
from echod.socket_names import SocketAddress
from echod.transports.accept_backoff import AcceptBackoff, SpareDescriptor
from echod.transports.accept_share import LEFT, AcceptShare
from echod.transports.fast_path_interface import Worth
from echod.transports.layers.detaching import Detached
from echod.transports.layers.layer_interface import Facts
from echod.transports.peers import described
from echod.transports.service_factory import SLICE
from echod.transports.stream_port import A_TURN, StreamPort, accept_backlog

_log = Logger()


class StreamLane(Forwarder):
    """A listening socket and its connections. It replaces a StreamPort of the plain path, and uses its factory.

    Its pipes hold pending bytes only on descriptors below `pipes_below`. Raises ValueError without a `transform`.
    """

    def __init__(self, loop: Loop, plain: StreamPort, reserve: SpareDescriptor, pipes_below: int = sys.maxsize) -> None:
        transform = type(plain.factory.service).transform
        if transform is None:
            raise ValueError(f"{plain.factory.service.kind} has no transform; the fast path needs one")
        super().__init__(loop, plain.factory, transform)
        self._plain = plain
        self._reactor: Any = plain.reactor
        self._listening = plain.socket
        self._backoff = AcceptBackoff(plain.factory.label, reserve, self._tell)
        self._resume: DelayedCall | None = None
        self._share = AcceptShare(plain.factory.gate)
        self._accepting = Accepting(plain.socket.family)
        # Data of every connection is in lists by descriptor, data of few connections in dicts.
        self._hosts: dict[int, bytes] = {}  # open connections, each with the host as the gate knows it
        self._seen: list[int] = []  # sent bytes at the last change that `watch` saw, by descriptor
        self._since: list[float] = []  # time of that change, by descriptor
        self._peers: dict[int, SocketAddress] = {}  # only if connections are logged
        self._facts: dict[int, Facts] = {}  # of connections that the plain path handed over
        self._waiting: dict[int, Waiting] = {}
        self._pipes = Pipes(plain.factory.limits.buffer, self._use_pipe, pipes_below)

    @staticmethod
    def can_serve(plain: StreamPort) -> bool:
        """Whether the fast path can serve a port.

        Its connections must be bare stream sockets, at once or after a header. Its service must have a `transform`.
        """
        bare = plain.is_bare or plain.factory.hands_over
        return syscalls.available and bare and type(plain.factory.service).transform is not None

    # the listener

    def startListening(self) -> None:
        """Start to accept connections."""
        self._factory.carrier = self
        if self._factory.hands_over:
            self._factory.adopt = self._adopt
            self._plain.startListening()
            return
        self._factory.doStart()
        self._loop.watch(self._listening.fileno(), EPOLLIN, self._ready_to_accept, self._carry_all)

    def discard(self) -> None:
        """Close the pipes of a lane that was not started."""
        self._pipes.close()

    def stopListening(self) -> None:
        """Accept the connections in the listen queue, then close the socket. The plain path drains open connections."""
        if self._factory.hands_over:
            self._plain.stopListening()
            self._leave()
            return
        if self._resume is None or self._share.leaving:
            accept_backlog(partial(self._accept, self._listening.fileno()))
        self.release()
        self._plain.close_socket()

    def release(self) -> None:
        """Leave the open socket to another port. Open connections move to the plain path."""
        if self._factory.hands_over:
            self._plain.release()
            self._leave()
            return
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        else:
            self._loop.forget(self._listening.fileno())
        self._leave()
        self._factory.doStop()

    def _leave(self) -> None:
        """Move open connections to the plain path, and close the pipes."""
        self._factory.adopt = None
        for descriptor in list(self._hosts):
            self._hand_over(descriptor)
        self._loop.release(self._carry, self._send_rest)
        self._factory.carrier = None
        self._pipes.close()

    def _ready_to_accept(self, listening: int, _events: int) -> None:
        if most := self._share.most(A_TURN):
            self._accept(listening, most)
        else:
            self._pause(listening, LEFT)

    def _pause(self, listening: int, seconds: float) -> None:
        self._loop.forget(listening)
        self._resume = self._reactor.callLater(seconds, self._accept_again)
        self._loop.yield_to_reactor()

    def _accept(self, listening: int, most: int = A_TURN) -> bool:
        for _ in range(most):
            descriptor = self._accepting.accept(listening)
            if descriptor < 0:
                if syscalls.would_block():
                    return False
                if pause := self._backoff.pause_after(syscalls.failure(), self._plain.shed):
                    self._pause(listening, pause)
                    return False
                continue
            self._backoff.succeeded()
            host = self._accepting.host()
            if self._factory.admit(host, self._accepting.peer):
                self._accepting.reset_on_close(descriptor)
                os.close(descriptor)
            else:
                self._begin(descriptor, host)
        return True

    def _accept_again(self) -> None:
        self._resume = None
        self._loop.watch(self._listening.fileno(), EPOLLIN, self._ready_to_accept, self._carry_all)

    # the connections

    def _adopt(self, detached: Detached, host: bytes, facts: Facts) -> None:
        """Carry a connection that the plain path has admitted, after the reply to the bytes that it has received."""
        descriptor = detached.socket.detach()
        self._facts[descriptor] = facts
        self._begin(descriptor, host, facts.remote)
        if detached.received and descriptor in self._hosts:
            self._reply(descriptor, detached.received)

    def _begin(self, descriptor: int, host: bytes, peer: SocketAddress | None = None) -> None:
        while descriptor >= len(self._seen):
            self._seen.append(0)
            self._since.append(0.0)
        self._hosts[descriptor] = host
        self._accepting.keep_urgent_inline(descriptor)
        self._begin_to_carry(descriptor)
        self._seen[descriptor] = -1
        if self._factory.mark.pressure:
            self._accepting.clamp(descriptor)
        if self._factory.events.connections:
            self._peers[descriptor] = peer or self._accepting.peer()
        try:
            self._loop.watch(descriptor, EPOLLIN, self._carry, self._carry_all, self._native)
        except OSError:  # no memory, or above max_user_watches (epoll(7))
            self._reset(descriptor, Closing.LOST)

    def _keep(self, descriptor: int, left: int) -> None:
        try:
            waiting = self._pipes.keep(left)
        except Exception:  # no memory, or a bug: the rest in the pipe must not reach another connection
            self._pipes.renew()
            self._reset(descriptor, Closing.FAILED, left)
            raise
        self._wait(descriptor, waiting)

    def _wait(self, descriptor: int, waiting: Waiting) -> None:
        mark = self._factory.mark
        mark.change(waiting.whole)
        self._waiting[descriptor] = waiting
        if mark.pressure:
            self._accepting.clamp(descriptor)
            self._factory.counters.held_back += mark.pressure is Pressure.FULL
        self._seen[descriptor] = -1  # `stall` starts now
        try:
            self._loop.change(descriptor, EPOLLOUT, self._send_rest)
        except Exception:  # no memory, or a bug: the connection would never become writable
            _log.failure("a connection to {label} is reset", label=self._factory.label)
            self._reset(descriptor, Closing.FAILED)

    def _send_rest(self, descriptor: int, _events: int) -> None:
        """Send pending bytes; continue reading when all are sent."""
        waiting = self._waiting[descriptor]
        try:
            waiting.send(descriptor)
        except BlockingIOError:  # writable, but the kernel accepts nothing (`transports.write_retry`)
            self._loop.rest(descriptor, EPOLLOUT)
            return
        except OSError:
            self._reset(descriptor, Closing.LOST)
            return
        if not waiting.left:
            del self._waiting[descriptor]
            self._factory.mark.change(-waiting.whole)
            self._pipes.give_back(waiting)
            self._loop.change(descriptor, EPOLLIN, self._carry, self._carry_all, self._native)

    def _end(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        """Close a connection and report it; `unsent` and pending bytes were received but not sent."""
        waiting = self._waiting.pop(descriptor, None)
        if waiting is not None:
            unsent += waiting.unsent
            self._factory.mark.change(-waiting.whole)
            self._pipes.drop(waiting)
        host = self._hosts.pop(descriptor)
        os.close(descriptor)
        came, gone = self._byte_counts.end(descriptor, unsent)
        facts = self._facts.pop(descriptor, None)
        proxy = facts.proxy if facts is not None else None
        self._factory.ended(host, reason, came, gone, self._peers.pop(descriptor, None), proxy)

    def _reset(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        """Reset a connection: a FIN would tell the peer that it has everything."""
        self._accepting.reset_on_close(descriptor)
        self._end(descriptor, reason, unsent)

    def watch(self, now: float) -> None:
        """Close connections that exceed `stall` or `idle`, as Conversation.watch does."""
        limits = self._factory.limits
        seen, since = self._seen, self._since
        for descriptor in list(self._hosts):
            waiting = self._waiting.get(descriptor)
            gone = self._byte_counts.of(descriptor, waiting.unsent if waiting else 0)[1]
            if gone != seen[descriptor]:
                seen[descriptor] = gone
                since[descriptor] = now
            elif waiting and limits.stall and now - since[descriptor] >= limits.stall:
                self._reset(descriptor, Closing.STALL)
            elif not waiting and limits.idle and now - since[descriptor] >= limits.idle:
                self._end(descriptor, Closing.IDLE)

    def hold_back(self, pressure: Pressure) -> None:
        """Apply the pressure of the send budget, as Conversation.hold_back does."""
        buffer = self._factory.limits.buffer
        self._read_at_most(min(buffer, LITTLE) if pressure is Pressure.FULL else buffer)
        if pressure:
            self._factory.counters.held_back += len(self._waiting) * (pressure is Pressure.FULL)
            for descriptor in self._waiting:
                self._accepting.clamp(descriptor)

    def _hand_over(self, descriptor: int) -> None:
        """Move a connection with its pending bytes to the plain path."""
        waiting = self._waiting.get(descriptor)
        unsent = waiting.content() if waiting is not None else b""
        self._plain.take_over(
            descriptor, *self._forget(descriptor, len(unsent)), unsent, self._facts.pop(descriptor, None)
        )

    def _forget(self, descriptor: int, unsent: int) -> tuple[bytes, int, int]:
        """Stop carrying an open connection. Returns its host, and the received and the sent bytes."""
        self._loop.forget(descriptor)
        waiting = self._waiting.pop(descriptor, None)
        if waiting is not None:
            self._factory.mark.change(-waiting.whole)
            self._pipes.give_back(waiting)
        host = self._hosts.pop(descriptor)
        self._peers.pop(descriptor, None)
        return (host, *self._byte_counts.end(descriptor, unsent))

    def describe_connections(self, worth: Worth | None = None) -> Iterator[dict[str, Any] | None]:
        """Each open connection, as ServiceFactory describes them; those that have been reset are left out."""
        for descriptor in tuple(self._hosts):
            if descriptor not in self._hosts:
                continue
            waiting = self._waiting.get(descriptor)
            unsent = waiting.unsent if waiting else 0
            came, gone = self._byte_counts.of(descriptor, unsent)
            if worth is not None and not worth(came, gone, unsent):
                yield None
                continue
            facts = self._facts.get(descriptor)
            if facts is not None or self._accepting.ask(descriptor):
                peer, proxy = (facts.remote, facts.proxy) if facts is not None else (self._accepting.peer(), None)
                yield described(peer, proxy, came, gone, unsent)

    def flush_counters_in_steps(self) -> Iterator[None]:
        """Add the byte counts of every connection to the counters, as ServiceFactory.flush_counters_in_steps does."""
        for at, descriptor in enumerate(tuple(self._hosts), 1):
            if descriptor in self._hosts:
                waiting = self._waiting.get(descriptor)
                self._byte_counts.flush_counters(descriptor, waiting.unsent if waiting else 0)
            if not at % SLICE:
                yield

    def _tell(self, event: str, **fields: object) -> None:
        self._factory.events.tell(event, service=self._factory.name, **fields)
