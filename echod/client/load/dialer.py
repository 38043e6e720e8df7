"""Opens the connections of a load: resolves the name once, connects without blocking, and stacks the layers."""

from __future__ import annotations

import argparse
import errno
import os
import socket
from collections.abc import Callable
from functools import partial
from select import EPOLLOUT
from time import perf_counter_ns
from typing import Any, Final

from echod.client.client_connection import CONNECT_TIMEOUT, family_of
from echod.client.layers import header_of, layers_of
from echod.client.load.datagram_flow import DatagramFlow
from echod.client.load.epoll_loop import EpollLoop
from echod.client.load.flow import Flow
from echod.escaping import escaped
from echod.gate.limits import Limits
from echod.shape import Shape
from echod.socket_names import SocketAddress, inet_name, unix_name
from echod.transports.layers.layer_interface import Build, Layer, Receiver, stacked
from echod.transports.lookup import Target
from echod.transports.message_socket import MessageSocket, prepare
from echod.transports.packet_stamps import RECEIVE_BUFFER
from echod.transports.peers import socket_facts
from echod.transports.sockets import check_zone, open_socket, prepare_client, refusing
from echod.transports.stream_socket import StreamSocket
from echod.transports.tcp import TCP_FASTOPEN_CONNECT
from echod.transports.write_retry import WriteRetry

READ: Final = 262_144  #: bytes of one recv(2): large messages need fewer calls


class Dialer:
    """The way to one address. Raises OSError if its name cannot be resolved, and ValueError for wrong TLS options.

    If the address is a name, its addresses are tried in turn until one connects; all connections then use that one.
    """

    def __init__(self, arguments: argparse.Namespace, loop: EpollLoop) -> None:
        self.address = arguments.url
        self._loop = loop
        self._retry = WriteRetry(loop)
        self._layers = layers_of(self.address, arguments, loop) if self.address.shape.has_connections else ()
        self._header = header_of(arguments, datagrams=not self.address.shape.has_connections)
        self._targets = self._look_up(family_of(arguments))
        self._at = 0

    def _look_up(self, family: int) -> list[Target]:
        address = self.address
        if address.has_path:
            return [(socket.AF_UNIX, address.system_path)]
        check_zone(address.host)
        kind = socket.SOCK_STREAM if address.shape.has_connections else socket.SOCK_DGRAM
        found = socket.getaddrinfo(address.host, address.port, family, kind)
        return list(dict.fromkeys((one, name) for one, _, _, _, name in found))

    @property
    def remote(self) -> str:
        """The address that the connections are opened to."""
        _, name = self._targets[self._at]
        return escaped(self.address.path) if self.address.has_path else str(inet_name(name))

    def next_target(self, failed: int) -> bool:
        """Use the next address of the name, after that with the number `failed`. Returns False if none is left."""
        if failed == self._at:
            self._at += 1
        if self._at < len(self._targets):
            return True
        self._at = 0
        return False

    def dial(self, flow: Any) -> None:
        """Open the connection of a flow. Failures are reported to it in a later round of the loop."""
        flow.dialed, flow.target = perf_counter_ns(), self._at
        try:
            if isinstance(flow, DatagramFlow):
                self._attach(flow)
            elif self.address.has_path:
                self._connect_path(flow)
            else:
                self._connect(flow)
        except OSError as error:
            self._loop.soon(partial(flow.unreachable, error))

    def _attach(self, flow: DatagramFlow) -> None:
        family, name = self._targets[self._at]
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            if family == socket.AF_UNIX:
                opened.bind("")
            else:
                prepare_client(opened, self.address)
            opened.connect(name)
            header = b"" if self._header is None else self._header(*_ends(opened))
        except BaseException:
            opened.close()
            raise
        self._loop.soon(lambda: flow.attach(opened, self._loop, header))

    def _connect_path(self, flow: Flow) -> None:
        family, name = self._targets[self._at]
        keeps_messages = self.address.shape is Shape.MESSAGE
        opened = socket.socket(family, socket.SOCK_SEQPACKET if keeps_messages else socket.SOCK_STREAM)
        try:
            if keeps_messages:
                prepare(opened)
            opened.setblocking(False)
            opened.connect(name)
        except BaseException:
            opened.close()
            raise
        self._loop.soon(lambda: self._begin(opened, flow))

    def _connect(self, flow: Flow) -> None:
        family, name = self._targets[self._at]
        opened = open_socket(self.address, family, socket.SOCK_STREAM)
        try:
            opened.setblocking(False)
            prepare_client(opened, self.address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.address.options.get("fastopen"):
                with refusing(self.address, "fastopen"):
                    opened.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            code = opened.connect_ex(name)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
        except BaseException:
            opened.close()
            raise
        _Connecting(self._loop, opened, partial(self._connected, opened, flow))

    def _connected(self, opened: socket.socket, flow: Flow, code: int) -> None:
        if code:
            opened.close()
            flow.unreachable(OSError(code, os.strerror(code)))
        else:
            self._begin(opened, flow)

    def _begin(self, opened: socket.socket, flow: Flow) -> None:
        """Build the levels of a connected socket. Every failure from now on ends with `flow.lost`."""
        receiver: Receiver = flow
        if self._layers:
            receiver = _Lowest(stacked(self._layers, lambda: flow), flow)
        try:
            facts = socket_facts(opened, *_ends(opened))
        except OSError as error:  # the peer has just reset it
            opened.close()
            flow.unreachable(error)
            return
        if self.address.has_path and self.address.shape is Shape.MESSAGE:
            facts.shape = Shape.MESSAGE
            level: StreamSocket = MessageSocket(
                self._loop, opened, facts, receiver, self._loop, self._retry, Limits().message
            )
        else:
            level = StreamSocket(self._loop, opened, facts, receiver, self._loop, self._retry)
            level.read_at_once(READ)
        level.start()


class _Connecting:
    """A socket that connects. `over` is called once, with the errno, or 0."""

    watched = 0

    def __init__(self, loop: EpollLoop, opened: socket.socket, over: Callable[[int], None]) -> None:
        self._loop, self._socket, self._over = loop, opened, over
        self._timer = loop.callLater(CONNECT_TIMEOUT, self._end, errno.ETIMEDOUT)
        loop.join(self)
        loop.watch(self, EPOLLOUT)

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def doRead(self) -> None:
        """Nothing is read while it connects."""

    def doWrite(self) -> None:
        """The kernel has connected, or failed to."""
        self._end(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connectionLost(self, _reason: object) -> None:
        """The kernel reports an error."""
        self._end(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNABORTED)

    def _end(self, code: int) -> None:
        self._timer.cancel()
        self._loop.forget(self)
        self._over(code)


class _Lowest(Layer):
    """Below the layers of a connection. It reports the end to the flow also if a handshake was not complete."""

    __slots__ = ("_flow",)

    def __init__(self, build: Build, flow: Flow) -> None:
        super().__init__(build)
        self._flow = flow

    def lost(self, reason: Exception) -> None:
        opened = self._flow.is_open
        super().lost(reason)
        if not opened:
            self._flow.lost(self.facts.error or reason)


def _ends(opened: socket.socket) -> tuple[SocketAddress, SocketAddress]:
    if opened.family == socket.AF_UNIX:
        return unix_name(opened.getsockname()), unix_name(opened.getpeername())
    return inet_name(opened.getsockname()), inet_name(opened.getpeername())
