"""A flood, dropped by the kernel before we see it.

The filter is classic BPF on the socket. Of a network far above its rate it lets a random share through, twice what the
gate would answer, so that the gate still says how much that is and to whom; of forbidden source ports a few, that tell
whether they still come. Its drops and overflows of the receive buffer share
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
_SOURCE4, _SOURCE6 = 12, 8  # where the source stands in the header: RFC 791 3.1, RFC 8200 3
_FIRST_24: Final = 0xFFFFFF00

MOST: Final = 250
"""Ports that one filter compares: a conditional jump reaches 255 instructions."""
NETWORKS: Final = 64
"""Networks that one filter thins out: each costs every datagram an instruction or two."""


EASED: Final = 0.25  #: seconds between two steps by which all comes through again; three seconds for the largest flood
LEAST: Final = 1 / 4096  #: of a million datagrams a second some 250 are read: enough to see whether it lasts


class FloodFilter:
    """The filter of one socket, attached while a flood lasts; what the kernel drops is counted.

    What is found to be a flood, again too, comes through less, in proportion to what was read; what is not found again
    comes through twice as much after EASED, until nothing is held back.
    """

    def __init__(self, reactor: Any, bound: socket.socket, gate: DatagramGate | None, tally: Tally) -> None:
        self._reactor = reactor
        self._socket = bound
        self._gate = gate
        self._tally = tally
        self._shares: dict[bytes, float] = {}  # of PORTS and of networks, by what was found last
        self._drops = drops(bound)
        self._easing: DelayedCall | None = None

    def begin(self) -> None:
        """The socket is ours from now on: what was dropped before, others have counted."""
        self._drops = drops(self._socket)

    def look(self) -> bool:
        """Filter what the gate has found to be a flood; a kernel that refuses changes nothing. True set a timer."""
        gate = self._gate
        if gate is None or not gate.floods.found:
            return False
        for what, flood in gate.floods.take().items():
            self._shares[what] = max(self._shares.pop(what, 1.0) * flood.share, LEAST)
        for oldest in list(self._shares)[:-NETWORKS]:
            del self._shares[oldest]
        return self._attach(gate)

    def stop(self) -> None:
        """The socket is not ours any more: count what was dropped, and leave it as it was.

        What is read behind this, at a stop, is filtered no more.
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
        """Whether that set a timer."""
        networks = dict(self._shares)
        ports = networks.pop(PORTS, None)
        code = thinning(networks) if networks else b""
        code += PASS if ports is None else program({*gate.own_ports, *REFLECTORS}, gate.allow_source_ports, ports)
        try:
            attach(self._socket, code)
        except OSError:  # no memory for it, or more than net.core.optmem_max: then everything is read, as before
            self._detach()
            return False
        if self._easing is not None:
            return False
        self._easing = self._reactor.callLater(EASED, self._ease, gate)
        return True

    def _detach(self) -> None:
        self._shares.clear()
        with suppress(OSError):  # there is none
            detach(self._socket)

    def _count(self) -> None:
        now = drops(self._socket)
        new = (now - self._drops) % 2**32
        if new:
            self._tally.refuse(Refusal.KERNEL, new)
        self._drops = now


def program(refused: Iterable[int], excepted: Iterable[int], share: float = 0.0) -> bytes:
    """Instructions that drop all but a share of what is from below PRIVILEGED or from `refused`, not from `excepted`.

    A UDP socket's filter sees the UDP header first, and there the source port (RFC 768).
    """
    allowed = sorted(set(excepted))[:MOST]
    dropped = sorted({port for port in refused if port >= PRIVILEGED} - set(excepted))[: MOST - len(allowed)]
    tests = [(_IF_EQUAL, port, True) for port in allowed]
    tests += [(_IF_EQUAL, port, False) for port in dropped]
    length = len(tests) + 2  # the load, the tests, and the one for privileged ports; PASS follows, and then the share
    lines = [_line(_LOAD_HALF, 0)]
    for at, (test, port, keep) in enumerate(tests, start=1):
        lines.append(_line(test, port, length - at - (1 if keep else 0), 0))
    return b"".join([*lines, _line(_IF_AT_LEAST, PRIVILEGED, 0, 1), PASS, _by_chance(share), PASS])


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
    code = _by_chance(share)
    for loading, value in reversed(comparisons):
        code = loading + _line(_IF_EQUAL, value, 0, _count(code) + 1) + code
    return code


def _by_chance(share: float) -> bytes:
    """Drop all but a share; what comes through goes on behind."""
    passing = min(int(share * 2**32), _WHOLE)
    return _line(_LOAD, _RANDOM) + _line(_IF_AT_LEAST, passing, 0, 1) + _line(_RETURN, 0)


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
