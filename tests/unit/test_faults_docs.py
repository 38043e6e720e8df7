"""docs/FAULTS.md agrees with the code: the keys and their shapes, figures, and the script."""

import re
from pathlib import Path

import pytest

from echod.config.loading import load
from echod.faults.keys import KEYS
from echod.faults.parsing import is_on
from echod.faults.scripts import parse_script
from echod.services import registry
from echod.shape import Shape
from echod.transports.datagram_faults import MOST_DELAYED
from echod.transports.layers.fault_injection import SENT_WITHIN
from echod.transports.registry import SCHEMES

PAGE = (Path(__file__).parents[2] / "docs" / "FAULTS.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")]
CELLS = {row[0].strip("`"): row[1:] for row in ROWS if len(row) == 4}


def test_the_table_has_every_key_in_order():
    assert list(CELLS) == list(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_the_cells_show_where_a_fault_exists(key):
    shapes = (Shape.STREAM, Shape.MESSAGE, Shape.DATAGRAM)
    exists = [any(is_on(KEYS[key], form) for form in SCHEMES.values() if form.shape is shape) for shape in shapes]
    assert [cell != "—" for cell in CELLS[key]] == exists


def test_the_page_names_the_schemes_of_each_shape():
    [named] = re.findall(r"A stream is .*?\.\n\n|A stream is .*?`unix-dgram`\.", PAGE, re.DOTALL)
    stream, message, datagram = (set(re.findall("`([a-z-]+)`", part)) for part in named.split(".")[:3])
    for shape, names in ((Shape.STREAM, stream), (Shape.MESSAGE, message), (Shape.DATAGRAM, datagram)):
        assert names == {name for name, scheme in SCHEMES.items() if scheme.shape is shape and scheme.available}


def test_the_figures_are_those_of_the_code():
    assert f"At most {MOST_DELAYED:,} delayed datagrams of a listener wait" in PAGE
    assert f"at most {SENT_WITHIN:g} s" in PAGE


def test_the_commands_of_the_first_example_reach_its_daemon(tmp_path):
    (tmp_path / "echod.toml").write_text(re.findall(r"(?s)```toml\n(.*?)```", PAGE)[0])
    loaded = load(tmp_path / "echod.toml", registry.kinds(), {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert [url.scheme for url in loaded.admin.listen] == ["unix"]
    [service] = loaded.services
    names = re.findall(r"(?m)^    echoctl faults (\w+)", PAGE.partition("\n## ")[0])
    assert set(names) == {service.name}


def test_the_script_of_the_page_is_valid():
    [text] = [block for block in re.findall(r"(?s)```toml\n(.*?)```", PAGE) if "[[step]]" in block]
    assert [step.seconds for step in parse_script(text).steps] == [10.0, 5.0, None]
