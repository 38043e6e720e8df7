"""The command line of echoctl, and its usage errors of one line."""

import math

import pytest

from echod.client.command_definitions import COMMANDS, parser
from echod.client.help_examples import EXAMPLES
from echod.client.value_types import MOST_PROBES


def refusal(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    said, nothing = capsys.readouterr().err, capsys.readouterr().out
    assert nothing == ""
    assert said.endswith(f"; see echoctl {words[0]} --help\n")
    assert said.rstrip("\n").isprintable()
    return said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("0.2", 0.2),
        (".2", 0.2),
        ("200ms", 0.2),
        ("1m30s", 90),
        ("0.001", 0.001),
        ("1us", None),
        ("24d", 2073600),
    ],
)
def test_an_interval_is_a_duration_or_plain_seconds(text, seconds, capsys):
    words = ("ping", "-i", text, "udp://127.0.0.1:7")
    if seconds is None:
        assert "the minimum is 10us" in refusal(capsys, *words)
    else:
        assert parser().parse_args(words).interval == seconds


@pytest.mark.parametrize(
    "text", ["", ".", "1.", "-1", "soon", "0", "0s", "0.0", "1e3", "inf", "nan", "99999999999", "٣", "\x1b[2J"]
)
def test_a_wrong_interval_is_refused(text, capsys):
    refusal(capsys, "ping", f"-i={text}", "udp://127.0.0.1:7")
    refusal(capsys, "ping", f"--timeout={text}", "udp://127.0.0.1:7")


def test_the_defaults_of_ping():
    asked = parser().parse_args(["ping", "tcp://127.0.0.1:7"])
    assert (asked.count, asked.interval, asked.size, asked.timeout) == (None, 1.0, 64, 5.0)
    assert (asked.quiet, asked.json, asked.connect) == (False, False, False)


def test_send_and_ping_accept_the_same_times(capsys):
    url = "tcp://127.0.0.1:7"
    for text, seconds in (("5", 5), ("0.2", 0.2), ("500ms", 0.5)):
        assert parser().parse_args(["send", "--timeout", text, url]).timeout == seconds
        assert parser().parse_args(["ping", "--timeout", text, url]).timeout == seconds
    assert (
        refusal(capsys, "send", "--timeout=0", url)
        .partition("--timeout")[2]
        .startswith(': "0" is too short; expected a time above 0')
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("URL",), []),
        (("URL", "a", "b"), ["a", "b"]),
        (("URL", "--hex", "a", "b"), ["a", "b"]),
        (("URL", "a", "--hex", "b"), ["a", "b"]),
        (("--hex", "URL", "a"), ["a"]),
        (("URL", "--hex", "--", "-a", "--"), ["-a", "--"]),
        (("URL", "a", "--hex", "b", "--", "-c"), ["a", "b", "-c"]),
    ],
)
def test_options_may_stand_anywhere_in_the_text(words, text):
    given = [word.replace("URL", "tcp://127.0.0.1:7") for word in words]
    asked = parser().parse_args(["send", *given])
    assert (asked.text, asked.hex) == (text, "--hex" in words)


def test_an_unknown_option_of_send_is_not_text(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["send", "tcp://127.0.0.1:7", "--hex", "--loud"])
    said = capsys.readouterr().err
    assert said == (
        'echoctl send: unknown option "--loud"; write -- before a text that begins with -; see echoctl send --help\n'
    )


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "many", "", str(MOST_PROBES + 1), "9" * 5000, "٣"])
def test_a_wrong_count_is_refused(count, capsys):
    assert len(refusal(capsys, "ping", f"-c={count}", "udp://127.0.0.1:7")) < 300


@pytest.mark.parametrize(
    ("url", "sizes"),
    [
        ("udp://127.0.0.1:7", {15: False, 16: True, 65_507: True, 65_508: False}),
        ("unix-dgram:///run/x", {0: False, 16: True, 65_508: False}),
        ("tcp://127.0.0.1:7", {0: False, 1: True, 65_508: True, 16 * 2**20: True, 16 * 2**20 + 1: False}),
        ("unix:///run/x", {0: False, 1: True}),
        ("tcp:localhost:7", {0: False, 1: True}),
    ],
)
def test_a_size_must_fit_the_transport(url, sizes, capsys):
    for size, fits in sizes.items():
        words = ("ping", "-s", str(size), url)
        if fits:
            assert parser().parse_args(words).size == size
        else:
            assert f"--size {size} is out of range (" in refusal(capsys, *words)


def test_a_size_may_have_a_unit(capsys):
    assert parser().parse_args(["ping", "-s", "1KiB", "udp://127.0.0.1:7"]).size == 1024
    assert "is not a size" in refusal(capsys, "ping", "-s", "1kb", "udp://127.0.0.1:7")


def test_connect_needs_a_stream_and_no_size(capsys):
    assert parser().parse_args(["ping", "--connect", "unix:///run/x"]).size is None
    for url in ("udp://127.0.0.1:7", "unix-dgram:///run/x", "tcp:localhost:7"):
        assert "is not supported; use tcp://, tls:// or unix://" in refusal(capsys, "ping", "--connect", url)
    assert "leave out --size" in refusal(capsys, "ping", "--connect", "-s", "64", "tcp://127.0.0.1:7")


@pytest.mark.parametrize("file", ["", "times", "times.pdf", ".svg.gz"])
def test_the_ending_of_a_picture_is_its_format(file, capsys):
    refusal(capsys, "ping", f"--plot={file}", "udp://127.0.0.1:7")
    for name in ("times.svg", "times.png", "times.html", "-"):
        assert parser().parse_args(["ping", "--plot", name, "udp://127.0.0.1:7"]).plot == name


def test_a_file_name_must_not_be_empty(capsys):
    assert "the file name is empty" in refusal(capsys, "check", "")


def test_a_systemd_address_is_only_for_listening(capsys):
    assert "systemd:echo is only for listening; expected the address of a service" in refusal(
        capsys, "send", "systemd:echo"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "ping --serve udp://127.0.0.1:7",
            "--serve: udp://127.0.0.1:7 is not tcp://; expected an address for the metri",
        ),
        ("ping udp://127.0.0.1:7 --serve -c 3", "--serve measures until it is interrupted: leave out --count"),
        ("ping udp://127.0.0.1:7 --serve -w 3", "--serve measures until it is interrupted: leave out -w"),
        ("ping udp://h:7 --serve-host a.b", "--serve-host a.b: nothing is served; expected --serve as well"),
        (
            "ping udp://h:7 --serve --serve-host a.b:1",
            '--serve-host: "a.b:1": must be the name of a host without a port',
        ),
        ("ping udp://h:7 --serve --json", "--serve measures until it is interrupted: leave out --json"),
        ("ping -I lo unix:///run/x", "-I lo: unix has no option interface; expected tcp://, udp://, tls://, ws:// or"),
        ("ping -M do unix:///run/x", "-M do: unix has no DF flag; expected tcp://, udp://"),
        ("ping -Q 0x03 udp://127.0.0.1:7", '-Q: "0x03" is not a traffic class; expected a name such as ef, or a byte'),
        ("ping -t 256 udp://127.0.0.1:7", '-t: "256" must be a number from 1 to 255'),
        ("ping --flows 3 tcp://127.0.0.1:7", "--flows is for udp:// only, not for tcp://127.0.0.1:7"),
        ("ping --flows 3 --source *:5000-5001 udp://h:7", "--flows 3: --source has 2 ports; expected at least 3"),
        ("ping --sizes 9-3 udp://127.0.0.1:7", '--sizes: "9-3" is not a range of sizes; expected up to 1024 sizes'),
        ("ping --sizes 9 udp://127.0.0.1:7", '--sizes: "9" is not a range of sizes; expected one such as 64-1472/64'),
        ("ping --sizes 64-99 -s 64 udp://127.0.0.1:7", "--sizes: leave out --size"),
        ("ping --auth-key k -s 64 udp://127.0.0.1:7", "--size 64 is out of range (112–65507 bytes over udp)"),
        ("ping --token -s 50 udp://127.0.0.1:7", "--size 50 is out of range (56–65507 bytes over udp)"),
        ("ping --token tcp://127.0.0.1:7", "--token is for udp:// only, not for tcp://127.0.0.1:7"),
        ("ping --token --auth-key k udp://127.0.0.1:7", "--token: leave out --auth-key"),
        ("ping --poisson -A udp://127.0.0.1:7", "--poisson: leave out -A and -f"),
        ("ping --json --csv udp://127.0.0.1:7", "--csv: not allowed with argument --json"),
        ("ping -M probe tcp://h:7", "-M probe is for udp:// only, not for tcp://h:7"),
        ("ping -M probe -c 3 udp://h:7", "-M probe chooses its own probes: leave out --count"),
        ("ping -M probe -f udp://h:7", "-M probe has one result: leave out -f"),
        ("ping --plot a.svg udp://h:7 udp://h:8", "--plot draws one path only"),
        (
            "ping --plot times.pdf udp://h:7",
            '--plot: "times.pdf" does not end with .svg, .png or .html; expected a name such as',
        ),
        ("ping --live udp://h:7 udp://h:8", "--live shows one path only; leave out the other URLs"),
        ("ping --live --csv udp://h:7", "--live: leave out --csv, which must be the only output"),
        ("ping --live -q udp://h:7", "--live: leave out --quiet"),
        ("ping --live -M probe udp://h:7", "-M probe chooses its own probes: leave out --live"),
        ("ping --plot - --json udp://h:7", "--plot -: leave out --json, which must be the only output"),
        ("ping --plot - --json-lines udp://h:7", "--plot -: leave out --json-lines"),
        ("ping --plot - --csv udp://h:7", "--plot -: leave out --csv"),
        ("ping --hgrm a.hgrm udp://h:7 udp://h:8", "--hgrm writes one path only"),
        ("ping -M probe --hgrm a.hgrm udp://h:7", "-M probe chooses its own probes: leave out --hgrm"),
        ("ping --cuont 3 udp://127.0.0.1:7", 'unknown option "--cuont"; did you mean --count?'),
        ("ping -z lo udp://127.0.0.1:7", 'unknown option "-z"; see'),
        ("ping -z", 'unknown option "-z"; see'),
        ("send --count 3 tcp://127.0.0.1:7", 'unknown option "--count"; it is an option of ping and bench; see'),
        ("status --foo", 'unknown option "--foo"; see'),
        ("status --jsno", 'unknown option "--jsno"; did you mean --json?'),
        ("ping --color sometimes udp://127.0.0.1:7", '--color: "sometimes" must be one of: auto, always, never; see'),
        ("ping -M may'be udp://127.0.0.1:7", '-M: "may\'be" must be one of: do, want, dont, probe; see'),
        ("send", "URL is missing; see"),
        ("faults", "NAME is missing; see echoctl faults"),
        ("ping udp://127.0.0.1:7 more", "URL: more: not an address"),
        ("ping udp://127.0.0.1:7 -c", "-c/--count needs a value; see"),
        ("ping --json=yes udp://127.0.0.1:7", "--json takes no value: leave out 'yes'; see"),
        ("doctor --wait 2m", '--wait: "2m" is too long; the maximum is 60s; see'),
        ("top --sort unsent", "--sort unsent is not for --by listeners; expected one of: busy, name, open, new, data"),
        ("top --by connections --sort open", "--sort open is not for --by connections; expected one of: busy, bytes"),
        ("top --once --json", "--json: not allowed with argument --once"),
        ("status --connections 0", '--connections: "0" must be a number from 1 to 10000'),
        ("status now", 'unexpected argument "now"; see'),
        ("talk -4 tcp://[::1]:7", "-4: ::1 is an IPv6 address; see"),
        ("talk -6 tcp://127.0.0.1:7", "-6: 127.0.0.1 is an IPv4 address; see"),
        (
            "chat -6 unix:///run/x",
            "-6: unix:///run/x has no IP address; expected tcp://, udp://, tls://, ws:// or wss://; see",
        ),
        (
            "ping -4 --connect unix:///run/x",
            "-4: unix:///run/x has no IP address; expected tcp://, udp://, tls://, ws:// or wss://",
        ),
        ("send -4 -6 tcp://localhost:7", "-6: not allowed with argument -4; see"),
    ],
)
def test_a_usage_error_names_the_wrong_word(line, said, capsys):
    assert refusal(capsys, *line.split()).startswith(f"echoctl {line.split()[0]}: {said}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sned tcp://127.0.0.1:7 x", 'unknown command "sned"; did you mean send?'),
        ("Ping udp://127.0.0.1:7", 'unknown command "Ping"; did you mean ping?'),
        ("qqq", 'unknown command "qqq"; expected one of: send, talk, '),
        ("tcp://127.0.0.1:7 x", 'a command is missing before "tcp://127.0.0.1:7"; write echoctl send "tcp://127'),
        (
            "--timeout 3 send",
            'unknown option "--timeout"; it is an option of send, ping, bench and lesson: write it after ',
        ),
        (
            "--admin x status",
            'unknown option "--admin"; it is an option of console, status, top, events, faults, reload and doctor: wri',
        ),
        ("--verison", 'unknown option "--verison"; did you mean --version?'),
        ("", "COMMAND is missing"),
        ("\x1b[2J", 'unknown command "\\x1b[2J"; expected one of:'),
    ],
)
def test_a_wrong_command_is_named(line, said, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(line.split(" ") if line else [])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"echoctl: {said}")
    assert printed.endswith("; see echoctl --help\n")


def test_a_negative_number_is_text_unless_it_is_an_option():
    url = "tcp://127.0.0.1:7"
    assert parser().parse_args(["send", url, "-5", "-1.5"]).text == ["-5", "-1.5"]
    asked = parser().parse_args(["send", url, "-4", "x"])
    assert (asked.ip, asked.text) == (4, ["x"])
    assert parser().parse_args(["send", url, "--", "-4"]).text == ["-4"]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_help_has_examples_that_can_be_run(name, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([*name.split(), "--help"])
    assert ended.value.code == 0
    help_ = capsys.readouterr().out
    examples = [line.split(" < ")[0] for line in EXAMPLES[name]]
    assert all(f"\n  {line}" in help_ for line in examples)
    assert max(map(len, help_.split("\n"))) <= 80
    for line in examples:
        program, *words = line.split()
        assert program == "echoctl"
        assert name in ("", parser().parse_args(words).command)


def test_ping_covers_a_look_up_with_a_configured_timeout():
    url = "tcp://127.0.0.1:7"
    assert parser().parse_args(["ping", url]).opening is None
    assert parser().parse_args(["ping", "-W", "1", url]).opening == 1.0


@pytest.mark.parametrize("command", ["send", "talk", "ping"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--proxy", "v3", "tcp://127.0.0.1:7"], '--proxy: "v3" must be one of: v1, v2'),
        (["--proxy-source", "192.0.2.1:5", "tcp://127.0.0.1:7"], "--proxy-source needs --proxy v1 or --proxy v2"),
        (["--proxy", "v1", "udp://127.0.0.1:7"], "--proxy v1: version 1 has no datagrams; use --proxy v2"),
        (
            ["--proxy", "v2", "unix:///run/x"],
            "--proxy: unix:///run/x has no IP address; --proxy is for tcp://, udp://, tls://, ws:// and wss://",
        ),
        (
            ["--proxy", "v2", "--proxy-source", "host:5", "tcp://h:7"],
            '"host:5" must be an IP address and a port',
        ),
        (["--proxy", "v2", "--proxy-source", "::1:5", "tcp://h:7"], '"::1:5" must be an IP address and a port'),
        (["--proxy", "v2", "--proxy-source", "[192.0.2.1]:5", "tcp://h:7"], "must be an IP address and a port"),
        (["--proxy", "v2", "--proxy-source", "[fe80::1%lo]:5", "tcp://h:7"], "must be an IP address and a port"),
        (["--proxy", "v2", "--proxy-source", "192.0.2.1", "tcp://h:7"], "must be an IP address and a port"),
        (["--proxy", "v2", "--proxy-source", "192.0.2.1:", "tcp://h:7"], 'port "" is not a number from 0 to 65535'),
        (["--proxy", "v2", "--proxy-source", "192.0.2.1:65536", "tcp://h:7"], 'port "65536" is not a number'),
    ],
    ids=range(11),
)
def test_a_wrong_proxy_option_is_named(command, words, said, capsys):
    assert said in refusal(capsys, command, *words)


def test_connect_sends_no_header(capsys):
    assert "leave out --proxy" in refusal(capsys, "ping", "--connect", "--proxy", "v1", "tcp://127.0.0.1:7")


def test_the_source_of_a_header():
    for text in ("192.0.2.1:5000", "[2001:db8::1]:0"):
        asked = parser().parse_args(["send", "--proxy", "v2", "--proxy-source", text, "tcp://127.0.0.1:7"])
        assert str(asked.proxy_source) == text


@pytest.mark.parametrize(
    "words", [["--warn", "x", "udp://h:7"], ["udp://h:7", "--critical=5"], ["--warn", "1s,5%"]], ids=range(3)
)
def test_a_monitoring_plugin_has_the_code_3_for_usage_errors(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["ping", *words, "-c", "0"])
    assert ended.value.code == 3
    assert capsys.readouterr().err.startswith("echoctl ping: ")


@pytest.mark.parametrize(
    ("text", "limits"),
    [("100ms,20%", (0.1, 20)), ("5", (5, 100)), ("12.5%", (math.inf, 12.5)), ("1%,2s", (2, 1))],
    ids=range(4),
)
def test_a_threshold_has_a_time_and_a_loss(text, limits):
    assert parser().parse_args(["ping", "--warn", text, "udp://127.0.0.1:7"]).warn == limits


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("100ms,200%", '"200%" is not a loss; expected one from 0% to 100%, such as 20%'),
        ("100ms,200ms", '"100ms,200ms" must be a time, a loss or both, such as 100ms,20%'),
        ("1%,2%", '"1%,2%" must be a time, a loss or both, such as 100ms,20%'),
    ],
    ids=range(3),
)
def test_a_wrong_threshold_is_named_with_what_was_expected(text, error, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["ping", "--warn", text, "udp://127.0.0.1:7"])
    assert capsys.readouterr().err == f"echoctl ping: --warn: {error}; see echoctl ping --help\n"


@pytest.mark.parametrize(
    ("warn", "critical", "wrong"),
    [("2s,5%", "1s,5%", "time"), ("1s,9%", "1s,5%", "loss"), ("5%", "1s,5%", ""), ("1s", "1s,5%", "")],
    ids=range(4),
)
def test_a_warning_is_not_above_the_critical_limit(warn, critical, wrong, capsys):
    words = ["ping", "udp://127.0.0.1:7", "--warn", warn, "--critical", critical]
    if not wrong:
        assert parser().parse_args(words).warn is not None
        return
    with pytest.raises(SystemExit):
        parser().parse_args(words)
    assert f"--warn: its {wrong} is above that of --critical; expected a lower one" in capsys.readouterr().err


def test_several_urls_and_flows_are_targets_of_their_own():
    asked = parser().parse_args(["ping", "udp://127.0.0.1:7", "-c", "3", "tcp://127.0.0.1:9"])
    assert [one.url.label for one in asked.targets] == ["udp://127.0.0.1:7", "tcp://127.0.0.1:9"]
    assert {one.count for one in asked.targets} == {3}
    asked = parser().parse_args(["ping", "--flows", "2", "--source", "[::1]:5000-5009", "-Q", "ef", "udp://[::1]:7"])
    assert [one.url.options for one in asked.targets] == [
        {"dscp": 46, "source": "[::1]:5000"},
        {"dscp": 46, "source": "[::1]:5001"},
    ]
    assert len(parser().parse_args(["ping", "--flows", "3", "udp://127.0.0.1:7"]).targets) == 3


def test_options_of_ping_are_those_of_its_address():
    asked = parser().parse_args(
        ["ping", "-I", "lo", "-Q", "0xb8", "-t", "5", "-M", "do", "--source", "127.0.0.2", "udp://127.0.0.1:7"]
    )
    assert asked.url.options == {"interface": "lo", "dscp": 46, "ttl": 5, "df": "do", "source": "127.0.0.2"}
    assert parser().parse_args(["ping", "-f", "udp://127.0.0.1:7"]).interval == 0.01
    assert parser().parse_args(["ping", "-i", "100us", "udp://127.0.0.1:7"]).interval == 0.0001
