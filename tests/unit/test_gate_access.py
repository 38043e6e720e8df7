"""Access lists: the most specific network decides, and every form of a host gets the same decision."""

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.gate.access import Access, Network, canonical, in_disguise, key_of, packed_address

MAPPED = int(IPv6Address("::ffff:0:0"))
COMPATIBLE = 0
NAT64 = int(IPv6Address("64:ff9b::"))


def access(allow: str = "", deny: str = "") -> Access:
    """An access list from networks with spaces between them."""
    return Access(map(ip_network, allow.split()), map(ip_network, deny.split()))


def forms(host: IPv4Address) -> list[bytes]:
    """Every packed form of an IPv4 host."""
    inside = [MAPPED, NAT64] if int(host) < 2 else [MAPPED, NAT64, COMPATIBLE]  # :: and ::1 are themselves
    return [host.packed, *((prefix | int(host)).to_bytes(16, "big") for prefix in inside)]


def meant(network: Network) -> Network:
    """The IPv4 network that an IPv6 network contains, or the network itself."""
    first = int(network.network_address)
    if isinstance(network, IPv4Network) or network.prefixlen < 96 or first < 2:
        return network
    if first >> 32 not in (MAPPED >> 32, NAT64 >> 32, COMPATIBLE):
        return network
    return IPv4Network((first & 0xFFFF_FFFF, network.prefixlen - 96))


def judged(host: IPv4Address | IPv6Address, allow: list[Network], deny: list[Network]) -> bool:
    """The decision by definition: the longest network that contains the host decides; `deny` precedes `allow`."""
    verdicts = [
        (network.prefixlen, not allowed)
        for networks, allowed in ((allow, True), (deny, False))
        for network in map(meant, networks)
        if host in network
    ]
    return bool(verdicts) and not max(verdicts)[1]


# A small world, in which networks nest and touch: hosts of one /27 at both ends of what there is, and in the middle.

_bases = st.sampled_from([0, 2**32 - 32, int(IPv4Address("192.0.2.0"))])
_host4 = st.builds(lambda base, host: IPv4Address(base + host), _bases, st.integers(0, 31))
_host6 = st.builds(
    lambda base, host: IPv6Address(base + host),
    st.sampled_from([int(IPv6Address("2001:db8::")), 2**128 - 32, 0x20 << 120]),
    st.integers(0, 31),
)


def networks4() -> st.SearchStrategy[IPv4Network]:
    lengths = st.one_of(st.integers(27, 32), st.integers(0, 32))
    return st.builds(lambda host, length: IPv4Network((int(host), length), strict=False), _host4, lengths)


def networks6() -> st.SearchStrategy[IPv6Network]:
    lengths = st.one_of(st.integers(123, 128), st.integers(0, 128))
    return st.builds(lambda host, length: IPv6Network((int(host), length), strict=False), _host6, lengths)


def networks4_inside6() -> st.SearchStrategy[IPv6Network]:
    def inside(network: IPv4Network, prefix: int) -> IPv6Network:
        return IPv6Network((prefix | int(network.network_address), network.prefixlen + 96))

    prefixes = st.sampled_from([MAPPED, NAT64])
    return st.builds(inside, networks4(), prefixes)


_networks: st.SearchStrategy[list[Any]] = st.lists(
    st.one_of(networks4(), networks6(), networks4_inside6()), max_size=10
)


class Keys(SynchronousTestCase):
    def test_keys_are_4_or_16_bytes(self) -> None:
        for host, packed in (
            ("192.0.2.1", bytes([192, 0, 2, 1])),
            ("::1", bytes(15) + b"\x01"),
            ("fe80::1%eth0", b"\xfe\x80" + bytes(13) + b"\x01"),
            ("::ffff:192.0.2.1", bytes(10) + b"\xff\xff\xc0\x00\x02\x01"),
        ):
            self.assertEqual(packed_address(host), packed, host)

    def test_an_ipv4_host_inside_ipv6_has_the_key_of_that_host(self) -> None:
        for host in ("::ffff:192.0.2.1", "::ffff:c000:201%eth0", "::192.0.2.1", "64:ff9b::192.0.2.1"):
            self.assertEqual(key_of(host), IPv4Address("192.0.2.1").packed, host)

    def test_any_other_host_has_its_own_key(self) -> None:
        for host in ("::", "::1", "2001:db8::1", "::fffe:192.0.2.1", "64:ff9b:1::192.0.2.1", "ff02::1"):
            self.assertEqual(key_of(host), IPv6Address(host).packed, host)

    def test_text_that_is_not_an_address_is_refused(self) -> None:
        for text in (
            "",
            "localhost",
            "127.1",
            "0x7f.0.0.1",
            "127.0.0.1%lo",
            "::g",
            "1:2",
            "::1\0",
            "127.0.0.1\n",
            "\ud800",
        ):
            self.assertRaises(ValueError, key_of, text)

    @settings(max_examples=100, deadline=None)
    @given(st.text(st.characters()))
    def test_any_text_has_a_key_or_is_refused(self, text: str) -> None:
        try:
            packed = packed_address(text)
        except ValueError:
            return
        self.assertIn(len(packed), (4, 16))

    @settings(max_examples=100, deadline=None)
    @given(st.ip_addresses())
    def test_keys_convert_back_to_their_address(self, host: IPv4Address | IPv6Address) -> None:
        self.assertEqual(packed_address(str(host)), host.packed)
        self.assertEqual(canonical(canonical(host.packed)), canonical(host.packed))

    @settings(max_examples=100, deadline=None)
    @given(st.one_of(_host4, st.ip_addresses(v=4)))
    def test_every_form_of_a_host_has_one_key(self, host: IPv4Address) -> None:
        self.assertEqual({canonical(form) for form in forms(host)}, {host.packed})


class Disguises(SynchronousTestCase):
    def test_private_hosts_in_translated_form_are_disguised(self) -> None:
        for host in ("::127.0.0.1", "::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::192.168.1.1", "::0.0.0.2"):
            self.assertTrue(in_disguise(packed_address(host)), host)

    def test_mapped_and_public_hosts_are_not_disguised(self) -> None:
        for host in (
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::1",
            "::",
            "64:ff9b::8.8.8.8",
            "2001:db8::1",
        ):
            self.assertFalse(in_disguise(packed_address(host)), host)


class Verdicts(SynchronousTestCase):
    def test_without_a_network_every_client_is_refused(self) -> None:
        for host in ("127.0.0.1", "::1", "0.0.0.0", "255.255.255.255", "::", "ff02::1"):
            self.assertFalse(access().allows(key_of(host)), host)

    def test_the_more_specific_network_wins(self) -> None:
        lists = access("10.0.0.0/8 10.1.2.0/24 ::1/128", "10.1.0.0/16 10.1.2.3/32")
        for host, allowed in (
            ("10.0.255.255", True),
            ("10.1.0.0", False),
            ("10.1.2.2", True),
            ("10.1.2.3", False),
            ("10.1.2.4", True),
            ("10.1.3.0", False),
            ("10.2.0.0", True),
            ("11.0.0.0", False),
            ("9.255.255.255", False),
            ("::1", True),
            ("::2", False),
        ):
            self.assertIs(lists.allows(key_of(host)), allowed, host)

    def test_a_network_in_both_lists_is_denied(self) -> None:
        lists = access("10.0.0.0/8 192.0.2.0/24", "10.0.0.0/8 ::ffff:192.0.2.0/120")
        self.assertFalse(lists.allows(key_of("10.0.0.1")))
        self.assertFalse(lists.allows(key_of("192.0.2.1")))

    def test_all_clients_are_two_networks(self) -> None:
        lists = access("0.0.0.0/0")
        self.assertTrue(lists.allows(key_of("255.255.255.255")))
        self.assertFalse(lists.allows(key_of("2001:db8::1")))
        lists = access("::/0")
        self.assertFalse(lists.allows(key_of("192.0.2.1")))
        self.assertTrue(lists.allows(key_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")))

    def test_the_default_is_loopback_without_disguised_hosts(self) -> None:
        lists = access("127.0.0.0/8 ::1/128")
        for host in ("127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(lists.allows(key_of(host)), host)
        for host in ("::", "::2", "128.0.0.1", "126.255.255.255", "fe80::1"):
            self.assertFalse(lists.allows(key_of(host)), host)

    @settings(max_examples=200, deadline=None)
    @given(_networks, _networks, st.lists(st.one_of(_host4, _host6), min_size=1, max_size=20))
    def test_the_longest_match_decides(
        self, allow: list[Network], deny: list[Network], hosts: list[IPv4Address | IPv6Address]
    ) -> None:
        lists = Access(allow, deny)
        ends = [end for network in map(meant, allow + deny) for end in (network[0], network[-1])]
        for host in hosts + ends:
            if isinstance(host, IPv6Address) and len(canonical(host.packed)) == 4:
                continue  # the end of a network that holds the other forms of IPv4 hosts
            expected = judged(host, allow, deny)
            for form in forms(host) if isinstance(host, IPv4Address) else [host.packed]:
                self.assertIs(lists.allows(canonical(form)), expected, ipaddress.ip_address(form))

    @settings(max_examples=100, deadline=None)
    @given(_networks, _networks)
    def test_decisions_do_not_depend_on_the_order_of_the_lists(self, allow: list[Network], deny: list[Network]) -> None:
        one, other = Access(allow, deny), Access(reversed(allow), reversed(deny))
        for network in map(meant, allow + deny):
            for host in (network[0], network[-1]):
                key = canonical(host.packed)
                self.assertIs(one.allows(key), other.allows(key), host)
