"""TLS to Redis: without pyOpenSSL, the error names the command that installs it for this program."""

import os
import sys

import pytest

from echod.bus.redis_connect import PACKAGES, UnusableTls, tls_options
from tests.daemon import TOP


@pytest.fixture(autouse=True)
def _without_pyopenssl(monkeypatch):
    monkeypatch.setitem(sys.modules, "twisted.internet.ssl", None)


def test_it_is_missing_in_an_environment():
    with pytest.raises(UnusableTls, match="^rediss:// needs pyOpenSSL: pip install pyopenssl$") as refused:
        tls_options("localhost", tls=True, ca=None)
    assert refused.value.key == "bus.url"


def test_it_is_missing_in_the_debian_package(monkeypatch):
    monkeypatch.syspath_prepend(PACKAGES)
    with pytest.raises(UnusableTls, match=f"pip install --no-deps --target {PACKAGES} pyopenssl$"):
        tls_options("localhost", tls=True, ca=None)


@pytest.mark.parametrize("program", ["echod", "echoctl"])
def test_the_programs_of_the_package_look_there(program):
    assert f'sys.path.append("{PACKAGES}")' in (TOP / "vendor/bin" / program).read_text("utf-8")


def test_a_file_that_is_not_regular_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(UnusableTls, match=f"^{tmp_path}/ca.pem: is not a regular file$") as refused:
        tls_options("localhost", tls=True, ca=tmp_path / "ca.pem")
    assert refused.value.key == "bus.ca"


def test_it_is_not_needed_without_tls():
    assert tls_options("localhost", tls=False, ca=None) is None
