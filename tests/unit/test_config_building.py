"""Default values, and rules that concern several keys."""

from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest

from echod.address import parse
from echod.config.building import Building
from echod.config.errors import ConfigurationError
from echod.config.schema_check import Reading
from echod.config.settings import Configuration, Daemon, ServiceConfig, WebSocketSettings
from echod.gate.limits import Limits, Rate
from echod.model import NoOptions, Service
from echod.services.ack import Ack, AckOptions
from echod.services.echo import Echo

A, B = Path("/etc/a.toml"), Path("/etc/b.toml")


@dataclass(frozen=True)
class PickyOptions:
    number: int = 1
    other: int = 1

    def __post_init__(self):
        if self.number < 0:
            raise ValueError("number must be 0 or more")


class Picky(Service):
    kind = "picky"
    summary = "for a test"
    Options = PickyOptions

    @classmethod
    def configuration_errors(cls, options):
        if options.number == 13:
            yield "number", "must not be 13"
            yield "other", "must be something else where number is 13"


class Datagrams(Echo):
    kind = "datagrams"
    streams = False


class Streams(Echo):
    kind = "streams"
    datagrams = False


class Members(Echo):
    kind = "members"
    conversational = True


KINDS = {kind.kind: kind for kind in (Ack, Echo, Picky, Datagrams, Streams, Members)}


def build(*contents, also=()):
    reading = Reading(KINDS, [])
    found = reading.root(list(zip((A, B), contents, strict=False)))
    return Building(reading, found, also).configuration([A, B][: len(contents)])


def errors(*contents):
    with pytest.raises(ConfigurationError) as caught:
        build(*contents)
    return [str(error).removeprefix("/etc/a.toml: ") for error in caught.value.errors]


def any_errors(*contents):
    """As `errors`; an empty list for a correct configuration."""
    try:
        build(*contents)
    except ConfigurationError:
        return errors(*contents)
    return []


def services(**listens):
    return {"services": {name: {"kind": "echo", "listen": listen} for name, listen in listens.items()}}


def test_defaults():
    configuration = build(services(echo=["tcp://127.0.0.1:7"]))
    assert configuration == Configuration(
        Daemon(), (ServiceConfig("echo", Echo, NoOptions(), (parse("tcp://127.0.0.1:7"),)),)
    )
    assert configuration.sources == (A,)
    assert configuration.services[0].written_limits == {}
    assert configuration.origins == {"services.echo.kind": (A,), "services.echo.listen": (A,)}


def test_everything_written():
    policy = {
        "allow": ["192.0.2.0/24"],
        "deny": ["192.0.2.1"],
        "larger-answers-to": ["::/0"],
        "allow-source-ports": [862],
    }
    configuration = build(
        {
            "daemon": {"drain": "1m", "plane": "off", "log-format": "json", "log-level": "debug"},
            "defaults": {**policy, "limits": {"connections": 5, "idle": "0"}},
            "services": {
                "mine": {
                    "kind": "ack",
                    "listen": ["udp://127.0.0.1:7"],
                    "close": False,
                    "deny": [],
                    "limits": {"idle": "1h", "rate": "300"},
                }
            },
        }
    )
    assert configuration.daemon == Daemon(1, 60.0, "off", "json", "debug")
    [mine] = configuration.services
    assert mine == ServiceConfig(
        "mine",
        Ack,
        AckOptions(close=False),
        (parse("udp://127.0.0.1:7"),),
        allow=(ip_network("192.0.2.0/24"),),
        larger_answers_to=(ip_network("::/0"),),
        allow_source_ports=(862,),
        limits=Limits(connections=5, idle=3600.0, rate=Rate(300, 600)),
    )
    assert mine.written_limits == {
        "connections": "defaults.limits.connections",
        "idle": "services.mine.limits.idle",
        "rate": "services.mine.limits.rate",
    }


def test_origins():
    origins = build(
        services(echo=["tcp://127.0.0.1:7"]) | {"defaults": {"limits": {"idle": "1h", "stall": "1s"}, "deny": []}},
        {"services": {"echo": {"limits": {"idle": "2h"}}}, "daemon": {"drain": "1s"}},
    ).origins
    assert origins["services.echo.limits.idle"] == (B,)
    assert origins["services.echo.limits.stall"] == (A,)
    assert origins["services.echo.deny"] == (A,)
    assert origins["daemon.drain"] == (B,)
    assert "services.echo.allow" not in origins


def test_the_origin_of_a_value_does_not_affect_equality():
    one = build(services(echo=["tcp://127.0.0.1:7"]))
    other = build({}, services(echo=["tcp://127.0.0.1:7"]) | {"defaults": {"limits": {"idle": "300s"}}})
    assert one == other
    assert one != build(services(echo=["tcp://127.0.0.1:8"]))


def test_networks_of_the_command_line_are_added():
    loopback, more = ip_network("::1/128"), ip_network("192.0.2.0/24")
    both = services(echo=["tcp://127.0.0.1:7"], other=["tcp://127.0.0.1:8"])
    both["services"]["other"]["allow"] = ["192.0.2.0/24"]
    configuration = build(both, also=(loopback, more))
    assert [list(map(str, service.allow)) for service in configuration.services] == [
        ["127.0.0.0/8", "::1/128", "192.0.2.0/24"],
        ["192.0.2.0/24", "::1/128"],
    ]
    assert configuration.origins["services.echo.allow"] == (Path("default"), Path("--allow"))
    assert configuration.origins["services.other.allow"] == (A, Path("--allow"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://127.0.0.1:7", "tcp://127.0.0.1:7?backlog=5"),
        ("tcp://*:7", "tcp://*:7"),
        ("udp://[::1]:7", "udp://[0::1]:7"),
        ("unix:///run/x", "unix:///run/x?mode=0600"),
        ("tcp6:7", "tcp6:7"),
        ("ws://127.0.0.1:7/a", "ws://127.0.0.1:7/a"),
        ("ws://127.0.0.1:7", "ws://127.0.0.1:7/"),
        ("ws://127.0.0.1:7/a", "tcp://127.0.0.1:7"),
    ],
)
def test_the_same_address_twice_is_an_error(one, other):
    place = parse(other).label
    assert errors(services(a=[one], b=[other])) == [
        f"services.b.listen[0]: {place} is already configured in /etc/a.toml: services.a.listen[0]"
    ]
    assert errors(services(a=[one, other])) == [
        f"services.a.listen[1]: {place} is already configured in /etc/a.toml: services.a.listen[0]"
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://127.0.0.1:7", "udp://127.0.0.1:7"),
        ("tcp://127.0.0.1:7", "tcp://127.0.0.1:8"),
        ("tcp://*:7", "udp://127.0.0.1:7"),
        ("tcp://0.0.0.0:7", "tcp://[::1]:7"),
        ("tcp://0.0.0.0:7", "tcp://[::]:7"),
        ("tcp://*:7?v6only=yes", "tcp://127.0.0.1:7"),
        ("tcp://*:0", "tcp://127.0.0.1:0"),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"),
        ("udp://*:7?interface=eth0", "udp://*:7?interface=eth1"),
        ("unix:///run/x", "unix:///run/y"),
        ("ws://127.0.0.1:7/a", "ws://127.0.0.1:7/b"),
        ("ws://127.0.0.1:7/a?dscp=ef", "ws://127.0.0.1:7/b?dscp=ef"),
    ],
)
def test_different_addresses_do_not_conflict(one, other):
    assert build(services(a=[one, other]))
    assert build(services(a=[one], b=[other]))


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        ("tcp://*:7", "tcp://127.0.0.1:7"),
        ("udp://*:7", "udp://[::1]:7"),
        ("tcp://*:7", "tcp://0.0.0.0:7"),
        ("tcp://[::]:7?v6only=no", "tcp://127.0.0.1:7"),
        ("udp://*:7?interface=eth0", "udp://127.0.0.1:7"),
        ("ws://*:7/a", "ws://127.0.0.1:7/b"),
    ],
)
def test_a_wildcard_conflicts_with_an_address(whole, part):
    where = "/etc/a.toml: services.a.listen[0]"
    assert errors(services(a=[whole], b=[part])) == [
        f"services.b.listen[0]: {parse(part).label} overlaps with {parse(whole).label}, configured in {where}"
    ]
    said = f"overlaps with {parse(part).label}, configured"
    if part != "tcp://0.0.0.0:7":
        assert errors(services(a=[part, whole])) == [f"services.a.listen[1]: {parse(whole).label} {said} in {where}"]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("tcp://224.0.0.1:7", "multicast"),
        ("tcp://239.1.2.3:0", "multicast"),
        ("tcp://[ff02::1%lo]:7", "multicast"),
        ("udp://255.255.255.255:7", "broadcast"),
    ],
)
def test_multicast_and_broadcast_addresses_are_refused(address, kind):
    said = f"is a {kind} address, from which replies cannot be sent; expected an interface's address, or *"
    assert errors(services(a=[address])) == [f"services.a.listen[0]: {address} {said}"]


@pytest.mark.parametrize("address", ["udp://239.1.2.3:7", "udp://239.1.2.3:7?interface=eth0", "udp://[ff15::7]:7"])
def test_a_multicast_address_serves_kinds_without_members_over_udp(address):
    assert build(services(echo=[address])).services[0].listen == (parse(address),)
    said = f"{parse(address).label}: members has members; a multicast address cannot have them"
    assert errors({"services": {"a": {"kind": "members", "listen": [address]}}}) == [f"services.a.listen[0]: {said}"]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("tcp://*:10-20", "tcp://127.0.0.1:20-30", "tcp://127.0.0.1:20-30 overlaps with tcp://*:10-20, configured"),
        ("tcp://*:10-20", "tcp://*:15", "tcp://*:15 overlaps with tcp://*:10-20, configured"),
        ("tcp://*:10-20", "tcp://*:10-20", "tcp://*:10-20 is already configured"),
    ],
)
def test_ranges_of_ports_do_not_overlap(one, other, said):
    assert errors(services(a=[one, other])) == [f"services.a.listen[1]: {said} in /etc/a.toml: services.a.listen[0]"]
    assert build(services(a=[one, "tcp://*:21", "udp://*:15"]))


def test_the_name_admin_is_reserved():
    assert errors(services(admin=["tcp://127.0.0.1:7"])) == [
        "services.admin: the name admin is reserved for the admin interface; expected another name"
    ]


def test_endpoint_strings_are_checked_by_the_given_function():
    reading = Reading(KINDS, [])
    found = reading.root([(A, services(a=["tcp:abc", "tcp://*:7"]))])
    with pytest.raises(ConfigurationError) as caught:
        Building(reading, found, unknown="no {}".format).configuration([A])
    assert str(caught.value) == "/etc/a.toml: services.a.listen[0]: tcp:abc: no tcp:abc"


def test_unknown_users_and_groups_are_errors():
    assert build(services(a=["unix:///run/x?user=root&group=0&mode=0600", "unix:///run/y?user=4000000"]))
    assert errors(services(a=["unix:///run/x?user=no-such-user&group=no-such-group"])) == [
        "services.a.listen[0]: unix:///run/x: user no-such-user does not exist",
        "services.a.listen[0]: unix:///run/x: group no-such-group does not exist",
    ]


def test_numbers_that_no_user_or_group_can_have_are_errors():
    assert build(services(a=["unix:///run/x?user=4294967294&group=4294967294"]))
    for number in ("4294967295", "4294967296", "9" * 20, "9" * 200):  # the first is -1, "no change", for chown(2)
        assert errors(services(a=[f"unix:///run/x?user={number}&group={number}"])) == [
            f"services.a.listen[0]: unix:///run/x: user {number} is out of range (0–4294967294)",
            f"services.a.listen[0]: unix:///run/x: group {number} is out of range (0–4294967294)",
        ]
    assert errors(services(a=["unix:///run/x?user=\u0663"])) == [
        "services.a.listen[0]: unix:///run/x: user \u0663 does not exist"
    ]


def test_conflicts_are_found_in_wrong_services_too():
    content = services(a=["tcp://127.0.0.1:7"], b=["no address", "tcp://127.0.0.1:7"])
    content["services"]["b"]["kind"] = "ehco"
    said = errors(content)
    assert 'services.b.kind: unknown kind "ehco"; did you mean echo?' in said
    assert "services.b.listen[1]: tcp://127.0.0.1:7 is already configured in /etc/a.toml: services.a.listen[0]" in said
    assert len(said) == 3


def test_the_addresses_of_the_later_file_count():
    assert build(services(a=["tcp://*:7"], b=["tcp://*:8"]), services(a=["tcp://*:9"], b=["tcp://*:7"]))


def test_the_addresses_of_one_websocket_port_have_the_same_options():
    assert errors(services(a=["ws://127.0.0.1:7/a?dscp=46"], b=["ws://127.0.0.1:7/b"])) == [
        "services.b.listen[0]: ws://127.0.0.1:7/b shares its port with ws://127.0.0.1:7/a?dscp=46, and needs the same "
        "scheme and options; it is configured in /etc/a.toml: services.a.listen[0]"
    ]


def test_the_services_of_one_websocket_port_agree_on_what_applies_before_the_path():
    content = services(a=["ws://127.0.0.1:7/a"], b=["ws://127.0.0.1:7/b", "ws://127.0.0.1:8"])
    content["services"]["b"]["limits"] = {"handshake": "5s"}
    assert errors(content) == [
        "services.b.limits.handshake: ws://127.0.0.1:7/b shares its port with a; expected the value of "
        "services.a.limits.handshake"
    ]
    content["services"]["a"]["limits"] = {"handshake": "5s"}
    assert build(content)


def test_the_services_of_one_port_of_secure_websocket_have_the_same_certificate():
    content = services(a=["wss://127.0.0.1:7/a"], b=["wss://127.0.0.1:7/b"])
    for service in content["services"].values():
        service["tls"] = {"certificate": "self-signed"}
    assert build(content)
    content["services"]["b"]["tls"]["profile"] = "modern"
    assert errors(content) == [
        "services.b.tls: wss://127.0.0.1:7/b shares its port with a; expected the value of services.a.tls"
    ]


@pytest.mark.parametrize(
    ("listen", "error"),
    [
        ("ws://127.0.0.1:7/a", False),
        ("wss://127.0.0.1:7/a", False),
        ("systemd:a?as=ws", False),
        ("tcp://127.0.0.1:7", True),
        ("systemd:a", True),
    ],
)
def test_the_websocket_table_needs_an_address_that_uses_it(listen, error):
    content = services(a=[listen])
    content["services"]["a"]["websocket"] = {"page": False}
    text = "services.a.websocket: no address of the service uses WebSocket; expected one such as ws://*:8007/echo"
    assert [one for one in any_errors(content) if "certificate" not in one] == [text] * error


@pytest.mark.parametrize(
    ("bus", "wrong"),
    [
        ({"ca": "ca.pem"}, ["bus.ca"]),
        ({"ca": "ca.pem", "url": "redis://127.0.0.1"}, ["bus.ca"]),
        ({"ca": "ca.pem", "url": "http://127.0.0.1"}, ["bus.url"]),
        ({"ca": "ca.pem", "url": "rediss://127.0.0.1"}, []),
        ({"url": "redis://127.0.0.1"}, []),
    ],
    ids=range(5),
)
def test_the_authorities_of_the_bus_need_tls(bus, wrong):
    found = any_errors({**services(a=["tcp://127.0.0.1:7"]), "bus": bus})
    assert [one.partition(":")[0] for one in found] == wrong
    if wrong == ["bus.ca"]:
        assert found[0].endswith(
            "bus.ca: has no effect without TLS; expected a url such as rediss://127.0.0.1:6379/0, or no ca"
        )


@pytest.mark.parametrize("key", ["hosts", "group"])
def test_the_other_keys_of_the_admin_interface_need_an_address(key):
    value, example = {
        "hosts": (["a.example"], "tcp://127.0.0.1:10090"),
        "group": ("adm", "unix://%t/admin.sock"),
    }[key]
    content = services(a=["tcp://127.0.0.1:9"])
    text = f'has no effect without listen; expected one such as listen = ["{example}"], or no {key}'
    assert any_errors({**content, "admin": {key: value}}) == [f"admin.{key}: {text}"]
    assert any_errors({**content, "admin": {key: type(value)()}}) == []
    assert any_errors({**content, "admin": {key: value, "listen": ["unix:///a"]}}) == []
    assert any_errors({**content, "admin": {key: value}}, {"admin": {"listen": []}}) == [], "a drop-in disables it"
    [error] = any_errors({**content, "admin": {key: value, "listen": "unix:///a"}})
    assert error.startswith("admin.listen: "), "one error, not two"


def test_the_websocket_table_of_a_service():
    content = services(a=["ws://127.0.0.1:7/a"])
    content["services"]["a"]["websocket"] = {
        "origins": ["https://page.example", "*"],
        "hosts": ["Echo.Example"],
        "compression": "on",
        "subprotocols": ["a.b"],
        "page": False,
    }
    [service] = build(content).services
    settings = service.websocket
    assert settings == WebSocketSettings(("https://page.example", "*"), ("echo.example",), "on", ("a.b",), False)
    content["services"]["a"]["websocket"] = {
        "origins": ["page.example", "https://page.example/path"],
        "hosts": ["echo.example:80"],
        "compression": "maybe",
        "subprotocols": ["a b"],
        "page": "yes",
    }
    assert [error.partition(":")[0] for error in errors(content)] == [
        "services.a.websocket.origins[0]",
        "services.a.websocket.origins[1]",
        "services.a.websocket.hosts[0]",
        "services.a.websocket.compression",
        "services.a.websocket.subprotocols[0]",
        "services.a.websocket.page",
    ]


def test_a_kind_refuses_an_unsupported_transport():
    everywhere = ["tcp://*:7", "udp://*:7", "unix:///run/x", "tcp6:7", "systemd:x", "junk"]
    content = services(a=everywhere)
    content["services"]["a"]["kind"] = "datagrams"
    assert [error for error in errors(content) if "served" in error] == [
        "services.a.listen[0]: tcp://*:7: datagrams is served over datagrams only: use udp://",
        "services.a.listen[2]: unix:///run/x: datagrams is served over datagrams only: use udp://",
        "services.a.listen[3]: tcp6:7: datagrams is served over datagrams only: use udp://",
    ]
    content["services"]["a"]["kind"] = "streams"
    assert [error for error in errors(content) if "served" in error] == [
        "services.a.listen[1]: udp://*:7: streams is served over streams only: use tcp:// or unix://",
    ]


def test_the_kind_checks_its_options():
    content = services(a=["tcp://*:7"])
    content["services"]["a"] |= {"kind": "picky", "number": -1}
    assert errors(content) == ["services.a: number must be 0 or more"]
    content["services"]["a"]["number"] = 13
    assert errors(content) == [
        "services.a.number: must not be 13",
        "services.a.other: must be something else where number is 13",
    ]
    assert errors(services(a=["tcp://*:7"]), {"services": {"a": {"kind": "picky", "number": 13}}}) == [
        "/etc/b.toml: services.a.number: must not be 13",
        "services.a.other: must be something else where number is 13",
    ]


def with_proxy(*listen, **keys):
    return {"services": {"echo": {"listen": list(listen), **keys}}}


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (
            with_proxy("tcp://*:7", "tcp://*:8?proxy=v1"),
            "services.echo.listen[1]: tcp://*:8?proxy=v1: ?proxy= needs proxy-from, the networks of the proxies,"
            ' such as proxy-from = ["127.0.0.1"]',
        ),
        (
            with_proxy("tcp://*:7", **{"proxy-from": ["192.0.2.1"]}),
            "services.echo.proxy-from: no address of the service has ?proxy=;"
            " add it, such as tcp://*:7?proxy=any, or leave out this key",
        ),
    ],
)
def test_an_address_with_proxy_and_the_key_proxy_from_need_each_other(contents, expected):
    assert errors(contents) == [expected]


def test_proxy_from_of_the_defaults_is_for_the_services_that_have_such_an_address():
    contents = with_proxy("tcp://*:7?proxy=v1") | {"defaults": {"proxy-from": ["192.0.2.1"]}}
    contents["services"]["ack"] = {"listen": ["tcp://*:9"]}
    assert [one.proxy_from for one in build(contents).services] == [(ip_network("192.0.2.1"),)] * 2


@pytest.mark.parametrize("versions", ["v1", "any"])
def test_datagrams_have_headers_of_version_2_only(versions):
    assert errors(with_proxy(f"udp://*:7?proxy={versions}", **{"proxy-from": ["192.0.2.1"]})) == [
        f"services.echo.listen[0]: udp://*:7: ?proxy={versions}: datagrams have version 2 only; write ?proxy=v2"
    ]


def test_members_over_datagrams_have_no_proxy():
    contents = with_proxy("tcp://*:7?proxy=v2", "udp://*:7?proxy=v2", kind="members", **{"proxy-from": ["192.0.2.1"]})
    assert errors(contents) == [
        "services.echo.listen[1]: udp://*:7: members sends without a request, and a proxy returns only replies;"
        " leave out ?proxy="
    ]


def test_host_names_conflict_only_if_they_are_equal():
    """A name may have any address; a start resolves it, and checks again."""
    build(services(a=["tcp://one.example:7"], b=["tcp://other.example:7"], c=["tcp://127.0.0.1:7"]))
    build(services(a=["tcp://*:7"], b=["tcp://one.example:7"]))
    assert errors(services(a=["tcp://one.example:7"], b=["tcp://one.example:7"])) == [
        "services.b.listen[0]: tcp://one.example:7 is already configured in /etc/a.toml: services.a.listen[0]"
    ]


def test_faults_of_a_service_are_built():
    written = {"services": {"echo": {"listen": ["tcp://127.0.0.1:7"], "faults": {"delay": "1s"}}}}
    assert build(written).services[0].faults.delay is not None
    written["services"]["echo"]["faults"] = {"delay": 1}
    assert [error.partition(" ")[0] for error in errors(written)] == ["services.echo.faults.delay:"]


def test_a_kind_that_cannot_check_its_options_is_an_error():
    class Broken(Echo):
        kind = "broken"

        @classmethod
        def configuration_errors(cls, options):
            raise RuntimeError("a bug")

    reading = Reading({"broken": Broken}, [])
    found = reading.root([(A, {"services": {"broken": {"listen": ["tcp://127.0.0.1:7"]}}})])
    with pytest.raises(ConfigurationError) as caught:
        Building(reading, found, ()).configuration([A])
    assert [str(error) for error in caught.value.errors] == [
        "/etc/a.toml: services.broken: kind broken cannot check its options: RuntimeError: a bug"
    ]
