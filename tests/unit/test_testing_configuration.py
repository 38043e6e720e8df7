"""The configuration files of a daemon for tests: valid TOML for any value, and ports that stay."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.testing.configuration import ConfigurationFiles, services_of, to_toml

SCALARS = (
    st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(SCALARS, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=8)


@given(st.dictionaries(st.text(), VALUES))
def test_any_table_is_read_back(table):
    assert tomllib.loads(to_toml(table)) == table


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="None is not a value of the configuration"):
        to_toml({"a": None})


def test_addresses_of_one_kind_are_one_service():
    assert services_of(["echo=tcp://127.0.0.1:0", "echo=udp://127.0.0.1:0", "ack=tls://127.0.0.1:0"]) == {
        "echo": {"listen": ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]},
        "ack": {"listen": ["tls://127.0.0.1:0"], "tls": {"certificate": "self-signed"}},
    }


def written(folder, *listen, config=None, settings=None, record="1MiB"):
    """The files, and the content of the second one."""
    files = ConfigurationFiles(folder, listen, config, settings or {}, record)
    files.write()
    return files, tomllib.loads((folder / "conf.d" / "testing.toml").read_text())


def test_what_a_configuration_has_is_kept(tmp_path):
    config = 'daemon.drain = "1s"\n[admin]\nlisten = []\n[services.a]\nrecord = "2MiB"\nlisten = ["unix://{dir}/a"]\n[services.b]\n'
    _, added = written(tmp_path, config=config, settings={"show": "no"})
    assert added == {
        "services": {"a": {"show": "no", "faults": {}}, "b": {"show": "no", "faults": {}, "record": "1MiB"}}
    }
    assert tomllib.loads((tmp_path / "echod.toml").read_text())["services"]["a"]["listen"] == [f"unix://{tmp_path}/a"]


@pytest.mark.parametrize("value", ["]", "9" * 5000, "[" * 20_000], ids=("syntax", "digits", "depth"))
def test_what_is_wrong_in_a_configuration_is_left_to_the_daemon(tmp_path, value):
    written(tmp_path, config=f"a = {value}")
    assert (tmp_path / "echod.toml").read_text() == f"a = {value}"


def test_an_admin_socket_is_added(tmp_path):
    _, added = written(tmp_path, "echo=tcp://127.0.0.1:0", record=None)
    assert added["admin"] == {"listen": ["unix://%t/admin.sock"]}
    assert added["daemon"] == {"drain": "100ms"}
    assert added["services"] == {"echo": {}}


def test_ports_are_fixed_in_their_order_with_their_options(tmp_path):
    files, _ = written(tmp_path, "echo=tcp://127.0.0.1:0?backlog=5", "echo=ws://[::1]:0/a:0", "echo=udp://127.0.0.1:99")
    files.fix_ports({"echo": ["tcp://127.0.0.1:5001", "ws://[::1]:5002/a:0", "udp://127.0.0.1:99"]})
    files.write()
    added = tomllib.loads((tmp_path / "conf.d" / "testing.toml").read_text())
    assert added["services"]["echo"]["listen"] == [
        "tcp://127.0.0.1:5001?backlog=5",
        "ws://[::1]:5002/a:0",
        "udp://127.0.0.1:99",
    ]
