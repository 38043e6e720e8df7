"""The image of the Containerfile, built by buildah without a daemon, and run read-only as its user without privileges.

Its base is pulled, or made by debootstrap where no registry can be reached. It runs in a chroot of its own namespaces
instead of a container runtime, because some kernels and test machines do not allow one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.daemon import TOP, environment
from tests.system_wide.others import ended, said, tool

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tools, pytest.mark.timeout(900)]

SECONDS: Final = 900.0  #: for each step of the build
BASE: Final = "docker.io/library/debian:bookworm-slim"
IN_CHROOT: Final = """
set -e
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
mount -t tmpfs -o uid=10007,gid=10007,mode=755 tmpfs "$1/run/echod"
mount -t proc proc "$1/proc"
for device in null urandom; do mount --bind /dev/$device "$1/dev/$device"; done
ip link set lo up
exec chroot --userspec=10007:10007 "$1" /usr/bin/env -i $2 /bin/sh -c "$3"
"""
VISIT: Final = """
id -u
touch /file 2>/dev/null && echo writable
echod --config /etc/echod/echod.toml 2>/run/echod/log &
until echoctl status >/dev/null 2>&1; do kill -0 $! || { cat /run/echod/log; exit 1; }; done
echoctl send tcp://127.0.0.1:10007 hello; echo
echoctl send udp://127.0.0.1:10007 datagram; echo
echoctl ping -q -c 1 tcp://127.0.0.1:10007 >/dev/null && echo healthy
kill $!
wait $!
echo "exit code $?"
"""


class Image:
    """The image, and where its files are."""

    def __init__(self, store: Path) -> None:
        buildah = tool("buildah")
        self._buildah = (buildah, "--root", store / "root", "--runroot", store / "run", "--storage-driver", "vfs")
        wheels, base = store / "wheels", store / "base"
        said(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "--require-hashes",
             "-r", TOP / "vendor/runtime.txt", "-d", wheels, seconds=SECONDS)  # fmt: skip
        if ended(*self._buildah, "pull", "-q", BASE, seconds=SECONDS).returncode:
            said(tool("debootstrap"), "--variant=minbase", "bookworm", base, seconds=SECONDS)
            made = self.run("from", "scratch")
            self.run("copy", "-q", made, base, "/")
            self.run("commit", "-q", made, BASE)
        # The machine's certificates and wheels: an image that is built elsewhere needs neither.
        self.run("build", "-q", "--isolation", "chroot", "--pull-never", "--network", "host",
                 "--build-arg", "WHEELS=/wheels", "--volume", f"{wheels}:/wheels:ro", "-t", "echod",
                 "-f", TOP / "Containerfile", TOP)  # fmt: skip
        self.files = self.run("mount", self.run("from", "--pull-never", "echod"))

    def run(self, *words: str | Path) -> str:
        """The output of buildah."""
        return said(*self._buildah, *words, seconds=SECONDS).strip()

    def config(self) -> dict[str, Any]:
        """The configuration that the image gives to a container runtime."""
        found: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", "echod"))["OCIv1"]["config"]
        return found

    def close(self) -> None:
        """Remove it."""
        self.run("rm", "--all")
        self.run("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    made = Image(tmp_path_factory.mktemp("image"))
    yield made
    made.close()


def test_the_image_serves_read_only_as_a_user_without_privileges(image: Image) -> None:
    config = image.config()
    assert config["User"] == "10007"
    variables = " ".join(config["Env"])
    words = ("unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", IN_CHROOT, "sh")
    process = subprocess.run(
        [*words, image.files, variables, VISIT],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(),
        check=False,
    )
    assert process.stdout.split("\n") == ["10007", "hello", "datagram", "healthy", "exit code 0", ""], process.stderr


def test_the_image_has_what_the_daemon_needs_and_no_compiler_or_installer(image: Image) -> None:
    root = Path(image.files)
    assert (root / "etc/echod/echod.toml").exists()
    for program in ("pip", "pip3", "gcc", "cc", "strip"):
        assert not (root / "usr/bin" / program).exists(), program
    assert not list((root / "usr/lib/echod").glob("pytest*"))
    assert set(image.config()["ExposedPorts"]) == {"10007/tcp", "10007/udp"}
