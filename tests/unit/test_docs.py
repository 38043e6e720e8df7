"""The pages agree with the code: links and tables are compared with it, and examples are run."""

import doctest
import inspect
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from echod import tap
from echod.config.kind_options import option_forms
from echod.config.loading import load
from echod.config.schema import field_of
from echod.daemon.startup_hint import hint
from echod.event_catalogue import CATALOGUE, FIELDS
from echod.events import BY_REASON, Closing, Counters
from echod.gate import flood_detector
from echod.gate.connections import ConnectionGate
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits
from echod.model import Context
from echod.services import daytime, print_message, qotd
from echod.services.registry import kinds
from echod.telemetry import background_writer
from echod.telemetry import service_output_limit as limit
from echod.transports import accept_backoff, datagram, socket_filter, stream_port
from echod.transports.datagram import ServiceDatagrams
from echod.transports.layers import layer_interface
from echod.transports.registry import SCHEMES
from echod.transports.service_factory import ServiceFactory
from echod.version import VERSION
from tests.contract.matrix import data, fill, rest
from tests.daemon import SECONDS, TOP, Daemon, environment, eventually, free_port, run
from tests.test_house import MAY_IMPORT, PURE, room_of
from tests.test_house import MODULES as ALL_MODULES

OTHERS = {f"{name}.md" for name in ("ECHOCTL", "INTEROP", "PERFORMANCE", "PROMISES", "SECURITY")}
"""Pages that are written separately: a link to one may be dead until the page exists."""

PAGES = {
    str(path.relative_to(TOP)): path.read_text("utf-8")
    for path in (*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md"), TOP / "newsfragments" / "README.md")
}
README, CONTRIBUTING = PAGES["README.md"], PAGES["CONTRIBUTING.md"]
ARCHITECTURE, EMBEDDING, SERVICES = (PAGES[f"docs/{name}.md"] for name in ("ARCHITECTURE", "EMBEDDING", "SERVICES"))
ADMIN, ECHOD, EVENTS = (PAGES[f"docs/{name}.md"] for name in ("ADMIN", "ECHOD", "EVENTS"))
KINDS = kinds(plugins=())
ROOMS = {room_of(module) for module in ALL_MODULES}


def chapters(page: str) -> dict[str, str]:
    """The text under each heading of the second level, by its title without code marks."""
    parts = re.split(r"(?m)^## ", page)[1:]
    return {part.partition("\n")[0].replace("`", ""): part for part in parts}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


def prose(page: str) -> str:
    """A page without its fenced blocks, on one line."""
    return " ".join(re.sub(r"(?ms)^```.*?^```$", "", page).split())


def table(text: str, *head: str) -> list[list[str]]:
    """The rows of the tables with this head."""
    found, inside = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells == list(head):
            inside = True
        elif not cells:
            inside = False
        elif inside and not set(line) <= set("|- "):
            found.append(cells)
    return found


def code(cell: str) -> str:
    """The code in a cell that contains only code."""
    match = re.fullmatch("`([^`]+)`", cell)
    assert match, cell
    return match[1]


# links and pictures


def anchors(page: str) -> set[str]:
    """The anchors of the headings of a page, as pages of this kind are rendered."""
    titles = re.findall(r"(?m)^#+ (.*)$", page)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_has_a_target(name):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[name])):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target) or Path(target).name in OTHERS:
            continue
        path = (TOP / name).parent / target if target else TOP / name
        if not path.exists() or (anchor and anchor not in anchors(path.read_text("utf-8"))):
            wrong.append(link)
    assert not wrong


def test_the_readme_links_to_every_page():
    linked = set(re.findall(r"\]\(([^)\s]+)\)", README))
    pages = {name for name in PAGES if re.fullmatch(r"docs/\w+\.md|docs/.+/index\.md", name)} - {"docs/index.md"}
    pages -= {"docs/zh/course/index.md"}  # docs/zh/index.md links to it
    assert pages | {"CONTRIBUTING.md", "CHANGELOG.md"} <= linked


def test_the_chinese_readme_has_the_commands_figures_and_links_of_the_english_one():
    chinese = PAGES["README.zh-CN.md"]
    assert re.findall(r"(?ms)^```.*?^```$", chinese) == re.findall(r"(?ms)^```.*?^```$", README)
    for part in (r"`[^`]+`", r"(?<![\w.])\d[\d.,:-]*\d|\d", r"(?m)^#+ ", r"(?m)^\* "):
        assert Counter(re.findall(part, figures(chinese))) == Counter(re.findall(part, figures(README))), part
    rows = [re.findall(r"(?m)^\|.*", page) for page in (chinese, README)]
    assert [row.count("|") for row in rows[0]] == [row.count("|") for row in rows[1]]
    of_one_language = {"README.md", "README.zh-CN.md", "docs/course/index.md", "docs/zh/course/index.md"}
    linked = [set(re.findall(r"\]\(([^)\s]+)\)", page)) - of_one_language for page in (chinese, README)]
    assert linked[0] == linked[1]


def test_the_pip_commands_of_the_readme_are_those_of_the_page():
    [row] = re.findall(r"(?m)^\| pip \| (.*) \|$", README)
    commands = [command for part in re.findall(r"`([^`]+)`", row) for command in part.split(" && ")]
    assert commands == chapters(PAGES["docs/INSTALL.md"])["pip"].split("```")[1].split("\n")[1:4]


def figures(readme: str) -> str:
    """A README without its blocks and the targets of its links."""
    return re.sub(r"(?ms)^```.*?^```$|\]\([^)]*\)|<[^>]*>", "", readme)


@pytest.mark.parametrize("name", sorted(name for name in PAGES if name.startswith("docs/zh/")))
def test_a_page_in_two_languages_links_to_the_other_one_at_its_top(name):
    english = Path(name.replace("docs/zh/", "docs/"))
    for page, other, word in ((Path(name), english, "English"), (english, Path(name), "中文")):
        link = os.path.relpath(other, page.parent)
        assert f"[{word}]({link})" in PAGES[str(page)].splitlines()[:4], page


def test_the_page_of_the_daemon_lists_its_exit_codes():
    codes = {0} | {code for name, code in vars(tap).items() if name.startswith("EX_")}
    assert {int(code) for code, _ in table(ECHOD, "Code", "Meaning")} == codes


def test_the_picture_shows_every_scheme_and_every_kind():
    texts = {"".join(element.itertext()) for element in ElementTree.parse(TOP / "docs" / "picture.svg").iter()}
    schemes = {f"{name}://" for name, scheme in SCHEMES.items() if scheme.available}
    assert {text for text in texts if text.endswith("://")} == schemes
    assert set(KINDS) <= texts


# A line break between two Chinese characters would be shown as a blank.
@pytest.mark.parametrize("name", sorted(name for name in PAGES if not re.match(r"CHANGELOG|README\.zh|docs/zh/", name)))
def test_lines_of_prose_are_not_too_long(name):
    text = re.sub(r"(?ms)^```.*?^```$", "", PAGES[name])
    assert not [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]


# SERVICES.md


def test_every_kind_has_a_chapter_and_a_row():
    assert list(chapters(SERVICES)) == [
        *KINDS,
        "WebSocket",
        "show",
        "Addresses of each kind",
        "Socket types without a service",
    ]
    rows = table(SERVICES, "Kind", "On a stream", "To a datagram")
    assert [row[0] for row in rows] == [f"[`{kind}`](#{kind})" for kind in KINDS]


@pytest.mark.parametrize("name", KINDS)
def test_the_page_lists_the_options_of_a_kind(name):
    forms, defaults = option_forms(KINDS[name]), KINDS[name].Options()
    rows = table(chapters(SERVICES)[name], "Option", "Values", "Default", "Meaning")
    assert [code(row[0]) for row in rows] == list(forms)
    for (key, form), (_, values, default, meaning) in zip(forms.items(), rows, strict=True):
        expected = getattr(defaults, field_of(key))
        if default == "—":
            assert expected is None, key
        else:
            assert form.accept(tomllib.loads(f"x = {code(default)}")["x"]) == expected, key
        if words := re.search("one of: (.*)", form.right):
            assert re.findall('`"([^"]+)"`', values) == words[1].split(", "), key
        assert meaning


# sessions in a terminal


MASKS = (
    (r'"((local|remote)_port|ttl)": \d+', r'"\1": N'),
    (r'"received_at": [\d.]+', '"received_at": N'),
    (r"(127\.0\.0\.1):\d+", r"\1:N"),
    (r"[A-Z][a-z]+day, [A-Z][a-z]+ \d+, \d{4} \d\d:\d\d:\d\d-UTC", "a date"),
    (r"(?m)^00000000  ([0-9a-f]{2} ){3}[0-9a-f]{2} {38}.{4}$", "four bytes"),
    *((re.escape(quotation), "a quotation") for quotation in qotd.BUILT_IN),
)
"""Parts of the output that differ in each run."""


def masked(text: str) -> str:
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text.replace("\r\n", "\n"))
    return text


def steps(session: str) -> Iterator[tuple[str, str]]:
    """The commands of a session, and the output of each."""
    for part in re.split(r"(?m)^\$ ", session)[1:]:
        command, _, said = part.partition("\n")
        yield command, said


class Terminal:
    """A second terminal, while `make run` runs in the first."""

    def __init__(self, daemon: Daemon, directory: Path) -> None:
        self.daemon = daemon
        self._directory = directory
        program = directory / "echoctl"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m echod.client.main "$@"\n')
        program.chmod(0o755)
        here = environment()
        self._environment = here | {"PATH": f"{directory}:{here['PATH']}"}
        self._shipped = {
            address.label: (service.name, address.scheme)
            for service in load(TOP / "etc" / "echod.toml", KINDS, {}).services
            for address in service.listen
        }

    def type(self, command: str) -> str:
        """The output of a command. The ports of the shipped configuration are replaced by those of the daemon."""
        command = re.sub(r"[a-z]+://[0-9.]+:\d+", lambda url: self.daemon.url(*self._shipped[url[0]]), command)
        ended = run("sh", "-c", f"exec 2>&1; {command}", cwd=self._directory, env=self._environment)
        said = ended.stdout.decode()
        return said if said.endswith("\n") or not said else said + "\n"


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    shipped = (TOP / "etc" / "echod.toml").read_text("utf-8")
    shipped = shipped.replace('# show = "text"', 'show = "text"')  # as on a terminal
    with Daemon(re.sub(r"(127\.0\.0\.1):\d+", r"\1:0", shipped)) as daemon:
        yield Terminal(daemon, tmp_path_factory.mktemp("terminal"))
        daemon.check()


@pytest.mark.parametrize("name", KINDS)
def test_the_example_of_a_kind(name, terminal):
    chapter = chapters(SERVICES)[name]
    [session] = blocks(chapter, "console")
    for command, said in steps(session):
        assert masked(terminal.type(command)) == masked(said), command
    for line in "".join(blocks(chapter, "text")).splitlines():
        pattern = re.escape(masked(line)).replace("127\\.0\\.0\\.1:N", r"127\.0\.0\.1:\d+")
        terminal.daemon.stdout.wait_for(f"^{pattern}$")


def test_the_thirty_seconds_of_the_readme(terminal):
    begin, then = blocks(README, "console")
    assert begin.splitlines()[-1] == "$ make run"
    [(command, said)] = steps(then)
    shown = command.replace("tcp://127.0.0.1:10008", terminal.daemon.url("upper", "tcp"))
    assert shown in str(hint([("upper", terminal.daemon.url("upper", "tcp"))], ".venv/bin/echoctl"))
    assert terminal.type(command.removeprefix(".venv/bin/")) == said


# ARCHITECTURE.md


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md", "docs/EMBEDDING.md"])
def test_every_named_path_exists(name):
    new = re.findall(r"This is all of `([^`]+)`", prose(CONTRIBUTING))
    named = re.findall(r"`((?:echod|tests|docs|etc|bench|twisted)/[\w./-]*)`", PAGES[name])
    assert not [path for path in named if not (TOP / path).exists() and path not in new and "NAME" not in path]


def test_every_named_module_exists():
    text = "".join(PAGES[f"docs/{name}.md"] for name in ("ARCHITECTURE", "EMBEDDING", "SERVICES")) + CONTRIBUTING
    groups = {"echod.services", "echod.toml"}
    for name in set(re.findall(r"`(echod\.[a-z_.]+)`", text)) - groups:
        assert name in ALL_MODULES, name


def test_the_table_of_packages_has_the_import_rules():
    rows = {
        code(row[0]).removeprefix("echod/").removesuffix(".py").removesuffix("/"): row
        for row in table(ARCHITECTURE, "Package", "Contents", "May import")
    }
    assert set(rows) == ROOMS - {"echod"}
    for room, (path, owns, allowed) in rows.items():
        assert owns, room
        assert (TOP / code(path)).is_dir() == path.endswith("/`"), path
        wanted = [name for name in MAY_IMPORT[room].split() if name.partition(".")[0] in ROOMS]
        assert re.findall("`([^`]+)`", allowed) == wanted, room
    *pure, last = list(rows)[: list(rows).index("config") + 1]
    assert {*pure, last} == PURE & ROOMS
    assert f"from `{pure[0]}` to `{last}` know neither Twisted nor zope" in prose(ARCHITECTURE)


def test_the_page_names_every_module_that_imports_the_global_reactor():
    imports = re.compile("from twisted.internet import (.*, )?reactor")
    found = [path for path in (TOP / "echod").rglob("*.py") if imports.search(path.read_text("utf-8"))]
    [named] = re.findall("The global reactor is imported in ([^;]*);", prose(ARCHITECTURE))
    assert set(re.findall("`([^`]+)`", named)) == {str(path.relative_to(TOP)) for path in found}


def test_the_page_lists_every_event():
    rows = table(EVENTS, "Event", "Severity", "Meaning", "Fields", "At most")
    assert [code(row[0]) for row in rows] == list(CATALOGUE)
    for name, severity, meaning, fields, most in rows:
        event = CATALOGUE[code(name)]
        assert (severity, meaning) == (event.severity, event.meaning), name
        shown = [*(f"`{one}`" for one in event.fields), *(f"(`{one}`)" for one in event.optional)]
        assert fields == ", ".join(shown), name
        assert most == described(event.rate), name


def described(rate):
    """The rate of an event, as the page has it."""
    if rate is None:
        return "—"
    window = "a second" if rate.seconds == 1 else f"in {rate.seconds:g} s"
    return f"{rate.most:,} {window}{' of each cause' if rate.by_cause else ''}"


def test_the_page_lists_every_field_of_events():
    words = {str: "text", int: "integer", float: "number", dict: "object"}
    rows = table(EVENTS, "Field", "Type", "Unit", "Content")
    fields = [(name, words[field.type], field.unit or "—", field.meaning) for name, field in FIELDS.items()]
    assert [(code(name), *rest) for name, *rest in rows] == fields


def test_the_page_lists_every_counter():
    plain = [name for name in Counters.__slots__ if name not in BY_REASON]
    named = [code(name) for name, _ in table(ADMIN, "Counter", "Counts")]
    assert named == [*plain, "refused:REASON", "closed:REASON", "fault:KEY"]


def test_the_page_lists_every_closing_reason():
    assert [code(reason) for reason, _ in table(ADMIN, "Reason", "Meaning")] == [str(reason) for reason in Closing]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (ARCHITECTURE, f"A turn accepts up to {stream_port.A_TURN} connections"),
        (ARCHITECTURE, f"pauses for {accept_backoff.PAUSE:g} to {accept_backoff.LONGEST_PAUSE:g} second"),
        (ARCHITECTURE, f"After {layer_interface.LINGER:g} seconds it resets"),
        (ARCHITECTURE, f"(up to {datagram.LARGEST:,} bytes)"),
        (ARCHITECTURE, f"A turn serves {datagram.A_TURN} datagrams"),
        (
            ARCHITECTURE,
            f"**Flood filter.** A flood is {flood_detector.FLOOD} refusals in {1000 * flood_detector.WITHIN:g} ms",
        ),
        (ARCHITECTURE, f"every {1000 * socket_filter.EASED:g} ms it passes twice as much"),
        (ARCHITECTURE, f"a queue of at most {background_writer.WAITING:,} lines"),
        (SERVICES, f"or after {layer_interface.LINGER:g} seconds"),
        (SERVICES, f"One line shows at most {print_message.SHOWN:,} bytes of a message"),
        (SERVICES, f"at most {limit.A_SECOND:,} lines and {limit.BYTES_A_SECOND >> 10} KiB a second"),
        (SERVICES, f"A random quotation of {qotd.LARGEST} bytes at most"),
        (EMBEDDING, f"after {datagram.A_TURN} datagrams or {stream_port.A_TURN} connections"),
    ],
)
def test_a_figure_of_a_page_is_that_of_the_code(page, said):
    assert said in prose(page)


def test_the_longest_date():
    longest = max(len(daytime.line(datetime(2024, 9, day, 23, tzinfo=UTC).timestamp())) for day in range(10, 31))
    assert f"{longest} bytes at most" in prose(SERVICES)


# ECHOD.md


def test_the_page_lists_the_options_of_the_daemon():
    options = tap.Options()
    short = {long: f"`-{name}`, " for name, long in options.synonyms.items() if len(name) == 1}
    named = {re.sub(r" [A-Z=]+", "", cell) for cell, _ in table(ECHOD, "Option", "Meaning")}
    assert named == {f"{short.get(name, '')}`--{name}`" for name in (word.rstrip("=") for word in options.longOpt)}


def test_the_quoted_lines_of_the_daemon_exist():
    lines, _ = blocks(PAGES["docs/ECHOD.md"], "")
    with Daemon(listen=["echo=tcp://127.0.0.1:0"]) as daemon:
        said = [line for line in daemon.stderr.text if " info " in line]
    without = [re.sub(r"^\S+Z |(?<=:)\d+$", "", line) for line in (*lines.splitlines(), *said)]
    assert without[: len(without) // 2] == without[len(without) // 2 :]


def test_the_quoted_announcement_has_the_form_of_a_real_one():
    command, quoted = blocks(PAGES["docs/ECHOD.md"], "console")[0].splitlines()
    _, _, *options = command.removeprefix("$ ").split()
    with Daemon(listen=options[:1], options=options[1:]) as daemon:
        said = daemon.stdout.wait_for("(.*)")[1]
        changing = {"version": VERSION, "pid": daemon.process.pid}
    same = {**json.loads(quoted), **changing}
    same["listeners"][0]["url"] = daemon.url("echo", "tcp")
    assert said == json.dumps(same)


def test_the_page_lists_every_exit_code():
    codes = {getattr(tap, name) for name in vars(tap) if name.startswith("EX_")}
    assert {int(number) for number, _ in table(ECHOD, "Code", "Meaning")} == codes | {0}


# CONTRIBUTING.md


def test_the_code_in_ten_lines():
    lines = blocks(CONTRIBUTING, "text")[0].splitlines()
    assert len(lines) == 10
    for line in lines:
        paths = re.match(r"(\S+ )+", line)
        assert paths
        assert all((TOP / path).exists() for path in paths[0].split()), line


def test_the_page_lists_the_commands_of_make():
    makefile = (TOP / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):.*## ", makefile)) - {"help"}
    assert set(re.findall(r"`make ([a-z-]+)`", chapters(CONTRIBUTING)["The commands"])) == targets


def test_the_page_lists_the_folders_of_tests():
    rows = table(CONTRIBUTING, "Folder", "Content")
    named = {name for where, _ in rows for name in re.findall("`([^`]+)`", where)}
    folders = {path.parent.name for path in (TOP / "tests").glob("[a-z]*/[a-z]*")}
    assert named == {f"tests/{name}/" for name in folders} | {"tests/test_house.py"}


def test_the_page_lists_the_marks_of_tests():
    setup = ConfigParser()
    setup.read(TOP / "setup.cfg")
    registered = [line.partition(":")[0] for line in setup["tool:pytest"]["markers"].split("\n") if line]
    assert [code(mark) for mark, _ in table(CONTRIBUTING, "Mark", "A test with it needs")] == registered


KIND = re.compile(r"(?s)This is all of `echod/services/(\w+)\.py`:\n\n```python\n(.*?)```")
WITH_MORE_KINDS = """
import sys
import echod.services
echod.services.__path__.append({folder!r})
from echod.__main__ import main
main()
"""


@pytest.fixture(scope="module", params=["auto", "off"])
def with_new_kinds(request, tmp_path_factory):
    """A daemon with the kinds of CONTRIBUTING.md and its own, with the plane on and off."""
    folder = tmp_path_factory.mktemp("kinds")
    examples = KIND.findall(CONTRIBUTING)
    assert examples
    for name, source in examples:
        (folder / f"{name}.py").write_text(source, "utf-8")
    listen = 'listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]'
    services = [f"[services.{name}]\n{listen}" for name, _ in examples]
    services.append(f'[services.old-digest]\nkind = "digest"\nalgorithm = "md5"\n{listen}')
    config = "\n".join([f'[daemon]\nplane = "{request.param}"', *services])
    command = (sys.executable, "-W", "error", "-c", WITH_MORE_KINDS.format(folder=str(folder)))
    with Daemon(config, command=command) as daemon:
        yield daemon
        daemon.check()


@pytest.mark.parametrize(
    ("service", "asked", "answer"),
    [
        ("rot13", b"Hello, \xff world\r\n", b"Uryyb, \xff jbeyq\r\n"),
        ("digest", b"abc", b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"),
        ("old-digest", b"abc", b"900150983cd24fb0d6963f7d28e17f72\n"),
    ],
)
def test_a_new_kind_is_one_file(service, asked, answer, with_new_kinds):
    assert ask_stream(with_new_kinds.place(service, "tcp"), asked) == answer
    assert ask_datagram(with_new_kinds.place(service, "udp"), asked) == answer


def ask_stream(place: Any, asked: bytes) -> bytes:
    """All bytes that a client receives after it has sent this, followed by a FIN."""
    with socket.create_connection(place, SECONDS) as client:
        client.sendall(asked)
        client.shutdown(socket.SHUT_WR)
        return rest(client)


def ask_datagram(place: Any, asked: bytes, seconds: float = SECONDS) -> bytes | None:
    """The reply to one datagram; None without a reply."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        client.connect(place)
        client.send(asked)
        try:
            return client.recv(65_536)
        except TimeoutError:
            return None


# EMBEDDING.md

Program = Callable[[tuple[str, int], "subprocess.Popen[bytes]"], None]


def shouts_on_streams(place: tuple[str, int], _process: "subprocess.Popen[bytes]") -> None:
    assert ask_stream(place, b"hello") == b"HELLO"


def shouts_datagrams(place: tuple[str, int], _process: "subprocess.Popen[bytes]") -> None:
    for size in (0, 5, 65_507):
        assert ask_datagram(place, b"a" * size) == b"A" * size


def gates(place: tuple[str, int], _process: "subprocess.Popen[bytes]") -> None:
    assert ask_stream(place, b"").endswith(b"-UTC\r\n")
    assert ask_datagram(place, b"now", 0.3) is None
    assert (ask_datagram(place, b"now".ljust(64)) or b"").endswith(b"-UTC\r\n")
    with socket.socket() as denied:
        denied.settimeout(SECONDS)
        denied.bind(("127.0.0.66", 0))
        denied.connect(place)
        assert denied.recv(1) == b""


def stops_in_order(place: tuple[str, int], process: "subprocess.Popen[bytes]") -> None:
    with socket.create_connection(place, SECONDS) as client:
        sent = fill(client, process.pid, data())
        process.terminate()
        assert eventually(lambda: not reached(place))
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == data()[:sent]


def swaps(place: tuple[str, int], _process: "subprocess.Popen[bytes]") -> None:
    assert ask_stream(place, b"Hello") == b"hELLO"


def chats(place: tuple[str, int], _process: "subprocess.Popen[bytes]") -> None:
    with socket.create_connection(place, SECONDS) as anna, socket.create_connection(place, SECONDS) as bob:
        anna_reads, bob_reads = anna.makefile("rb"), bob.makefile("rb")
        assert b"you are guest1" in anna_reads.readline()
        assert b"you are guest2" in bob_reads.readline()
        assert anna_reads.readline() == b"-- guest2 has joined\n"
        anna.sendall(b"hello\n")
        assert bob_reads.readline() == b"guest1: hello\n"


PROGRAMS: dict[str, Program] = {
    "Streams": shouts_on_streams,
    "Datagrams": shouts_datagrams,
    "Access and limits": gates,
    "Events and counters": shouts_on_streams,
    "Stopping without losing a byte": stops_in_order,
    "A service of your own": swaps,
    "Chat rooms and consoles": chats,
}
"""The chapters that have a program, and the expected output of a client of each."""


def reached(place: tuple[str, int]) -> bool:
    """Whether a server accepts connections there."""
    try:
        socket.create_connection(place, SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def running(source: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program on another port than the one in its text; stop it at the end."""
    warnings = ("-W", "error", "-W", "ignore::ResourceWarning")  # Twisted's reserve of a descriptor stays open
    words = [sys.executable, *warnings, "-c", re.sub(r"\b10\d{3}\b", str(port), source)]
    with subprocess.Popen(
        words, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def free_in_both() -> int:
    """A port that was free for TCP and UDP when it was tested."""
    while True:
        port = free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def test_every_program_of_the_page_is_run():
    assert {title for title, text in chapters(EMBEDDING).items() if blocks(text, "python")} == set(PROGRAMS)


@pytest.mark.parametrize("title", PROGRAMS)
def test_the_program_of_a_chapter_serves_its_client(title):
    chapter = chapters(EMBEDDING)[title]
    [source] = blocks(chapter, "python")
    port = free_in_both()
    place = ("127.0.0.1", port)
    with running(source, port) as process:
        if "listenUDP" in source:
            assert eventually(lambda: udp_is_bound(port))
        if "Endpoint" in source:
            assert eventually(lambda: is_listening(port))
        PROGRAMS[title](place, process)
        process.terminate()
        said, wrong = process.communicate(timeout=SECONDS)
    assert wrong.decode() == ""
    assert process.returncode in (0, -signal.SIGTERM)  # Twisted may hand it on, once it has stopped
    assert masked(said.decode()) == masked("".join(blocks(chapter, "text")))


def is_listening(port: int) -> bool:
    """Whether a TCP socket listens there, without a connection to it (proc(5))."""
    return re.search(rf"0100007F:{port:04X} 00000000:0000 0A ", Path("/proc/net/tcp").read_text()) is not None


def udp_is_bound(port: int) -> bool:
    """Whether a UDP socket is bound there."""
    return re.search(rf"0100007F:{port:04X} ", Path("/proc/net/udp").read_text()) is not None


def test_every_named_argument_exists():
    known: set[str] = set()
    for one in (ServiceFactory, ServiceDatagrams, ConnectionGate, DatagramGate, Limits, Context):
        known |= inspect.signature(one).parameters.keys()
    named = set(re.findall(r"`(\w+)=", prose(PAGES["docs/EMBEDDING.md"])))
    assert named
    assert named <= known


def test_a_service_without_any_transport():
    parser, runner, said = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False), io.StringIO()
    text = "\n".join(blocks(chapters(EMBEDDING)["Without any transport"], "pycon"))
    examples = parser.get_doctest(text, {}, "EMBEDDING.md", None, 0)
    assert len(examples.examples) > 8
    runner.run(examples, out=said.write)
    assert runner.failures == 0, said.getvalue()


# MEASURING.md


def test_the_rules_of_stamp_name_tests_that_exist():
    page = PAGES["docs/MEASURING.md"]
    named = set(re.findall(r"`(test_\w+)`", page))
    files = {TOP / "tests" / name for name in re.findall(r"`([a-z_]+/test_\w+\.py)`", page)}
    files.add(TOP / "tests" / "unit" / "test_measurement_stamp_tlvs.py")
    known = {name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text("utf-8"))}
    assert named
    assert named <= known
