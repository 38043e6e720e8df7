"""echoctl bench with echod over every transport, with faults that are counted exactly, and at its ends."""

import csv
import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from echod.testing.output import Output
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, free_port, run
from tests.fork_server import Popen
from tests.summaries import check_second, check_summary

CONFIG = """
[services.echo]
listen = [
    "tcp://127.0.0.1:0", "udp://127.0.0.1:0", "ws://127.0.0.1:0/echo",
    "unix://{dir}/echo.sock", "unix-dgram://{dir}/echo.dgram", "unix-seqpacket://{dir}/echo.seq",
]
[services.upper]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix-seqpacket://{dir}/upper.seq"]
[services.secret]
kind = "echo"
listen = ["tls://127.0.0.1:0", "wss://127.0.0.1:0/echo"]
[services.secret.tls]
certificate = "self-signed"
[services.proxied]
kind = "echo"
listen = ["tcp://127.0.0.1:0?proxy=any", "udp://127.0.0.1:0?proxy=v2"]
proxy-from = ["127.0.0.1"]
[services.discard]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.daytime]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
"""
BARE = ("tcp", "udp", "unix", "unix-dgram", "unix-seqpacket", "ws")
WARNING = re.compile(r"(?m)^echoctl: .*--insecure: the certificate of the server is not verified\n")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG) as daemon:
        yield daemon
        daemon.check()


def bench(*words: str, code: int = 0, says: str | None = "") -> list[str]:
    """The lines of a bench, which must end with that exit code and that standard error (None: any)."""
    ended = run(*ECHOCTL, "bench", *words)
    error = WARNING.sub("", ended.stderr.decode("utf-8"))
    assert (ended.returncode, error) == (code, error if says is None else says)
    assert "Traceback" not in error
    return ended.stdout.decode("utf-8").splitlines()


def counts(lines: Sequence[str]) -> dict[str, int]:
    """The counts of a summary, and of the failures by their causes."""
    found = "0 abandoned, " + lines[[line.startswith("---") for line in lines].index(True) + 1]
    found += next((", " + line.removeprefix("failures: ") for line in lines if line.startswith("failures: ")), "")
    return {name: int(number.replace(",", "")) for number, name in re.findall(r"([\d,]*\d) ([a-z ]+)", found)}


def faulty(scheme: str, **faults: object) -> str:
    """A configuration with one service that injects faults."""
    place = {"unix-seqpacket": "{dir}/echo.seq", "ws": "127.0.0.1:0/echo"}.get(scheme, "127.0.0.1:0")
    lines = [f"{name.replace('_', '-')} = {value!r}" for name, value in faults.items()]
    table = "\n".join(lines).replace("True", "true")
    return f'[services.echo]\nlisten = ["{scheme}://{place}"]\n[services.echo.faults]\nseed = 1\n{table}\n'


@pytest.mark.parametrize("scheme", BARE)
def test_every_transport_returns_every_byte(daemon: Daemon, scheme: str) -> None:
    lines = bench("-n", "300", "-c", "3", "-d", "4", daemon.url("echo", scheme))
    assert (
        lines[0].endswith(": 3 sockets, 64 bytes, 4 in flight on each, 300 messages") or ": 3 connections" in lines[0]
    )
    found = counts(lines)
    assert {name: found[name] for name in ("sent", "received", "lost", "wrong")} == {
        "sent": 300,
        "received": 300,
        "lost": 0,
        "wrong": 0,
    }
    assert any(line.startswith("latency min/p50/p90/p99/p99.9/p99.99/max = ") for line in lines)


@pytest.mark.parametrize("scheme", ["tls", "wss"])
def test_tls_is_verified_unless_that_is_turned_off(daemon: Daemon, scheme: str) -> None:
    url = daemon.url("secret", scheme)
    assert counts(bench("--insecure", "-n", "200", "-c", "2", "-d", "3", url))["received"] == 200
    assert bench("-n", "5", url, code=1, says=None) == []


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_proxy_headers(daemon: Daemon, scheme: str) -> None:
    url = daemon.url("proxied", scheme)
    found = counts(bench("--proxy", "v2", "--proxy-source", "127.0.0.9:5000", "-n", "50", "-c", "2", url))
    assert (found["received"], found["lost"], found["wrong"]) == (50, 0, 0)


@pytest.mark.parametrize("scheme", ["tcp", "udp", "unix-seqpacket"])
def test_upper_is_recognized_and_verified_by_its_transform_in_messages_of_any_size(daemon: Daemon, scheme: str) -> None:
    lines = bench("-n", "200", "-d", "5", "-s", "13,1500,100-900/100", daemon.url("upper", scheme))
    assert any(line.endswith(" (upper) ---") for line in lines)
    assert counts(lines)["received"] == 200


def test_single_bytes_and_large_messages(daemon: Daemon) -> None:
    assert counts(bench("-n", "200", "-s", "1", "-d", "10", daemon.url("upper", "tcp")))["received"] == 200
    for scheme in ("tcp", "ws"):
        assert counts(bench("-n", "3", "-s", "3MiB", daemon.url("echo", scheme)))["received"] == 3
    assert counts(bench("-n", "20", "-s", "65507", daemon.url("echo", "udp")))["received"] == 20


@pytest.mark.parametrize("scheme", ["tcp", "unix-seqpacket", "ws", "tls"])
def test_a_connection_for_each_message(daemon: Daemon, scheme: str) -> None:
    url = daemon.url("secret" if scheme == "tls" else "echo", scheme)
    insecure = ["--insecure"] if scheme == "tls" else []
    lines = bench("--connect", "-n", "60", "-c", "4", *insecure, url)
    assert counts(lines)["received"] == 60
    assert any(line.startswith("connecting min/p50/p99/max = ") for line in lines)


def test_a_schedule_sends_every_planned_message_and_the_warm_up_is_not_counted(daemon: Daemon) -> None:
    lines = bench("-r", "500", "-t", "400ms", "-c", "3", "--warm-up", "100ms", "-q", daemon.url("echo", "tcp"))
    assert counts(lines)["sent"] == counts(lines)["received"] == 200
    assert lines[0].startswith("--- ")
    assert any(line.startswith("sent late by min/p50/p99/max = ") for line in lines)


def test_drops_and_duplicates_of_datagrams_are_counted_as_they_were_injected() -> None:
    with Daemon(faulty("udp", drop=0.1, duplicate=0.2)) as daemon:
        lines = bench("-n", "150", "-d", "150", "-W", "3s", daemon.url("echo", "udp"), code=1, says=None)
        found, injected = counts(lines), next(iter(daemon.counters().values()))
    assert found["sent"] == 150
    assert found["lost"] == found["timed out"] == injected["fault:drop"] > 0
    assert found["received"] == 150 - found["lost"]
    assert found["duplicated"] == injected["fault:duplicate"] > 0


def test_replies_in_another_order_are_counted_and_no_failure() -> None:
    with Daemon(faulty("udp", reorder=0.2)) as daemon:
        found = counts(bench("-n", "300", "-d", "32", daemon.url("echo", "udp")))
    assert (found["received"], found["lost"]) == (300, 0)
    assert found["reordered"] > 0


@pytest.mark.parametrize("scheme", ["udp", "ws"])
def test_corrupt_messages_are_counted_as_they_were_injected(scheme: str) -> None:
    with Daemon(faulty(scheme, corrupt=0.1)) as daemon:
        lines = bench("-n", "200", "-d", "8", "-W", "3s", daemon.url("echo", scheme), code=1, says=None)
        found, injected = counts(lines), next(iter(daemon.counters().values()))
    assert found["wrong"] + found["lost"] + found["abandoned"] == 200 - found["received"]
    if scheme == "udp":  # a message is lost if its number was changed
        assert found["wrong"] + found["lost"] == found["wrong bytes"] == injected["fault:corrupt"] > 0
    else:  # a connection ends at its first wrong message
        assert 0 < found["wrong"] == found["wrong bytes"] <= injected["fault:corrupt"]


def test_a_corrupt_byte_is_reported_with_its_position_and_the_load_continues() -> None:
    with Daemon(faulty("tcp", corrupt=0.001)) as daemon:
        ended = run(*ECHOCTL, "bench", "-n", "300", daemon.url("echo", "tcp"))
        injected = next(iter(daemon.counters().values()))
    assert ended.returncode == 1
    assert re.search(
        rb"connection 1: message \d+, byte \d+ \(byte \d+ of the connection\): 0x[0-9a-f]{2}, expected 0x[0-9a-f]{2}\n",
        ended.stderr,
    )
    found = counts(ended.stdout.decode().splitlines())
    assert 0 < found["wrong"] <= injected["fault:corrupt"]  # a message may have two
    assert (found["sent"], found["received"]) == (300, 300 - found["wrong"])


@pytest.mark.parametrize(("fault", "cause"), [("reset_after", "reset"), ("close_after", "closed early")])
def test_connections_that_end_are_counted_by_cause_and_opened_again(fault: str, cause: str) -> None:
    with Daemon(faulty("tcp", **{fault: "640"})) as daemon:
        lines = bench("-n", "45", daemon.url("echo", "tcp"), code=1, says=None)
    found = counts(lines)
    assert found["sent"] == found["received"] + found["abandoned"] == 45
    assert found[cause] == 4
    assert found["abandoned"] <= 4


def test_a_violation_of_websocket_is_reported_with_its_reason() -> None:
    with Daemon(faulty("ws", websocket="masked")) as daemon:
        ended = run(*ECHOCTL, "bench", "-n", "3", daemon.url("echo", "ws"))
    assert ended.returncode == 1
    assert b"connection 1: wrong frame: " in ended.stderr
    assert counts(ended.stdout.decode().splitlines())["protocol error"] == 3


def test_a_silent_service_times_out_and_the_load_ends(daemon: Daemon) -> None:
    for scheme in ("tcp", "udp"):
        lines = bench("-n", "2", "-W", "200ms", daemon.url("discard", scheme), code=1, says=None)
        found = counts(lines)
        assert (found["sent"], found["received"], found["lost"], found["timed out"]) == (2, 0, 2, 2)
        assert f"--- {daemon.url('discard', scheme)} ---" in lines  # without a reply, no kind is known


def test_a_long_load_ends_if_the_service_never_replies(daemon: Daemon) -> None:
    url = daemon.url("discard", "udp")
    ended = run(*ECHOCTL, "bench", "-q", "-n", "1000000", "-W", "20ms", url)
    assert (ended.returncode, ended.stdout) == (1, b"")
    [_, end] = ended.stderr.decode().splitlines()  # the first loss, and the end
    assert re.fullmatch(
        rf"echoctl: {re.escape(url)}: no reply to any of \d+ messages; expected one within 0.02 s \(--timeout\)", end
    )


def test_another_kind_of_service_is_one_clear_line(daemon: Daemon) -> None:
    for scheme in ("tcp", "udp"):
        url = daemon.url("daytime", scheme)
        ended = run(*ECHOCTL, "bench", "-q", "-n", "5", url)
        assert (ended.returncode, ended.stdout) == (1, b"")
        assert ended.stderr.startswith(
            f"echoctl: {url}: expected the reply of echo, upper or the like, but it".encode()
        )
        assert ended.stderr.count(b"\n") == 1


def test_a_refused_connection_is_one_line() -> None:
    for scheme in ("tcp", "udp"):
        url = f"{scheme}://127.0.0.1:{free_port()}"
        bench("-q", "-n", "5", url, code=1, says=f"echoctl: {url}: connection refused (ECONNREFUSED)\n")
    bench("-n", "5", "unix:///nowhere", code=1, says="echoctl: unix:///nowhere: no such file or directory (ENOENT)\n")


def test_json_and_its_lines_agree_with_the_schema_and_with_each_other(daemon: Daemon) -> None:
    [line] = bench("--json", "-n", "100", "-c", "2", daemon.url("echo", "tcp"))
    found = json.loads(line)
    check_summary(found)
    assert (found["service"], found["sizes"], found["received"], found["error"]) == ("echo", [64], 100, None)
    assert sum(count for _, _, count in found["histogram"]["buckets"]) == 100
    *seconds, last = map(json.loads, bench("--json-lines", "-r", "200", "-t", "1.2", daemon.url("upper", "udp")))
    for second in seconds:
        check_second(second)
    check_summary(last)
    assert (last["service"], last["rate"], last["lateness"] is None) == ("upper", 200, False)
    assert sum(second["received"] for second in seconds) == last["received"] == 240


def test_json_has_the_error_of_a_load_that_did_not_begin() -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    [line] = bench("--json", "-n", "1", url, code=1, says=f"echoctl: {url}: connection refused (ECONNREFUSED)\n")
    found = json.loads(line)
    check_summary(found)
    assert (found["error"], found["remote"], found["sent"]) == ("connection refused (ECONNREFUSED)", None, 0)


def test_csv_has_a_line_for_each_second_and_hgrm_the_percentiles(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "times.hgrm"
    rows = list(
        csv.DictReader(bench("--csv", "-r", "100", "-t", "1.3", "--hgrm", str(file), daemon.url("echo", "unix")))
    )
    assert len(rows) >= 2
    assert sum(int(row["received"]) for row in rows) == 130
    assert "Total count    =          130" in file.read_text("ascii")


def test_a_plot_in_a_picture_and_in_the_terminal(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "load.svg"
    bench("-r", "200", "-t", "500ms", "--plot", str(file), daemon.url("echo", "tcp"))
    assert ElementTree.parse(file).getroot().tag.endswith("svg")
    lines = bench("-q", "-r", "200", "-t", "500ms", "--plot", "-", daemon.url("echo", "tcp"))
    assert any(line.strip().startswith("p50 ") for line in lines)


def test_live_draws_on_a_screen_of_its_own_and_then_prints_the_summary(daemon: Daemon) -> None:
    words = [*ECHOCTL, "bench", "--live", "-t", "1", daemon.url("echo", "tcp")]
    ended = run("script", "-qefc", shlex.join(words), "/dev/null", env=environment(TERM="xterm", COLUMNS="100"))
    screen, end, summary = ended.stdout.decode("utf-8").rpartition("\x1b[?1049l")
    assert ended.returncode == 0
    assert end
    assert "last minute:" in screen
    assert "latency min" in summary
    said = "echoctl: bench: --live: standard output is not a terminal; leave out --live, or use --plot FILE\n"
    assert bench("--live", daemon.url("echo", "tcp"), code=1, says=said) == []


def test_a_file_that_cannot_be_written_is_reported_before_the_load(daemon: Daemon) -> None:
    said = "echoctl: /nowhere/x.hgrm: no such file or directory (ENOENT)\n"
    assert bench("--hgrm", "/nowhere/x.hgrm", daemon.url("echo", "tcp"), code=1, says=said) == []


def test_a_terminal_shows_a_bar_and_then_the_summary(daemon: Daemon) -> None:
    words = shlex.join([*ECHOCTL, "bench", "-r", "200", "-t", "4", daemon.url("echo", "tcp")])
    ended = run("script", "-qefc", words, "/dev/null", env=environment(TERM="xterm", COLUMNS="120"))
    shown = ended.stdout.decode("utf-8")
    assert ended.returncode == 0
    bar, rule, summary = shown.partition("--- ")
    assert re.search(r" messages/s .*\d+%", bar)
    assert rule
    assert "latency min" in summary


def test_signals_print_the_figures(daemon: Daemon) -> None:
    process = Popen(
        [*ECHOCTL, "bench", "-t", "60", daemon.url("echo", "tcp")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed, said = Output(process.stdout), Output(process.stderr)
        printed.wait_for(r" messages/s ")
        process.send_signal(signal.SIGQUIT)
        said.wait_for(r"^latency min")
        process.send_signal(signal.SIGINT)
        printed.wait_for(r"^generator: ")
        assert process.wait(SECONDS) == 130


@pytest.mark.slow
def test_memory_does_not_grow_with_time(daemon: Daemon) -> None:
    process = Popen(
        [*ECHOCTL, "bench", "-t", "60", "-d", "64", daemon.url("echo", "tcp")],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    with process:
        assert process.stdout is not None
        printed = Output(process.stdout)
        printed.wait_for(r"^ +1 s ")
        before = _pages(process.pid)
        printed.wait_for(r"^ +3 s ")
        assert _pages(process.pid) - before < 512  # 2 MiB; a second has thousands of messages
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130


def _pages(pid: int) -> int:
    """Resident pages of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1])
