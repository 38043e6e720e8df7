"""Attacks with datagrams: amplification, loops, spoofed sources, floods, sizes."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections.abc import Iterator

from tests.chaos import probe
from tests.chaos.lab import Lab, Place, Server
from tests.chaos.network import CLIENT4, SERVER4, Network, linked
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.chaos.spoofed_packets import HIGH, Spoofer
from tests.daemon import SECONDS, eventually
from tests.gate.configurations import refused

ECHOD, PLAIN, STOCK, XINETD, OPENBSD, *_ = Subject
EVERYBODY = (ECHOD, PLAIN, STOCK, XINETD, OPENBSD)
TCP_TOO = '[services.echo]\nlisten = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]\n'
KINDS = ("upper", "ack", "chargen", "daytime", "discard", "qotd", "time", "whoami")
ALL_KINDS = TCP_TOO + "".join(f'[services.{kind}]\nlisten = ["udp://127.0.0.1:0"]\n' for kind in KINDS)
QUIET = 'show = "no"\n'


def _settled(server: Server, place: Place) -> int:
    """Send requests until a reply arrives, which is after all earlier ones; returns the number of requests."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
        last.connect(place)
        last.settimeout(1.0)
        for asked in range(1, 21):
            try:
                last.send(b"last")
                if last.recv(65_536):
                    return asked
            except (TimeoutError, ConnectionRefusedError):
                continue
    raise AssertionError(f"{server.subject} does not reply any more")


# 1

SIZES = (0, 1, 3, 4, 25, 26, 64, 512, 1472, 65_507)


def amplification(lab: Lab) -> Iterator[Figure]:
    services = "[defaults]\nlarger-answers-to = []\n" + ALL_KINDS.replace(
        "[services.ack]\n", "[services.ack]\n" + QUIET
    )
    for server in lab.each(*EVERYBODY, services=services):
        came = {(kind, size): _answers(place, size) for kind, place in server.udp.items() for size in SIZES}
        worst, kind, size = max((sum(came[k, s]) / s, k, s) for k, s in came if s)
        to_nothing, of = max((sum(came[k, 0]), k) for k, s in came if not s)
        most = max(map(len, came.values()))
        text = (
            f"{worst:.1f}× ({kind}, request of {many(size, 'byte')}), {many(to_nothing, 'byte')} for an empty request"
        )
        text += f" ({of})" if to_nothing else ""
        text += f", at most {many(most, 'reply')}"
        kept = worst <= 1 and not to_nothing and most <= 1 if server.ours else None
        yield Figure(server.subject, text, kept, {"factor": worst, "to_nothing": to_nothing, "answers": most})


def _answers(place: Place, size: int) -> list[int]:
    """The sizes of all replies to one request."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(place)
        client.send(bytes(size))
        select.select([client], [], [], 0.1)
        time.sleep(0.02)  # a second one
        return _waiting(client)


def _waiting(client: socket.socket) -> list[int]:
    """The sizes of the datagrams that have arrived."""
    sizes = []
    while select.select([client], [], [], 0)[0]:
        try:
            sizes.append(len(client.recv(65_536)))
        except ConnectionRefusedError:
            break
    return sizes


# 2

LOOP_SECONDS = 5.0
PEERS_LOOP_SECONDS = 2.0  #: enough to show a loop of the other servers


def own_loop(lab: Lab) -> Iterator[Figure]:
    network = lab.network
    services = ALL_KINDS.replace("[services.ack]\n", "[services.ack]\n" + QUIET)
    for server in lab.each(ECHOD, PLAIN, XINETD, OPENBSD, services=services):
        other = "upper" if server.ours else "echo-too" if "echo-too" in server.udp else "daytime"
        yield _loop(network, server, server.udp[other], server.udp["echo"])
    with lab.server(STOCK) as one, lab.server(STOCK) as another:
        yield _loop(network, one, another.udp["echo"], one.udp["echo"])


def _loop(network: Network, server: Server, source: Place, place: Place) -> Figure:
    seconds = LOOP_SECONDS if server.ours else PEERS_LOOP_SECONDS
    before = network.figure("Udp", "InDatagrams")
    with Spoofer() as spoofer:
        spoofer.send(source, place, b"and so on")
    time.sleep(seconds)
    packets = network.figure("Udp", "InDatagrams") - before
    text = f"{many(packets, 'packet')} in {seconds:g} s"
    return Figure(server.subject, text, packets <= 2 if server.ours else None, {"packets": packets, "seconds": seconds})


# 3


class Naive(threading.Thread):
    """An echo service without any protection, on a port that sends nothing first."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(daemon=True)
        self.heard, self.last = 0, 0.0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            # a short time limit of the socket would end a send, too
            if not select.select([self.socket], [], [], 0.1)[0]:
                continue
            datagram, sender = self.socket.recvfrom(65_536)
            self.heard, self.last = self.heard + 1, time.monotonic()
            self.socket.sendto(datagram, sender)

    def end(self) -> None:
        self._over.set()
        self.join()


def foreign_loop(lab: Lab) -> Iterator[Figure]:
    """Over a link between two networks, with echod's default configuration for a network."""
    with linked(lab.network) as client_side:
        services = f'[services.echo]\nlisten = ["udp://{SERVER4}:0", "tcp://{SERVER4}:0"]\nallow = ["0.0.0.0/0"]\n'
        for subject in (ECHOD, PLAIN):
            with lab.server(subject, services) as server:
                yield _foreign(server, client_side)
        with lab.server(STOCK, host=SERVER4) as server:
            yield _foreign(server, client_side)


def _foreign(server: Server, client_side: Network) -> Figure:
    with client_side.inside():
        naive = Naive(CLIENT4, HIGH)
    place, began = server.udp["echo"], time.monotonic()
    with naive.socket:
        naive.socket.sendto(b"and so on", place)
        naive.start()
        time.sleep(LOOP_SECONDS if server.ours else PEERS_LOOP_SECONDS)
        naive.end()
        packets, silent = naive.heard, naive.last - began
        naive.socket.sendto(b"are you still there?", place)
        muted = not eventually(lambda: bool(_waiting(naive.socket)), seconds=0.5)
    text = many(packets, "packet")
    text += f", silent after {silent:.2f} s, then the source is muted" if muted else ", without end"
    kept = packets <= 400 and muted and silent <= 2 if server.ours else None
    return Figure(server.subject, text, kept, {"packets": packets, "seconds": round(silent, 3), "muted": muted})


# 4

EACH = 10_000
BAD_PORTS = (0, 7, 19, 53, 123, 1023, 2049)
BAD_HOSTS = ("255.255.255.255", "224.0.0.1", "240.0.0.1", "0.0.0.1")


def bad_sources(lab: Lab) -> Iterator[Figure]:
    network = lab.network
    for server in lab.each(*EVERYBODY, services=TCP_TOO):
        place = server.udp["echo"]
        nobody = "192.0.2.9" if server.subject is OPENBSD else "127.0.0.9"
        sources = [(nobody, port) for port in BAD_PORTS] + [(host, HIGH) for host in BAD_HOSTS] + [place]
        asked = _settled(server, place)
        lines, before = server.lines(), network.figure("Udp", "OutDatagrams") - asked
        with Spoofer() as spoofer:
            for source in sources:
                spoofer.send(source, place, b"spoofed", EACH)
                asked += _settled(server, place)
        time.sleep(0.2)
        out = network.figure("Udp", "OutDatagrams") - before
        lines = server.lines() - lines
        sent = EACH * len(sources)
        exact = counted = 0
        if server.daemon is not None:
            figures = server.daemon.counters()[f"echo {server.daemon.url('echo', 'udp')}"]
            answers = figures["datagrams_out"] - asked
            counted = sum(refused(figures).values())
            exact = counted == sent
            out = asked + max(answers, 0)
        answers = out - asked if server.daemon else max(out - 2 * asked, 0)
        text = f"{many(answers, 'reply')} to {sent:,}, {many(lines, 'line')} in the log"
        text += f", {counted:,} counted" if server.ours else ""
        kept = not answers and not lines and bool(exact) if server.ours else None
        yield Figure(server.subject, text, kept, {"answers": answers, "sent": sent, "lines": lines, "counted": counted})


# 5

VICTIM = "127.0.0.77"
MILLION = 1_000_000
FLOOD_SECONDS = 10.0
NOISE = 5.0  #: milliseconds of p99 within measurement noise, with three busy processes on two processors
RATES = '[defaults.limits]\nrate = "200/400"\n' + TCP_TOO


def victim(lab: Lab) -> Iterator[Figure]:
    network = lab.network
    for server in lab.each(ECHOD, PLAIN, STOCK, XINETD, services=RATES):
        place = server.udp["echo"]
        quiet = probe.datagrams(place, 2.0, "127.0.9.1")
        out, began = network.figure("Udp", "OutDatagrams"), time.monotonic()
        with probe.attack("forge", MILLION, FLOOD_SECONDS, VICTIM, HIGH, *place) as attack:
            under = probe.datagrams(place, 3.0, "127.0.9.1")
        seconds = time.monotonic() - began
        # Each request of the probe and each reply to it is counted as sent, too.
        answers = max(network.figure("Udp", "OutDatagrams") - out - 2 * under.asked + under.lost, 0)
        bound = 200 * seconds + 400
        ratio = under.p99 / quiet.p99 if quiet.p99 else 0.0
        text = f"{many(answers, 'reply')} to {attack.sent:,} in {seconds:.1f} s; another client's p99"
        text += f" {quiet.p99} ms before"
        text += f", {under.p99} ms during it ({ratio:.1f}×)" if under.lost < under.asked else ", none during it"
        text += f", {under.lost} of {under.asked} lost"
        on_time = ratio <= 3 or under.p99 <= NOISE
        kept = answers <= bound and on_time and not under.lost if server.ours else None
        values = {"answers": answers, "sent": attack.sent, "seconds": round(seconds, 1)}
        yield Figure(server.subject, text, kept, values | {"quiet": vars(quiet), "under": vars(under)})


# 7

FLOODED = ("echo", "upper", "discard", "chargen", "time")
BESIDE = 2.0  #: seconds that the probe runs during each flood


def floods(lab: Lab) -> Iterator[Figure]:
    """Flood each service alone, and all together."""
    for server in lab.each(ECHOD, PLAIN, STOCK, XINETD, services=ALL_KINDS):
        kinds = [kind for kind in FLOODED if kind in server.udp]
        found: dict[str, probe.Times] = {}
        sent = 0
        for flooded in [[kind] for kind in kinds] + ([kinds] if len(kinds) > 1 else []):
            places = [part for kind in flooded for part in server.udp[kind]]
            for size in (0, 1):
                words = ("flood", size, BESIDE + 0.5, *places)
                with probe.attack(*words) as one, probe.attack(*words) as other:
                    name = f"{'+'.join(flooded)}, {'one byte' if size else 'empty'}"
                    found[name] = probe.stream(server.tcp["echo"], BESIDE)
                sent += one.sent + other.sent
        longest, p99 = (max((getattr(each, name), of) for of, each in found.items()) for name in ("most", "p99"))
        text = f"longest gap {longest[0]:.0f} ms ({longest[1]}), p99 at most {p99[0]:.1f} ms ({p99[1]}); {sent:,} sent"
        kept = longest[0] <= 50 and p99[0] <= 20 if server.ours else None
        yield Figure(server.subject, text, kept, {name: vars(times) for name, times in found.items()})


# 8

BIG = (8192, 8193, 65_507)


def sizes(lab: Lab) -> Iterator[Figure]:
    six = '[services.six]\nkind = "echo"\nlisten = ["udp://[::1]:0"]\n'
    for server in lab.each(*EVERYBODY, services=TCP_TOO + six):
        payload = random.Random(8).randbytes(65_527)
        seconds = SECONDS if server.ours else 2.0
        came = {size: _echoed(server.udp["echo"], payload[:size], seconds) for size in BIG}
        if server.ours:
            came[65_527] = _echoed(server.udp["six"], payload, seconds)
        cut = {size: answer for size, answer in came.items() if answer != size}
        text = ", ".join(f"{size:,}: {'complete' if size not in cut else _how(cut[size])}" for size in came)
        yield Figure(server.subject, text, not cut if server.ours else None, {str(size): came[size] for size in came})


def _echoed(place: Place, payload: bytes, seconds: float) -> int | None:
    """How many bytes came back unchanged; -1 if some were changed; None if no reply came."""
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        client.connect(place)
        client.send(payload)
        try:
            answer = client.recv(65_536)
        except (TimeoutError, ConnectionRefusedError):
            return None
    return len(answer) if payload.startswith(answer) else -1


def _how(answer: int | None) -> str:
    return "no reply" if answer is None else "changed" if answer < 0 else f"cut at {answer:,}"


SCENARIOS = (
    Scenario(
        1,
        "amplification",
        "a reply is not larger than the request, at most one, no data for an empty one",
        amplification,
    ),
    Scenario(2, "a loop between two ports of one server", "at most 2 packets in 5 s", own_loop),
    Scenario(3, "a loop with a foreign echo", "at most 400 packets, silent within 2 s, then muted", foreign_loop),
    Scenario(4, "invalid sources, 10,000 of each", "no reply, no log line, every datagram counted", bad_sources),
    Scenario(
        5,
        "a million datagrams with one spoofed source",
        f"at most 400 replies plus 200 a second; another client's p99 at most 3×, or {NOISE:g} ms",
        victim,
    ),
    Scenario(7, "floods of small datagrams", "TCP meanwhile: no gap above 50 ms, p99 at most 20 ms", floods),
    Scenario(8, "large datagrams", "every byte, or none", sizes),
)
