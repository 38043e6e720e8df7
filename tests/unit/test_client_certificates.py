"""`echoctl certificates`: the files, their modes, and that none is ever replaced."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import tomllib
from argparse import Namespace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from echod.client.commands.certificates import local_names, run
from echod.tls.certificates import read_test_authority
from echod.tls.wrong_certificates import MAKERS
from tests.daemon import TOP

FILES = {"ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem"}


def write(folder: Path, *names: str, wrong: bool = False, in_json: bool = False) -> int:
    return run(Namespace(directory=str(folder), names=list(names), wrong=wrong, json=in_json))


def test_six_files_are_written_and_the_keys_are_for_their_owner(tmp_path, capfdbinary):
    folder = tmp_path / "pki"
    before = os.umask(0)
    try:
        assert write(folder, "echo.example", "127.0.0.1") == 0
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {name: 0o600 if name.endswith("-key.pem") else 0o644 for name in FILES}
    assert os.fsencode(folder / "server.pem") + b"  " in capfdbinary.readouterr().out


def test_the_files_as_json(tmp_path, capfdbinary):
    assert write(tmp_path / "pki", "echo.example", in_json=True) == 0
    files = json.loads(capfdbinary.readouterr().out)["files"]
    assert {one["path"] for one in files} == {str(tmp_path / "pki" / name) for name in FILES}
    assert files[2]["meaning"] == "the server, for echo.example"


def test_the_printed_lines_are_a_configuration_and_a_command(tmp_path, capfdbinary):
    folder = tmp_path / 'a "quoted" folder'
    assert write(folder, "echo.example") == 0
    shown = capfdbinary.readouterr().out.decode()
    written = tomllib.loads(
        shown.partition("In echod.toml, in place of tables of the same name:\n")[2].partition("\nThe client:\n")[0]
    )
    tls = written["services"]["echo-tls"]["tls"]
    assert tls == {"certificate": str(folder / "server.pem"), "key": str(folder / "server-key.pem")}
    command = f"echoctl send tls://127.0.0.1:14007 --server-name echo.example --ca '{folder}/ca.pem' hello"
    assert command in shown.splitlines()


def test_the_page_shows_the_printed_lines(tmp_path, capfdbinary):
    page = (TOP / "docs" / "TLS.md").read_text("utf-8")
    shown = re.findall(r"(?ms)^```toml\n(.*?)^```$", page)[0].replace("/home/anna/pki", str(tmp_path / "pki"))
    assert write(tmp_path / "pki") == 0
    printed = capfdbinary.readouterr().out.decode()
    assert "".join(f"{line}\n" for line in printed.splitlines() if line in shown.splitlines()) == shown
    [command] = re.findall(r"(?m)^echoctl (.*)$", printed)
    assert command.replace(str(tmp_path / "pki"), "pki") in page


@pytest.mark.parametrize(
    ("names", "address"),
    [
        ([], "tls://localhost:14007"),
        (["a.example", "::1"], "tls://[::1]:14007"),
        (["*.a.example"], "tls://127.0.0.1:14007 --server-name www.a.example"),
    ],
    ids=["default", "loopback", "wildcard"],
)
def test_the_command_reaches_the_server_by_one_of_its_names(tmp_path, capfdbinary, names, address):
    assert write(tmp_path / "pki", *names) == 0
    shown = capfdbinary.readouterr().out.decode()
    assert f"echoctl send {address} --ca " in shown
    assert f'listen = ["{address.partition(" ")[0].replace("localhost", "127.0.0.1")}"]' in shown


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_existing_file_is_not_changed_and_no_other_is_left(tmp_path, capfdbinary, name):
    (tmp_path / name).write_text("mine")
    assert write(tmp_path) == 1
    expected = f"echoctl: {tmp_path / name}: the file exists already and was not changed; choose another folder"
    assert capfdbinary.readouterr().err.decode().startswith(expected)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "ca.pem").symlink_to(tmp_path / "target")
    assert write(tmp_path) == 1
    assert not (tmp_path / "target").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capfdbinary):
    (tmp_path / "file").write_text("")
    assert write(tmp_path / "file") == 1
    assert capfdbinary.readouterr().err.decode().endswith("file/ca.pem: not a directory (ENOTDIR)\n")
    assert write(tmp_path / "none" / "pki") == 1
    assert capfdbinary.readouterr().err.decode().endswith("none/pki: no such file or directory (ENOENT)\n")


def test_the_default_names_are_those_of_this_machine(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Box.example")
    assert local_names() == ["localhost", "127.0.0.1", "::1", "box.example"]
    monkeypatch.setattr(socket, "gethostname", lambda: "not a name")
    assert local_names() == ["localhost", "127.0.0.1", "::1"]


def test_each_key_belongs_to_its_certificate(tmp_path):
    assert write(tmp_path / "pki", "echo.example") == 0
    for name in ("ca", "server", "client"):
        certificate = x509.load_pem_x509_certificate((tmp_path / "pki" / f"{name}.pem").read_bytes())
        key = load_pem_private_key((tmp_path / "pki" / f"{name}-key.pem").read_bytes(), None)
        assert key.public_key() == certificate.public_key()


def test_wrong_certificates_are_written_beside_the_others(tmp_path, capfdbinary):
    assert write(tmp_path / "pki", "echo.example", wrong=True) == 0
    files = {path.name for path in (tmp_path / "pki").iterdir()}
    assert files == FILES | {"ca.crl"} | {f"{word}.pem" for word in MAKERS}
    for word in MAKERS:
        file = tmp_path / "pki" / f"{word}.pem"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        key = load_pem_private_key(file.read_bytes()[file.read_bytes().index(b"-----BEGIN PRIV") :], None)
        assert key.public_key() == x509.load_pem_x509_certificate(file.read_bytes()).public_key()


def test_the_authority_can_sign_the_wrong_certificates_of_a_daemon(tmp_path, capfdbinary):
    assert write(tmp_path / "pki") == 0
    found = read_test_authority(tmp_path / "pki" / "ca.pem", tmp_path / "pki" / "ca-key.pem")
    assert found.certificate_pem == (tmp_path / "pki" / "ca.pem").read_bytes()
