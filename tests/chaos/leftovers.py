"""Resources that reloads leave in a process, and bytes that urgent data removes from a stream."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from echod.address import parse
from echod.client.admin import Administrator
from tests.chaos.lab import LOOPBACK, Lab, Server
from tests.chaos.report import Figure, Scenario, Subject, many
from tests.daemon import SECONDS, eventually

MIB = 1024 * 1024

# 80

RELOADS, WARM, FIRST_PORT, MOST_MEMORY = 1000, 20, 20_000, 4 * MIB
ADMIN = '[admin]\nlisten = ["unix://{dir}/admin.sock"]\n'
SERVICES = '[services.echo]\nlisten = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]\n'


def reloads(lab: Lab) -> Iterator[Figure]:
    """Each reload closes one UDP and one TCP listener, opens others, and each new one is used."""
    assert lab.network is not None
    for server in lab.each(Subject.ECHOD, Subject.PLAIN, services=SERVICES + ADMIN):
        assert server.daemon is not None
        file = server.daemon.dir / "echod.toml"
        text = file.read_text()
        with Administrator(parse(f"unix://{server.daemon.dir}/admin.sock")) as administrator:
            yield _grown(server, partial(_reload_echod, file, text, administrator))
    for server in lab.each(Subject.XINETD, services=""):
        file = Path(f"/proc/{server.pid}/cmdline")
        configuration = Path(file.read_bytes().split(b"\0-f\0")[1].split(b"\0")[0].decode())
        yield _grown(server, partial(_reload_xinetd, server.pid, configuration, configuration.read_text()))


def _reload_echod(file: Path, text: str, administrator: Administrator, turn: int) -> int:
    port = FIRST_PORT + turn
    listen = f'["tcp://{LOOPBACK}:{port}", "udp://{LOOPBACK}:{port}"]'
    file.write_text(f'{text}\n[services.new]\nkind = "echo"\nlisten = {listen}\n')
    administrator.ask("/api/reload", "POST")
    return port


def _reload_xinetd(pid: int, file: Path, text: str, turn: int) -> int:
    port = FIRST_PORT + turn
    file.write_text(
        f"{text}\nservice echo\n{{\n id = new\n type = INTERNAL UNLISTED\n socket_type = dgram\n protocol = udp\n"
        f" wait = yes\n user = root\n bind = {LOOPBACK}\n port = {port}\n disable = no\n}}\n"
    )
    os.kill(pid, signal.SIGHUP)
    return port


def _grown(server: Server, reload: Callable[[int], int]) -> Figure:
    for turn in range(WARM):
        _use(reload(turn))
    memory, descriptors = server.memory(), server.descriptors()
    answered = sum(_use(reload(turn)) for turn in range(WARM, WARM + RELOADS))
    eventually(lambda: server.descriptors() <= descriptors, 5)
    grown, more = server.memory() - memory, server.descriptors() - descriptors
    text = f"{grown / MIB:+.1f} MiB, {more:+d} descriptors; {answered:,} of {RELOADS:,} new listeners replied"
    kept = grown <= MOST_MEMORY and more <= 0 and answered == RELOADS if server.ours else None
    return Figure(server.subject, text, kept, {"grown": grown, "descriptors": more, "answered": answered})


def _use(port: int) -> bool:
    """Whether the address replies to a datagram, at once or after the reload has finished."""

    def answered() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.2)
            client.connect((LOOPBACK, port))
            try:
                client.send(b"hello")
                return client.recv(10) == b"hello"
            except OSError:
                return False

    return eventually(answered, 5)


# 81

LENGTH, BLOCK, PIECE = 1024 * MIB, 16 * MIB, 128 * 1024


def urgent(lab: Lab) -> Iterator[Figure]:
    """1 GiB with an urgent byte after each piece of random length."""
    subjects = (Subject.ECHOD, Subject.PLAIN, Subject.STOCK, Subject.XINETD)
    for server in lab.each(*subjects, services='[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'):
        client = socket.create_connection(server.tcp["echo"], SECONDS)
        with client:
            digest, sent = hashlib.sha256(), [0]
            sender = threading.Thread(target=_send, args=(client, digest, sent))
            sender.start()
            came, received = hashlib.sha256(), 0
            ended = "in order"
            try:
                while piece := client.recv(MIB):
                    came.update(piece)
                    received += len(piece)
            except OSError as error:
                ended = f"by {error.strerror or error}"
            sender.join(SECONDS)
        lost, whole = LENGTH - received, came.digest() == digest.digest()
        text = f"{lost:,} bytes lost of {LENGTH // MIB:,} MiB, {sent[0]:,} of them urgent; ended {ended}"
        kept = whole and not lost and ended == "in order" if server.ours else None
        yield Figure(server.subject, text, kept, {"lost": lost, "urgent": sent[0], "whole": whole})


def _send(client: socket.socket, digest: hashlib._Hash, urgent_bytes: list[int]) -> None:
    """Send LENGTH bytes and shut down; `urgent_bytes` counts the urgent ones."""
    chance = random.Random(793)
    block = memoryview(chance.randbytes(BLOCK))
    try:
        for _ in range(LENGTH // BLOCK):
            digest.update(block)
            rest = block
            while rest:
                length = min(chance.randint(1, PIECE), len(rest))
                client.sendall(rest[: length - 1])
                client.send(rest[length - 1 : length], socket.MSG_OOB)
                urgent_bytes[0] += 1
                rest = rest[length:]
        client.shutdown(socket.SHUT_WR)
    except OSError:
        pass


SCENARIOS = (
    Scenario(
        80,
        f"{many(RELOADS, 'reload')} that change addresses",
        f"memory grows by at most {MOST_MEMORY // MIB} MiB, and no descriptor is left",
        reloads,
    ),
    Scenario(81, "urgent data at random places", "0 bytes of 1 GiB are lost, and the close is in order", urgent),
)
