"""The bench's pure parts: its arithmetic, its targets, its table and its chart. No time is asserted anywhere."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import comparison
from bench.chart import PANELS, chart
from bench.figures import Rest, Results, Slice, merged, percentile, ratio, summary
from bench.machine import Cores, idle_connections
from bench.options import FULL, QUICK, parse
from bench.process import free_ports
from bench.run import without_tls
from bench.servers import SERVERS, Kit, Place
from bench.table import align, judge, native_table, report, targets_table
from bench.targets import STOCK, TARGETS, UVLOOP, YARDSTICK, Target
from bench.workloads import IDLE, MEMORY, WORKLOADS, Role

TITLES = {server.key: server.title for server in SERVERS}
WORKLOAD = {workload.key: workload for workload in WORKLOADS}


def one(cpu_us=10.0, rate=1000.0, latency=None, load_share=0.5, lost=0):
    """A slice of 1000 messages."""
    seconds = 1000 / rate
    return Slice(
        messages=1000,
        seconds=seconds,
        cpu=cpu_us * 1000 / 1e6,
        load_cpu=seconds * load_share,
        lost=lost,
        verified=64_000,
        latency=latency or {5_000: 990, 80_000: 10},
    )


def measured(figures):
    """Results from {workload: {peer: processor time of each round}}."""
    results = Results()
    for workload, rows in figures.items():
        for peer, rounds in rows.items():
            for number, cpu_us in enumerate(rounds, 1):
                results.add(workload, peer, number, one(cpu_us, 1e6 / cpu_us))
    return results


def test_the_table_of_the_native_loop_has_a_column_for_each_server_and_ratios_to_c():
    rows = {"echod": [5.0, 6.0], "echod-python": [6.0, 7.2], "c": [5.0, 6.0], "stock": [20.0, 24.0], "go": [10.0, 12.0]}
    datagrams = {"echod": [4.0], "echod-python": [4.4], "c-recvmmsg": [4.0], "c-recvfrom": [9.0], "uvloop": [8.0]}
    lines = native_table(measured({"tcp-64": rows, "udp-64": datagrams, "tcp-1": {"echod": [1.0], "c": [1.0]}}))
    assert [line.split("  ")[0] for line in lines] == [
        "relative to C",
        WORKLOAD["tcp-64"].title,
        WORKLOAD["udp-64"].title,
    ]
    assert lines[1].split()[-5:] == ["5.50", "µs", "4.00×", "–", "2.00×"]
    assert "1.20× (≤ 1.24: met) 1.00× (≤ 1.05: met)" in " ".join(lines[1].split())
    assert lines[2].split()[-5:] == ["4.00", "µs", "–", "2.00×", "–"]
    assert "1.10× (≤ 1: MISSED) 1.00× (≤ 0.95: MISSED)" in " ".join(lines[2].split())
    assert native_table(measured({"tcp-64": {"echod": [5.0], "c": [5.0]}})) == []


def test_a_slice_has_the_generators_report_and_the_servers_clock():
    counts = '"messages": 200, "seconds": 0.5, "verified": 12800, "lost": 3, "load_cpu": 0.1'
    found = Slice.from_report(json.loads(f'{{{counts}, "latency": [[9, 150], [20, 50]]}}'), cpu=0.004)
    assert found.cpu_us == pytest.approx(20)
    assert found.rate == pytest.approx(400)
    assert found.load_share == pytest.approx(0.2)
    assert (found.lost, found.verified, found.latency) == (3, 12800, {9: 150, 20: 50})


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, 1.0), (0.01, 1.0), (0.5, 1.0), (0.51, 2.0), (0.99, 2.0), (0.991, 50.0), (1.0, 50.0)],
)
def test_percentile_is_the_nearest_rank(share, expected):
    assert percentile({50_000: 1, 1_000: 50, 2_000: 49}, share) == expected


def test_a_percentile_of_no_messages_is_an_error():
    with pytest.raises(ValueError, match="needs at least one message"):
        percentile({}, 0.5)


def test_latencies_merge_by_bucket():
    assert merged([{1: 2, 3: 4}, {3: 1}, {}]) == {1: 2, 3: 5}


def test_a_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians():
    assert ratio({1: 10, 2: 100, 3: 30}, {1: 20, 2: 50, 3: 30}) == 1.0
    assert ratio({1: 1.0, 2: 3.0, 3: 100.0}, {1: 1.0, 2: 1.0, 3: 10.0}) == 3.0


def test_a_ratio_uses_only_the_rounds_of_both():
    assert ratio({1: 5.0, 2: 8.0}, {2: 4.0, 3: 1.0}) == 2.0
    assert ratio({1: 5.0}, {2: 4.0}) is None
    assert ratio({1: 5.0}, {1: 0.0}) is None


def test_a_summary_has_medians_of_rounds_and_percentiles_of_messages():
    found = summary({1: one(8, lost=1), 2: one(10, latency={1_000: 1000}), 3: one(90, lost=2)})
    assert found.cpu_us == pytest.approx(10)
    assert (found.lost, found.rounds) == (3, 3)
    assert (found.p50, found.p99) == (5.0, 5.0)


def test_memory_a_connection_is_the_larger_of_resting_and_used():
    assert Rest(connections=100, before=1000, open=3000, used=2000).per_connection == 20


def test_dropping_a_peer_forgets_its_right_answers_too():
    results = measured({"tcp-64": {"echod": [1.0], "c": [1.0]}})
    results.drop("tcp-64", "echod")
    results.drop("connect", "echod")
    assert set(results.slices["tcp-64"]) == {"c"}


def test_every_target_names_its_measurement():
    peers = {server.key for server in SERVERS} | {"", YARDSTICK}
    for target in TARGETS:
        assert target.workload in {row.key for row in IDLE} or WORKLOAD[target.workload].quick
        assert target.against in peers
    assert {workload.yardstick for workload in WORKLOADS} <= {server.key for server in SERVERS}
    with_targets = {target.workload for target in TARGETS} - {row.key for row in IDLE if row is not MEMORY}
    assert with_targets == {each.key for each in WORKLOADS if each.quick} | {MEMORY.key}
    quick = {server.key for server in SERVERS if server.quick}
    assert {WORKLOAD[key].yardstick for key in WORKLOAD if WORKLOAD[key].quick} | {STOCK, UVLOOP} <= quick


def test_a_rate_is_judged_from_below_and_all_else_from_above():
    rate, cpu = Target("w", STOCK, 2.5, "rate"), Target("w", STOCK, 0.33)
    assert (rate.met(2.5), rate.met(2.4), rate.sign) == (True, False, "≥")
    assert (cpu.met(0.33), cpu.met(0.34), cpu.sign) == (True, False, "≤")


def test_judgements_compare_with_the_workloads_own_yardstick():
    results = measured({"udp-1": {"echod": [10.0], "c-recvfrom": [10.0], "c-recvmmsg": [1.0], "stock": [40.0]}})
    found = {each.against: each for each in judge(results, "echod")}
    assert {against: each.figure for against, each in found.items()} == pytest.approx({YARDSTICK: 1.0, STOCK: 0.25})
    assert all(each.met and each.measure == "cpu" for each in found.values())


def test_the_table_shows_ratio_target_and_verdict():
    results = measured({"tcp-64": {"echod": [7.0] * 3, "c": [7.0] * 3, "stock": [28.0] * 3, "uvloop": [5.0] * 3}})
    results.rests["memory"] = {"echod": Rest(10_000, 0, 0, 310_000)}
    results.rests["memory-ws"] = {"echod": Rest(1_000, 0, 5_000_000, 0), "uvloop": Rest(1_000, 0, 20_000_000, 0)}
    lines = targets_table(results, "echod", TITLES)
    assert "7.00 µs" in lines[1]
    assert "1.00× (≤ 1.05: met)" in lines[1]
    assert "0.25× (≤ 0.33: met)" in lines[1]
    assert "1.40× (≤ 1: MISSED)" in lines[1]
    assert "4.00× (≥ 2.5: met)" in lines[2]
    assert "31 B (≤ 400: met)" in lines[3]
    assert "10,000 idle" in lines[3]
    assert lines[4].startswith("user memory per WebSocket connection, 1,000 idle  5,000 B")
    assert lines[4].endswith("0.25×")


def test_the_plain_path_has_a_table_of_its_own_beside_stock_twisted_and_asyncio():
    rows = {"echod": [30.0], "echod-off": [50.0], "stock": [40.0], "asyncio": [100.0]}
    results = measured({"connect": rows, "udp-1": rows})
    blocks = report(results, "echod", TITLES, []).split("\n\n")
    head, connect, udp = blocks[1].splitlines()
    assert [title.strip() for title in head.split("against")[1:]] == ["C", "stock Twisted", "asyncio"]
    assert "1.25× (≤ 1: MISSED)" in connect
    assert "1.25× (≤ 1.2: MISSED)" in udp
    assert "0.50×" in udp
    assert "0.75× (≤ 0.55: MISSED)" in blocks[0]
    assert report(results, "echod-off", TITLES, []).count("(≤ 1: MISSED)") == 1


def test_the_table_leaves_missing_measurements_blank():
    results = measured({"connect": {"echod": [30.0]}})
    (_, line) = targets_table(results, "echod", TITLES)
    assert line.split()[-3:] == ["–", "–", "–"]
    assert targets_table(Results(), "echod", TITLES) == []


def test_the_report_names_missing_workloads_and_the_limit_of_the_load():
    results = measured({"tcp-64": {"echod": [7.0], "c": [5.0]}})
    results.add("tcp-64", "uvloop", 1, one(6.0, load_share=0.97, lost=4))
    results.remarks.append("Node left out: it exited at its start")
    text = report(results, "echod", TITLES, ["Go is not installed: apt install golang-go"])
    assert "Node left out" in text
    assert "Go is not installed" in text
    rows = [line.split()[0] for line in text.splitlines() if line.startswith("  ") and "µs" not in line]
    assert rows == ["its", "C", "uvloop", "echod"]  # the cheapest first
    assert ">1,000" in text
    assert "lost: datagrams" in text


def test_columns_are_aligned():
    assert align([["a", "b"], ["ccc", "1000"]]) == ["a       b", "ccc  1000"]


def test_the_chart_is_well_formed_and_its_bars_are_in_proportion():
    results = measured({key: {"echod": [5.0], "c": [10.0], "echod-off": [7.0]} for key in PANELS})
    drawn = chart(results, "echod", TITLES, "a machine <with> & signs")
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{space}rect")]
    assert len(widths) == 2 * len(PANELS)
    assert widths[0] * 2 == pytest.approx(widths[1], abs=0.2)
    texts = [text.text for text in root.iter(f"{space}text")]
    assert "a machine <with> & signs" in texts
    assert "prefers-color-scheme: dark" in drawn
    right = max(float(text.attrib["x"]) for text in root.iter(f"{space}text"))
    assert right < float(root.attrib["width"])


def test_no_chart_is_drawn_without_figures():
    assert chart(Results(), "echod", TITLES, "") is None
    assert chart(measured({"unix-64": {"echod": [1.0]}}), "echod", TITLES, "") is None


def test_the_command_line_chooses():
    asked = parse(["--quick", "--rounds", "7", "--only", "connect,memory", "--peers", "c", "--echod", "sh -c 'x y'"])
    assert [workload.key for workload in asked.workloads] == ["connect"]
    assert [server.key for server in asked.servers] == ["echod", "c"]
    assert (asked.idle, asked.plan.rounds, asked.plan.seconds) == ((MEMORY,), 7, QUICK.seconds)
    assert asked.echod == ("sh", "-c", "x y")


def test_a_full_run_has_every_workload_every_peer_and_at_least_five_rounds():
    asked = parse([])
    assert asked.workloads == WORKLOADS
    assert asked.servers == SERVERS
    assert asked.plan == FULL
    assert FULL.rounds >= 5


@pytest.mark.parametrize("words", [["--only", "tpc-64"], ["--peers", "rust"], ["--rounds", "0"], ["--seconds", "x"]])
def test_a_wrong_command_line_is_one_clear_line(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(words)
    assert words[0] in capsys.readouterr().err


def test_every_peer_has_a_command_for_each_of_its_roles(tmp_path):
    kit = Kit(tmp_path, "python", ("python", "-m", "echod"))
    for server in SERVERS:
        assert server.install or not (server.programs or server.module)
        for role in server.roles:
            command = server.command(kit, {role: Place(role, "127.0.0.1", 7007, str(tmp_path / "s"))})
            assert all(isinstance(word, str) for word in command)


def test_echod_is_started_as_its_users_start_it(tmp_path):
    kit = Kit(tmp_path, "python", ("python", "-m", "echod"))
    places = {role: Place(role, "127.0.0.1", 7007 + n, "/run/x.sock") for n, role in enumerate(Role)}
    del places[Role.PROXIED]
    server = next(server for server in SERVERS if server.key == "echod")
    assert server.command(kit, places) == [
        *("python", "-m", "echod"),
        *("--listen=echo=tcp://127.0.0.1:7007", "--listen=upper=tcp://127.0.0.1:7008"),
        *("--listen=echo=unix:///run/x.sock", "--listen=echo=udp://127.0.0.1:7010"),
        *("--listen=echo=ws://127.0.0.1:7011", "--listen=echo=tls://127.0.0.1:7013"),
    ]


def test_the_idle_connections_fit_the_limit_of_open_files():
    assert idle_connections(10_000, 20_000) == 10_000
    assert idle_connections(10_000, 4096) < 4096
    assert idle_connections(10_000, 64) == 1


def test_one_core_for_both_is_reported():
    assert "the only one" in str(Cores(0, 0))
    assert str(Cores(1, 0)) == "server on core 1, load on core 0"


def test_no_port_is_drawn_twice():
    ports = free_ports(400)
    assert len(set(ports)) == 400


def test_tls_is_left_out_without_the_headers_of_openssl():
    asked = parse(["--only", "tcp-64,tls-64,memory,memory-tls"])
    left = without_tls(asked)
    assert [one.key for one in left.workloads] == ["tcp-64"]
    assert [row.key for row in left.idle] == ["memory"]


def test_the_comparison_has_a_dash_where_a_program_was_not_measured():
    lines = comparison.markdown({"memory": {"echod": "0.1 kB", "socat": "50.6 kB"}}).splitlines()
    assert lines == ["| | echod | xinetd | socat | irtt |", "| --- " * 5 + "|", "| memory | 0.1 kB | – | 50.6 kB | – |"]


def test_readme_has_every_measured_row():
    readme = (Path(comparison.__file__).parents[1] / "README.md").read_text("utf-8")
    assert [title for title in comparison.TITLES if f"\n| {title} | " not in readme] == []
