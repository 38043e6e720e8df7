"""The examples in the `--help` of each command, for a daemon with etc/echod.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

EXAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "": (
        "echoctl send tcp://127.0.0.1:10008 hello, world",
        "echoctl ping -c 3 udp://127.0.0.1:10007",
        "echoctl status",
    ),
    "send": (
        "echoctl send tcp://127.0.0.1:10008 hello, world",
        "echoctl send --hex udp://127.0.0.1:10007 hello",
        "echoctl send --timeout 2s tcp://127.0.0.1:10007 < FILE",
        "echoctl send --ca pki/ca.pem tls://localhost:14007 hello",
        "echoctl send ws://127.0.0.1:18007/upper hello",
    ),
    "talk": (
        "echoctl talk tcp://127.0.0.1:10008",
        "echoctl talk -4 udp://localhost:10008",
        "echoctl talk -v --insecure tls://localhost:14007",
        "echoctl talk -v --origin https://page.example ws://127.0.0.1:18007/echo",
    ),
    "ping": (
        "echoctl ping -c 3 udp://127.0.0.1:10007",
        "echoctl ping -i 200ms -s 1400 tcp://127.0.0.1:10007",
        "echoctl ping -i 500us -c 10000 -q udp://127.0.0.1:10862",
        "echoctl ping --connect --json -c 10 tcp://127.0.0.1:10007",
        "echoctl ping --ping-frames -c 3 ws://127.0.0.1:18007/chat",
    ),
    "bench": (
        "echoctl bench tcp://127.0.0.1:10007",
        "echoctl bench -c 64 -s 1KiB -t 5s tcp://127.0.0.1:10007",
        "echoctl bench -d 32 -n 100000 udp://127.0.0.1:10007",
        "echoctl bench -c 10 -r 2000 -t 30s ws://127.0.0.1:18007/echo",
        "echoctl bench -r 1000 --plot load.svg tcp://127.0.0.1:10007",
        "echoctl bench --connect -c 8 tcp://127.0.0.1:10007",
    ),
    "chat": (
        "echoctl chat tcp://127.0.0.1:10012",
        "echoctl chat --nick anna --room lobby udp://127.0.0.1:10012",
        "echoctl chat ws://127.0.0.1:18007/chat",
    ),
    "console": (
        "echoctl console",
        "echoctl console --admin unix:///run/echod/admin.sock support",
    ),
    "status": (
        "echoctl status",
        "echoctl status --json --admin tcp://127.0.0.1:10090",
        "echoctl status --sort refused --connections 10",
    ),
    "top": (
        "echoctl top",
        "echoctl top --by connections --sort unsent",
        "echoctl top --once --by services",
    ),
    "events": (
        "echoctl events",
        "echoctl events --follow --severity debug --service echo",
        "echoctl events --since 1h --name daemon.reloaded --json-lines",
    ),
    "faults": (
        "echoctl faults echo",
        "echoctl faults echo delay=200ms jitter=50ms",
        "echoctl faults echo --clear drop=0.3 seed=42",
    ),
    "reload": ("echoctl reload",),
    "check": (
        "echoctl check",
        "echoctl check etc/echod.toml",
    ),
    "doctor": (
        "echoctl doctor",
        "echoctl doctor --config etc/echod.toml --json",
    ),
    "services": (
        "echoctl services",
        "echoctl services --json",
    ),
    "lesson": (
        "echoctl lesson",
        "echoctl lesson 1",
        "echoctl lesson 1 -- python3 client.py",
        "echoctl lesson 3 --hint --language zh",
    ),
    "certificates": (
        "echoctl certificates pki",
        "echoctl certificates pki echo.example 192.0.2.7",
    ),
}
"""Command lines by command; "" is the program itself."""
