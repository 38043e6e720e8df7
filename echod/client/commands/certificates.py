"""`echoctl certificates`: writes a certificate authority, and certificates of a server and a client, for tests.

With `--wrong` it also writes certificates that are wrong on purpose.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from echod.client.stdout import fail, put_text
from echod.config.errors import toml_text
from echod.escaping import escaped, system_error
from echod.tls import issuing
from echod.tls.revocation import revocation_list
from echod.tls.wrong_certificates import MAKERS, Order

LOCAL: Final = ("localhost", "127.0.0.1", "::1")
PORT: Final = 14007  #: of `echo` over TLS in the shipped configuration
KEY_MODE, CERTIFICATE_MODE = 0o600, 0o644


class Output(NamedTuple):
    """A file to write."""

    name: str
    content: bytes
    mode: int
    meaning: str


def run(arguments: argparse.Namespace) -> int:
    """Write the files, and print how to use them or what they are. Returns 0, or 1 if a file cannot be written."""
    names = arguments.names or local_names()
    outputs = created(names, datetime.now(UTC), with_wrong=arguments.wrong)
    folder: str = arguments.directory
    try:
        write(folder, outputs)
    except OSError as error:
        where = folder if error.filename is None else str(error.filename)
        fail(f"{escaped(where)}: {_reason(error)}")
        return 1
    if arguments.json:
        files = [{"path": os.path.join(folder, output.name), "meaning": output.meaning} for output in outputs]
        put_text(f"{json.dumps({'files': files})}\n")
    else:
        put_text(guide(folder, names, outputs))
    return 0


def local_names() -> list[str]:
    """The names of this machine: the loopback ones, and the host name if a certificate can contain it."""
    names = list(LOCAL)
    with suppress(ValueError):
        names.append(issuing.dns_name(socket.gethostname()))
    return list(dict.fromkeys(names))


def created(names: Sequence[str], now: datetime, *, with_wrong: bool = False) -> list[Output]:
    """The files of a new authority. Raises ValueError for a wrong name."""
    authority = issuing.root(now)
    server = issuing.server(authority, names, now)
    client = issuing.client(authority, "echoctl", now)
    outputs = [
        Output("ca.pem", authority.certificate_pem, CERTIFICATE_MODE, "the authority, for both sides"),
        Output("ca-key.pem", authority.key_pem, KEY_MODE, "its private key"),
        Output("server.pem", server.certificate_pem, CERTIFICATE_MODE, "the server, for " + ", ".join(names)),
        Output("server-key.pem", server.key_pem, KEY_MODE, "its private key"),
        Output("client.pem", client.certificate_pem, CERTIFICATE_MODE, "a client, for --cert"),
        Output("client-key.pem", client.key_pem, KEY_MODE, "its private key, for --key"),
    ]
    return [*outputs, *wrong(authority, names, now)] if with_wrong else outputs


def wrong(authority: issuing.Issued, names: Sequence[str], now: datetime) -> Iterator[Output]:
    """The list of revoked certificates, and a chain with its key for each way of being wrong."""
    crl = revocation_list(authority, now, authority.certificate.not_valid_after_utc)
    yield Output("ca.crl", crl.public_bytes(Encoding.PEM), CERTIFICATE_MODE, "the CRL of the authority")
    order = Order(authority, names, now)
    for word, make in MAKERS.items():
        chain = make(order)
        meaning = "a server with its private key, wrong on purpose"
        yield Output(f"{word}.pem", chain.certificates_pem + chain.leaf.key_pem, KEY_MODE, meaning)


def write(folder: str, outputs: Sequence[Output]) -> None:
    """Create the folder if it does not exist, and each file in it; all or none. Raises OSError.

    An existing file is never changed: FileExistsError names it.
    """
    with suppress(FileExistsError):  # another type of file fails below, with its own error
        os.mkdir(folder)
    written: list[str] = []
    try:
        for output in outputs:
            path = os.path.join(folder, output.name)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, output.mode)
            written.append(path)
            with open(descriptor, "wb") as file:
                file.write(output.content)
    except BaseException:
        for path in written:
            with suppress(OSError):
                os.unlink(path)
        raise


def guide(folder: str, names: Sequence[str], outputs: Sequence[Output]) -> str:
    """The files that were written, and how a server and a client use them."""
    listed = [(os.path.join(folder, output.name), output.meaning) for output in outputs]
    width = max(len(path) for path, _ in listed)
    lines = [f"{escaped(path):{width}}  {escaped(meaning)}" for path, meaning in listed]
    path_of = {output.name: os.path.join(folder, output.name) for output in outputs}
    certificate, key, ca = (
        toml_text(os.path.abspath(path_of[name])) for name in ("server.pem", "server-key.pem", "ca.pem")
    )
    return "\n".join(
        [
            *lines,
            "",
            "In echod.toml, in place of tables of the same name:",
            "[services.echo-tls]",
            'kind = "echo"',
            f'listen = ["tls://{"[::1]" if _local(names) == "::1" else "127.0.0.1"}:{PORT}"]',
            "[services.echo-tls.tls]",
            f"certificate = {certificate}",
            f"key = {key}",
            f"#client-ca = {ca}",
            '#client = "required"',
            "",
            "The client:",
            f"echoctl send {_address(names)} --ca {_quoted(path_of['ca.pem'])} hello",
            f"with a certificate: --cert {_quoted(path_of['client.pem'])} --key {_quoted(path_of['client-key.pem'])}",
            "",
        ]
    )


def _address(names: Sequence[str]) -> str:
    """The arguments that reach the server above, under one of its names."""
    if local := _local(names):
        return f"tls://{f'[{local}]' if ':' in local else local}:{PORT}"
    return f"tls://127.0.0.1:{PORT} --server-name {_quoted(names[0].replace('*', 'www', 1))}"


def _local(names: Sequence[str]) -> str:
    """The first loopback name among the names; "" if there is none."""
    return next((name for name in LOCAL if name in names), "")


def _quoted(path: str) -> str:
    return escaped(shlex.quote(path))


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return "the file exists already and was not changed; choose another folder, or remove it"
    return system_error(error)
