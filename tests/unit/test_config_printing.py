"""The output of `--print-config`: TOML with the file of each value, which gives the same configuration."""

import tomllib
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echod.address import parse
from echod.config.loading import load
from echod.config.printing import describe, setting
from echod.config.schema import LARGEST_BUFFER
from echod.config.settings import Configuration, Daemon, ServiceConfig, WebSocketSettings
from echod.gate.limits import Limits, Rate
from echod.model import NoOptions, Service
from echod.services.ack import Ack, AckOptions
from echod.services.discard import Discard
from echod.services.echo import Echo


@dataclass(frozen=True)
class EveryOptions:
    quotes: Path | None = None
    fraction: float = 1e-9
    words_of_it: str = 'a "b"\n'


class Every(Service):
    kind = "every"
    summary = "for a test"
    Options = EveryOptions


KINDS = {kind.kind: kind for kind in (Ack, Discard, Echo, Every)}

PRINTED = """\
[daemon]
workers = 1  # default
drain = "1m"  # {file}
plane = "auto"  # default
log-format = "auto"  # default
log-level = "info"  # default
landlock = false  # default

[admin]
listen = []  # default
hosts = []  # default
group = ""  # default

[bus]
# url is not set  # default
# ca is not set  # default

[defaults]
allow = ["127.0.0.0/8", "::1/128", "192.0.2.0/24"]  # default, --allow
deny = ["192.0.2.1/32"]  # {file}

[services.mine]
kind = "ack"  # {file}
listen = ["tcp://127.0.0.1:7?backlog=5", "unix:///run/x?mode=0600"]  # {file}
show = "hex"  # {file}
record = "1KiB"  # {file}
allow = ["127.0.0.0/8", "::1/128", "192.0.2.0/24"]  # default, --allow
deny = ["192.0.2.1/32"]  # {file}
proxy-from = []  # default
larger-answers-to = ["127.0.0.0/8", "::1/128"]  # default
allow-source-ports = [862]  # {file}
close = true  # default

[services.mine.limits]
connections = 5  # {file}
per-client = 1000  # default
new-per-client = "auto"  # default
rate = "300/600"  # {file}
idle = "0"  # {file}
stall = "1m"  # default
handshake = "10s"  # default
buffer = "64KiB"  # default
total-buffer = "256MiB"  # default
message = "16MiB"  # default
"""


def test_as_it_is_printed(tmp_path):
    file = tmp_path / "echod.toml"
    file.write_text("""
        daemon.drain = "60s"
        [defaults]
        deny = ["192.0.2.1"]
        limits.idle = "0"
        [services.mine]
        kind = "ack"
        listen = ["tcp://127.0.0.1:7?backlog=5", "unix:///run/x?mode=600"]
        allow-source-ports = [862]
        show = "hex"
        record = "1024"
        limits = { connections = 5, rate = "300" }
    """)
    configuration = load(file, KINDS, {}, allow=["192.0.2.0/24"])
    assert "\n".join(describe(configuration)) + "\n" == PRINTED.format(file=file)


def again(folder, configuration):
    file = folder / "printed.toml"
    file.write_text("\n".join(describe(configuration)))
    return load(file, KINDS, {})


def test_the_built_in_one_is_printed_and_read(tmp_path):
    configuration = load(None, {"echo": Echo, "upper": Echo}, {}, system=tmp_path / "none")
    assert all(line.endswith("# default") for line in describe(configuration) if "=" in line)


def test_an_unset_key_is_printed_as_a_comment(tmp_path):
    configuration = Configuration(Daemon(), (ServiceConfig("e", Every, EveryOptions(), (parse("tcp://*:7"),)),))
    assert "# quotes is not set  # default" in describe(configuration)
    assert again(tmp_path, configuration) == configuration
    set_one = EveryOptions(Path("/etc/q.txt"), 0.5, "")
    configuration = Configuration(Daemon(), (ServiceConfig("e", Every, set_one, (parse("tcp://*:7"),)),))
    assert again(tmp_path, configuration) == configuration


def test_the_websocket_table_is_printed_for_services_with_such_an_address(tmp_path):
    settings = WebSocketSettings(origins=("null",), hosts=("a.example",), compression="on", page=False)
    service = ServiceConfig("e", Every, EveryOptions(), (parse("ws://*:7/a"),), websocket=settings)
    configuration = Configuration(Daemon(), (service,))
    assert 'hosts = ["a.example"]  # default' in describe(configuration)
    assert again(tmp_path, configuration) == configuration
    without = Configuration(Daemon(), (ServiceConfig("e", Every, EveryOptions(), (parse("tcp://*:7"),)),))
    assert not any("websocket" in line for line in describe(without))


def test_a_file_with_an_odd_name_is_a_comment_of_one_line(tmp_path):
    file = tmp_path / "a\nb.toml"
    file.write_text('[services.echo]\nlisten = ["tcp://*:7"]\n')
    configuration = load(file, KINDS, {})
    assert all(line.isprintable() for line in describe(configuration))
    assert again(tmp_path, configuration) == configuration


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
NETWORKS = st.lists(
    st.ip_addresses().flatmap(
        lambda host: st.integers(0, host.max_prefixlen).map(lambda n: ip_network((host, n), strict=False))
    ),
    max_size=3,
).map(tuple)
DURATIONS = st.integers(1, 24 * 86400 * 10**6).map(lambda microseconds: microseconds / 10**6)
COUNTS = st.integers(1, 2**31 - 1)
SIZES = st.integers(1, 2**40)
RATES = st.sampled_from(["auto", Rate(0, 0)]) | st.builds(
    Rate, st.integers(1, 10**9).map(float), st.integers(1, 10**9).map(float)
)
LIMITS = st.builds(
    Limits,
    connections=COUNTS,
    per_client=COUNTS,
    new_per_client=RATES,
    rate=RATES,
    idle=st.just(0.0) | DURATIONS,
    stall=DURATIONS,
    buffer=st.integers(1, LARGEST_BUFFER),
    total_buffer=SIZES,
)
OPTIONS = st.one_of(
    st.tuples(st.just(Echo), st.just(NoOptions())),
    st.tuples(st.just(Ack), st.builds(AckOptions, st.booleans())),
    st.tuples(st.just(Discard), st.just(NoOptions())),
    st.tuples(st.just(Every), st.builds(EveryOptions, st.none(), st.floats(allow_nan=False, allow_infinity=False))),
    st.tuples(st.just(Every), st.builds(EveryOptions, words_of_it=st.text())),
)
PORTS = st.integers(0, 65535)


def is_one_hosts(ip):
    """Whether a listener may have it."""
    ip = getattr(ip, "ipv4_mapped", None) or ip
    needs_an_interface = ip.version == 6 and ip.is_link_local
    return not ip.is_multicast and not needs_an_interface and str(ip) != "255.255.255.255"


def hosts(version):
    return st.ip_addresses(v=version).filter(is_one_hosts)


ADDRESSES = st.one_of(
    st.builds("tcp://{}:{}".format, hosts(4) | st.just("*"), PORTS),
    st.builds("udp://[{}]:{}?dscp={}".format, hosts(6), PORTS, st.integers(0, 63)),
    st.builds(
        "unix:///run/{}?mode={}&user=root".format,
        st.from_regex(r"[a-z#? %]{1,9}", fullmatch=True).map(
            lambda name: "".join(f"%{ord(letter):02X}" for letter in name)
        ),
        st.sampled_from(["0600", "0777"]),
    ),
    st.builds("tcp6:{}".format, PORTS),
).map(parse)
SERVICES = st.lists(
    st.builds(
        lambda name, made, listen, allow, deny, ports, limits, show: ServiceConfig(
            name, made[0], made[1], tuple(listen), allow, deny, (), deny, tuple(ports), limits, show
        ),
        NAMES,
        OPTIONS,
        st.lists(ADDRESSES, min_size=1, max_size=3),
        NETWORKS,
        NETWORKS,
        st.lists(st.integers(1, 65535), max_size=2),
        LIMITS,
        st.sampled_from([None, "no", "text", "hex"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda service: service.name,
).filter(
    lambda services: (
        len({(a.scheme, a.port, a.path) for s in services for a in s.listen}) == sum(len(s.listen) for s in services)
    )
)
DAEMONS = st.builds(
    Daemon,
    st.just(1),
    st.just(0.0) | DURATIONS,
    st.sampled_from(["auto", "off"]),
    st.sampled_from(["auto", "text", "json"]),
    st.sampled_from(["debug", "info", "warn", "error", "critical"]),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(configuration=st.builds(Configuration, DAEMONS, SERVICES.map(tuple)))
def test_the_printed_configuration_is_equal(tmp_path, configuration):
    assert again(tmp_path, configuration) == configuration


def test_every_value_is_there(tmp_path):
    configuration = load(None, {"echo": Echo, "upper": Echo}, {}, system=tmp_path / "none")
    printed = tomllib.loads("\n".join(describe(configuration)))
    assert set(printed["daemon"]) == {"workers", "drain", "plane", "log-format", "log-level", "landlock"}
    assert len(printed["services"]["echo"]["limits"]) == 10


def test_a_setting_has_its_table_its_line_and_its_origin():
    service = ServiceConfig("a b", Echo, NoOptions(), (), limits=Limits(rate=Rate(5, 10)))
    origins = {'services."a b".limits.rate': (Path("/etc/echod.toml"), Path("b.toml"))}
    assert setting(service, "limits.rate", origins) == (
        'services."a b".limits',
        'rate = "5/10"',
        "/etc/echod.toml, b.toml",
    )
    assert setting(service, "allow", {}) == ('services."a b"', 'allow = ["127.0.0.0/8", "::1/128"]', "default")
    with pytest.raises(KeyError):
        setting(service, "nothing", {})
