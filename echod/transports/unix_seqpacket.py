"""Unix seqpacket sockets: connections within this machine that keep message boundaries."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, execute

from echod.gate.limits import Limits
from echod.shape import Shape
from echod.socket_names import SocketAddress, unix_name
from echod.transports.layers.layer_interface import Facts, Receiver
from echod.transports.message_socket import MessageSocket, prepare
from echod.transports.peers import socket_facts
from echod.transports.port_epoll import ReactorWatcher
from echod.transports.transport import ConnectRequest, Message
from echod.transports.unix import UnixConnections, UnixPort
from echod.transports.write_retry import WriteRetry


class SeqpacketPort(UnixPort):
    """A listening seqpacket socket."""

    @property
    def is_bare(self) -> bool:
        """False: the fast path would join messages."""
        return False

    def facts(self, accepted: socket.socket, remote: SocketAddress) -> Facts:
        """The facts of a Unix stream, with the shape MESSAGE."""
        return _facts(accepted, self.local(accepted), remote)

    def connection(self, accepted: socket.socket, facts: Facts, receiver: Receiver) -> MessageSocket:
        """The lowest level of a connection, with `limits.message` as the largest message."""
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _send_buffer(self.socket))
        factory = self.factory
        return MessageSocket(
            self.watcher(), accepted, facts, receiver, factory.clock, self._retry, factory.limits.message
        )


class UnixSeqpacket(UnixConnections, Message):
    """`unix-seqpacket`: messages between processes of this machine."""

    scheme = "unix-seqpacket"
    port = SeqpacketPort

    def prepare(self, bound: socket.socket) -> None:
        """Request credentials with each message."""
        prepare(bound)

    def dial(self, request: ConnectRequest, build: Callable[[], Receiver]) -> Deferred[Any]:
        """Connect to a path without waiting. The Deferred fails with OSError."""
        return execute(_connected, request.reactor, request.address.system_path, build)


def _connected(reactor: Any, path: str, build: Callable[[], Receiver]) -> MessageSocket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        prepare(opened)
        opened.setblocking(False)
        opened.connect(path)
        facts = _facts(opened, unix_name(opened.getsockname()), unix_name(os.fsencode(path)))
    except BaseException:
        opened.close()
        raise
    watcher, retry = ReactorWatcher(reactor), WriteRetry(reactor)
    made = MessageSocket(watcher, opened, facts, build(), reactor, retry, Limits().message)
    made.start()
    return made


def _facts(opened: socket.socket, local: SocketAddress, remote: SocketAddress) -> Facts:
    facts = socket_facts(opened, local, remote)
    facts.shape = Shape.MESSAGE
    return facts


def _send_buffer(listening: socket.socket) -> int:
    """The SO_SNDBUF to request for the size of the listener: the kernel reports twice the requested bytes."""
    return listening.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2


TRANSPORT: Final = UnixSeqpacket()
