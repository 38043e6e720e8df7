"""Pure targets: text in; a value or one clear line out."""

from __future__ import annotations

import atexit
import contextlib
import io
import ipaddress
import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from twisted.internet.task import Clock
from twisted.logger import LogLevel

from echod.address import AddressError, parse
from echod.client.command_definitions import parser
from echod.config import units
from echod.config.building import Building
from echod.config.errors import ConfigurationError, LocatedError
from echod.config.loading import from_listen, load
from echod.config.printing import describe
from echod.config.schema import ROOT, SERVICE, SERVICES, Table, default
from echod.config.schema_check import Reading
from echod.config.value_types import Form
from echod.escaping import decoded, escaped
from echod.event_catalogue import CATALOGUE
from echod.gate.access import Access, canonical, in_disguise, key_of
from echod.model import Context, Peer
from echod.services.print_message import show
from echod.services.qotd import WrongQuotes, quotations
from echod.services.registry import kinds
from echod.socket_names import inet, is_loopback, unix_name
from echod.tap import Options
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.journal import entry
from echod.telemetry.log import Format, Log
from tests.fuzz.draw import Draw
from tests.fuzz.target import Attempt, Target, assert_plain, text_of


def _address(data: bytes) -> bool:
    text, accepted = text_of(data), False
    for client in (False, True):
        try:
            address = parse(text, client=client)
        except AddressError as error:
            assert_plain(str(error))
        else:
            assert_plain(str(address))
            again = parse(str(address), client=client)
            assert (again, hash(again)) == (address, hash(address))
            assert (again.label, again.shape, again.loopback) == (address.label, address.shape, address.loopback)
            accepted = True
    return accepted


def _value(data: bytes) -> bool:
    text, accepted = text_of(data), 0
    written: dict[Callable[[str], Any], Callable[[Any], str]] = {
        units.duration: units.duration_text,
        units.size: units.size_text,
        units.rate: units.rate_text,
        units.network: str,
    }
    for read, write in written.items():
        try:
            value = read(text)
        except ValueError as error:
            assert_plain(str(error))
        else:
            assert read(write(value)) == value
            accepted += 1
    return accepted > 0


def _in_file() -> Attempt:
    folder = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    atexit.register(shutil.rmtree, folder)
    file, printed, known = Path(folder, "echod.toml"), Path(folder, "printed.toml"), kinds()

    def attempt(data: bytes) -> bool:
        file.write_bytes(data)
        try:
            configuration = load(file, known, {})
        except ConfigurationError as error:
            _assert_errors(error)
            return False
        lines = list(describe(configuration))
        printed.write_text("\n".join(lines), "utf-8")
        assert load(printed, known, {}) == configuration
        return True

    return attempt


def _assert_errors(error: ConfigurationError) -> None:
    assert error.errors
    for one in error.errors:
        assert_plain(str(one))


_KEYS: Final = (
    *(
        "daemon",
        "admin",
        "defaults",
        "services",
        "bus",
        "limits",
        "faults",
        "tls",
        "echo",
        "mine",
        "a.b",
        "kind",
        "listen",
    ),
    *(
        "allow",
        "deny",
        "rate",
        "idle",
        "buffer",
        "close",
        "show",
        "quotes",
        "rfc864",
        "workers",
        "plane",
        "é",
        "",
        "url",
    ),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(
        True,
        False,
        0,
        1,
        -1,
        64,
        65_536,
        2**63,
        1.5,
        float("inf"),
        float("nan"),
        "",
        "auto",
        "off",
        "on",
        "echo",
        "upper",
    ),
    *("ack", "discard", "chargen", "qotd", "whoami", "chat", "console", "5m", "250ms", "24d", "25d", "64KiB", "2TiB"),
    *("tcp://127.0.0.1:7", "udp://*:0", "unix:///run/x?mode=0600", "tls://*:1", "systemd:x", "tcp:7", "127.0.0.0/8"),
    *("::1", "300/900", "0", "text", "hex", "journal", "/nonexistent", "\0", "\x1b[2J", "\udc80", "é", "x" * 5000),
)


def _tree(draw: Draw, table: Table | None, depth: int = 0) -> Any:
    """TOML tables: some with the keys of the schema, some with arbitrary ones."""
    known = table.keys if table else {}
    names = [*known, *_KEYS]
    found: dict[str, Any] = {}
    for _ in range(draw.byte() % 6):
        key = draw.choice(names) if draw.byte() % 16 else text_of(draw.piece())
        form = known.get(key, SERVICE if table is SERVICES else None)
        what = draw.byte() % 8
        if isinstance(form, Table) and depth < 5 and what:
            found[key] = _tree(draw, form, depth + 1)
        elif isinstance(form, Form) and table is not None and what > 2:
            found[key] = _default(table, key, form)
        elif depth < 5 and what < 2:
            found[key] = _tree(draw, None, depth + 1)
        elif what == 2:
            found[key] = [_scalar(draw) for _ in range(draw.byte() % 4)]
        else:
            found[key] = _scalar(draw)
    return found


def _scalar(draw: Draw) -> Any:
    return draw.choice(_VALUES) if draw.byte() % 16 else text_of(draw.piece())


def _default(table: Table, key: str, form: Form) -> Any:
    """The default of a key as a user would write it; an address if the key has none."""
    value = default(table, key)
    return ["tcp://127.0.0.1:7"] if value is None else tomllib.loads(f"it = {form.toml(value)}")["it"]


def _in_tables() -> Attempt:
    known = kinds()

    def attempt(data: bytes) -> bool:
        draw = Draw(data)
        errors: list[LocatedError] = []
        layers = [(Path(f"/{number}.toml"), _tree(draw, ROOT)) for number in range(1 + draw.byte() % 2)]
        if draw.byte() % 4:
            layers.append((Path("/conf.d/last.toml"), {"services": {"last": {"kind": "echo", "listen": ["tcp:7"]}}}))
        reading = Reading(known, errors)
        try:
            configuration = Building(reading, reading.root(layers), ()).configuration(())
        except ConfigurationError as error:
            _assert_errors(error)
            return False
        assert all(line.isprintable() for line in describe(configuration))
        return True

    return attempt


def _listen() -> Attempt:
    known = kinds()

    def attempt(data: bytes) -> bool:
        words = [text_of(word) for word in data.split(b"\n")]
        middle = len(words) - len(words) // 3
        try:
            configuration = from_listen(words[:middle], words[middle:], known)
        except ConfigurationError as error:
            _assert_errors(error)
            return False
        return bool(configuration.services)

    return attempt


def _names() -> Attempt:
    networks = ["127.0.0.0/8", "192.0.2.0/24", "2001:db8::/32", "::1/128", "10.0.0.0/8", "::/96"]
    access = Access(map(ipaddress.ip_network, networks), [ipaddress.ip_network("192.0.2.7/32")])

    def attempt(data: bytes) -> bool:
        text = text_of(data)
        assert str(unix_name(data)).isprintable()
        assert str(unix_name(text)).isprintable()
        name = inet(text, len(data))
        assert inet(name.host, name.port) == name
        is_loopback(text)
        for host in (data[:4].ljust(4, b"\0"), data[:16].ljust(16, b"\0")):
            key = canonical(host)
            mapped = bytes(10) + b"\xff\xff" + host[:4]
            assert canonical(key) == key
            assert access.allows(canonical(mapped)) == access.allows(host[:4])
            in_disguise(host)
            shown = str(ipaddress.ip_address(host))
            assert key_of(shown) == key
        try:
            access.allows(key_of(text))
        except ValueError as error:
            assert_plain(str(error))
            return False
        return True

    return attempt


FORMS: Final[tuple[Format, ...]] = ("text", "json")


class _Lines(BackgroundWriter):
    """Keeps lines instead of writing them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @property
    def is_terminal(self) -> bool:
        return False

    def line(self, text: str) -> int:
        self.lines.append(text)
        return len(text)


def _shown() -> Attempt:
    outputs = _Lines(), _Lines()
    clock = count(0, 1_000).__next__  # each line in its own second, so that the line limit drops none
    never = Clock().callLater
    logs = [Log(output, form, "debug", clock=clock, later=never) for output, form in zip(outputs, FORMS, strict=True)]
    shown: list[str] = []
    context = Context(show=shown.append)

    def attempt(data: bytes) -> bool:
        text = text_of(data)
        for said in (escaped(text), decoded(data), escaped(data.decode("latin-1"))):
            assert said.isprintable()
            assert escaped(said) == said
        peer = Peer("unix", unix_name(data), unix_name(text))
        show(data, peer, "text", context)
        show(data, peer, "hex", context)
        for log in logs:
            for event, told in (("connection.opened", str(peer.remote)), ("listener.opened", text)):
                log.event(event, dict.fromkeys(CATALOGUE[event].fields, told))
            log({"log_level": LogLevel.error, "log_namespace": "x", "log_format": "{said}", "said": text})
            log({"log_level": LogLevel.error, "log_namespace": "x", "log_format": text})
        assert len(outputs[0].lines) == len(outputs[1].lines) == 4
        for line in (*outputs[0].lines, *outputs[1].lines, *shown):
            assert_plain(line)
        for line in entry("info", text, {"peer": text, "counters": {text: 1}}).decode("utf-8")[:-1].split("\n"):
            assert re.match("[A-Z_]+=", line)
            assert line.isprintable()
        for line in outputs[1].lines:
            assert json.loads(line)["message"].isprintable()
        for lines in (outputs[0].lines, outputs[1].lines, shown):
            lines.clear()
        return True

    return attempt


def _quotes(data: bytes) -> bool:
    try:
        found = quotations(data.decode("utf-8", "replace"))
    except WrongQuotes as error:
        assert_plain(str(error))
        return False
    assert found
    assert all(0 < len(said) <= 512 and said.endswith(b"\r\n") for said in found)
    return True


def _command_line() -> Attempt:
    echoctl = parser()

    def attempt(data: bytes) -> bool:
        words = [text_of(word).replace("\0", "") for word in Draw(data).words()]
        tried = [_usage(partial(echoctl.parse_args, words), (0, 2))]
        if "check-config" not in (joined := "".join(words)) and "print-config" not in joined:  # these read files
            tried.append(_usage(partial(Options().parseOptions, words), (0, 64)))
        return any(tried)

    return attempt


def _usage(read: Any, codes: tuple[int, int]) -> bool:
    with contextlib.redirect_stderr(io.StringIO()) as wrong, contextlib.redirect_stdout(io.StringIO()):
        try:
            read()
        except SystemExit as end:
            code = end.code or 0
            assert code in codes, code
            if code:
                said = wrong.getvalue()
                assert said.endswith("\n")
                assert_plain(said[:-1])
            return not code
    return True


_URLS: Final = (
    *(
        b"tcp://",
        b"udp://",
        b"unix:///",
        b"unix-dgram://@",
        b"ws://",
        b"127.0.0.1",
        b"[::1]",
        b"*",
        b":7",
        b":0",
        b"%25",
    ),
    *(
        b"?",
        b"&",
        b"=",
        b"mode=0660",
        b"dscp=ef",
        b"backlog=5",
        b"v6only=yes",
        b"ttl=255",
        b"source=[::1]:5-6",
        b":7000-7010",
        b"239.1.2.3",
        b"interface=lo",
        b"proxy=any",
        b"#",
        b"@",
    ),
    *(
        b"/",
        b"[",
        b"]",
        b"fe80::1%eth0",
        b"systemd:",
        b"haproxy:",
        b"tcp6:7:interface=",
        b"localhost",
        b"xn--",
        b"\xc3\xa9",
    ),
)
_TOML: Final = (
    *(
        b"[services.echo]\n",
        b"[defaults]\n",
        b"[daemon]\n",
        b"[defaults.limits]\n",
        b"listen = ",
        b"[",
        b"]",
        b'"',
        b"'",
    ),
    *(
        b"'''",
        b'"""',
        b"=",
        b".",
        b"{",
        b"}",
        b",",
        b"\n",
        b"#",
        b"kind = ",
        b'"echo"',
        b"true",
        b"1e999",
        b"0x",
        b"-0",
    ),
    *(
        b"1979-05-27T07:32:00Z",
        b"\\u0000",
        b"\\U0010FFFF",
        b'"tcp://127.0.0.1:7"',
        b"allow = ",
        b'"::1"',
        b"limits.idle",
    ),
)
_WORDS: Final = (
    *(
        b"send\n",
        b"ping\n",
        b"talk\n",
        b"check\n",
        b"services\n",
        b"--hex\n",
        b"-c\n",
        b"-i\n",
        b"-s\n",
        b"-W\n",
        b"--json\n",
    ),
    *(
        b"--connect\n",
        b"--timeout\n",
        b"--help\n",
        b"--version\n",
        b"--config\n",
        b"--listen\n",
        b"--allow\n",
        b"--\n",
        b"-",
    ),
    *(b"tcp://127.0.0.1:7\n", b"udp://[::1]:7\n", b"1\n", b"5s\n", b"1e9\n", b"nan\n", b"inf\n", b"64KiB\n", b"\n"),
)

TARGETS: Final = (
    Target("addresses", "an address that reads back as itself, or one line", lambda: _address, _URLS),
    Target(
        "values",
        "a duration, size, rate or network that reads back as itself, or one line",
        lambda: _value,
        (b"d", b"h", b"m", b"s", b"ms", b"us", b".", b"/", b"KiB", b"GiB", b"auto", b"::", b"9" * 12, b"1", b"0"),
    ),
    Target("configuration text", "a configuration that prints as itself, or errors of one line each", _in_file, _TOML),
    Target("configuration tables", "the same of any tables under the names of our keys", _in_tables),
    Target(
        "--listen",
        "a configuration, or errors of one line each",
        _listen,
        (*_URLS, b"echo=", b"upper=", b"chat=", b"\n", b"127.0.0.0/8"),
    ),
    Target(
        "names and hosts",
        "one host, one key, one verdict; every name in one line",
        _names,
        (bytes(10) + b"\xff\xff", b"::ffff:", bytes(12), b"\0", b"@", b"127.0.0.1", b"64:ff9b::", b"%1"),
    ),
    Target(
        "logs and shows",
        "one event, one line, and no terminal sequence",
        _shown,
        (b"\x1b[2J", b"\r\n", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\xc2\x9b", b"{", b"}", b"{0}", b"%s", b"\xff", b"\0"),
    ),
    Target(
        "quotations", "quotations of at most 512 bytes, or one line", lambda: _quotes, (b"\n%\n", b"\r\n", b"x" * 99)
    ),
    Target("command lines", "the request, or one line and the usage exit code", _command_line, (*_WORDS, *_URLS)),
)
