"""Python objects that remain after connections are closed: counted by type, in a process that serves them.

`python -m tests.soak.objects WAY CYCLES` is a separate process. It prints a JSON object with the increase of every type
that has more objects than before; `growth` starts it.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import tempfile
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from tests.chaos.connect_burst import RESET
from tests.daemon import TOP, run
from tests.tls import V12, V13

WAYS: Final = ("plane", "plain", "tls and plane", "tls")
WARM: Final = 500  #: cycles before the first count: until then caches fill
SECONDS: Final = 600


def growth(way: str, cycles: int) -> dict[str, int]:
    """The increase in objects of each type after so many cycles."""
    words = [sys.executable, "-W", "error", "-m", __name__, way, str(cycles)]
    ended = run(*words, seconds=SECONDS, cwd=TOP)
    if ended.returncode:
        raise RuntimeError(ended.stderr[-2000:].decode(errors="replace"))
    found: dict[str, int] = json.loads(ended.stdout)
    return found


def _cycle(made: Any, number: int) -> None:
    client = made.connect()
    question = b"%d" % number
    client.send(question)
    if number % 5:
        assert made.hear(client, len(question)) == question
    if number % 3 == 0 and client.family == socket.AF_INET:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    elif number % 3 == 1:
        client.shutdown(socket.SHUT_WR)
    made.clients.pop_all().close()
    made.until(lambda: made.counters.open == 0)


def _tls_cycle(made: Any, number: int) -> None:
    from tests.fastpath.tls_client import Client  # it imports the reactor

    client = Client(made, V12 if number % 2 else V13).shake(send_last=bool(number % 7))
    question = b"%d" % number
    client.write(question)
    if number % 5:
        client.until(lambda: client.heard == question)
    if number % 3 == 0:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    elif number % 3 == 1:
        client.finish()
        client.rest()
    made.clients.pop_all().close()
    made.until(lambda: made.counters.open == 0)


def _census() -> Counter[str]:
    gc.collect()
    return Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())


def main(way: str, cycles: str) -> None:
    """Serve connections and count the objects."""
    import_module("twisted.internet.reactor")  # it has descriptors, and must not be made during the count

    from echod.services.echo import Echo
    from tests.fastpath.listener import listener

    cycle = _tls_cycle if way.startswith("tls") else _cycle
    with tempfile.TemporaryDirectory() as folder, listener(way, "tcp", Path(folder), Echo()) as made:
        for number in range(WARM):
            cycle(made, number)
        _census()  # Counter makes caches in every subclass of Mapping
        before = _census()
        for number in range(int(cycles)):
            cycle(made, number)
        after = _census()
        del before["collections.Counter"], after["collections.Counter"]  # the census itself
        print(json.dumps({name: count - before[name] for name, count in after.items() if count > before[name]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
