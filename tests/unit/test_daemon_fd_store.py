"""The descriptor store of the service manager: stored sockets, their names, and when they are removed."""

import os
import re
import socket
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from echod.address import Address, parse
from echod.config.settings import ServiceConfig
from echod.daemon.bind import Unbindable, bind_all, specs_of
from echod.daemon.fd_store import DescriptorStore, name_of
from echod.daemon.sd_notify import Notify
from echod.services.echo import Echo
from echod.transports.inherited_sockets import Descriptor, Passed
from echod.transports.registry import SCHEMES
from tests.daemon import eventually, free_port
from tests.manager import Manager

VALID = re.compile(r"[\x21-\x39\x3b-\x7e]{1,255}")  # no colon: the names are joined by it


def asking(*listen):
    return specs_of([ServiceConfig("it", Echo, Echo.Options(), tuple(map(parse, listen)))])


@pytest.fixture
def start(tmp_path):
    """Start like the daemon: with a store of the descriptors that the manager passes, and its Notify."""
    with ExitStack() as stack:
        before = []

        def made(manager, **environ):
            for notify in before:  # the manager has heard all that a process said before it starts the next
                assert notify.barrier(10)
            before.clear()
            notify = Notify({"NOTIFY_SOCKET": manager.where} if manager else {}, Clock())
            stack.callback(notify.close)
            if manager:
                before.append(notify)
            passed = []
            for name, number in manager.stored if manager else ():
                copy = os.dup(number)
                there = os.fstat(copy)
                passed.append(Descriptor(name, copy, (there.st_dev, there.st_ino)))
            return DescriptorStore(Passed(passed), notify, environ), notify

        yield made


def heard(manager, notify):
    """Every message, after the manager has processed them."""
    assert notify.barrier(10)
    return [lines for lines in manager.messages if lines != ["BARRIER=1"]]


def test_a_socket_is_passed_to_the_next_start(start, tmp_path):
    address = f"tcp://127.0.0.1:{free_port()}"
    with Manager(tmp_path) as manager:
        store, notify = start(manager)
        (bound,) = bind_all(None, asking(address), store=store)
        assert heard(manager, notify) == []  # a start may still fail
        store.begin()
        heard(manager, notify)
        assert manager.names == [name_of(parse(address))]
        before = os.fstat(bound.socket.fileno()).st_ino
        store.end()
        bound.close()
        with socket.create_connection((bound.address.host, bound.address.port)) as client:
            store, notify = start(manager)
            (bound,) = bind_all(None, asking(address), store=store)
            store.begin()
            assert os.fstat(bound.socket.fileno()).st_ino == before
            accepted, name = bound.socket.accept()
            accepted.close()
            assert name == client.getsockname()
        heard(manager, notify)
        assert len(manager.stored) == 1  # not once more
        store.end()
        bound.close()


def test_a_unix_path_is_kept_only_with_its_socket(start, tmp_path):
    path = tmp_path / "echo.sock"
    with Manager(tmp_path) as manager:
        for _ in range(2):
            store, _ = start(manager)
            (bound,) = bind_all(None, asking(f"unix://{path}?mode=0606"), store=store)
            store.begin()
            assert oct(path.lstat().st_mode & 0o777) == "0o606"
            store.end()
            bound.close()
            assert path.exists()
        path.unlink()  # as RuntimeDirectory= does
        store, notify = start(manager)
        (bound,) = bind_all(None, asking(f"unix://{path}?mode=0606"), store=store)
        store.begin()
        assert path.exists()
        heard(manager, notify)
        assert manager.names == [name_of(parse(f"unix://{path}?mode=0606"))]
        bound.close()  # a listener that is taken out of service
        assert not path.exists()
        heard(manager, notify)
        assert manager.names == []


@pytest.mark.parametrize("room", [0, None])
def test_without_a_store_the_path_is_removed_at_the_end(start, tmp_path, room):
    path = tmp_path / "echo.sock"
    with Manager(tmp_path, room=0) as manager:
        store, notify = start(None if room is None else manager)
        (bound,) = bind_all(None, asking(f"unix://{path}"), store=store)
        store.begin()
        if room is not None:
            assert [lines[1] for lines in heard(manager, notify) if lines[0] == "FDSTORE=1"] == ["FDNAME=echod-probe"]
        store.end()
        bound.close()
        assert not path.exists()


def test_a_manager_that_announces_a_store_is_not_probed(start, tmp_path):
    with Manager(tmp_path) as manager:
        store, notify = start(manager, FDSTORE="64")
        (bound,) = bind_all(None, asking(f"tcp://127.0.0.1:{free_port()}"), store=store)
        store.begin()
        assert [lines[0] for lines in heard(manager, notify)] == ["FDSTORE=1"]
        assert "FDPOLL=0" in manager.messages[0]
        store.end()
        bound.close()


def test_a_store_without_a_manager_is_not_used(start, tmp_path):
    store, _ = start(None, FDSTORE="64")
    (bound,) = bind_all(None, asking(f"unix://{tmp_path}/s"), store=store)
    store.begin()
    store.end()
    bound.close()
    assert not (tmp_path / "s").exists()


def test_unused_sockets_are_closed_before_others_are_bound(start, tmp_path):
    port = free_port()
    with Manager(tmp_path) as manager:
        store, _ = start(manager)
        bound = bind_all(None, asking(f"tcp://127.0.0.1:{port}", f"udp://127.0.0.1:{port}"), store=store)
        store.begin()
        store.end()
        for one in bound:
            one.close()
        store, notify = start(manager)
        bound = bind_all(None, asking(f"tcp://*:{port}", f"udp://127.0.0.1:{port}"), store=store)
        store.begin()
        heard(manager, notify)
        assert set(manager.names) == {name_of(parse(f"tcp://*:{port}")), name_of(parse(f"udp://127.0.0.1:{port}"))}
        store.end()
        for one in bound:
            one.close()


def test_a_start_that_fails_changes_nothing(start, tmp_path):
    path = tmp_path / "echo.sock"
    with Manager(tmp_path) as manager, socket.create_server(("127.0.0.1", 0)) as taken:
        store, _ = start(manager)
        (bound,) = bind_all(None, asking(f"unix://{path}"), store=store)
        store.begin()
        store.end()
        bound.close()
        store, notify = start(manager)
        before = list(manager.names)
        assert len(before) == 1
        with pytest.raises(Unbindable):
            bind_all(
                None,
                asking(f"unix://{path}", f"unix://{path}2", f"tcp://127.0.0.1:{taken.getsockname()[1]}"),
                store=store,
            )
        heard(manager, notify)
        assert manager.names == before
        assert path.exists()
        assert not (tmp_path / "echo.sock2").exists()


def test_a_listener_of_a_reload_is_handed_over_at_once(start, tmp_path):
    with Manager(tmp_path) as manager:
        store, notify = start(manager)
        store.begin()
        (bound,) = bind_all(None, asking(f"unix://{tmp_path}/new"), store=store)
        heard(manager, notify)
        assert manager.names == [name_of(parse(f"unix://{tmp_path}/new"))]
        bound.close()
        heard(manager, notify)
        assert manager.names == []


def test_a_manager_that_does_not_reply_stores_nothing(start, tmp_path):
    manager = Manager(tmp_path)  # it does not read its messages
    store, _ = start(manager)
    (bound,) = bind_all(None, asking(f"unix://{tmp_path}/s"), store=store)
    store.begin()
    store.end()
    bound.close()
    assert not (tmp_path / "s").exists()
    with manager:
        assert eventually(lambda: any(lines[0] == "FDSTOREREMOVE=1" for lines in manager.messages))


def test_all_paths_of_a_port_are_one_socket():
    names = {name_of(parse(f"ws://127.0.0.1:7{path}")) for path in ("", "/", "/echo", "/upper?dscp=ef")}
    assert len(names) == 1
    assert names != {name_of(parse("ws://127.0.0.1:8/echo"))}


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:0", "udp://*:0", "tcp6:7", "systemd:echo"])
def test_an_address_that_is_not_unique_has_no_name(text):
    assert name_of(parse(text)) is None


@given(
    st.sampled_from(["tcp", "udp", "unix", "unix-dgram"]),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=25),
    st.integers(1, 65535),
)
def test_every_name_is_valid_for_systemd(scheme, text, port):
    path = f"/nowhere/{text}" if SCHEMES[scheme].has_path else ""
    name = name_of(Address(scheme, host="" if path else "host", port=0 if path else port, path=path))
    assert VALID.fullmatch(str(name))


def test_options_that_an_open_socket_can_change_are_not_in_its_name():
    for text in "tcp://127.0.0.1:7", "unix:///n/a?mode=0600", "udp://127.0.0.1:7?interface=lo":
        own = "&" if "?" in text else "?"
        option = "dscp=46" if "udp" in text else "backlog=5"
        assert name_of(parse(f"{text}{own}{option}")) == name_of(parse(text))


def test_another_option_makes_another_name():
    texts = ["tcp://127.0.0.1:7", "tcp://127.0.0.1:7?interface=lo", "udp://127.0.0.1:7", "tcp://[::1]:7", "unix:///n/a"]
    texts += ["unix:///n/a?mode=0600", "unix-dgram:///n/a", f"unix://@{'x' * 100}", f"unix://@{'x' * 99}y"]
    texts += [f"unix://@{'ü' * 50}", f"unix://@{'ü' * 49}x"]
    assert len({name_of(parse(text)) for text in texts}) == len(texts)
