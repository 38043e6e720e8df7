"""Loading: the choice of the file, the built-in configuration, the command line, and errors of any input."""

import datetime
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echod.config import schema
from echod.config.errors import ConfigurationError
from echod.config.files import TomlFile
from echod.config.loading import administration, configuration_file, from_listen, load, with_show
from echod.config.printing import describe
from echod.config.settings import Configuration
from echod.config.value_types import type_of
from echod.services.ack import Ack
from echod.services.discard import Discard
from echod.services.echo import Echo
from echod.services.upper import Upper

KINDS = {kind.kind: kind for kind in (Ack, Discard, Echo, Upper)}
NOWHERE = Path("/nowhere/echod.toml")


def written(folder, name, text='[services.echo]\nlisten = ["tcp://127.0.0.1:7"]\n'):
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def places(configuration):
    return [f"{service.name} {address}" for service in configuration.services for address in service.listen]


def lines(call, *arguments, **more):
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments, **more)
    return str(caught.value).splitlines()


def test_a_given_file_is_read(tmp_path):
    file = written(tmp_path, "mine.toml")
    configuration = load(file, KINDS, {"ECHOD_CONFIG": "/nowhere"}, system=written(tmp_path, "system.toml", ""))
    assert configuration.sources == (file,)
    assert places(configuration) == ["echo tcp://127.0.0.1:7"]


def test_the_file_of_the_environment(tmp_path):
    file = written(tmp_path, "mine.toml")
    assert load(None, KINDS, {"ECHOD_CONFIG": str(file)}, system=NOWHERE).sources == (file,)
    assert lines(load, None, KINDS, {"ECHOD_CONFIG": "/nowhere/x"}, system=file) == [
        "/nowhere/x: cannot be read: no such file or directory (ENOENT)"
    ]


def test_the_file_of_the_system(tmp_path):
    file = written(tmp_path, "echod.toml")
    assert load(None, KINDS, {"ECHOD_CONFIG": ""}, system=file).sources == (file,)


def test_no_file():
    configuration = load(None, KINDS, {}, system=NOWHERE)
    assert configuration.sources == ()
    assert places(configuration) == [
        "echo tcp://127.0.0.1:10007",
        "echo udp://127.0.0.1:10007",
        "upper tcp://127.0.0.1:10008",
        "upper udp://127.0.0.1:10008",
    ]


def test_drop_ins(tmp_path):
    file = written(tmp_path, "echod.toml")
    one = written(tmp_path, "conf.d/1.toml", "[services.echo.limits]\nidle = '1h'\n")
    two = written(tmp_path, "conf.d/2.toml", "[services.upper]\nlisten = ['tcp://127.0.0.1:8']\n")
    configuration = load(file, KINDS, {})
    assert configuration.sources == (file, one, two)
    assert places(configuration) == ["echo tcp://127.0.0.1:7", "upper tcp://127.0.0.1:8"]
    assert configuration.services[0].limits.idle == 3600


def test_every_error_of_every_file_is_reported_at_once(tmp_path):
    file = written(tmp_path, "echod.toml", "[services.echo]\nlisten = 3\n[zzz]\n")
    one = written(tmp_path, "conf.d/1.toml", "[services.echo\n")
    two = written(tmp_path, "conf.d/2.toml", "[services.echo.limits]\nidle = 5\n[services.mine]\n")
    said = lines(load, file, KINDS, {}, allow=["10.0.0.1/8"])
    assert [line.partition(": ")[0] for line in said] == [
        f"{one}:1:15",
        f"{file}:2",
        f"{two}:2",
        f"{file}:3",
        "--allow",
    ]


def test_allow_on_top_of_a_file(tmp_path):
    configuration = load(written(tmp_path, "echod.toml"), KINDS, {}, allow=["192.0.2.0/24"])
    assert list(map(str, configuration.services[0].allow)) == ["127.0.0.0/8", "::1/128", "192.0.2.0/24"]


def test_from_listen():
    configuration = from_listen(
        ["echo=tcp://127.0.0.1:7", "ack=unix:///run/x", "echo=udp://*:7?dscp=ef"], ["192.0.2.0/24"], KINDS
    )
    assert places(configuration) == ["echo tcp://127.0.0.1:7", "echo udp://*:7?dscp=46", "ack unix:///run/x"]
    assert list(map(str, configuration.services[0].allow)) == ["127.0.0.0/8", "::1/128", "192.0.2.0/24"]
    assert configuration.sources == ()
    assert configuration.origins["services.echo.listen"] == (Path("--listen"),)


def test_from_listen_reports_errors():
    wrong = ["ecoh=tcp://*:7", "tcp://*:7?backlog=5", "echo", "echo=x", "zz=y\n", "echo=udp://*:7", "ack=udp://*:7"]
    assert lines(from_listen, wrong, ["fe80::1%eth0", "10.0.0.1/8"], KINDS) == [
        '--listen: unknown kind "ecoh"; did you mean echo?',
        '--listen: "tcp://*:7?backlog=5": expected KIND=URL, such as echo=tcp://127.0.0.1:10007',
        '--listen: "echo": expected KIND=URL, such as echo=tcp://127.0.0.1:10007',
        "--listen: x: not an address; write one such as tcp://127.0.0.1:10007",
        "--listen: 'y\\x0a': white space around the address; write y",
        '--listen: unknown kind "zz"; expected one of: ack, discard, echo, upper',
        '--allow: "fe80::1%eth0" is not a network; expected one such as "192.0.2.0/24"; a network has no scope:'
        " leave out the % and the text after it",
        '--allow: "10.0.0.1/8" is a host in a network;'
        ' expected "10.0.0.0/8" for the network or "10.0.0.1" for the host',
        "--listen: udp://*:7 is already configured in --listen",
    ]
    assert lines(from_listen, [], [], KINDS) == ["--listen: expected KIND=URL, such as echo=tcp://127.0.0.1:10007"]
    assert lines(from_listen, ["echo=tcp://*:7?proxy=any"], [], KINDS) == [
        "--listen: tcp://*:7?proxy=any: ?proxy= needs proxy-from, the networks of the proxies,"
        ' such as proxy-from = ["127.0.0.1"]'
    ]


def test_the_files_that_were_read_are_known_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("echod.toml").write_text('[services.echo]\nlisten = ["tcp://*:7"]\n')
    assert load(Path("echod.toml"), KINDS, {}).sources == (tmp_path / "echod.toml",)


# Any content gives a configuration, or errors of one line each.

WORDS = st.sampled_from(
    [
        *(
            key
            for table in (schema.ROOT, schema.SERVICE, schema.LIMITS, schema.FAULTS, schema.TLS, schema.DAEMON)
            for key in table.keys
        ),
        *("show", "close", "echo", "ack", "chat", "url", "systemd:x", "tcp://127.0.0.1:7", "unix:///run/x", "tcp6:7"),
        *("auto", "text", "5m", "64KiB", "300/900", "10.0.0.0/8", "0", "", "\x1b[31m", "\u202e", "nan"),
    ]
)
TEXTS = WORDS | st.text(max_size=20)
SCALARS = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(),
    st.just(10**30),
    st.floats(),
    st.datetimes(),
    st.dates(),
    st.times(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
SERVICE = st.dictionaries(st.sampled_from([*schema.SERVICE.keys, "show", "close"]) | TEXTS, VALUES, max_size=6)
CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        "services": st.dictionaries(TEXTS, SERVICE, max_size=3) | VALUES,
        "daemon": st.dictionaries(st.sampled_from([*schema.DAEMON.keys]), VALUES) | VALUES,
        "defaults": st.dictionaries(st.sampled_from([*schema.DEFAULTS.keys]), VALUES) | VALUES,
        "admin": VALUES,
        "bus": VALUES,
        "other": VALUES,
    },
)


def holds(call, *arguments, **more):
    """Call it: errors of one line are right, and so is a configuration that survives being printed."""
    try:
        configuration = call(*arguments, **more)
    except ConfigurationError as error:
        assert error.errors
        assert all(str(error).isprintable() for error in error.errors)
        return
    assert isinstance(configuration, Configuration)
    assert all(line.isprintable() for line in describe(configuration))


@settings(deadline=None)
@given(contents=st.lists(CONTENTS, min_size=1, max_size=3), allow=st.lists(TEXTS, max_size=2))
def test_any_structure(contents, allow):
    """The structure is handed over as tomllib would, for nothing here writes TOML."""
    with pytest.MonkeyPatch.context() as patch:
        layers = [TomlFile(Path(f"/etc/{number}.toml"), content, "") for number, content in enumerate(contents)]
        patch.setattr("echod.config.files.read_all", lambda main, errors: layers)
        holds(load, Path("/etc/0.toml"), KINDS, {}, allow=allow)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(tmp_path, data):
    file = tmp_path / "echod.toml"
    file.write_bytes(data)
    holds(load, file, KINDS, {})


LINES = st.sampled_from(
    [
        *("[daemon]", "[defaults]", "[services.echo]", "[services.ack]", "[defaults.limits]", "[services.echo.limits]"),
        *('listen = ["tcp://127.0.0.1:7"]', 'listen = ["udp://*:0", "unix:///x"]', 'kind = "upper"', "close = false"),
        *(
            'idle = "1h"',
            'rate = "300"',
            "connections = 5",
            'allow = ["::/0"]',
            "deny = [",
            "]",
            'drain = "0"',
            "x = {",
        ),
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(LINES).map("\n".join))
def test_any_lines(tmp_path, text):
    file = tmp_path / "echod.toml"
    file.write_text(text)
    holds(load, file, KINDS, {})


@settings(deadline=None)
@given(listen=st.lists(TEXTS | st.tuples(TEXTS, TEXTS).map("=".join), max_size=3), allow=st.lists(TEXTS, max_size=2))
def test_any_command_line(listen, allow):
    holds(from_listen, listen, allow, KINDS)


def test_the_types_of_toml_all_have_a_name():
    toml = "a = 1\nb = 1.5\nc = 'x'\nd = true\ne = []\nf = {}\ng = 07:32:00\nh = 1979-05-27\ni = 1979-05-27T07:32:00Z\n"
    assert [type_of(value) for value in tomllib.loads(toml).values()] == [
        *("a number", "a number", "text", "true", "an array", "a table"),
        *["a date or a time"] * 3,
    ]
    assert type_of(datetime.time()) == "a date or a time"


def test_show_of_the_command_line_is_for_the_services_that_do_not_set_it(tmp_path):
    text = '[services.echo]\nlisten = ["tcp:7"]\n[services.ack]\nlisten = ["tcp:8"]\nshow = "no"\n'
    loaded = load(written(tmp_path, "mine.toml", text.replace("tcp:", "tcp://127.0.0.1:")), KINDS, {}, system=NOWHERE)
    assert with_show(loaded, None) is loaded
    shown = with_show(loaded, "hex")
    assert {service.name: service.show for service in shown.services} == {"echo": "hex", "ack": "no"}
    assert 'show = "hex"  # --show' in list(describe(shown))
    [error] = lines(with_show, loaded, "loud")
    assert error.startswith('--show: "loud" must be one of: ')


def test_a_client_finds_the_admin_interface_of_the_daemons_file(tmp_path):
    assert [str(one) for one in administration({}, system=NOWHERE).listen] == [
        str(one) for one in load(None, KINDS, {}, system=NOWHERE).admin.listen
    ]
    text = '[admin]\nlisten = ["tcp://127.0.0.1:9"]\ngroup = "adm"\n[services.echo]\nlisten = "wrong"\n'
    file = written(tmp_path, "echod.toml", text)
    found = administration({}, system=file)
    assert (found.file, [str(one) for one in found.listen], found.group) == (file, ["tcp://127.0.0.1:9"], "adm")
    assert configuration_file({}, system=file) == file
    assert administration({}, system=written(tmp_path, "echod.toml")).listen == ()
    [error] = lines(administration, {}, system=written(tmp_path, "echod.toml", "[admin]\nlisten = 7\n"))
    assert error.startswith(f"{file}:2: admin.listen: must be an array")
