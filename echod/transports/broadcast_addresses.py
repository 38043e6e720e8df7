"""The broadcast addresses of this machine's interfaces. A datagram whose source is one of them is forged."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from contextlib import suppress
from typing import Final

SIOCGIFCONF: Final = 0x8912  # netdevice(7); <linux/sockios.h>
SIOCGIFBRDADDR: Final = 0x8919
_IFREQ: Final = 40  #: bytes of struct ifreq on 64-bit systems
_MOST: Final = 1024  #: addresses that are looked up at most


def broadcasts() -> frozenset[bytes] | None:
    """Return the broadcast addresses, 4 bytes each, or None if the system call fails.

    It can fail because no descriptor is left; the caller then keeps the earlier addresses. It does not use netlink,
    so it also works in the strictest systemd unit.
    """
    found = set()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            for request in _addresses(asking):
                with suppress(OSError):  # the interface has disappeared, or has no broadcast address
                    found.add(fcntl.ioctl(asking, SIOCGIFBRDADDR, request)[20:24])
    except OSError:
        return None
    return frozenset(found - {bytes(4)})


def _addresses(asking: socket.socket) -> list[bytes]:
    """A struct ifreq for each address of each interface. The kernel matches by both, so every network is found."""
    room = array.array("B", bytes(_IFREQ * _MOST))
    address, _ = room.buffer_info()
    filled, _ = struct.unpack("iP", fcntl.ioctl(asking, SIOCGIFCONF, struct.pack("iP", len(room), address)))
    listed = room.tobytes()[:filled]
    return [listed[at : at + _IFREQ] for at in range(0, filled, _IFREQ)]
