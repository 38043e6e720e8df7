"""A flood, dropped by the kernel before we see it.

The filter is classic BPF on the socket. Of forbidden source ports it drops everything, with the verdict of the gate's
port rule and no more; of a network far above its rate it lets a random share through, twice what the gate would
answer, so that the gate still says how much that is and to whom. Its drops and overflows of the receive buffer share
one counter of the kernel, which is told as the reason `kernel`; that is why it is attached only during a flood.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.base import DelayedCall

from echod.events import Tally
from echod.gate.datagrams import PRIVILEGED, REFLECTORS, DatagramGate
from echod.gate.floods import FLOOD, PORTS, WITHIN
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
_SOURCE4, _SOURCE6 = 12, 8  # where the source stands in the header: RFC 791 3.1, RFC 8200 3
_FIRST_24: Final = 0xFFFFFF00

MOST: Final = 250
"""Ports that one filter compares: a conditional jump reaches 255 instructions."""
NETWORKS: Final = 64
"""Networks that one filter thins out: each costs every datagram an instruction or two."""


FILTERED: Final = 5.0  #: seconds that a flood is left to the kernel before we look whether it lasts


class FloodFilter:
    """The filter of one socket, attached while a flood lasts; what the kernel drops is counted."""

    def __init__(self, reactor: Any, bound: socket.socket, gate: DatagramGate | None, tally: Tally) -> None:
        self._reactor = reactor
        self._socket = bound
        self._gate = gate
        self._tally = tally
        self._floods: dict[bytes, float] = {}
        self._drops = drops(bound)  # a socket may have served others before
        self._look_again: DelayedCall | None = None

    def look(self) -> None:
        """Filter what the gate has found to be a flood; a kernel that refuses changes nothing."""
        gate = self._gate
        if gate is None or not gate.floods.found:
            return
        self._floods.update(gate.floods.take())
        for oldest in list(self._floods)[:-NETWORKS]:
            del self._floods[oldest]
        if self._attach(gate) and self._look_again is None:
            self._look_again = self._reactor.callLater(FILTERED, self._whether_it_lasts, gate)

    def stop(self) -> None:
        """The socket is not ours any more: count what was dropped, and leave it as it was."""
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
            self._detach()
        self._count()

    def _whether_it_lasts(self, gate: DatagramGate) -> None:
        self._look_again = None
        if self._count() >= FLOOD * FILTERED / WITHIN and self._attach(gate):
            self._look_again = self._reactor.callLater(FILTERED, self._whether_it_lasts, gate)
        else:
            self._detach()

    def _attach(self, gate: DatagramGate) -> bool:
        networks = {network: share for network, share in self._floods.items() if network != PORTS}
        of_ports = program({*gate.own_ports, *REFLECTORS}, gate.allow_source_ports) if PORTS in self._floods else PASS
        try:
            attach(self._socket, (thinning(networks) if networks else b"") + of_ports)
        except OSError:  # no memory for it, or more than net.core.optmem_max: then everything is read, as before
            self._detach()
            return False
        return True

    def _detach(self) -> None:
        self._floods.clear()
        with suppress(OSError):  # there is none
            detach(self._socket)

    def _count(self) -> int:
        now = drops(self._socket)
        new = (now - self._drops) % 2**32
        if new:
            self._tally.refuse(Refusal.KERNEL, new)
        self._drops = now
        return new


def program(refused: Iterable[int], excepted: Iterable[int]) -> bytes:
    """Instructions that drop datagrams from below PRIVILEGED and from `refused`, but not from `excepted`.

    A UDP socket's filter sees the UDP header first, and there the source port (RFC 768).
    """
    allowed = sorted(set(excepted))[:MOST]
    dropped = sorted({port for port in refused if port >= PRIVILEGED} - set(excepted))[: MOST - len(allowed)]
    tests = [(_IF_EQUAL, port, True) for port in allowed]
    tests += [(_IF_EQUAL, port, False) for port in dropped]
    length = len(tests) + 2  # the load, the tests, and the one for privileged ports; two returns follow
    lines = [_line(_LOAD_HALF, 0)]
    for at, (test, port, keep) in enumerate(tests, start=1):
        lines.append(_line(test, port, length - at - (1 if keep else 0), 0))
    return b"".join([*lines, _line(_IF_AT_LEAST, PRIVILEGED, 0, 1), PASS, _line(_RETURN, 0)])


def thinning(networks: Mapping[bytes, float]) -> bytes:
    """Instructions that drop all but a share of what each network sends, and lead on with everything else.

    Networks are the first 3 octets of IPv4 or 7 of IPv6, as the gate has them; NETWORKS of them at most.
    """
    four = [_thinned(_network4(key), share) for key, share in networks.items() if len(key) == 3]
    six = [_thinned(_network6(key), share) for key, share in networks.items() if len(key) == 7]
    tests4, tests6 = _lead_out(four), _lead_out(six)
    head = _line(_LOAD, _ETHERTYPE) + _line(_IF_EQUAL, _IPV4, 1, 0)
    behind4 = _line(_JUMP, _count(tests6))
    return head + _line(_JUMP, _count(tests4 + behind4)) + tests4 + behind4 + tests6


def _network4(network: bytes) -> list[tuple[bytes, int]]:
    """What leads to each comparison, and what is compared."""
    return [(_line(_LOAD, _IP + _SOURCE4) + _line(_AND, _FIRST_24), int.from_bytes(network + b"\0", "big"))]


def _network6(network: bytes) -> list[tuple[bytes, int]]:
    high, low = struct.unpack("!II", network + b"\0")
    masked = _line(_LOAD, _IP + _SOURCE6 + 4) + _line(_AND, _FIRST_24)
    return [(_line(_LOAD, _IP + _SOURCE6), high), (masked, low)]


def _thinned(comparisons: list[tuple[bytes, int]], share: float) -> bytes:
    """One network, but for the jump that ends it: where it is another, everything here is jumped over."""
    passing = min(int(share * 2**32), _WHOLE)
    code = _line(_LOAD, _RANDOM) + _line(_IF_AT_LEAST, passing, 0, 1) + _line(_RETURN, 0)
    for loading, value in reversed(comparisons):
        code = loading + _line(_IF_EQUAL, value, 0, _count(code) + 1) + code
    return code


def _lead_out(tests: Sequence[bytes]) -> bytes:
    """All networks of a family, each with a jump behind the last: whoever was let through is asked no more."""
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
    """Filter what comes to a socket. Raises OSError."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    option = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(code))
    bound.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, option)


def detach(bound: socket.socket) -> None:
    """Filter no more. Raises OSError."""
    bound.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def drops(bound: socket.socket) -> int:
    """What the kernel dropped of this socket's datagrams since it was opened, modulo 2**32. Raises OSError."""
    info = bound.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (DROPS + 1))
    return int(struct.unpack_from("I", info, 4 * DROPS)[0])
