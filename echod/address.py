"""Addresses: one grammar for the daemon and its client.

`parse` converts text to an `Address`. This module opens no socket and resolves no name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from echod.address_options import CONNECTING, DIALLING, OPTIONS, option_text
from echod.escaping import escaped, for_system
from echod.shape import Shape
from echod.socket_names import Inet, inet, is_loopback
from echod.transports.registry import EVERY_FORM, SCHEMES, Scheme

UNIX_PATH_MAX: Final = 107  #: bytes; sun_path has 108 with the terminating NUL (unix(7))
RANGE: Final = 1024  #: ports of one range at most: each has a socket, and counters in the metrics
BACKLOG: Final = 4096
"""Connections in the listen queue. With Twisted's 50, 194 of 2,000 simultaneous connects waited a second for a
retransmitted SYN; with 4096, none. The kernel limits it to net.core.somaxconn."""


class AddressError(ValueError):
    """An invalid address; the message is what is wrong, and what was expected."""


@dataclass(frozen=True)
class Address:
    """An address to listen on or to connect to. Equal addresses have equal options."""

    scheme: str  #: one of EVERY_FORM of the registry
    host: str = ""  #: "*" is every interface; otherwise an IP address or a name
    port: int = 0
    path: str = ""  #: of a Unix socket or a WebSocket; the name after `systemd:`; the text of an endpoint string
    options: Mapping[str, str | int | bool] = field(default_factory=dict)
    last_port: int = 0  #: of a range that begins with `port`; 0: there is only `port`
    query: str = ""  #: of the request that a client of a WebSocket sends, as it is in the URL

    def __hash__(self) -> int:
        return hash(
            (self.scheme, self.host, self.port, self.last_port, self.path, self.query, frozenset(self.options.items()))
        )

    def __str__(self) -> str:
        """The address as its URL, with its options: `parse` of it is equal to it."""
        options = "&".join(map(option_text, self.options.items()))
        return self.label + (f"{'&' if self.query else '?'}{options}" if options else "")

    @property
    def label(self) -> str:
        """The address as its URL, without its options."""
        if self.is_opaque:
            return self.path
        if self.is_passed:
            return f"systemd:{self.path}"
        path = quote(self.path, safe="/@:+,;=!$'()*~", errors="surrogateescape")
        if self.has_path:
            return f"{self.scheme}://{path}"
        host = re.sub("%(?=25.)", "%25", self.host)  # a scope that begins as an encoded % does
        last = f"-{self.last_port}" if self.last_port else ""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{Inet(host, self.port)}{last}{path}{query}"

    @property
    def each(self) -> tuple[Address, ...]:
        """The address of each port of a range; without a range, the address itself."""
        if not self.last_port:
            return (self,)
        return tuple(replace(self, port=port, last_port=0) for port in range(self.port, self.last_port + 1))

    @property
    def form(self) -> Scheme:
        """The entry of the scheme in the registry."""
        return EVERY_FORM[self.scheme]

    @property
    def shape(self) -> Shape:
        """The shape of the transport; an endpoint string is a stream."""
        return self.form.shape

    @property
    def is_opaque(self) -> bool:
        """Whether it is an endpoint string, whose address only Twisted knows."""
        return self.scheme == "endpoint"

    @property
    def is_passed(self) -> bool:
        """Whether it names sockets that another process has opened, which determine shape and address."""
        return self.scheme == "systemd"

    @property
    def served_form(self) -> Scheme:
        """The entry of the scheme that clients use, also of a passed socket if `as` names it."""
        return EVERY_FORM[str(self.options.get("as", self.scheme))]

    @property
    def system_path(self) -> str:
        """The path of a Unix socket for system calls: its bytes in any locale, with a NUL for a leading `@`."""
        path = for_system(self.path)
        return "\0" + path[1:] if path.startswith("@") else path

    @property
    def has_path(self) -> bool:
        """Whether it is a path in the file system."""
        return self.form.has_path

    @property
    def any_port(self) -> bool:
        """Whether the kernel chooses the port."""
        return self.scheme in SCHEMES and not self.has_path and self.port == 0

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it: a loopback address, `localhost`, or a Unix socket."""
        return self.has_path or is_loopback(self.host)


def parse(text: str, *, client: bool = False) -> Address:
    """Parse an address of the configuration, `--listen` or echoctl.

    A text without `://` is `systemd:NAME` or a Twisted endpoint string. For a `client`, `*` and port 0 are refused,
    because a client cannot connect to them. Names in its WebSocket URL that are not options are the query of its
    request. Raises AddressError.
    """
    if not text.strip():
        raise AddressError("the address is empty; write one such as tcp://127.0.0.1:10007")
    if text != (tidy := text.strip(" \t\r\n")):
        raise AddressError(f"{_shown(text)}: white space around the address; write {_shown(tidy)}")
    if bad := next((c for c in text if not c.isprintable() or (c == " " and "://" in text)), None):
        errors = "surrogateescape" if "\udc80" <= bad <= "\udcff" else "replace"
        encoded = "".join(f"%{byte:02X}" for byte in bad.encode("utf-8", errors))
        raise AddressError(f"{_shown(text)}: {_shown(bad)} is not allowed in an address; write it as {encoded}")
    if "://" not in text:
        return _without_scheme(text)
    scheme, _, rest = text.partition("://")
    known = SCHEMES.get(scheme)
    if scheme == "systemd":
        raise AddressError(f"{_shown(text)}: write systemd:{rest}")
    if known is None:
        guess = _OTHER_SCHEMES.get(scheme.lower()) or get_close_matches(scheme.lower(), SCHEMES, n=1)
        likely = " or ".join(f"{one}://" for one in guess)
        hint = f"did you mean {likely}?" if guess else "expected one of: " + ", ".join(SCHEMES)
        raise AddressError(f"{_shown(text)}: unknown scheme {_shown(scheme)}; {hint}")
    if client and known.shape is Shape.REQUEST:
        raise AddressError(f"{_shown(text)}: echoctl has no HTTP client; use curl, or ws:// for a WebSocket")
    if "#" in rest:
        raise AddressError(f"{_shown(text)}: an address has no fragment; write # as %23")
    before, _, query = rest.partition("?")
    asked = ""
    if client and known.has_url_path:
        query, asked = _request_query(known, query)
    options = _options(text, scheme, known, query, client)
    if known.has_path:
        path = _unix_path(text, scheme, before)
        if path.startswith("@") and (meant := [name for name in ("mode", "user", "group") if name in options]):
            right = "an abstract name has no file, and anyone may connect: use a path"
            raise AddressError(f"{_shown(text)}: {meant[0]} cannot be set here: {right}")
        return Address(scheme, path=path, options=options)
    return replace(_host_address(text, scheme, before, options, client), query=asked)


_OTHER_SCHEMES: Final = {"https": ("wss", "tls"), "ssl": ("tls",)}
"""Schemes of other programs, and the one to write instead."""
_USUAL_PORTS: Final = {"ws": "80", "wss": "443"}
"""The ports of a client's URL without a port (RFC 6455 3)."""
_HOST: Final = re.compile(r"localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|\[[0-9A-Za-z:.%_-]+\]")
_HOST_AND_PORT: Final = re.compile(rf"({_HOST.pattern}):[0-9]{{1,5}}")
"""Text that cannot be an endpoint string."""
_TLS: Final = "Twisted's ssl: and tls: endpoints are not supported; an address with TLS is tls://HOST:PORT"
_NO_ENDPOINTS: Final[Mapping[str, str]] = {
    "haproxy": "haproxy: is not used here; write tcp://…?proxy=any instead",
    "ssl": _TLS,
    "tls": _TLS,
    "stdio": "standard input and output are not an address; write one such as tcp://127.0.0.1:10007",
}
"""Endpoint strings that Twisted knows and that are refused. Its TLS needs pyOpenSSL and cannot half-close."""


def _without_scheme(text: str) -> Address:
    kind, colon, rest = text.partition(":")
    if colon and (right := _NO_ENDPOINTS.get(kind)):
        raise AddressError(f"{_shown(text)}: {right}")
    if kind == "unix" and colon:  # Twisted's socket would be accessible to all users, and not removed
        path = rest.removeprefix("address=").partition(":")[0]
        raise AddressError(f"{_shown(text)}: write unix://{quote(path) if path.startswith('/') else '/PATH'}")
    if kind == "systemd" and colon and "=" not in (name := rest.partition("?"))[0]:
        if not re.fullmatch(r"[\x21-\x39\x3b-\x7e]{1,255}", name[0]):  # FileDescriptorName= of systemd.socket(5)
            raise AddressError(f"{_shown(text)}: a descriptor's name is 1 to 255 visible ASCII characters, no colon")
        return Address(kind, path=name[0], options=_options(text, kind, EVERY_FORM[kind], name[2], client=False))
    if _HOST_AND_PORT.fullmatch(text):
        raise AddressError(f"{_shown(text)}: the scheme is missing; write tcp://{text}")
    if text.startswith("/") and len(text) > 1:
        raise AddressError(f"{_shown(text)}: the scheme is missing; write unix://{quote(text)}")
    if _HOST.fullmatch(text):
        raise AddressError(f"{_shown(text)}: the scheme and the port are missing; write tcp://{text}:PORT")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", kind):
        raise AddressError(f"{_shown(text)}: not an address; write one such as tcp://127.0.0.1:10007")
    if kind in SCHEMES and not SCHEMES[kind].has_path and rest.startswith(("/", "[")):
        raise AddressError(f"{_shown(text)}: write {kind}://{rest.lstrip('/')}")
    return Address("endpoint", path=text)


def _unix_path(text: str, scheme: str, quoted: str) -> str:
    path = unquote(quoted, errors="surrogateescape")
    if not path.startswith(("/", "@")) or path in {"/", "@"}:
        raise AddressError(f"{_shown(text)}: the path must be absolute; write {scheme}:///run/echod/echo.sock")
    if "\0" in path:
        raise AddressError(f"{_shown(text)}: a path cannot contain a NUL")
    if (length := len(path.encode("utf-8", "surrogateescape"))) > UNIX_PATH_MAX:
        raise AddressError(f"{_shown(text)}: the path has {length} bytes; a Unix socket's has at most {UNIX_PATH_MAX}")
    return path


def _host_address(text: str, scheme: str, before: str, options: dict[str, str | int | bool], client: bool) -> Address:
    authority, slash, path = before.partition("/")
    path = unquote(slash + path, errors="surrogateescape")
    if not SCHEMES[scheme].has_url_path:
        if path not in ("", "/"):
            raise AddressError(f"{_shown(text)}: {scheme}:// has no path; leave out {_shown(path)}")
        path = ""
    if "@" in authority:
        raise AddressError(f"{_shown(text)}: an address has no user name; leave out everything before the @")
    if authority.startswith("["):
        host, bracket, after = authority[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise AddressError(f"{_shown(text)}: write an IPv6 address as [::1]:7")
        host, port_text = _ipv6(text, host), after[1:]
        if ":" in host and "%" not in host and "interface" not in options and needs_interface(host):
            raise AddressError(f"{_shown(text)}: a link-local address needs its interface; write [{host}%eth0]")
    else:
        host, port_text = authority.rpartition(":")[::2] if ":" in authority else (authority, "")
        if ":" in host:
            raise AddressError(f"{_shown(text)}: write an IPv6 address in brackets, such as [::1]:7")
        host = _name_or_ipv4(text, host, client)
        if "v6only" in options and re.fullmatch("[0-9.]+", host):
            raise AddressError(f"{_shown(text)}: v6only is for IPv6 addresses and *; leave it out")
    if client and host == "*":
        raise AddressError(f"{_shown(text)}: * is for listening; name the host to reach")
    if client and not port_text and not authority.endswith(":"):
        port_text = _USUAL_PORTS.get(scheme, "")
    first, dash, last = port_text.partition("-")
    if not (first and dash and last):
        return Address(scheme, host, _port(text, port_text, client), path, options)
    if client:
        raise AddressError(f"{_shown(text)}: a range of ports is for listening; name one port to connect to")
    lowest, highest = _port(text, first, True), _port(text, last, True)
    if not lowest < highest < lowest + RANGE:
        raise AddressError(f"{_shown(text)}: a range of ports goes upwards, and has at most {RANGE} ports")
    return Address(scheme, host, lowest, path, options, highest)


def _ipv6(text: str, host: str) -> str:
    address, percent, scope = host.partition("%")
    if scope != "25":  # RFC 6874 writes the % itself as %25; alone it is a number as any other
        scope = scope.removeprefix("25")
    try:
        canonical = str(ipaddress.IPv6Address(address))
    except ValueError:
        raise AddressError(f"{_shown(text)}: {_shown(address)} is not an IPv6 address") from None
    if percent and not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", scope):  # IFNAMSIZ - 1
        raise AddressError(f"{_shown(text)}: {_shown(scope)} is not the name of an interface")
    return inet(canonical + percent + scope, 0).host


def needs_interface(host: str) -> bool:
    """Whether an IPv6 address has no meaning without an interface: link-local, or a group of that scope (RFC 4291)."""
    address = ipaddress.IPv6Address(host)
    return address.is_link_local or (address.is_multicast and address.packed[1] & 15 in (1, 2))


_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\.?$){_LABEL}(\.{_LABEL})*\.?")  # RFC 1123 2.1; _ as found in the wild


def _name_or_ipv4(text: str, host: str, client: bool) -> str:
    if host == "*":
        return host
    if not host:
        everywhere = "" if client else " (* is every interface)"
        raise AddressError(f"{_shown(text)}: the host is missing; write it before the port{everywhere}")
    try:
        name = host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError:
        name = ""
    if re.fullmatch(r"[0-9.]+", name):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise AddressError(f"{_shown(text)}: {_shown(host)} is not an IPv4 address") from None
    if not _HOST_NAME.fullmatch(name):
        raise AddressError(f"{_shown(text)}: {_shown(host)} is not a host name")
    return name.lower()


def _port(text: str, port: str, client: bool) -> int:
    lowest = 1 if client else 0
    if not re.fullmatch(r"[0-9]{1,5}", port) or not lowest <= int(port) <= 65535:
        wrong = "out of range" if re.fullmatch("[0-9]+", port) else "not a number"
        problem = f"port {_shown(port)} is {wrong}" if port else "the port is missing"
        raise AddressError(f"{_shown(text)}: {problem} ({lowest}–65535)")
    return int(port)


def _request_query(known: Scheme, query: str) -> tuple[str, str]:
    """The options in the query of a URL, and the other parts, which belong to the request."""
    options: list[str] = []
    others: list[str] = []
    for part in query.split("&"):
        (options if unquote(part.partition("=")[0]) in known.options else others).append(part)
    return "&".join(options), "&".join(others)


def _options(text: str, scheme: str, known: Scheme, query: str, client: bool) -> dict[str, str | int | bool]:
    options: dict[str, str | int | bool] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=32)
    except ValueError:
        raise AddressError(f"{_shown(text)}: after the ? write options as name=value, joined by &") from None
    for name, value in pairs:
        if name not in known.options:
            taken = known.options & DIALLING if client else known.options - CONNECTING
            hint = get_close_matches(name, taken, n=1)
            prefix = f"{scheme}://" if scheme in SCHEMES else f"{scheme}:"
            right = f"did you mean {hint[0]}?" if hint else f"{prefix} takes " + ", ".join(sorted(taken))
            raise AddressError(f"{_shown(text)}: unknown option {_shown(name)}; {right}")
        if name in options:
            raise AddressError(f"{_shown(text)}: the option {name} is given twice")
        if client and name not in DIALLING:
            raise AddressError(f"{_shown(text)}: {name} is an option for listening; leave it out")
        if not client and name in CONNECTING:
            raise AddressError(f"{_shown(text)}: {name} is an option for connecting; leave it out")
        accept, right = OPTIONS[name]
        accepted = accept(value)
        if accepted is None:
            raise AddressError(f"{_shown(text)}: {name}={_shown(value)} must be {right}")
        options[name] = accepted
    return options


def _shown(text: str) -> str:
    """Text for an error message: unchanged if it is safe to print, else quoted and escaped."""
    safe = escaped(text)
    return safe if safe == text and text.strip() == text != "" else f"'{safe}'"
