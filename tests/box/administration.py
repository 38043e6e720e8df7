"""Actions of an administrator on the machine."""

import re
import shutil
from pathlib import Path

from tests.daemon import eventually, run

ENOUGH = 600  # seconds for a command of apt
CONFIGURATION = "/etc/echod/echod.toml"


def install(box, path):
    """Install or upgrade as `apt install ./echod.deb` does; returns the output."""
    shutil.copy(path, box.path("/var/tmp/echod.deb"))
    return box.said("apt-get", "install", "--yes", "--quiet", "/var/tmp/echod.deb", seconds=ENOUGH)


def asked(box, place, question=b"hello"):
    """The reply of the machine's echo."""
    with box.network():
        return place(question)


def new_main(box, unit, pid):
    """Wait until a unit runs as a new process."""

    def is_new():
        state, now = box.show(unit, "ActiveState", "MainPID").split()
        return state == "active" and now != pid

    assert eventually(is_new)


def restart(box, unit):
    """Restart it, even if the start limit is reached."""
    box.said("systemctl", "reset-failed", unit)
    box.said("systemctl", "restart", unit)


def upgraded(path: Path, folder: Path, version: str) -> Path:
    """Make the same package with a higher version, which the daemon reports too."""
    tree = folder / version
    assert run("dpkg-deb", "--raw-extract", path, tree).returncode == 0
    for name, pattern in (
        (tree / "DEBIAN" / "control", r"(?m)^(Version: ).*()$"),
        (tree / "usr" / "lib" / "echod" / "echod" / "version.py", r'(VERSION = ").*(")'),
    ):
        text, found = re.subn(pattern, rf"\g<1>{version}\g<2>", name.read_text())
        assert found == 1
        name.write_text(text)
    made = folder / f"echod-{version}.deb"
    assert run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, made).returncode == 0
    shutil.rmtree(tree)
    return made


def status(box, unit):
    """The status of a unit's process (proc(5))."""
    text = box.said("cat", f"/proc/{box.show(unit, 'MainPID')}/status")
    return dict(re.findall(r"(?m)^(\w+):\s+(.*)$", text))


def change(box, old, new, path=CONFIGURATION):
    """Change a text in the configuration; returns the earlier text."""
    before = box.path(path).read_text()
    assert old in before
    box.path(path).write_text(before.replace(old, new))
    return before
