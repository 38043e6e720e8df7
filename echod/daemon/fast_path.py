"""Makes the loop of the fast path, if the configuration and the kernel permit it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from echod.config.settings import Configuration
from echod.daemon.running_service import ResourceRefused
from echod.escaping import system_error
from echod.fastpath import native_library, syscalls
from echod.fastpath.datagram_lane import DatagramLane
from echod.fastpath.in_place_lane import InPlaceLane
from echod.fastpath.loop import Loop
from echod.fastpath.native_loop import NativeLoop
from echod.fastpath.stream_lane import StreamLane
from echod.fastpath.syscall_check import refusal_message, refusals
from echod.fastpath.udp_lane import UDPLane
from echod.transports.layers.detaching import hands_engine
from echod.transports.stream_port import StreamPort
from echod.transports.udp import UDPPort


class FastPath:
    """Makes loops; `warn` is called once, with a line, if the kernel refuses a call that they need."""

    def __init__(self, reactor: Any, warn: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._warn = warn
        self._refusals: dict[str, OSError] | None = None  # None: nothing has been tried yet

    def loop(self, configuration: Configuration) -> Loop | None:
        """A loop that has not started; None if the fast path is off or cannot be used. Raises ResourceRefused."""
        if configuration.daemon.plane == "off" or not syscalls.available:
            return None
        if self._refusals is None:
            self._refusals = refusals()
            if self._refusals:
                self._warn(refusal_message(self._refusals))
        if self._refusals:
            return None
        try:
            if configuration.daemon.plane == "python" or native_library.library is None:
                return Loop(self._reactor)
            return NativeLoop(self._reactor)
        except OSError as error:
            raise ResourceRefused(f"daemon.plane: {system_error(error)}") from error


def lane_class(port: StreamPort) -> type[StreamLane]:
    """The class of the lane for a port that the fast path can serve."""
    if hands_engine(port.factory.layers):
        from echod.fastpath.tls_lane import TlsLane  # this imports `cryptography`, which most daemons do not need

        return TlsLane
    return StreamLane


def udp_port(loop: Loop, plain: UDPPort) -> UDPPort | UDPLane:
    """The lane for a port that the fast path can serve, or the port itself."""
    if DatagramLane.can_serve(plain):
        return DatagramLane(loop, plain)
    return InPlaceLane(loop, plain) if InPlaceLane.can_serve(plain) else plain
