"""The options of `echoctl ping`, and which of them fit together."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from typing import Final

from echod.address import Address
from echod.address_options import Source, option_text, source_of
from echod.client import exporter_options, family_options, output_options, proxy_options, websocket_options
from echod.client.argparse_errors import Parser
from echod.client.tls_options import LAYER, verification
from echod.client.value_types import (
    address_option,
    color_option,
    file_name,
    flow_count,
    interval,
    patience,
    probe_count,
    probe_size,
    service_url,
    size_range,
    threshold,
    traffic_class,
)
from echod.measurement.reflector_tokens import SIZE
from echod.measurement.stamp import AUTHENTICATED_BASE, BASE
from echod.measurement.stamp_tlvs import HEADER

MARK: Final = 16  #: bytes of the mark at the start of a datagram probe, and so its minimum size
LARGEST_DATAGRAM: Final = 65_507  #: maximum payload of a UDP datagram over IPv4, in bytes (RFC 768, RFC 791)
LARGEST_PIECE: Final = 16 * 1024 * 1024  #: maximum bytes of a probe on a stream; its reply is held in memory, too
PATIENCE: Final = 5.0  #: seconds that ping waits for a reply
SEARCH: Final = "probe"  #: the value of -M that searches the path MTU
FLOOD_INTERVAL: Final = 0.01  #: seconds: ping(8) -f sends at least 100 probes a second
_WRITTEN: Final = {"deadline": "-w", "flood": "-f", "adaptive": "-A"}  # options that have no long name
_OF_ADDRESS: Final = {"I": "interface", "Q": "dscp", "t": "ttl", "M": "df"}  # options that are one of the URL


def add(command: Parser) -> None:
    """Add the options of ping."""
    command.refuses = unfit
    command.monitors = True
    family_options.add(command)
    command.add_argument(
        "urls",
        metavar="URL",
        nargs="+",
        type=service_url,
        help="an echo, upper or reflector service, such as udp://127.0.0.1:10007; several are measured at once",
    )
    _schedule(command)
    _packets(command)
    _output(command)
    command.add_argument("--connect", action="store_true", help="time connecting: open a connection for each probe")
    proxy_options.add(command)
    command.add_argument(
        "--exit-on-refusal",
        action="store_true",
        help="end at the first refused datagram or connection (default: count it as lost)",
    )
    command.add_argument(
        "--ping-frames",
        action="store_true",
        help="WebSocket: send ping frames of 16 to 125 bytes instead of messages; any service answers them",
    )
    verification(command)
    websocket_options.add(command)


def _schedule(command: Parser) -> None:
    command.add_argument(
        "-c", "--count", metavar="COUNT", type=probe_count, help="end after this number of probes (default: never)"
    )
    command.add_argument("-w", metavar="TIME", dest="deadline", type=patience, help="end after this time")
    command.add_argument(
        "-i",
        "--interval",
        metavar="TIME",
        type=interval,
        help="time between probes: 200ms, or 0.2 for seconds (default: 1s; at least 10us)",
    )
    command.add_argument(
        "--poisson", action="store_true", help="random times between probes, with --interval as their mean"
    )
    command.add_argument(
        "-A", dest="adaptive", action="store_true", help="send the next probe as soon as a reply arrives"
    )
    command.add_argument(
        "-f", dest="flood", action="store_true", help="as -A, at least 100 probes a second; print a dot for each loss"
    )
    command.add_argument(
        "-W",
        "--timeout",
        metavar="TIME",
        type=patience,
        help="time to wait for a reply, and for name lookup and connecting; a probe whose reply comes later is lost"
        " (default: 5s; no limit for name lookup and connecting)",
    )


def _packets(command: Parser) -> None:
    command.add_argument(
        "-s",
        "--size",
        metavar="SIZE",
        type=probe_size,
        help="bytes of a probe (default: 64; 16 to 65507 for datagrams)",
    )
    command.add_argument(
        "--sizes",
        metavar="LOW-HIGH",
        type=size_range,
        help="UDP: probes of these sizes in turn: 64-1472, or 64-1472/64",
    )
    command.add_argument(
        "-M",
        dest="df",
        choices=("do", "want", "dont", "probe"),
        help="the IPv4 flag DF: do sets it, want follows path MTU discovery, dont clears it; probe searches the path"
        " MTU with it (UDP)",
    )
    command.add_argument("-I", metavar="NAME", dest="interface", type=address_option("interface"), help="the interface")
    command.add_argument(
        "-Q", metavar="TOS", dest="dscp", type=traffic_class, help="the traffic class: ef, or the byte 0xb8"
    )
    command.add_argument("-t", metavar="TTL", dest="ttl", type=address_option("ttl"), help="the TTL or hop limit")
    command.add_argument(
        "--source",
        metavar="ADDRESS",
        type=address_option("source"),
        help="the source address, port or both: 192.0.2.1, *:5000, or a range of ports such as *:5000-5009",
    )
    command.add_argument(
        "--flows",
        metavar="COUNT",
        type=flow_count,
        help="UDP: measure this number of flows at once, each from its own port: of --source, or random ones",
    )
    command.add_argument(
        "--auth-key", metavar="FILE", type=file_name, help="UDP: authenticate STAMP packets by the key in this file"
    )
    command.add_argument(
        "--token", action="store_true", help="UDP: prove the source address to a public reflector, by its tokens"
    )


def _output(command: Parser) -> None:
    command.add_argument("-q", "--quiet", action="store_true", help="print the summary only")
    command.add_argument(
        "-v", "--verbose", action="store_true", help="print more about each reply, and all percentiles"
    )
    command.add_argument("-n", dest="numeric", action="store_true", help="no effect: addresses are always numbers")
    command.add_argument("-D", dest="dates", action="store_true", help="print the time before each line")
    command.add_argument(
        "-O", dest="outstanding", action="store_true", help="report a probe without a reply when the next one is due"
    )
    command.add_argument("--histogram", action="store_true", help="print a histogram of the times")
    exporter_options.add(command)
    output_options.formats(command, "probe")
    for name, what in (("warn", "1"), ("critical", "2")):
        command.add_argument(
            f"--{name}",
            metavar="TIME,LOSS",
            type=threshold,
            help=f"exit with {what} if the mean time or the loss is higher: 100ms,20%%; as a monitoring plugin",
        )
    output_options.plots(command)
    color_option(command)


def unfit(arguments: argparse.Namespace) -> str:
    """The usage error if the options do not fit together or the URLs, or "". Adds `targets`, with all defaults."""
    if arguments.interval is None:
        arguments.interval = FLOOD_INTERVAL if arguments.flood else 1.0
    if arguments.poisson and (arguments.adaptive or arguments.flood):
        return "--poisson: leave out -A and -f, whose probes follow the replies"
    if arguments.size is not None and arguments.sizes is not None:
        return "--sizes: leave out --size"
    if arguments.df == SEARCH and (wrong := _unfit_search(arguments)):
        return wrong
    if wrong := exporter_options.unfit(arguments) or output_options.unfit(arguments) or _unfit_live(arguments):
        return wrong
    if wrong := _unfit_limits(arguments):
        return wrong
    if arguments.plot is not None and (len(arguments.urls) > 1 or (arguments.flows or 1) > 1):
        return "--plot draws one path only; leave out the other URLs and --flows"
    if arguments.hgrm is not None and (len(arguments.urls) > 1 or (arguments.flows or 1) > 1):
        return "--hgrm writes one path only; leave out the other URLs and --flows"
    targets = []
    for url in arguments.urls:
        one = argparse.Namespace(**{**vars(arguments), "url": url})
        if wrong := _unfit_one(one):
            return wrong
        targets += _flows(one)
    vars(arguments).update({**vars(targets[-1]), "targets": targets})
    return ""


def _unfit_limits(arguments: argparse.Namespace) -> str:
    """The usage error if a limit of --warn is above that of --critical, or "". Limits that were not given may be."""
    if arguments.warn is None or arguments.critical is None:
        return ""
    limits = zip(("time", "loss"), (math.inf, 100), arguments.warn, arguments.critical, strict=True)
    for name, most, warn, critical in limits:
        if critical < warn < most:
            return f"--warn: its {name} is above that of --critical; expected a lower one"
    return ""


def _unfit_live(arguments: argparse.Namespace) -> str:
    """The usage error if a live display does not fit the other options, or ""."""
    if not arguments.live:
        return ""
    if len(arguments.urls) > 1 or (arguments.flows or 1) > 1:
        return "--live shows one path only; leave out the other URLs and --flows"
    for name, option in (("dates", "-D"), ("outstanding", "-O")):
        if getattr(arguments, name):
            return f"--live shows no lines: leave out {option}"
    return ""


def _unfit_search(arguments: argparse.Namespace) -> str:
    """The usage error if a search of the path MTU has options of probes on a schedule, or other URLs; or ""."""
    for url in arguments.urls:
        if not is_udp(url):
            return f"-M {SEARCH} is for udp:// only, not for {url.label}"
    probes = ("count", "deadline", "size", "sizes", "flows", "connect", "proxy", "auth_key", "token")
    for name in (*probes, "plot", "hgrm", "live", "csv", "serve"):
        if getattr(arguments, name):
            return f"-M {SEARCH} chooses its own probes: leave out {_WRITTEN.get(name, f'--{name}').replace('_', '-')}"
    for name in ("json_lines", "warn", "critical", "flood", "adaptive", "poisson"):
        if getattr(arguments, name):
            return f"-M {SEARCH} has one result: leave out {_WRITTEN.get(name, f'--{name}').replace('_', '-')}"
    return ""


def _flows(one: argparse.Namespace) -> list[argparse.Namespace]:
    """A copy of the arguments for each flow, with a source port of its own."""
    source = source_of(str(one.url.options.get("source", "")))
    if one.flows is None or source is None or not source.lowest:
        return [argparse.Namespace(**vars(one)) for _ in range(one.flows or 1)]
    flows = []
    for port in range(source.lowest, source.lowest + one.flows):
        text = option_text(("source", _source_text(source, port))).partition("=")[2]
        flows.append(argparse.Namespace(**{**vars(one), "url": _with(one.url, {"source": text})}))
    return flows


def _source_text(source: Source, port: int) -> str:
    return f"[{source.host}]:{port}" if ":" in source.host else f"{source.host}:{port}"


def _with(url: Address, options: dict[str, str | int | bool]) -> Address:
    return replace(url, options={**url.options, **options})


def _unfit_one(arguments: argparse.Namespace) -> str:
    """The usage error for one URL, or ""."""
    for letter, option in (*_OF_ADDRESS.items(), ("-source", "source")):
        value = getattr(arguments, option)
        if value is None or value == SEARCH:
            continue
        if option not in arguments.url.form.options:
            lacks = "DF flag" if option == "df" else f"option {option}"
            expected = family_options.OVER_IP
            return f"-{letter} {value}: {arguments.url.scheme} has no {lacks}; expected {expected}"
        arguments.url = _with(arguments.url, {option: value})
    source = source_of(str(arguments.url.options.get("source", "")))
    if arguments.flows is not None and source is not None and source.lowest:
        ports = source.highest - source.lowest + 1
        if ports < arguments.flows:
            return f"--flows {arguments.flows}: --source has {ports} ports; expected at least {arguments.flows}"
    arguments.opening = arguments.timeout
    arguments.timeout = PATIENCE if arguments.timeout is None else arguments.timeout
    if wrong := family_options.unfit(arguments) or proxy_options.unfit(arguments):
        return wrong
    if arguments.connect:
        return _unfit_connect(arguments)
    return _unfit_sizes(arguments)


def _unfit_connect(arguments: argparse.Namespace) -> str:
    if arguments.proxy is not None:
        return "--connect sends nothing: leave out --proxy"
    if not arguments.url.form.is_bare and arguments.url.form.layers != (LAYER,):
        return f"--connect: {arguments.url.scheme} is not supported; use tcp://, tls:// or unix://"
    for name, value in (("--size", arguments.size), ("--sizes", arguments.sizes), ("--auth-key", arguments.auth_key)):
        if value is not None:
            return f"--connect sends nothing: leave out {name}"
    return ""


def is_udp(url: Address) -> bool:
    """Whether probes to this address are STAMP packets."""
    return not url.shape.has_connections and not url.has_path


def _unfit_sizes(arguments: argparse.Namespace) -> str:
    url = arguments.url
    for name in ("sizes", "flows", "auth-key", "token"):
        if getattr(arguments, name.replace("-", "_")) and not is_udp(url):
            return f"--{name} is for udp:// only, not for {url.label}"
    if arguments.ping_frames and websocket_options.LAYER not in url.form.layers:
        return f"--ping-frames: {url.label} is not WebSocket; --ping-frames is for ws:// and wss://"
    least = MARK if url.shape.keeps_messages else 1
    usual = 64
    if arguments.auth_key is not None:
        least = usual = AUTHENTICATED_BASE
    if arguments.token:
        if arguments.auth_key is not None:
            return "--token: leave out --auth-key, which identifies the sender already"
        least = BASE + HEADER + SIZE
    most = LARGEST_PIECE if url.form.layers or not url.shape.keeps_messages else LARGEST_DATAGRAM
    most = websocket_options.LARGEST_PING if arguments.ping_frames else most
    sizes = arguments.sizes or (usual if arguments.size is None else arguments.size,)
    for size in (sizes[0], sizes[-1]):
        if not least <= size <= most:
            return f"--size {size} is out of range ({least}–{most} bytes over {url.scheme})"
    arguments.size = sizes[0] if arguments.sizes is None else arguments.size
    arguments.sizes = sizes
    return ""
