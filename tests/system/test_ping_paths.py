"""echoctl ping as a measuring tool: reflectors, directions, flows, sizes, schedules, formats and plugin exit codes."""

import csv
import io
import json
import re
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from echod.testing.output import Output
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, run
from tests.fork_server import Popen
from tests.summaries import check_probe, check_summary

KEY = b"sixteen or more bytes"
CONFIG = """
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "udp://[::1]:0"]
[services.reflector]
listen = ["udp://127.0.0.1:0", "udp://[::1]:0"]
[services.stateful]
kind = "reflector"
stateful = true
listen = ["udp://127.0.0.1:0"]
[services.authenticated]
kind = "reflector"
key = "{dir}/stamp.key"
listen = ["udp://127.0.0.1:0"]
[services.public]
kind = "reflector"
tokens = true
listen = ["udp://127.0.0.1:0"]
[services.udpechoplus]
listen = ["udp://127.0.0.1:0"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(CONFIG, files={"stamp.key": KEY}) as daemon:
        yield daemon
        daemon.check()


def ping(*words: str, code: int = 0) -> str:
    """The output of a ping that ends with this code, and prints no error."""
    ended = run(*ECHOCTL, "ping", *words)
    assert (ended.returncode, ended.stderr.decode()) == (code, ""), ended.stdout
    return ended.stdout.decode("utf-8")


def figures(*words: str, code: int = 0) -> dict[str, Any]:
    """The object that a ping prints."""
    found: dict[str, Any] = json.loads(ping("--json", *words, code=code))
    check_summary(found)
    return found


@contextmanager
def path(server: tuple[Any, ...], forward: Callable[[int], int], backward: Callable[[int], int]) -> Iterator[str]:
    """A path to a server that passes each datagram so many times, by its number in that direction; its URL."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as front,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back,
    ):
        front.bind(("127.0.0.1", 0))
        back.connect(server)
        over = threading.Event()
        clients: list[Any] = []

        def ahead() -> None:
            number = 0
            while not over.is_set():
                if not select.select([front], [], [], 0.1)[0]:
                    continue
                data, client = front.recvfrom(65_536)
                clients.append(client)
                for _ in range(forward(number)):
                    back.send(data)
                number += 1

        def home() -> None:
            number = 0
            while not over.is_set():
                if not select.select([back], [], [], 0.1)[0]:
                    continue
                data = back.recv(65_536)
                for _ in range(backward(number)):
                    front.sendto(data, clients[-1])
                number += 1

        threads = [threading.Thread(target=one, daemon=True) for one in (ahead, home)]
        for thread in threads:
            thread.start()
        try:
            yield f"udp://127.0.0.1:{front.getsockname()[1]}"
        finally:
            over.set()
            for thread in threads:
                thread.join(SECONDS)


# reflectors


@pytest.mark.parametrize("address", ["udp://127", "udp://[::1]"])
def test_a_reflector_is_recognized_and_gives_each_direction(daemon, address):
    found = figures("-c", "5", "-i", "10ms", daemon.url("reflector", address))
    assert (found["service"], found["received"], found["wrong"]) == ("reflector", 5, 0)
    for name in ("forward", "backward"):
        assert found[name]["min_ms"] <= found[name]["avg_ms"] <= found[name]["max_ms"]
        assert found[name]["lost"] is None  # it is stateless
    assert found["server"]["min_ms"] > 0
    whole = found["forward"]["min_ms"] + found["backward"]["min_ms"] + found["server"]["min_ms"]
    assert whole <= found["max_ms"] + 0.001
    assert found["clock"]["steps"] == 0


def test_a_stateful_reflector_gives_the_direction_of_each_loss_and_duplicate(daemon):
    lost = {3, 4, 10}
    with path(
        daemon.inet("stateful", "udp"),
        lambda number: 0 if number in lost else 2 if number == 6 else 1,
        lambda number: 0 if number == 8 else 2 if number == 9 else 1,
    ) as url:
        found = figures("-c", "20", "-i", "20ms", "-W", "3s", url)
    # Probe 6 arrives twice. Packet 8 of the way back is the reply to probe 9, so probes 9 and 10 are a burst.
    assert (found["sent"], found["received"], found["lost"], found["duplicated"]) == (20, 16, 4, 2)
    assert {name: found["forward"][name] for name in ("lost", "duplicated")} == {"lost": 3, "duplicated": 1}
    assert {name: found["backward"][name] for name in ("lost", "duplicated")} == {"lost": 1, "duplicated": 1}
    assert (found["longest_burst"], found["bursts"]) == (2, {"2": 2})


def test_an_outage_is_measured_and_continued_through(daemon):
    with path(daemon.inet("echo", "udp"), lambda number: number < 5 or number >= 12, lambda _: 1) as url:
        lines = ping("-c", "15", "-i", "50ms", "-W", "3s", "-v", url).splitlines()
    assert sum(" lost: no reply within 3s" in line for line in lines) == 7
    assert [line for line in lines if re.fullmatch(r"replies again after \d+\.\d{3} s: 7 probes lost from seq=6", line)]
    assert any("longest burst 7, 1 outage of " in line for line in lines)


def test_authenticated_packets_need_the_key(daemon, tmp_path):
    for name, key in (("right", KEY), ("wrong", KEY + b"!")):
        (tmp_path / name).write_bytes(key)
    url = daemon.url("authenticated", "udp")
    words = ("-c", "3", "-i", "10ms")
    found = figures(*words, "--auth-key", str(tmp_path / "right"), url)
    assert (found["service"], found["received"], found["size_bytes"]) == ("reflector", 3, 112)
    for wrong in (("--auth-key", str(tmp_path / "wrong")), ()):
        assert figures(*words, "-W", "300ms", *wrong, url, code=1)["received"] == 0


def test_a_public_reflector_needs_its_tokens(daemon):
    words = ("-c", "4", "-A", "-i", "5s", "-s", "200", "--csv")  # each probe after the reply to the one before
    url = daemon.url("public", "udp")
    rows = list(csv.DictReader(io.StringIO(ping(*words, "--token", url))))
    assert [(row["result"], row["bytes"]) for row in rows] == [("received", "56"), *[("received", "200")] * 3]
    assert figures("-c", "2", "-i", "10ms", "-W", "200ms", url, code=1)["received"] == 0


def test_an_unusable_key_is_an_error_before_the_first_probe(tmp_path):
    ended = run(*ECHOCTL, "ping", "--auth-key", str(tmp_path / "none"), "udp://127.0.0.1:9")
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"echoctl: {tmp_path / 'none'}: no such file or directory (ENOENT)\n"


@pytest.mark.parametrize("service", ["reflector", "stateful"])
@pytest.mark.parametrize(("start", "size"), [("udp://127", "64"), ("udp://[", "52"), ("udp://127", "120")])
def test_the_dscp_of_each_direction(daemon, service, start, size):
    if service == "stateful":
        start = "udp"
    found = figures("-Q", "ef", "-s", size, "-c", "3", "-i", "10ms", daemon.url(service, start))
    assert found["dscp"] == {"sent": 46, "forward": {"46": 3}, "backward": {"46": 3}, "refused": 0}
    assert (found["received"], found["wrong"]) == (3, 0)
    found = figures("-Q", "cs6", "-s", size, "-c", "3", "-i", "10ms", daemon.url(service, start))
    assert found["dscp"] == {"sent": 48, "forward": {"48": 3}, "backward": {"48": 3}, "refused": 3}


def test_a_dscp_at_other_services_and_in_short_probes_is_only_sent(daemon):
    for service, size in (("reflector", "51"), ("reflector", "20"), ("echo", "64"), ("udpechoplus", "64")):
        found = figures("-Q", "ef", "-s", size, "-c", "2", "-i", "10ms", daemon.url(service, "udp"))
        assert (found["received"], "dscp" in found) == (2, False)


def test_udpechoplus_gives_the_time_of_the_server(daemon):
    found = figures("-c", "3", "-i", "10ms", daemon.url("udpechoplus", "udp"))
    assert (found["service"], found["received"]) == ("udpechoplus", 3)
    assert [found[name]["lost"] for name in ("forward", "backward")] == [0, 0]
    assert found["server"]["min_ms"] >= 0


def test_replies_from_elsewhere_are_not_counted():
    """The socket is connected, so the kernel delivers only datagrams of the address that is probed."""

    def answer(bound: socket.socket) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            for _ in range(3):
                question, asking = bound.recvfrom(65_536)
                other.sendto(question, asking)
                bound.sendto(question, asking)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=answer, args=(bound,), daemon=True)
        thread.start()
        found = figures("-c", "3", "-i", "20ms", f"udp://127.0.0.1:{bound.getsockname()[1]}")
        thread.join(SECONDS)
    assert (found["received"], found["duplicated"], found["wrong"]) == (3, 0, 0)


def test_the_member_of_a_group_that_has_replied_is_shown():
    with Daemon(listen=["reflector=udp://239.255.77.9:0?interface=lo"]) as daemon:
        url = daemon.url("reflector", "udp")
        lines = ping("-c", "2", "-i", "20ms", f"{url}?interface=lo&source=127.0.0.1").splitlines()
        port = url.rpartition(":")[2]
    assert all(line.startswith(f"64 bytes from 127.0.0.1:{port}: seq=") for line in lines[1:3])


# schedules


@pytest.mark.parametrize(
    "words", [["--poisson", "-i", "5ms"], ["-i", "200us"], ["-A", "-i", "5s"], ["-f", "-q"]], ids=range(4)
)
def test_every_schedule_sends_all_probes(daemon, words):
    found = figures("-c", "50", *words, daemon.url("reflector", "udp"))
    assert (found["sent"], found["received"], found["lost"]) == (50, 50, 0)
    assert found["pacing"]["median_us"] >= 0


def test_a_deadline_ends_it(daemon):
    found = figures("-w", "3s", "-i", "500ms", daemon.url("echo", "udp"))
    assert 1 <= found["received"] <= 7
    assert found["lost"] == 0


def test_a_deadline_without_a_reply_counts_no_awaited_probe_as_lost():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        found = figures("-w", "300ms", "-i", "100ms", f"udp://127.0.0.1:{silent.getsockname()[1]}", code=1)
    assert (found["received"], found["lost"]) == (0, 0)
    assert found["awaited"] == found["sent"]


# packets


def test_sizes_take_turns_and_have_their_own_figures(daemon):
    found = figures("-c", "6", "-i", "10ms", "--sizes", "44-1044/500", daemon.url("reflector", "udp"))
    assert {size: one["received"] for size, one in found["sizes"].items()} == {"44": 2, "544": 2, "1044": 2}


def test_options_reach_the_packets():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        peer.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(peer.recvmsg(100, 100)), daemon=True)
        thread.start()
        port = peer.getsockname()[1]
        words = ("-c", "1", "-W", "200ms", "-t", "7", "-Q", "0xb8", "-I", "lo", "--source", "127.0.0.2", "-q")
        ping(*words, f"udp://127.0.0.1:{port}", code=1)
        thread.join(SECONDS)
    _, ancillary, _, (host, _) = seen[0]
    assert host == "127.0.0.2"
    assert {(kind, data[0]) for _, kind, data in ancillary} == {(2, 7), (1, 0xB8)}


def test_each_flow_has_a_port_of_its_own(daemon):
    found = figures("-c", "2", "-i", "10ms", "--flows", "3", daemon.url("reflector", "udp"))
    assert len({one["local"] for one in found["targets"]}) == 3
    assert [one["received"] for one in found["targets"]] == [2, 2, 2]


def test_several_targets_are_measured_at_once_and_the_worst_decides(daemon):
    urls = (daemon.url("echo", "udp"), daemon.url("echo", "tcp"), daemon.url("reflector", "udp"))
    found = figures("-c", "3", "-i", "10ms", *urls)
    assert [(one["url"], one["received"]) for one in found["targets"]] == [(url, 3) for url in urls]
    said = ping("-c", "2", "-i", "10ms", "-W", "200ms", urls[0], "udp://127.0.0.1:9", code=1)
    assert said.count("\n--- udp://") == 2


# output


def test_csv_has_a_header_and_a_line_for_each_probe(daemon):
    rows = list(csv.DictReader(io.StringIO(ping("-c", "3", "-i", "10ms", "--csv", daemon.url("reflector", "udp")))))
    assert [(row["seq"], row["result"], row["bytes"]) for row in rows] == [
        (str(n), "received", "64") for n in (1, 2, 3)
    ]
    assert all(float(row["rtt_ms"]) > 0 and row["forward_ms"] and not row["error"] for row in rows)


def test_json_lines_have_an_object_for_each_probe_and_one_at_the_end():
    words = ("-c", "2", "-i", "10ms", "--json-lines", "udp://127.0.0.1:9")
    first, second, last = map(json.loads, ping(*words, code=1).splitlines())
    assert [(one["seq"], one["result"]) for one in (first, second)] == [(1, "lost"), (2, "lost")]
    assert first["error"] == "connection refused (ECONNREFUSED)"
    assert (last["sent"], last["lost"]) == (2, 2)
    check_summary(last)
    for line in (first, second):
        check_probe(line)


def test_lines_have_dates_and_report_what_is_outstanding():
    def answer_late(bound: socket.socket) -> None:
        for question, asking in [bound.recvfrom(65_536) for _ in range(2)]:
            bound.sendto(question, asking)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=answer_late, args=(late,), daemon=True)
        thread.start()
        url = f"udp://127.0.0.1:{late.getsockname()[1]}"
        lines = ping("-c", "2", "-i", "50ms", "-W", "1m", "-D", "-O", "-n", url).splitlines()
        thread.join(SECONDS)
    assert all(re.match(r"\[\d{10}\.\d{6}\] ", line) for line in lines[:4])
    assert lines[1].endswith("] no answer yet for seq=1")


def test_verbose_lines_and_the_histogram(daemon):
    lines = ping("-c", "2", "-i", "10ms", "-v", "--histogram", daemon.url("reflector", "udp")).splitlines()
    ms = r"-?\d+\.\d{3} ms"
    assert re.search(rf" time={ms} ttl=64 forward={ms} backward={ms} server={ms} \(reflector\)$", lines[1])
    assert any(line.startswith("p50/p90/p95/p99/p99.9 = ") for line in lines)
    bars = [line for line in lines if re.match(rf"\s+{ms}\s+\d+", line)]
    assert sum(int(line.split()[2]) for line in bars) == 2


def test_a_flood_prints_a_dot_for_each_loss(daemon):
    with path(daemon.inet("echo", "udp"), lambda number: number not in (3, 5), lambda _: 1) as url:
        said = ping("-f", "-c", "20", "-W", "3s", url)
    assert said.count(".") >= 2
    assert "..\n" in said
    assert "20 sent, 18 received, 2 lost (10%)" in said


# monitoring plugins


@pytest.mark.parametrize(
    ("words", "code", "state"),
    [
        (["--warn", "10s,50%", "--critical", "20s,90%"], 0, "OK"),
        (["--warn", "1us"], 1, "WARNING"),
        (["--warn", "1us", "--critical", "2us,5%"], 2, "CRITICAL"),
    ],
    ids=["ok", "warning", "critical"],
)
def test_a_plugin_has_one_line_and_the_code_of_its_state(daemon, words, code, state):
    said = ping("-c", "3", "-i", "10ms", *words, daemon.url("echo", "udp"), code=code)
    assert re.fullmatch(rf"PING {state} - udp://\S+: \d+\.\d+ ms, 0% lost \| rta=\S+ pl=0%;\S*;0;100\n", said)


def test_a_plugin_without_replies_is_critical_and_without_a_host_unknown():
    said = ping("-c", "2", "-i", "10ms", "-W", "100ms", "--warn", "1s,50%", "udp://127.0.0.1:9", code=2)
    assert said.startswith("PING CRITICAL - udp://127.0.0.1:9: no reply, 100% lost | rta=U;")
    ended = run(*ECHOCTL, "ping", "--warn", "1s", "udp://no-such-host.invalid:7")
    assert ended.returncode == 3
    assert ended.stdout.startswith(b"PING UNKNOWN - ")


def test_an_interrupted_plugin_prints_its_line_once(daemon):
    begun = threading.Event()

    def forward(number: int) -> int:
        if number == 5:
            begun.set()
        return 1

    with path(daemon.inet("echo", "udp"), forward, lambda _: 1) as url:
        words = ("--warn", "10s,50%", "-A", "-i", "1m", url)  # the sixth probe follows five replies
        with Popen([*ECHOCTL, "ping", *words], env=environment(), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                assert begun.wait(SECONDS)
                process.send_signal(signal.SIGINT)
                said = process.stdout.read().decode()
                assert process.wait(SECONDS) == 0
            finally:
                process.kill()
    assert said.count("PING OK - ") == said.count("\n") == 1


def test_the_quit_key_prints_the_directions(daemon):
    words = ("-i", "20ms", daemon.url("reflector", "udp"))
    with Popen(
        [*ECHOCTL, "ping", *words], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            Output(process.stdout).wait_for("seq=5 ")
            process.send_signal(signal.SIGQUIT)
            Output(process.stderr).wait_for("^forward min/avg/max = ")
            assert process.poll() is None
        finally:
            process.kill()


# the path MTU


def test_the_path_mtu_is_found_also_without_icmp(daemon):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as narrow:
        narrow.bind(("127.0.0.1", 0))
        over = threading.Event()

        def drop_large() -> None:
            while not over.is_set():
                if not select.select([narrow], [], [], 0.1)[0]:
                    continue
                data, client = narrow.recvfrom(65_536)
                if len(data) <= 1472:
                    narrow.sendto(data, client)

        thread = threading.Thread(target=drop_large, daemon=True)
        thread.start()
        try:
            found = figures("-M", "probe", "-W", "1s", f"udp://127.0.0.1:{narrow.getsockname()[1]}")
        finally:
            over.set()
            thread.join(SECONDS)
    assert (found["path_mtu"], found["largest_size"], found["error"]) == (1500, 1472, None)
    said = ping("-q", "-M", "probe", daemon.url("echo", "udp://127"))
    assert said.endswith(": path MTU 65535 bytes: probes of 65507 bytes arrive, and none of 65508\n")


def test_a_search_without_replies_is_an_error():
    ended = run(*ECHOCTL, "ping", "-M", "probe", "udp://127.0.0.1:9")
    assert ended.returncode == 1
    assert ended.stderr.decode() == "echoctl: udp://127.0.0.1:9: connection refused (ECONNREFUSED)\n"
