"""The example of a layer in CONTRIBUTING.md: one file and one line of the registry, and both programs have it."""

import re
import socket
import subprocess
import sys

import pytest

from tests.daemon import SECONDS, TOP, Daemon, environment

PAGE = (TOP / "CONTRIBUTING.md").read_text("utf-8")
WITH_THE_EXAMPLES = """
import pathlib, sys, types
import echod.transports, echod.transports.layers
echod.transports.layers.__path__.append({folder!r} + "/layers")
registry = types.ModuleType("echod.transports.registry")
sys.modules[registry.__name__] = echod.transports.registry = registry
exec(compile(pathlib.Path({registry!r}).read_text(), {registry!r}, "exec"), registry.__dict__)
from {program} import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Makes a command that runs a program which has the examples."""
    folder = tmp_path_factory.mktemp("transports")
    (folder / "layers").mkdir()
    files = re.findall(r"(?s)This is all of\s`echod/transports/([\w/]+\.py)`:\n\n```python\n(.*?)```", PAGE)
    assert [name for name, _ in files] == ["layers/rot13.py"]
    for name, source in files:
        (folder / name).write_text(source, "utf-8")
    [line] = re.findall(r'(?m)^ +"tcp-rot13": .*\n', PAGE)
    source = (TOP / "echod/transports/registry.py").read_text("utf-8")
    before, udp, after = source.partition('        "udp": ')
    registry = folder / "registry.py"
    registry.write_text(before + line + udp + after, "utf-8")

    def command(module):
        code = WITH_THE_EXAMPLES.format(folder=str(folder), registry=str(registry), program=module)
        return (sys.executable, "-W", "error", "-c", code)

    return command


def test_a_layer_is_a_file_and_one_line(program):
    config = '[services.ack]\nlisten = ["tcp-rot13://127.0.0.1:0"]\nshow = "no"'
    with Daemon(config, command=program("echod.__main__")) as daemon:
        url = daemon.url("ack", "tcp-rot13")
        with socket.create_connection(daemon.inet("ack", "tcp-rot13"), SECONDS) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read() == b"erprvirq"  # "received", turned
        ended = subprocess.run(
            [*program("echod.client.main"), "send", url, "hello"],
            check=False,
            env=environment(),
            capture_output=True,
            timeout=SECONDS,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"received", b"")
        daemon.check()
