"""The house rules that a program can check: imports, side effects of imports, and the size of modules."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from echod.transports.registry import EVERY_FORM

TOP = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((TOP / "echod").rglob("*.py"))
}

MAY_IMPORT = {
    "echod": "",
    "version": "",
    "escaping": "",
    "early_signals": "",
    "stdio": "",
    "startup_heap": "",
    "small_files": "",
    "peercred": "",
    "runtime_dir": "transports.registry",
    "lineedit": "escaping",
    "socket_names": "escaping",
    "shape": "",
    "address_options": "",
    "address": "address_options socket_names shape escaping transports.registry",
    "membership": "",
    "in_place_replies": "",
    "model": "faults.settings gate in_place_replies membership socket_names shape escaping transports.registry",
    "gate": "",
    "faults": "config.errors config.units config.value_types escaping gate shape transports.registry",
    "event_catalogue": "",
    "events": "address event_catalogue gate model escaping",
    "tls": "escaping small_files",
    "measurement": "in_place_replies",
    "services": "bus.bus_interface config.units faults gate in_place_replies measurement membership model shape"
    " socket_names small_files escaping http tls",
    "http": "gate model escaping",
    "bus": "escaping gate small_files",
    "shared_memory": "events faults gate membership model",
    "pages": "escaping transports.layers.http_answer",
    "config": "address events faults gate model socket_names runtime_dir services.registry shape small_files tls"
    " escaping transports.multicast transports.registry transports.unix_paths transports.sockets",
    "transports": "address address_options events faults gate model socket_names peercred shape tls escaping",
    "fastpath": "address events gate in_place_replies model socket_names escaping transports",
    "telemetry": "address event_catalogue events gate model socket_names escaping version",
    "daemon": "address admin config events faults gate membership model socket_names fastpath pages telemetry peercred"
    " runtime_dir services shape lineedit escaping startup_heap tls transports version",
    "workers": "address admin bus config daemon early_signals event_catalogue events escaping gate membership"
    " model services shared_memory startup_heap telemetry tls transports",
    "tap": "address config daemon early_signals gate model socket_names telemetry services stdio lineedit"
    " escaping transports version workers",
    "admin": "event_catalogue faults gate http membership model socket_names pages telemetry peercred services.outbox"
    " services.recording escaping",
    "client": "address address_options bus config event_catalogue events faults fastpath gate http measurement"
    " model socket_names peercred runtime_dir services shape small_files startup_heap stdio lineedit escaping tls"
    " transports version",
    "testing": "config daemon services telemetry transports",
    "pytest_plugin": "testing",
    "__main__": "early_signals startup_heap stdio version",
}
"""The packages of echod, and the packages that each may import: a new package is one new line here."""

PURE = {
    *("version", "escaping", "early_signals", "stdio", "startup_heap", "lineedit", "socket_names"),
    *("shape", "address_options", "address", "membership", "in_place_replies", "model", "gate", "faults"),
    *("event_catalogue", "events", "measurement", "services", "shared_memory", "config", "pages", "tls", "small_files"),
    *("peercred", "runtime_dir"),
}
"""Packages that must not import Twisted or zope."""

REACTOR = "twisted.internet.reactor"
KNOW_THE_REACTOR = {"echod.tap", "echod.client.main", "echod.workers.worker_process"}
LINES = 350  # of a module


def imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The imports of these nodes, as the longest dotted names that they write."""
    for part in nodes:
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            assert part.level == 0, f"a relative import in line {part.lineno}"
            yield from (f"{part.module}.{alias.name}" for alias in part.names)


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes under `node` that run when the module is imported."""
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield part
            yield from outside_functions(part)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_packages_import_only_packages_below_them():
    wrong = []
    for module, path in MODULES.items():
        room = room_of(module)
        assert room in MAY_IMPORT, f"{module}: give its room a line in MAY_IMPORT"
        allowed = [f"echod.{name}" for name in (room, *MAY_IMPORT[room].split())]
        wrong += [
            f"{module} imports {name}"
            for name in imports(ast.walk(tree_of(path)))
            if within(name, "echod") and not any(within(name, package) for package in allowed)
        ]
    assert not wrong


def test_pure_packages_do_not_import_twisted():
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if room_of(module) in PURE
        for name in imports(ast.walk(tree_of(path)))
        if within(name, "twisted") or within(name, "zope")
    ]
    assert not wrong


def test_only_the_two_entry_points_import_the_reactor_and_only_inside_a_function():
    wrong = []
    for module, path in MODULES.items():
        nodes = outside_functions if module in KNOW_THE_REACTOR else ast.walk
        wrong += [f"{module} imports {name}" for name in imports(nodes(tree_of(path))) if within(name, REACTOR)]
    assert not wrong


def test_no_import_cycle_exists():
    modules = {module for module, path in MODULES.items() if path.name != "__init__.py"}
    below = {
        module: {known for name in imports(ast.walk(tree_of(path))) for known in (name, name.rpartition(".")[0])}
        & modules
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(below).prepare()
    except CycleError as cycle:
        pytest.fail(" imports ".join(reversed(cycle.args[1])))


def is_prefix_test(part: ast.AST) -> bool:
    """Whether a node is a call of `startswith` or `endswith`."""
    called = part.func if isinstance(part, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr in ("startswith", "endswith")


def test_only_the_address_grammar_compares_schemes():
    """All other code uses the registry, or the shape."""
    wrong = [
        f"{module}: {ast.unparse(part)}"
        for module, path in MODULES.items()
        if module != "echod.address"
        for part in ast.walk(tree_of(path))
        if isinstance(part, ast.Compare | ast.Match) or is_prefix_test(part)
        for value in ast.walk(part)
        if isinstance(value, ast.Constant) and value.value in EVERY_FORM
    ]
    assert not wrong


def test_packages_hold_a_docstring_and_at_most_all():
    """`echod.testing` is used by other projects: it also has the names of its interface."""
    for path in (path for path in MODULES.values() if path.name == "__init__.py"):
        for statement in tree_of(path).body[1:]:
            if path.parent.name == "testing" and isinstance(statement, ast.ImportFrom):
                continue
            assert isinstance(statement, ast.Assign), path
            assert [ast.unparse(target) for target in statement.targets] == ["__all__"], path


def test_every_folder_of_echod_is_a_package():
    assert not [path for path in MODULES.values() if not (path.parent / "__init__.py").exists()]


def test_every_module_has_a_docstring():
    assert not [module for module, path in MODULES.items() if not ast.get_docstring(tree_of(path))]


def test_no_module_is_longer_than_the_limit():
    lengths = {module: len(path.read_text("utf-8").splitlines()) for module, path in MODULES.items()}
    assert not {module: length for module, length in lengths.items() if length > LINES}


def test_the_folder_of_the_plugin_is_not_a_package():
    assert [path.name for path in (TOP / "twisted").rglob("*.py")] == ["echod_plugin.py"]


IMPORT_ALL = f"""
import sys
from twisted.logger import globalLogPublisher
observers = list(globalLogPublisher._observers)
for module in sys.argv[1:]:
    __import__(module)
    assert {REACTOR!r} not in sys.modules, module + " brings a reactor"
    assert list(globalLogPublisher._observers) == observers, module + " adds an observer"
"""


def test_imports_have_no_side_effects():
    command = [sys.executable, "-W", "error", "-c", IMPORT_ALL, *MODULES]
    ended = subprocess.run(command, check=False, cwd=TOP, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""


OTHERS_MARKS = {
    "echod",
    "filterwarnings",
    "parametrize",
    "skip",
    "skipif",
    "timeout",
    "usefixtures",
    "xdist_group",
    "xfail",
}


def test_every_mark_of_a_test_is_registered():
    """A test with an unknown mark cannot be collected, and no `make test` runs the tests of these folders."""
    setup = ConfigParser()
    setup.read(TOP / "setup.cfg")
    registered = {line.partition(":")[0] for line in setup["tool:pytest"]["markers"].split("\n") if line}
    wrong = [
        f"{path.relative_to(TOP)}: {mark}"
        for path in sorted((TOP / "tests").rglob("*.py"))
        for mark in re.findall(r"\bpytest\.mark\.(\w+)", path.read_text("utf-8"))
        if mark not in registered | OTHERS_MARKS
    ]
    assert not wrong, f"expected one of {sorted(registered)}"
