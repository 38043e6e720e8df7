"""The library of the native loop: only one with the declared structures is used, for transforms that it knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from twisted.internet.epollreactor import EPollReactor

from echod.fastpath import native_library, native_loop, syscalls
from echod.fastpath.batch import MOST_AT_ONCE
from echod.fastpath.native_library import What, load
from echod.fastpath.native_loop import NativeLoop
from echod.model import identity
from echod.services.echo import Echo
from echod.services.upper import Upper
from tests.contract.matrix import data
from tests.fastpath.listener import Listener, both_loops, listener, needs_the_native_loop, needs_the_plane
from tests.fastpath.reactors import reactor_of

SOURCE: Final = Path(native_loop.__file__).with_suffix(".c")
STRUCTURES: Final = ("echod_source", "echod_datagrams", "echod_lane", "echod_entry", "echod_told", "echod_loop")

pytestmark = needs_the_plane


def compiled(folder: Path, source: str, *options: str) -> Path:
    """Compile C; a warning is an error."""
    (folder / "source.c").write_text(source)
    made = folder / "made"
    command = ("cc", "-O3", "-Wall", "-Wextra", "-Werror", *options, "-o", str(made), "source.c")
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return made


def library_of(folder: Path, source: str) -> Any:
    return load(compiled(folder, source, "-shared", "-fPIC"))


def test_the_source_compiles_without_a_warning_and_is_used(tmp_path):
    assert library_of(tmp_path, f'#include "{SOURCE}"') is not None


def test_a_library_that_is_missing_or_has_other_structures_is_not_used(tmp_path):
    assert load(tmp_path / "missing.so") is None
    (tmp_path / "not.so").write_text("not a library")
    assert load(tmp_path / "not.so") is None
    assert library_of(tmp_path, "int other(void);\nint other(void) { return 1; }") is None


def test_a_library_of_another_version_is_not_used(tmp_path):
    assert library_of(tmp_path, "int echod_abi(void);\nint echod_abi(void) { return 0; }") is None


def test_python_declares_the_structures_and_numbers_of_the_source(tmp_path):
    ffi = syscalls.ffi
    fields = [(name, field) for name in STRUCTURES for field, _ in ffi.typeof(f"struct {name}").fields]
    lines = [f'printf("%zu ", sizeof(struct {name}));' for name in STRUCTURES]
    lines += [f'printf("%zu ", offsetof(struct {name}, {field}));' for name, field in fields]
    lines += [
        f'printf("%d ", {name});'
        for name in ("ABI", "SOURCES", "MOST_JOINED", "ECHO", "UPPER", *(what.name for what in What))
    ]
    headers = f'#include "{SOURCE}"\n#include <stddef.h>\n#include <stdio.h>\n'
    program = f"{headers}int main(void) {{ {' '.join(lines)} return 0; }}"
    printed = subprocess.run([compiled(tmp_path, program)], check=True, capture_output=True, text=True).stdout
    ours = [ffi.sizeof(f"struct {name}") for name in STRUCTURES]
    ours += [ffi.offsetof(f"struct {name}", field) for name, field in fields]
    ours += [native_library.ABI, native_library.SOURCES, MOST_AT_ONCE, *native_library.KINDS.values(), *What]
    assert list(native_library.KINDS) == [identity, bytes.upper]
    assert [int(word) for word in printed.split()] == ours


def test_the_source_has_at_most_150_lines_of_code_and_no_header_of_python():
    text = SOURCE.read_text()
    code = [line for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines() if line.strip()]
    assert len(code) <= 150
    assert "Python.h" not in text
    assert not re.search(r"\b(malloc|static char|static int [a-z]+\b[^(])", text), "it keeps no state of its own"


@needs_the_native_loop
def test_other_transforms_are_left_to_python():
    with reactor_of(EPollReactor) as reactor:
        loop = NativeLoop(reactor)

        def told(descriptor: int, what: int, received: int, sent: int) -> None:
            raise AssertionError

        assert loop.native_stream_lane(identity, told) is not None
        assert loop.native_stream_lane(bytes.upper, told) is not None
        assert loop.native_stream_lane(bytes.lower, told) is None
        loop.discard()


@needs_the_native_loop
@pytest.mark.parametrize("size", [1, 255, 256, 8191, 8192, 30_000, 65_536])
@pytest.mark.parametrize("service", [Echo, Upper])
def test_every_byte_of_a_message_of_any_size_is_right(tmp_path, service, size):
    message = bytes(at % 256 for at in range(size))
    with listener("native", "tcp", tmp_path, service()) as made:
        client = made.connect(narrow=False)
        for _ in range(3):
            client.sendall(message)
            assert made.hear(client, size) == service.transform(message)
        assert made.port._byte_counts.carried[max(made.port._hosts)] == 0, "Python has forwarded"
        [described] = made.factory.describe_connections()
        assert described is not None
        assert (described["bytes_in"], described["bytes_out"]) == (3 * size, 3 * size)


def units(made: Listener) -> set[int]:
    """The bytes of the next read, in Python and in the native loop."""
    descriptor = max(made.port._hosts)
    found = {made.port._units[descriptor]}
    return found if made.port._native is None else {*found, made.port._native.units[2 * (3 * descriptor + 2)]}


@both_loops
@pytest.mark.parametrize(("scheme", "whole"), [("tcp", True), ("unix", False)])
@pytest.mark.parametrize("buffer", [65_536, 4_096])
def test_reads_of_a_large_transfer_take_whole_segments(tmp_path, way, scheme, whole, buffer):
    """So no reply ends with a short segment. A segment of loopback has 65,483 bytes, and fewer at first."""
    with listener(way, scheme, tmp_path, Echo(), buffer=buffer) as made:
        client = made.connect(narrow=False)
        message = data()[: 1 << 20]
        came = made.exchange(client, message)
        assert came + made.hear(client, len(message) - len(came)) == message
        for _ in range(100):  # the kernel uses shorter segments at first
            if buffer not in units(made):
                break
            client.sendall(message[:131_072])
            assert made.hear(client, 131_072) == message[:131_072]
            if not whole or buffer < 65_483:
                break
        found = units(made)
        assert found == {buffer} if not whole or buffer < 65_483 else all(57_344 <= unit <= 65_483 for unit in found)
        [described] = made.factory.describe_connections()
        assert described is not None
        assert described["bytes_in"] == described["bytes_out"]


@needs_the_native_loop
def test_a_descriptor_above_the_table_is_served_in_python(tmp_path, monkeypatch):
    monkeypatch.setattr(native_loop, "MOST_ENTRIES", 4)  # below every descriptor of the test
    with listener("native", "tcp", tmp_path, Echo()) as made:
        client = made.connect(narrow=False)
        message = data()[:400_000]
        came = made.exchange(client, message)
        assert came + made.hear(client, len(message) - len(came)) == message
        client.sendall(message[:200_000])  # also after a full read
        assert made.hear(client, 200_000) == message[:200_000]
        assert made.port._byte_counts.carried[max(made.port._hosts)] == 600_000
