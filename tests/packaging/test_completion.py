"""The completions of the two programs in bash and zsh, tested in the shells themselves."""

import os
import shlex
import shutil
import sys

import pytest

from echod.client.command_definitions import COMMANDS
from echod.services.registry import kinds
from tests.daemon import ECHOCTL, TOP, Daemon, environment, run

pytestmark = pytest.mark.needs_tools

# As readline does: the words up to the cursor go to the function that `complete` registered.
ASK_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p "$1"); function=${function##*-F }; ${function%% *}
printf '%s\\n' "${COMPREPLY[@]}"
"""
# zsh completes only on a terminal: it runs on a pseudo-terminal and prints its edited line there.
ASK_ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'fpath=('"$1"' $fpath); autoload -U compinit; compinit -D -u'
zpty -w shell 'tell() { zle complete-word; print -r "<$BUFFER>" }; zle -N tell; bindkey "^I" tell; echo "rea""dy"'
zpty -r shell seen '*ready*'
zpty -n -w shell "$2"$'\\t'
zpty -r shell seen '*<*>*'
print -r -- "$seen"
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("completion")
    ended = run(sys.executable, "-m", "completion", directory, cwd=TOP)
    assert ended.returncode == 0, ended.stderr.decode()
    return directory


def asked(written, *words, cwd=TOP):
    """The completions of bash for the last of these words."""
    ended = run("bash", "--norc", "-c", ASK_BASH, "bash", written / "bash" / words[0], *words, cwd=cwd)
    assert ended.stderr == b""
    return set(ended.stdout.decode().split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("echoctl", ""), set(COMMANDS)),
        (("echoctl", "se"), {"send", "services"}),
        (("echoctl", "ping", "--co"), {"--color", "--connect", "--count"}),
        (("echoctl", "ping", "-c", "3", "--js"), {"--json", "--json-lines"}),
        (("echoctl", "check", "etc/ech"), {"etc/echod.toml"}),
        (("echod", "--c"), {"--check-config", "--config", "--console"}),
        (("echod", "--config", "etc/ec"), {"etc/echod.toml"}),
        (("echod", "-c", "etc/ec"), {"etc/echod.toml"}),
        (("echod", "--listen", "echo=tcp://127.0.0.1:7", "--al"), {"--allow"}),
        (("echod", "--listen", ""), {f"{name}=" for name in kinds()}),
        (("echod", "--listen", "ech"), {"echo="}),
        (("echod", "--uid", "roo"), {"root"}),
        (("echod", "--gid", "roo"), {"root"}),
    ],
)
def test_bash(words, offered, written):
    assert asked(written, *words) == offered


def test_bash_asks_the_daemon_for_its_consoles(written, tmp_path):
    program = tmp_path / "echoctl"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(ECHOCTL)} "$@"\n')
    program.chmod(0o755)
    services = "".join(f'[services.{name}]\nkind = "console"\nlisten = ["tcp://127.0.0.1:0"]\n' for name in ("a", "b"))
    config = (
        f'[admin]\nlisten = ["unix://{{dir}}/admin.sock"]\n[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n{services}'
    )
    with Daemon(config) as daemon:
        environ = environment(
            PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}", ECHOD_ADMIN=f"unix://{daemon.dir}/admin.sock"
        )
        words = ("bash", "--norc", "-c", ASK_BASH, "bash", written / "bash" / "echoctl", "echoctl", "console", "")
        ended = run(*words, env=environ)
    assert (set(ended.stdout.decode().split()), ended.stderr) == ({"a", "b"}, b"")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("echoctl tal", "echoctl talk "),
        ("echod --pri", "echod --print-config "),
        ("echoctl check etc/ech", "echoctl check etc/echod.toml "),
        ("echod --listen whoa", "echod --listen whoami="),
        ("echod --uid nobod", "echod --uid nobody "),
        ("echoctl ping --co", "echoctl ping --co"),  # two options begin like this
    ],
)
def test_zsh(typed, completed, written):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed; tests/system_wide/prepare installs it")
    ended = run("zsh", "-f", "-c", ASK_ZSH, "zsh", written / "zsh", typed, cwd=TOP, env=environment(TERM="dumb"))
    assert f"<{completed}>" in ended.stdout.decode(), ended
