"""The broadcast addresses of this machine's interfaces: a datagram from one of them comes from nobody."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from contextlib import suppress
from typing import Final

SIOCGIFCONF: Final = 0x8912  # netdevice(7); <linux/sockios.h>
SIOCGIFBRDADDR: Final = 0x8919
_IFREQ: Final = 40  #: octets of struct ifreq on 64 bit
_MOST: Final = 1024  #: addresses that are asked about


def broadcasts() -> frozenset[bytes] | None:
    """As 4 octets each; None where the system does not tell now, as without descriptors: go by what you know.

    Needs no netlink, so the strictest unit may ask.
    """
    found = set()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            for request in _addresses(asking):
                with suppress(OSError):  # an interface that has gone, or has no broadcast address
                    found.add(fcntl.ioctl(asking, SIOCGIFBRDADDR, request)[20:24])
    except OSError:
        return None
    return frozenset(found - {bytes(4)})


def _addresses(asking: socket.socket) -> list[bytes]:
    """A struct ifreq for each address of each interface: the kernel goes by both, so that no network is left out."""
    room = array.array("B", bytes(_IFREQ * _MOST))
    address, _ = room.buffer_info()
    filled, _ = struct.unpack("iP", fcntl.ioctl(asking, SIOCGIFCONF, struct.pack("iP", len(room), address)))
    listed = room.tobytes()[:filled]
    return [listed[at : at + _IFREQ] for at in range(0, filled, _IFREQ)]
