"""What TLS clients report about certificates that are wrong on purpose.

`python -m tests.system_wide.certificate_errors` prints the tables of docs/CERTIFICATES.md: one for each certificate, a
line for each client. Ports, folders and addresses in memory are left out, and so are clients that are not installed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from echod.config.settings import SELF_SIGNED
from echod.tls.wrong_certificates import MAKERS
from tests.daemon import ECHOCTL, SECONDS, Daemon, environment, run

SOURCES: Final = Path(__file__).with_name("tls_clients")
ACCEPTED: Final = "accepted"
REPLY: Final = b"received"
DEBIAN: Final = (
    "--config=source.crates-io.replace-with='debian'",
    "--config=source.debian.directory='/usr/share/cargo/registry'",
)


class Site(NamedTuple):
    """A server with one certificate, and the files of its authority."""

    port: int
    pki: Path
    revoked: bool  #: whether the client should read the CRL

    @property
    def ca(self) -> str:
        return str(self.pki / "ca.pem")

    @property
    def crl(self) -> str:
        return str(self.pki / "ca.crl")

    @property
    def trust(self) -> str:
        """The authority, and the CRL if that is to be read."""
        return str(self.pki / "trust.pem") if self.revoked else self.ca


Client = Callable[[Site], str]


def words(*command: str | Path, given: bytes = b"") -> str:
    """The output of a program."""
    ended = run(*command, input=given, env=environment(LC_ALL="C", TZ="UTC"))
    return (ended.stdout + ended.stderr).decode("utf-8", "backslashreplace")


def first(pattern: str, text: str) -> str:
    """The first match of a pattern, or the text if it does not match."""
    match = re.search(pattern, text)
    return match[1] if match else text


def openssl(site: Site) -> str:
    command = ["openssl", "s_client", "-connect", f"localhost:{site.port}", "-servername", "localhost"]
    command += ["-CAfile", site.trust, "-verify_return_error", "-verify_hostname", "localhost"]
    output = words(*command, *(["-crl_check"] if site.revoked else []))
    if "excessive message size" in output:
        return first(r"(error:[0-9A-F]+:[^\n]*excessive[^\n:]*)", output)
    return ACCEPTED if "Verification: OK" in output else first(r"(verify error:num=\d+:[^\n]*)", output)


def curl(site: Site) -> str:
    command = ["curl", "-sS", "--http0.9", "-m", str(int(SECONDS)), "--cacert", site.ca]
    command += ["--crlfile", site.crl] if site.revoked else []
    output = words(*command, f"https://localhost:{site.port}/")
    return first(r"(curl: \(\d+\) [^\n]*)", output) if "curl: (" in output else ACCEPTED


def python(site: Site) -> str:
    import socket

    context = ssl.create_default_context(cafile=site.trust)
    if site.revoked:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    try:
        with socket.create_connection(("localhost", site.port), SECONDS) as opened:
            context.wrap_socket(opened, server_hostname="localhost").close()
    except ssl.SSLError as error:
        return re.sub(r" \(_ssl.c:\d+\)", "", str(error))
    return ACCEPTED


def echoctl(site: Site) -> str:
    ended = run(*ECHOCTL, "send", f"tls://localhost:{site.port}", "--ca", site.trust, "hello")
    if ended.stdout == REPLY:
        return ACCEPTED
    return ended.stderr.decode().strip().replace(f"echoctl: tls://localhost:{site.port}: ", "")


def gnutls(site: Site) -> str:
    command = ["gnutls-cli", f"--x509cafile={site.ca}", "--port", str(site.port)]
    command += [f"--x509crlfile={site.crl}"] if site.revoked else []
    output = words(*command, "localhost", given=b"hello\n")
    if REPLY.decode() in output:
        return ACCEPTED
    return first(
        r"Status: (The certificate is NOT[^\n]*)", first(r"(Fatal error: (?!Error in the cert)[^\n]*)", output)
    )


def node(site: Site) -> str:
    return words("node", SOURCES / "verify.js", str(site.port), site.ca, *([site.crl] if site.revoked else []))


def java(site: Site) -> str:
    return words("java", SOURCES / "Verify.java", str(site.port), site.ca, *([site.crl] if site.revoked else []))


def built(folder: Path) -> dict[str, Client]:
    """The clients that are compiled, in a temporary folder: Go and Rust, if their compilers and crates are there."""
    clients: dict[str, Client] = {}
    if shutil.which("go"):
        environ = environment(HOME=str(folder), GO111MODULE="off")
        compiled = run("go", "build", "-o", folder / "go", SOURCES / "verify.go", env=environ, seconds=4 * SECONDS)
        assert compiled.returncode == 0, compiled.stderr
        clients["Go"] = lambda site: words(folder / "go", str(site.port), site.ca)
    if shutil.which("cargo") and any(Path("/usr/share/cargo/registry").glob("rustls-0.20*")):
        shutil.copytree(SOURCES / "verify", folder / "verify")
        command = ("cargo", *DEBIAN, "build", "--offline", "--quiet", "--target-dir", folder / "target")
        compiled = run(*command, cwd=folder / "verify", seconds=6 * SECONDS)
        assert compiled.returncode == 0, compiled.stderr
        clients["Rust"] = lambda site: words(folder / "target/debug/verify", str(site.port), site.ca)
    return clients


PROGRAMS: Final[Mapping[str, tuple[str, Client]]] = {
    "echoctl": (sys.executable, echoctl),
    "openssl": ("openssl", openssl),
    "curl": ("curl", curl),
    "Python": (sys.executable, python),
    "GnuTLS": ("gnutls-cli", gnutls),
    "Node": ("node", node),
    "Java": ("java", java),
}


def clients(folder: Path) -> dict[str, Client]:
    """Every client that is installed. `folder` is for those that are compiled."""
    return {name: client for name, (program, client) in PROGRAMS.items() if shutil.which(program)} | built(folder)


def configuration(pki: Path) -> str:
    """A service for each wrong certificate: `ack`, which closes after its reply.

    A client may load its TLS between connecting and its handshake: Java takes seconds on a busy machine.
    """
    authority = f'test-ca = "{pki}/ca.pem"\ntest-ca-key = "{pki}/ca-key.pem"\n'
    return "".join(
        f'[services.{word}]\nkind = "ack"\nlisten = ["tls://*:0"]\nlimits = {{ handshake = "1m" }}\n'
        f'[services.{word}.tls]\ncertificate = "{word}"\n{"" if word == SELF_SIGNED else authority}'
        for word in MAKERS
    )


def made(folder: Path) -> Path:
    """The files of a new authority, in a folder of its own."""
    pki = folder / "pki"
    assert run(*ECHOCTL, "certificates", pki, "--wrong").returncode == 0
    (pki / "trust.pem").write_bytes((pki / "ca.pem").read_bytes() + (pki / "ca.crl").read_bytes())
    return pki


def without_this_run(text: str, site: Site) -> str:
    """A message in one line, without ports, folders, times and addresses in memory."""
    text = text.strip().splitlines()[0].replace(str(site.pki), "pki") if text.strip() else "(no message)"
    return re.sub(r"\b[0-9A-F]{12,}:", "", text.replace(f":{site.port}", ""))


def reports(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield each certificate, each client, and its message."""
    pki, programs = made(folder), clients(folder)
    with Daemon(configuration(pki)) as daemon:
        for word in MAKERS:
            site = Site(daemon.inet(word, "tls")[1], pki, word == "revoked")
            for name, client in programs.items():
                yield word, name, without_this_run(client(site), site)


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables."""
    argparse.ArgumentParser(prog="python -m tests.system_wide.certificate_errors", description=__doc__).parse_args(
        words
    )
    with tempfile.TemporaryDirectory() as folder:
        for word, same in groupby(reports(Path(folder)), lambda report: report[0]):
            print(f"\n### `{word}`\n\n| Client | Message |\n| --- | --- |")
            for _, client, message in same:
                print(f"| {client} | `{message}` |" if message != ACCEPTED else f"| {client} | {message} |", flush=True)


if __name__ == "__main__":
    main()
