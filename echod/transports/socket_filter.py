"""A socket filter: during a flood, the kernel drops datagrams before the daemon reads them.

The filter is classic BPF on the socket. From a network far above its rate, it lets a random share through. That is
twice what the gate would answer, so the gate still decides which datagrams are answered, and still measures the flood.
From forbidden source ports it lets a few through, which show whether the flood continues. The kernel counts drops of
the filter and overflows of the receive buffer together, and echod reports both as the reason `kernel`. Therefore the
filter is attached only during a flood.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.base import DelayedCall

from echod.events import Counters
from echod.gate.datagrams import PRIVILEGED, REFLECTORS, DatagramGate
from echod.gate.flood_detector import PORTS
from echod.gate.refusal import Refusal

SO_ATTACH_FILTER: Final = 26  # socket(7); <asm-generic/socket.h>
SO_DETACH_FILTER: Final = 27
SO_MEMINFO: Final = 55
DROPS: Final = 8  #: SK_MEMINFO_DROPS of <linux/sock_diag.h>

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_LOAD_HALF: Final = 0x28  # BPF_LD | BPF_H | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP: Final = 0x05  # BPF_JMP | BPF_JA
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_WHOLE: Final = 0xFFFFFFFF

_ETHERTYPE: Final = 2**32 - 0x1000  # SKF_AD_OFF + SKF_AD_PROTOCOL; <linux/filter.h>
_RANDOM: Final = 2**32 - 0x1000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_IP: Final = 2**32 - 0x100000  # SKF_NET_OFF
_IPV4: Final = 0x0800
_SOURCE4, _SOURCE6 = 12, 8  # offset of the source in the header: RFC 791 3.1, RFC 8200 3
_FIRST_24: Final = 0xFFFFFF00

MOST: Final = 250
"""Ports that one filter compares: a conditional jump reaches 255 instructions."""
NETWORKS: Final = 64
"""Networks that one filter thins out: each costs every datagram an instruction or two."""


EASED: Final = 0.25  #: seconds between two steps that double the shares; the largest flood takes three seconds
LEAST: Final = 1 / 4096  #: of a million datagrams a second about 250 are read: enough to see whether it continues


class FloodFilter:
    """The filter of one socket, attached during a flood. It counts the datagrams that the kernel drops.

    Each time the gate finds a flood, the share of its source is reduced in proportion to what was read. If the flood is
    not found again, the share doubles every EASED seconds, until all datagrams pass. `refused` is called each time
    that the kernel refuses the filter.
    """

    def __init__(
        self,
        reactor: Any,
        bound: socket.socket,
        gate: DatagramGate | None,
        counters: Counters,
        refused: Callable[[OSError], None],
    ) -> None:
        self._reactor = reactor
        self._socket = bound
        self._gate = gate
        self._counters = counters
        self._refused = refused
        self._shares: dict[bytes, float] = {}  # of PORTS and of networks, the latest found last
        self._drops = drops(bound)
        self._easing: DelayedCall | None = None

    def begin(self) -> None:
        """Start to count drops: another process or port has counted the earlier ones."""
        self._drops = drops(self._socket)

    def look(self) -> bool:
        """Filter the floods that the gate has found, unless the kernel refuses. Returns whether it set a timer."""
        gate = self._gate
        if gate is None or not gate.floods.found:
            return False
        for what, flood in gate.floods.take().items():
            self._shares[what] = max(self._shares.pop(what, 1.0) * flood.share, LEAST)
        for oldest in list(self._shares)[:-NETWORKS]:
            del self._shares[oldest]
        return self._attach(gate)

    def stop(self) -> None:
        """Detach the filter and count the drops, because the port gives up the socket.

        Datagrams that the port reads after this, while it stops, are not filtered.
        """
        self._gate = None
        if self._easing is not None:
            self._easing.cancel()
            self._easing = None
            self._detach()
        self._count()

    def _ease(self, gate: DatagramGate) -> None:
        self._easing = None
        self._count()
        self._shares = {what: 2 * share for what, share in self._shares.items() if share < 0.5}
        if self._shares:
            self._attach(gate)
        else:
            self._detach()

    def _attach(self, gate: DatagramGate) -> bool:
        """Attach the filter. Returns whether it set a timer."""
        networks = dict(self._shares)
        ports = networks.pop(PORTS, None)
        code = thinning(networks) if networks else b""
        code += PASS if ports is None else program({*gate.own_ports, *REFLECTORS}, gate.allow_source_ports, ports)
        try:
            attach(self._socket, code)
        except OSError as error:  # no memory, or more than net.core.optmem_max: all datagrams are read
            self._detach()
            self._refused(error)
            return False
        if self._easing is not None:
            return False
        self._easing = self._reactor.callLater(EASED, self._ease, gate)
        return True

    def _detach(self) -> None:
        self._shares.clear()
        with suppress(OSError):  # no filter is attached
            detach(self._socket)

    def _count(self) -> None:
        now = drops(self._socket)
        new = (now - self._drops) % 2**32
        if new:
            self._counters.refuse(Refusal.KERNEL, new)
        self._drops = now


def program(refused: Iterable[int], excepted: Iterable[int], share: float = 0.0) -> bytes:
    """Instructions that let a share pass of source ports below PRIVILEGED or in `refused`, and not in `excepted`.

    The filter of a UDP socket begins at the UDP header, whose first field is the source port (RFC 768).
    """
    allowed = sorted(set(excepted))[:MOST]
    dropped = sorted({port for port in refused if port >= PRIVILEGED} - set(excepted))[: MOST - len(allowed)]
    tests = [(_IF_EQUAL, port, True) for port in allowed]
    tests += [(_IF_EQUAL, port, False) for port in dropped]
    length = len(tests) + 2  # load, tests, test for privileged ports; PASS and the share follow
    lines = [_line(_LOAD_HALF, 0)]
    for at, (test, port, keep) in enumerate(tests, start=1):
        lines.append(_line(test, port, length - at - (1 if keep else 0), 0))
    return b"".join([*lines, _line(_IF_AT_LEAST, PRIVILEGED, 0, 1), PASS, _by_chance(share), PASS])


def thinning(networks: Mapping[bytes, float]) -> bytes:
    """Instructions that drop datagrams of each network, except a share. All others continue after the instructions.

    A network is the first 3 bytes of IPv4 or 7 of IPv6, as in the gate. At most NETWORKS of them are accepted.
    """
    four = [_thinned(_network4(key), share) for key, share in networks.items() if len(key) == 3]
    six = [_thinned(_network6(key), share) for key, share in networks.items() if len(key) == 7]
    tests4, tests6 = _lead_out(four), _lead_out(six)
    head = _line(_LOAD, _ETHERTYPE) + _line(_IF_EQUAL, _IPV4, 1, 0)
    skip6 = _line(_JUMP, _count(tests6))
    return head + _line(_JUMP, _count(tests4 + skip6)) + tests4 + skip6 + tests6


def _network4(network: bytes) -> list[tuple[bytes, int]]:
    """For each comparison, the instructions that load a value and the value to compare with."""
    return [(_line(_LOAD, _IP + _SOURCE4) + _line(_AND, _FIRST_24), int.from_bytes(network + b"\0", "big"))]


def _network6(network: bytes) -> list[tuple[bytes, int]]:
    high, low = struct.unpack("!II", network + b"\0")
    masked = _line(_LOAD, _IP + _SOURCE6 + 4) + _line(_AND, _FIRST_24)
    return [(_line(_LOAD, _IP + _SOURCE6), high), (masked, low)]


def _thinned(comparisons: list[tuple[bytes, int]], share: float) -> bytes:
    """The test of one network, except its final jump. For another network, it jumps to its end."""
    code = _by_chance(share)
    for loading, value in reversed(comparisons):
        code = loading + _line(_IF_EQUAL, value, 0, _count(code) + 1) + code
    return code


def _by_chance(share: float) -> bytes:
    """Drop datagrams, except a share that continues after these instructions."""
    passing = min(int(share * 2**32), _WHOLE)
    return _line(_LOAD, _RANDOM) + _line(_IF_AT_LEAST, passing, 0, 1) + _line(_RETURN, 0)


def _lead_out(tests: Sequence[bytes]) -> bytes:
    """The tests of all networks of a family. Each ends with a jump past the last, so a datagram is tested once."""
    code = b""
    for test in reversed(tests):
        code = test + _line(_JUMP, _count(code)) + code
    return code


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _count(code: bytes) -> int:
    return len(code) // 8


PASS: Final = _line(_RETURN, _WHOLE)


def attach(bound: socket.socket, instructions: bytes) -> None:
    """Attach a filter to a socket. Raises OSError."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    option = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(code))
    bound.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, option)


def detach(bound: socket.socket) -> None:
    """Remove the filter of a socket. Raises OSError if it has none."""
    bound.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def drops(bound: socket.socket) -> int:
    """The number of datagrams of a socket that the kernel dropped, modulo 2**32. Raises OSError."""
    info = bound.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (DROPS + 1))
    return int(struct.unpack_from("I", info, 4 * DROPS)[0])
