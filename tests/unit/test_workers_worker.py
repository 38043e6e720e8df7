"""The programs that a worker needs, as the user that serves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from echod.daemon.config_diff import ConfigurationRefused
from echod.daemon.privileges import Identity, user_name
from echod.workers import worker
from echod.workers.worker import check_programs

NOBODY = Identity(65534, 65534, (65534,))


def test_the_user_of_this_process_can_start_workers():
    check_programs(None)


@pytest.mark.parametrize("what", ["interpreter", "modules"])
def test_a_file_that_does_not_exist_is_named(what, tmp_path, monkeypatch):
    missing = tmp_path / "\x1bmissing"
    if what == "interpreter":
        monkeypatch.setattr("sys.executable", str(missing))
    else:
        monkeypatch.setattr(worker, "__file__", str(missing))
    with pytest.raises(ConfigurationRefused) as refused:
        check_programs(None)
    access = "execute" if what == "interpreter" else "read"
    assert refused.value.code == 78
    assert refused.value.lines == (
        rf"daemon.workers: user {user_name(os.geteuid())} cannot {access} {tmp_path}/\x1bmissing, which a worker needs;"
        " expected an installation that this user can read, or workers = 1",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_the_access_of_the_later_user_decides(tmp_path: Path, monkeypatch):
    """It gets access by its user, its group or one of its other groups; afterwards this process is root again."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    program = tmp_path / "python"
    program.touch()
    for name in ("sys.executable", "echod.workers.worker.__file__", "twisted.__file__"):
        monkeypatch.setattr(name, str(program))
    for mode, group, accepted in [(0o755, 0, True), (0o750, 0, False), (0o750, 65534, True), (0o750, 4711, False)]:
        program.chmod(mode)
        os.chown(program, 0, group)
        if accepted:
            check_programs(NOBODY)
        else:
            with pytest.raises(ConfigurationRefused, match="user nobody cannot execute "):
                check_programs(NOBODY)
        assert (os.geteuid(), os.getegid()) == (0, 0)
    check_programs(Identity(65534, 65534, (65534, 4711)))
