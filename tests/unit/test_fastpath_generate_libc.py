"""The generated declarations of the C library."""

import re
import subprocess
import sys

from echod.fastpath import generate_libc, syscalls


def test_the_generated_module_has_the_declarations():
    written = generate_libc.GENERATED.read_text("ascii")
    assert written == generate_libc.source(), "run `python -m echod.fastpath.generate_libc`"


def test_every_declared_function_is_looked_for():
    declared = re.findall(r"(\w+)\(", generate_libc.DECLARATIONS + generate_libc.NATIVE)
    assert sorted(dir(syscalls.C)) == sorted(declared)


def test_the_daemon_does_not_need_the_parser_of_declarations():
    program = "import sys, echod.fastpath.syscalls as s; assert s.available; print('pycparser' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ended.stdout == "False\n"


def test_a_missing_function_is_noticed():
    """cffi raises an error of its own for it, which `hasattr` does not catch."""
    assert syscalls.has_all(syscalls.C, of_loop=False)
    assert not syscalls.has_all(syscalls.C, of_loop=True)
