"""The list of measured servers (peers), and how each is started.

A peer's program takes HOST PORT (or `unix PATH`) and words for its variant, prints `ready`, and serves until SIGTERM.
echod is started as a user starts it; the run waits until its TCP address replies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.machine import program
from bench.workloads import Role
from echod.tls.certificates import self_signed

PEERS: Final = Path(__file__).parent / "peers"
EVERY: Final = frozenset(Role)
BARE: Final = EVERY - {Role.PROXIED}  #: the roles without a header
SOCKETS: Final = BARE - {Role.WEBSOCKET, Role.TLS}  #: the roles that need no library
STREAMS: Final = SOCKETS - {Role.UDP}


@dataclass(frozen=True)
class Place:
    """The address where a server listens for one role."""

    role: Role
    host: str
    port: int
    path: str

    @property
    def words(self) -> list[str]:
        """As the peers' programs take it."""
        if self.role is Role.UNIX:
            return ["unix", self.path]
        variants = {
            Role.UPPER: "upper",
            Role.UDP: "udp",
            Role.WEBSOCKET: "websocket",
            Role.PROXIED: "proxy",
            Role.TLS: "tls",
        }
        return [self.host, str(self.port), *([variants[self.role]] if self.role in variants else [])]

    @property
    def url(self) -> str:
        """As echod takes it."""
        if self.role is Role.UNIX:
            return f"unix://{self.path}"
        scheme = {Role.UDP: "udp", Role.WEBSOCKET: "ws", Role.TLS: "tls"}.get(self.role, "tcp")
        query = "?proxy=v2" if self.role is Role.PROXIED else ""
        return f"{scheme}://{self.host}:{self.port}{query}"


@dataclass(frozen=True)
class Kit:
    """For commands: an empty folder to write in, a Python, and the command that runs echod."""

    folder: Path
    python: str
    echod: tuple[str, ...]

    def write(self, name: str, text: str) -> str:
        """Write a file into the folder; return its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def words(self, place: Place) -> list[str]:
        """The address and variant as the peers' programs take them, with the file of a certificate for TLS."""
        if place.role is not Role.TLS:
            return place.words
        path = self.folder / "certificate.pem"
        if not path.exists():
            path.write_bytes(self_signed(("localhost",)).pem)
        return [*place.words, str(path)]


Command = Callable[[Kit, Mapping[Role, Place]], list[str]]


@dataclass(frozen=True)
class Server:
    """One peer."""

    key: str
    title: str
    roles: frozenset[Role]
    command: Command
    source: str = ""  #: a file of peers/ that must be compiled first
    programs: tuple[str, ...] = ()  #: one of these must be installed
    module: str = ""  #: this must be importable
    install: str = ""  #: one line: how to install what it needs
    together: bool = False  #: one process serves all its roles
    ready: bool = True  #: prints `ready`; otherwise its TCP address is tried until it replies
    forks: bool = False  #: one process per connection: left out of workloads with many connections
    load: tuple[str, ...] = ()  #: options of the load generator
    quick: bool = False  #: a target names it, so it is part of the quick run

    def missing(self) -> str | None:
        """The command that installs what is missing for it; None if nothing is missing."""
        if self.programs and program(*self.programs) is None:
            return self.install
        if self.module and find_spec(self.module) is None:
            return self.install
        return None


def _with(module: str, role: Role) -> frozenset[Role]:
    """The role, if its library is installed."""
    return frozenset({role} if find_spec(module) else ())


def _only(places: Mapping[Role, Place]) -> Place:
    (place,) = places.values()
    return place


def _built(name: str) -> Command:
    return lambda kit, places: [str(kit.folder / name), *kit.words(_only(places))]


def _c_udp(way: str) -> Command:
    return lambda kit, places: [str(kit.folder / "c_udp"), *_only(places).words[:2], way]


def _python(name: str, *extra: str) -> Command:
    return lambda kit, places: [kit.python, str(PEERS / name), *kit.words(_only(places)), *extra]


def _node(kit: Kit, places: Mapping[Role, Place]) -> list[str]:
    return [program("node", "nodejs") or "node", str(PEERS / "echo.js"), *_only(places).words]


def _echod(kit: Kit, places: Mapping[Role, Place]) -> list[str]:
    if Role.PROXIED in places:  # --listen has no proxy-from
        return configured("echod")(kit, places)
    listen = [f"--listen={kind_of(role)}={place.url}" for role, place in places.items()]
    return [*kit.echod, *listen]


def kind_of(role: Role) -> str:
    """The echod service that answers a role."""
    return "upper" if role is Role.UPPER else "echo"


def configured(name: str, *lines: str) -> Command:
    """A command for echod with a configuration file: `lines`, followed by its two services."""

    def command(kit: Kit, places: Mapping[Role, Place]) -> list[str]:
        text = [*lines]
        for kind in ("echo", "upper"):
            urls = ", ".join(f'"{place.url}"' for role, place in places.items() if kind_of(role) == kind)
            if urls:
                text += [f"[services.{kind}]", f"listen = [{urls}]"]
            if "?proxy" in urls:
                text += ['proxy-from = ["127.0.0.0/8"]']
            if "tls://" in urls:
                text += [f"[services.{kind}.tls]", 'certificate = "self-signed"']
        ports = "-".join(str(place.port) for place in places.values())
        return [*kit.echod, "--config", kit.write(f"{name}-{ports}.toml", "\n".join(text) + "\n")]

    return command


def _socat(kit: Kit, places: Mapping[Role, Place]) -> list[str]:
    place = _only(places)
    if place.role is Role.UNIX:
        listen = f"UNIX-LISTEN:{place.path},fork,backlog=1024"
    else:
        listen = f"TCP4-LISTEN:{place.port},bind={place.host},reuseaddr,fork,backlog=1024"
    return [program("socat") or "socat", listen, "PIPE"]


def _ncat(kit: Kit, places: Mapping[Role, Place]) -> list[str]:
    words = _only(places).words
    return [program("ncat") or "ncat", "--listen", "--keep-open", "--max-conns=2000", "--exec=/bin/cat", *words]


def _xinetd(kit: Kit, places: Mapping[Role, Place]) -> list[str]:
    place = _only(places)
    # Without cps xinetd accepts 50 connections a second and then none for 10 s.
    limits = "instances = UNLIMITED\nper_source = UNLIMITED\ncps = 1000000 1\n"
    how = "type = INTERNAL UNLISTED\nid = echo-stream\nsocket_type = stream\nprotocol = tcp\nwait = no\ndisable = no\n"
    where = f"bind = {place.host}\nport = {place.port}\n"
    log = f"log_type = FILE {kit.folder}/xinetd.log\n"
    text = f"defaults\n{{\n{limits}{log}}}\nservice echo\n{{\n{how}{where}}}\n"
    path = kit.write(f"xinetd-{place.port}.conf", text)
    pidfile = str(kit.folder / f"xinetd-{place.port}.pid")
    return [program("xinetd") or "xinetd", "-dontfork", "-f", path, "-pidfile", pidfile]


def _nginx(kit: Kit, places: Mapping[Role, Place]) -> list[str]:
    """Nginx decrypts and forwards to the C server: its stream module cannot echo."""
    place = _only(places)
    certificate = kit.words(place)[-1]
    behind = f"{kit.folder}/nginx-{place.port}.sock"
    text = [
        "load_module modules/ngx_stream_module.so;",
        *(["user root;"] if os.geteuid() == 0 else []),  # another user may not open the folder
        f"worker_processes 1; error_log stderr; pid {behind}.pid;",
        "events { worker_connections 8192; }",
        f"stream {{ server {{ listen {place.host}:{place.port} ssl; proxy_pass unix:{behind};",
        f"ssl_certificate {certificate}; ssl_certificate_key {certificate}; }} }}",
    ]
    config = kit.write(f"nginx-{place.port}.conf", "\n".join(text) + "\n")
    start = '"$0" unix "$1" & exec "$2" -p /usr/share/nginx -g "daemon off;" -c "$3"'
    return ["sh", "-c", start, str(kit.folder / "c_echo"), behind, program("nginx") or "nginx", config]


_CC = "a C compiler: apt install gcc libc6-dev | dnf install gcc"
_HERE = "pip install {} into the Python that runs this"
TCP_ONLY: Final = frozenset({Role.TCP})
UDP_ONLY: Final = frozenset({Role.UDP})
TLS_ONLY: Final = frozenset({Role.TLS})
_SSL = "a C compiler and OpenSSL: apt install gcc libc6-dev libssl-dev | dnf install gcc openssl-devel"

SERVERS: Final = (
    Server("echod", "echod", EVERY, _echod, together=True, ready=False, quick=True),
    Server(
        "echod-off",
        "echod (plane off)",
        EVERY,
        configured("plane-off", "[daemon]", 'plane = "off"'),
        together=True,
        ready=False,
    ),
    Server(
        "echod-python",
        "echod (no native loop)",
        EVERY,
        configured("plane-python", "[daemon]", 'plane = "python"'),
        together=True,
        ready=False,
    ),
    Server("c", "C", STREAMS | {Role.PROXIED}, _built("c_echo"), "c_echo.c", ("cc",), install=_CC, quick=True),
    Server("c-recvmmsg", "C recvmmsg", UDP_ONLY, _c_udp("recvmmsg"), "c_udp.c", ("cc",), install=_CC, quick=True),
    Server("c-recvfrom", "C recvfrom", UDP_ONLY, _c_udp("recvfrom"), "c_udp.c", ("cc",), install=_CC, quick=True),
    Server("c-openssl", "C OpenSSL", TLS_ONLY, _built("c_tls"), "c_tls.c", ("cc",), install=_SSL, quick=True),
    Server(
        "nginx",
        "nginx stream + C",
        TLS_ONLY,
        _nginx,
        "c_echo.c",
        ("nginx",),
        install="apt install nginx-light libnginx-mod-stream | dnf install nginx nginx-mod-stream",
        ready=False,
        load=("--fin",),  # after the close_notify of a client, nginx sends none
    ),
    Server("c-gro", "C GRO + GSO", UDP_ONLY, _c_udp("gro"), "c_udp.c", ("cc",), install=_CC),
    Server(
        "stock",
        "stock Twisted",
        # The extras twisted[tls] and twisted[websocket].
        SOCKETS | {Role.PROXIED} | _with("OpenSSL", Role.TLS) | _with("wsproto", Role.WEBSOCKET),
        _python("stock_twisted.py"),
        module="twisted",
        install=_HERE.format("twisted"),
        quick=True,
    ),
    Server("asyncio", "asyncio", BARE, _python("asyncio_echo.py")),
    Server(
        "uvloop",
        "uvloop",
        BARE,
        _python("asyncio_echo.py", "uvloop"),
        module="uvloop",
        install=_HERE.format("uvloop"),
        quick=True,
    ),
    Server(
        "go",
        "Go",
        SOCKETS,
        _built("echo"),
        "echo.go",
        ("go",),
        install="apt install golang-go | dnf install golang",
    ),
    Server(
        "node", "Node", SOCKETS, _node, programs=("node", "nodejs"), install="apt install nodejs | dnf install nodejs"
    ),
    Server(
        "socat",
        "socat",
        frozenset({Role.TCP, Role.UNIX}),
        _socat,
        programs=("socat",),
        install="apt install socat | dnf install socat",
        ready=False,
        forks=True,
    ),
    Server(
        "ncat",
        "ncat",
        TCP_ONLY,
        _ncat,
        programs=("ncat",),
        install="apt install ncat | dnf install nmap-ncat",
        ready=False,
        forks=True,
    ),
    Server(
        "xinetd",
        "xinetd built-in",
        TCP_ONLY,
        _xinetd,
        programs=("xinetd",),
        install="apt install xinetd | dnf install xinetd",
        ready=False,
        forks=True,
    ),
)
