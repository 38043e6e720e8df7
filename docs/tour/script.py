"""The script of the tour: each step is a caption and commands, which the recorder types in a shell on a terminal."""

from __future__ import annotations

from typing import Final, NamedTuple

CONFIG: Final = """\
[admin]
listen = ["unix://%t/admin.sock", "tcp://127.0.0.1:10090"]

[services.echo]
listen = ["tcp://127.0.0.1:10007", "udp://127.0.0.1:10007"]

[services.upper]
listen = ["tcp://127.0.0.1:10008", "tls://127.0.0.1:14008"]
[services.upper.tls]
certificate = "pki/server.pem"
key = "pki/server-key.pem"

[services.whoami]
listen = ["udp://127.0.0.1:10011"]

[services.chat]
history = 1  # anna may come later than the line
listen = ["tcp://127.0.0.1:10012"]
"""


class Typed(NamedTuple):
    """A line that is typed while a command runs, when the terminal shows a text."""

    after: str
    line: str


class Command(NamedTuple):
    """A command line of the shell. `status` is its expected exit code."""

    line: str
    typed: tuple[Typed, ...] = ()
    status: int = 0
    shown: str = ""  #: the terminal must show this text before the tour goes on


class Step(NamedTuple):
    """A caption, and the commands under it. The screen is cleared before it."""

    caption: str
    commands: tuple[Command, ...]


STEPS: Final = (
    Step(
        "echod serves small services. Start it in the background.",
        (
            Command("echoctl certificates pki | head -1"),
            Command("echod --config echod.toml &", shown="ready: "),
        ),
    ),
    Step(
        "Send a text over TCP. The service replies in upper case.",
        (Command("echoctl send tcp://127.0.0.1:10008 'hello, world'"),),
    ),
    Step(
        "The same over TLS: with the authority of the certificate, and without.",
        (
            Command("echoctl send --ca pki/ca.pem tls://localhost:14008 'hello, world'"),
            Command("echoctl send tls://localhost:14008 'hello, world'", status=1),
        ),
    ),
    Step(
        "A datagram: whoami replies with the five parts of the socket.",
        (Command("echoctl send udp://127.0.0.1:10011 hello"),),
    ),
    Step(
        "Measure: each byte of each reply is verified.",
        (Command("echoctl ping -c 5 -i 300ms udp://127.0.0.1:10007"),),
    ),
    Step(
        "A bad network, on purpose: lose and duplicate replies.",
        (
            Command("echoctl faults echo drop=0.2 duplicate=0.2 seed=6 | head -4"),
            Command("echoctl ping -c 8 -i 200ms -W 1s udp://127.0.0.1:10007"),
            Command("echoctl faults echo --clear | head -1"),
        ),
    ),
    Step(
        "A load: 10,000 messages a second, for two seconds.",
        (Command("echoctl bench -t 2s -c 8 -r 10000 tcp://127.0.0.1:10007"),),
    ),
    Step(
        "A chat: ben joins in the background, anna types.",
        (
            Command("(sleep 2; echo hello, anna; sleep 20) | echoctl chat --nick ben tcp://127.0.0.1:10012 > ben &"),
            Command(
                "echoctl chat --nick anna tcp://127.0.0.1:10012",
                typed=(Typed("hello, anna", "hello, ben"), Typed("ben has left", "\x04")),
            ),
        ),
    ),
    Step(
        "What has happened? Status, metrics, events.",
        (
            Command("curl -s http://127.0.0.1:10090/healthz"),
            Command("curl -s http://127.0.0.1:10090/metrics | grep ^echod_connections_accepted"),
            Command("echoctl events | tail -3"),
        ),
    ),
    Step(
        "Ten lessons teach sockets. Each has an exercise that checks itself.",
        (Command("echoctl lesson | head -16"),),
    ),
    Step("That is the tour.", (Command("kill %1; wait %1", shown="stopped"),)),
)
