"""The private names of Twisted that echod uses are checked at the start."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from twisted.internet.epollreactor import EPollReactor

import echod
from echod.daemon import twisted_internals_check
from echod.daemon.twisted_internals_check import OF_THE_REACTOR, USED, Incompatible, check

OWN = {"_exit", "_port"}  # os._exit; of an endpoint, and only if it has one


@cache
def private_names() -> set[str]:
    """Every `_name` that echod asks an object for and that echod does not define."""
    trees = [ast.parse(path.read_text("utf-8")) for path in Path(echod.__file__).parent.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    defined |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    # `self._poller` is a name of the loop's own, too.
    asked = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and (node.attr not in defined or ast.unparse(node.value).endswith("reactor"))
    }
    asked |= {
        str(node.args[1].value)
        for node in nodes
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("getattr", "hasattr")
        and isinstance(node.args[1], ast.Constant)
    }
    return {name for name in asked if name.startswith("_") and not name.startswith("__")} - OWN


def test_each_that_is_used_is_looked_for():
    known = {name for _, names in USED.values() for name in names} | set(OF_THE_REACTOR)
    assert private_names() <= known
    assert {"_poller"} <= private_names()


def test_this_twisted_has_them():
    check(EPollReactor())
    check(object())


def test_one_that_is_missing_is_named_with_the_release_that_has_it(monkeypatch):
    renamed = mock.Mock(spec=[name for name in dir(EPollReactor) if name != "doIteration"])
    monkeypatch.setitem(
        twisted_internals_check.USED,
        "twisted.internet.epollreactor.EPollReactor",
        (lambda: renamed, USED["twisted.internet.epollreactor.EPollReactor"][1]),
    )
    with pytest.raises(
        Incompatible, match=r"^Twisted \S+ has no twisted.internet.epollreactor.EPollReactor.doIteration: install"
    ):
        check(object())


def test_the_reactors_are_looked_for_too():
    reactor = EPollReactor()
    del reactor._poller
    with pytest.raises(Incompatible, match="EPollReactor._poller"):
        check(reactor)
