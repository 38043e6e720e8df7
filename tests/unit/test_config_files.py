"""The files of a configuration, their order, and the errors of files that cannot be read."""

import os
import stat
from pathlib import Path

import pytest

from echod import small_files
from echod.config import files


def read(main):
    errors = []
    contents = files.read_all(main, errors)
    return [(file.path.name, file.content) for file in contents], [str(error) for error in errors]


def test_one_file(tmp_path):
    main = tmp_path / "echod.toml"
    main.write_text("x = 1\n")
    assert read(main) == ([("echod.toml", {"x": 1})], [])


def test_a_byte_order_mark_is_ignored(tmp_path):
    main = tmp_path / "echod.toml"
    main.write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert read(main) == ([("echod.toml", {"x": 1})], [])


def test_drop_ins_are_read_in_byte_order(tmp_path):
    main = tmp_path / "echod.toml"
    main.write_text("")
    (tmp_path / "conf.d").mkdir()
    for name in ("10-b.toml", "9-a.toml", "Z.toml", "a.toml", "é.toml", "README", "x.conf"):
        (tmp_path / "conf.d" / name).write_text("")
    for name in (".hidden.toml", "a.toml~", "a.dpkg-new.toml", "a.toml.dpkg-old", "a.rpmsave.toml", "~"):
        (tmp_path / "conf.d" / name).write_text("not TOML")
    order = [name for name, _ in read(main)[0]]
    assert order == ["echod.toml", "10-b.toml", "9-a.toml", "Z.toml", "a.toml", "é.toml"]


def test_a_file_name_that_is_not_utf8(tmp_path):
    main = tmp_path / "echod.toml"
    main.write_text("")
    (tmp_path / "conf.d").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "conf.d") + b"/\xff.toml")).write_text("=")
    _, errors = read(main)
    assert errors == [f"{tmp_path}/conf.d/\\xff.toml:1:1: not TOML: Invalid statement; expected KEY = VALUE or [TABLE]"]


def test_a_missing_file_is_an_error(tmp_path):
    missing = tmp_path / "echod.toml"
    assert read(missing) == ([], [f"{missing}: cannot be read: no such file or directory (ENOENT)"])


def test_a_folder_is_not_a_file(tmp_path):
    assert read(tmp_path) == ([], [f"{tmp_path}: cannot be read: is a directory (EISDIR)"])


def test_the_folder_of_drop_ins_is_a_file(tmp_path):
    main = tmp_path / "echod.toml"
    main.write_text("")
    (tmp_path / "conf.d").write_text("")
    assert read(main) == ([("echod.toml", {})], [f"{tmp_path}/conf.d: cannot be read: not a directory (ENOTDIR)"])


def test_an_impossible_file_name_is_an_error():
    _, errors = read(Path("/nowhere/a\0b"))
    assert errors == ["/nowhere/a\\x00b: cannot be read: embedded null byte"]
    _, errors = read(Path("/a\0b/echod.toml"))
    assert len(errors) == 2


NO_VALUE = "Invalid value; expected text in quotes, a number, true, false, or an array of such values"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b"a = 1\nb = \n",
            f":2:5: not TOML: {NO_VALUE}",
        ),
        (
            b"[services.echo]\n[services.echo]\n",
            ":2:15: not TOML: the table [services.echo] occurs twice; expected all its keys in one place",
        ),
        (
            b"[x.'\"']\n[x.'\"']\n",
            ':2:7: not TOML: the table [x."\\""] occurs twice; expected all its keys in one place',
        ),
        (b"a = [1", ":1: not TOML: Unclosed array (at end of document)"),
        (b"a = 1\na = 2\n", ":2:6: not TOML: Cannot overwrite a value; expected each key once"),
        (b"a = 1\r\n\xff = 2\n", ":2: is not UTF-8 (byte 8 of the file is 0xff); save the file as UTF-8"),
        (b"a = \0", f":1:5: not TOML: {NO_VALUE}"),
        (b"a = " + b"[" * 20_000, ": not TOML: nested too deeply"),
        (b"a = " + b"9" * 5000, ": not TOML: a number has too many digits"),
        (b"#" * (small_files.MOST + 1), ": is larger than 1048576 bytes; expected a configuration"),
    ],
)
def test_invalid_toml_is_an_error(tmp_path, data, said):
    main = tmp_path / "echod.toml"
    main.write_bytes(data)
    assert read(main) == ([], [f"{main}{said}"])


def test_all_errors_of_all_files_are_reported(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_text("=")
    (tmp_path / "conf.d" / "b.toml").symlink_to("nowhere")
    (tmp_path / "conf.d" / "c.toml").write_text("x = 1")
    contents, errors = read(tmp_path / "echod.toml")
    assert contents == [("c.toml", {"x": 1})]
    assert [error.rpartition("(")[2] for error in errors[:1] + errors[2:]] == ["ENOENT)", "ENOENT)"]
    assert len(errors) == 3


def test_an_error_of_the_system_without_a_number(tmp_path, monkeypatch):
    def read_nothing(path, flags):
        raise OSError("the disk is on fire")

    monkeypatch.setattr(os, "open", read_nothing)
    assert read(tmp_path / "a") == ([], [f"{tmp_path}/a: cannot be read: the disk is on fire"])


def test_a_fifo_or_device_does_not_block(tmp_path):
    main = tmp_path / "echod.toml"
    os.mkfifo(main)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "zero.toml").symlink_to("/dev/zero")
    said = "is not a regular file; expected a configuration"
    assert read(main) == ([], [f"{main}: {said}", f"{tmp_path}/conf.d/zero.toml: {said}"])


def test_an_inherited_pipe_is_read():
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb") as pipe:
        pipe.write(b"x = 1")
        pipe.close()
        assert read(Path(f"/dev/fd/{reading}")) == ([(str(reading), {"x": 1})], [])


def test_exists(tmp_path, monkeypatch):
    there = tmp_path / "there"
    there.symlink_to("nowhere")
    assert files.exists(there)
    assert not files.exists(tmp_path / "not there")
    (tmp_path / "file").touch()
    assert not files.exists(tmp_path / "file" / "x")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "lstat", refuse)
    assert files.exists(tmp_path / "not there")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_an_error(tmp_path):
    main = tmp_path / "echod.toml"
    main.write_text("")
    main.chmod(stat.S_IWUSR)
    assert read(main) == ([], [f"{main}: cannot be read: permission denied (EACCES)"])
