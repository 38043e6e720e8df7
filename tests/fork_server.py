"""Starts our programs at a fraction of the processor time: by fork, from a process that has imported their modules.

`Popen` replaces subprocess.Popen. It forks a command that begins with one of PROGRAMS, and executes any other. In both
cases the program is a child process of the test, with arguments, environment, folder, descriptors, signals and exit
status of its own. A forked one runs the same `main`; the start of the interpreter and the imports are shared. Its
/proc/PID/cmdline is that of this server. `twistd` is always executed, and so is what subprocess.Popen starts.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import inspect
import json
import os
import pkgutil
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

PROGRAMS: Final = {
    (sys.executable, "-W", "error", "-m", "echod"): "echod.__main__:main",
    (sys.executable, "-W", "error", "-m", "echod.client.main"): "echod.client.main:main",
}
_FORKABLE: Final = {"stdin", "stdout", "stderr", "env", "cwd", "umask", "pass_fds", "bufsize", "text"}
"""Options of subprocess.Popen with which a program can be forked."""
_ACTS_EARLIER: Final = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_")
"""Beginnings of the environment variables that act before `main`: if a test changes one, the program is executed."""
_INHERITED: Final = r"^(?:Umask|[UG]id|Groups|SigBlk|SigIgn|Cap\w+|NoNewPrivs|Seccomp|Cpus_allowed):.*$"
_LONGEST: Final = 60_000  #: bytes of a request, which is one message
_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)


class Popen(subprocess.Popen[Any]):
    """A subprocess.Popen that forks PROGRAMS, unless an option, the environment or this process needs more."""

    def __init__(self, args: Any, **options: Any) -> None:
        self._options = options
        super().__init__(args, **options)

    def _execute_child(self, *given: Any) -> None:
        execute: Callable[..., None] = super()._execute_child  # type: ignore[misc]  # private, not in typeshed
        found = inspect.signature(execute).bind(*given).arguments
        pipes = [found[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        standard = [number if end == -1 else end for number, end in enumerate((pipes[0], pipes[3], pipes[5]))]
        options, words = self._options, [os.fsdecode(word) for word in found["args"]]
        main = next((main for command, main in PROGRAMS.items() if tuple(words[: len(command)]) == command), None)
        environ = os.environ if options.get("env") is None else options["env"]
        inherited = list(options.get("pass_fds", ()))
        folder = os.path.abspath(options.get("cwd") or ".")
        request = {"main": main, "words": words, "environ": dict(environ), "folder": folder, "descriptors": inherited}
        message = json.dumps({**request, "umask": options.get("umask", -1)}).encode()
        fits = _FORKABLE.issuperset(options) and os.path.isdir(folder) and len(message) < _LONGEST
        if main is None or not fits or unlike(environ):
            execute(*given)
            return
        self.pid = _server().fork(message, [*standard, *inherited])
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]  # the same


def unlike(environ: Mapping[str, str]) -> list[str]:
    """The differences of this process and a program's environment from the server; [] if the program can be forked."""
    if changed := {*_inherited()} ^ {*_STATE}:  # a server that starts now would keep it, such as another network
        return sorted(changed)
    return sorted({*_early(environ)} ^ {*_early(_server().environ)})


def _early(environ: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environ.items() if name.startswith(_ACTS_EARLIER)]


def _inherited() -> list[str]:
    """The state of this thread that a child process inherits: users, rights, signals, limits, network; proc(5)."""
    thread = Path("/proc/thread-self")
    lines = re.findall(_INHERITED, (thread / "status").read_text(), re.MULTILINE)
    return [*lines, (thread / "limits").read_text(), os.readlink(thread / "ns/net")]


_STATE: Final = _inherited()  #: before the first test; a server is started only in this state


class _Server:
    """The process that forks, and the connection to it. It ends when this process closes the connection."""

    def __init__(self) -> None:
        from tests.daemon import environment

        self.environ = environment()
        self._lock = threading.Lock()
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-W", "error", "-m", "tests.fork_server", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(command, env=self.environ, pass_fds=[theirs.fileno()])
        self._set_option = ctypes.CDLL(None).prctl

    def fork(self, message: bytes, descriptors: list[int]) -> int:
        """The process id of a new child of this process."""
        with self._lock:  # while it is a reaper, the children of a process that ends become its own
            self._set_option(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            socket.send_fds(self._connection, [message], descriptors)
            answer = self._connection.recv(16)
            self._set_option(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        assert answer, "the fork server has ended"
        return int(answer)


_server = cache(_Server)


def _next_program(connection: socket.socket) -> dict[str, Any]:
    """Fork for each request, until the connection is closed. Returns the request in the forked process only."""
    while True:
        try:
            message, received, _, _ = socket.recv_fds(connection, _LONGEST, 64)
        except KeyboardInterrupt:
            os._exit(0)
        if not message:
            os._exit(0)
        reading, writing = os.pipe()
        # The parent of a process whose own parent has ended is the test, which is a reaper now.
        if (child := os.fork()) == 0:
            if (program := os.fork()) == 0:
                request: dict[str, Any] = json.loads(message)
                connection.detach()
                _take(received, [0, 1, 2, *request["descriptors"]])
                return request
            os.write(writing, b"%d" % program)
            os._exit(0)
        os.waitpid(child, 0)
        connection.send(os.read(reading, 16))
        for descriptor in (reading, writing, *received):
            os.close(descriptor)


def _take(received: list[int], numbers: list[int]) -> None:
    """Give the received descriptors these numbers, and close all others."""
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, max(numbers) + 1) for descriptor in received]
    for descriptor, number in zip(moved, numbers, strict=True):
        os.dup2(descriptor, number)
    for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - set(numbers):
        with suppress(OSError):  # the folder's own
            os.close(descriptor)


def _become(request: dict[str, Any]) -> Callable[[], int | None]:
    """Apply the rest of the request to this process. Returns the program's `main`."""
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["folder"])
    if request["umask"] != -1:
        os.umask(request["umask"])
    sys.orig_argv[:] = request["words"]
    sys.argv[:] = ["-c", *request["words"][5:]]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        was, buffering = getattr(sys, name), 1 if number == 2 else -1
        stream = os.fdopen(number, "w" if number else "r", buffering, was.encoding, was.errors, closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    module, _, function = request["main"].partition(":")
    main: Callable[[], int | None] = getattr(importlib.import_module(module), function)
    return main


def _run(main: Callable[[], int | None]) -> None:
    """Run the program and end as the interpreter does, but without the release of all modules: that takes longest."""
    try:
        code: Any = main()
    except SystemExit as end:
        code = end.code
    if code is not None and not isinstance(code, int):
        sys.exit(code)
    threading._shutdown()  # type: ignore[attr-defined]  # private; waits for threads
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(code)
    os._exit(code or 0)


def _import_all() -> None:
    import echod

    for module in pkgutil.walk_packages(echod.__path__, "echod."):
        if not module.name.startswith(("echod.testing", "echod.pytest_plugin", "echod.fastpath.libnative")):
            importlib.import_module(module.name)
    importlib.import_module("twisted.scripts.twistd")
    assert "twisted.internet.reactor" not in sys.modules
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of the test
    _import_all()
    wanted = _next_program(socket.socket(fileno=int(sys.argv[1])))
    _run(_become(wanted))
