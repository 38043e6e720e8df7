"""Private networks: isolated from the machine's other networks, and removed when they are closed.

They are network namespaces without a name (network_namespaces(7)). A socket or process belongs to the namespace of the
thread that makes it. Making one needs root; without it, `Lacking` is raised.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from tests.daemon import SECONDS, eventually

CLONE_NEWNET: Final = 0x40000000  # <linux/sched.h>
SERVER4, CLIENT4 = "10.99.0.1", "10.99.0.2"
SERVER6, CLIENT6 = "fd00:99::1", "fd00:99::2"
LINK: Final = "eth0"  #: what the link is called at both of its ends


class Lacking(Exception):
    """This machine or this user cannot do it; the text names what is missing."""


def program(name: str) -> str:
    """The path of a program; sbin is not on every PATH. Raises Lacking."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise Lacking(f"{name} is not installed")
    return found


class Network:
    """A network namespace, with loopback up. `close` it; the kernel removes it when no process or socket is in it."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        before = self._here()
        try:
            if self._libc.unshare(CLONE_NEWNET):
                raise Lacking(f"a private network cannot be made: {os.strerror(ctypes.get_errno())}")
            self._descriptor = self._here()
            try:
                self._ip("link", "set", "lo", "up")
            except BaseException:
                os.close(self._descriptor)
                raise
            finally:
                self._enter(before)
        finally:
            os.close(before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in it until the end of the block."""
        before = self._here()
        self._enter(self._descriptor)
        try:
            yield
        finally:
            self._enter(before)
            os.close(before)

    def ip(self, *words: str) -> None:
        """Run ip(8) in it."""
        with self.inside():
            self._ip(*words)

    def add(self, *hosts: str, device: str = "lo") -> None:
        """Give it these addresses: HOST/LENGTH, or HOST for that alone."""
        for host in hosts:
            length = "" if "/" in host else "/128" if ":" in host else "/32"
            family = ["-6"] if ":" in host else ["-4"]
            self.ip(
                *family, "address", "add", host + length, "dev", device, *(["nodad"] if ":" in host else ["brd", "+"])
            )

    def loses(self, percent: int) -> None:
        """Drop so many percent of the packets that arrive by the link, at random; with 100 it receives nothing."""
        chance = f" numgen random mod 100 < {percent}" if percent < 100 else ""
        self._drop("input", f'iifname "{LINK}"{chance}')

    def falls_silent(self) -> None:
        """Send nothing by the link, not even a FIN."""
        self._drop("output", f'oifname "{LINK}"')

    def drops_icmp(self) -> None:
        """Forward packets, but send no ICMP errors: a client must not depend on routers for them."""
        self._drop("output", "ip protocol icmp")

    def _drop(self, hook: str, which: str) -> None:
        rules = f"table inet {hook} {{ chain drops {{ type filter hook {hook} priority 0; {which} drop\n}}\n}}\n"
        with self.inside():
            _run([program("nft"), "-f", "-"], rules)

    def slows(self, rate: str) -> None:
        """Limit the rate of sending by the link, in the notation of tc(8)."""
        with self.inside():
            words = f"qdisc add dev {LINK} root tbf rate {rate} burst 32kb latency 400ms"
            _run([program("tc"), *words.split()])

    def figure(self, table: str, name: str) -> int:
        """One of its kernel counters, such as Udp and InDatagrams (proc(5), net/snmp)."""
        with self.inside():
            lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith(f"{table}:"))
        return int(values[names.index(name)])

    def join(self, other: Network) -> None:
        """Make a link to another network: both ends are called LINK, and are up when this returns."""
        self.ip("link", "add", LINK, "type", "veth", "peer", "name", LINK, "netns", other.path)
        for network in (self, other):
            with network.inside():
                for setting in (
                    "accept_dad",
                    "dad_transmits",
                ):  # otherwise IPv6 addresses are tentative for two seconds
                    Path("/proc/sys/net/ipv6/conf", LINK, setting).write_text("0")
            network.ip("link", "set", LINK, "up")
        for network in (self, other):
            # The kernel may take a second to notice the other end. Until then, the link sends nothing.
            assert eventually(network._sees_the_other_end)

    def _sees_the_other_end(self) -> bool:
        with self.inside():
            return " state UP " in _run([program("ip"), "-o", "link", "show", LINK])

    @property
    def path(self) -> str:
        """The path by which another process finds it."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @staticmethod
    def _here() -> int:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _enter(self, descriptor: int) -> None:
        if self._libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    @staticmethod
    def _ip(*words: str) -> None:
        _run([program("ip"), *words])


def _run(words: Sequence[str], said: str = "") -> str:
    ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=SECONDS, input=said)
    if ended.returncode:
        raise Lacking(f"{' '.join(words)}: {ended.stderr.strip()}")
    return ended.stdout


class Two(NamedTuple):
    """Two networks, like two machines, and the link between them."""

    server: Network
    client: Network


@contextmanager
def alone(*hosts: str) -> Iterator[Network]:
    """A network that has only loopback, with these addresses besides 127.0.0.0/8 and ::1. Raises Lacking."""
    with Network() as network:
        network.add(*hosts)
        yield network


@contextmanager
def linked(server: Network) -> Iterator[Network]:
    """A client's network and a server's, with SERVER4 … CLIENT6 and link-local addresses. Raises Lacking."""
    with Network() as client:
        server.join(client)
        server.add(f"{SERVER4}/24", f"{SERVER6}/64", device=LINK)
        client.add(f"{CLIENT4}/24", f"{CLIENT6}/64", device=LINK)
        try:
            yield client
        finally:
            with suppress(Lacking):  # a test may have removed the link
                server.ip("link", "delete", LINK)


@contextmanager
def joined() -> Iterator[Two]:
    """Make both networks. Raises Lacking."""
    with Network() as server, linked(server) as client:
        yield Two(server, client)


def link_local(network: Network) -> str:
    """The link-local address of a network's end of the link, without its scope."""
    with network.inside():
        for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
            address, _, _, scope, _, name = line.split()
            if scope == "20" and name == LINK:
                return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))
    raise Lacking("the link has no link-local address")
