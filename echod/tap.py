"""`twistd echod`: its command line, and from there to a daemon with every socket bound, or to an exit code."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from twisted import __version__ as twisted_version
from twisted.python import usage

from echod.config.errors import ConfigurationError
from echod.config.fd_budget import fit
from echod.config.listing import listeners, warnings
from echod.config.loading import from_listen, load
from echod.config.name_resolution import Unresolved, resolved
from echod.config.printing import describe
from echod.config.settings import Configuration
from echod.daemon import fd_limit, landlock, twisted_internals
from echod.daemon.admin_view import services_of
from echod.daemon.bind import Bound, Unbindable, Unsuited, Wanted, bind_all, open_to_nobody, wanted
from echod.daemon.config_diff import Refused
from echod.daemon.daemon import Daemon
from echod.daemon.fd_store import Store
from echod.daemon.hint import ADMIN, client_program, hint
from echod.daemon.in_thread import wait_for
from echod.daemon.listener import Unready, UnusableService
from echod.daemon.local_console import NoConsole, OwnTerminal, console_of, desk_of, shares_the_terminal
from echod.daemon.pidfile import Pidfile, pidfile_of
from echod.daemon.privileges import Identity, Impossible, become, identity_of, owning, stay_behind
from echod.daemon.root_files import open_log
from echod.daemon.sd_notify import Notify
from echod.daemon.signals import hold, install
from echod.early_signals import until_the_daemon_takes_them
from echod.services.registry import kinds
from echod.stdio import open_standard_streams, readers_may_leave
from echod.telemetry.background_writer import Output
from echod.telemetry.log import Log
from echod.telemetry.threads import NoThread
from echod.text import escaped, from_system, system_error
from echod.transports import endpoint, systemd
from echod.version import VERSION

EX_USAGE: Final = 64  #: sysexits(3)
EX_OSERR: Final = 71
EX_CANTCREAT: Final = 73
EX_CONFIG: Final = 78


class Options(usage.Options):
    """The options behind `twistd echod` and `python -m echod`."""

    synopsis = "[--config FILE | --listen KIND=URL …] [--allow CIDR …] [--console] [--uid USER [--gid GROUP]]"
    longdesc = "Answers TCP, UDP and Unix clients: echo, upper and the other small services. See echod.toml(5)."
    optParameters = [
        ["config", "c", None, "The configuration; else $ECHOD_CONFIG, /etc/echod/echod.toml, or built in."],
        ["uid", "u", None, "Whom to become once everything is bound, by name or number; for a start as root."],
        ["gid", "g", None, "The group to become, instead of that user's own."],
    ]
    optFlags = [
        ["console", None, "Give this terminal to the console service: what its clients send is shown, and you answer."],
        ["check-config", None, "Read the configuration, print what would be served, warnings and errors, and end."],
        ["print-config", None, "Print every value and the file it came from, and end."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.listen: list[str] = []
        self.allow: list[str] = []
        self.identity: Identity | None = None  #: the user to become, once the command line is read
        self.pidfile: Pidfile | None = None

    def getSynopsis(self) -> str:
        """How it was called, in the first line of --help."""
        own = os.path.basename(sys.argv[0]) == "echod"
        return f"Usage: {'echod' if own else 'twistd [options] echod'} {self.synopsis}"

    def opt_listen(self, address: str) -> None:
        """Serve KIND=URL without any file, such as echo=tcp://127.0.0.1:7007; may be repeated."""
        self.listen.append(from_system(address))

    def opt_allow(self, network: str) -> None:
        """Let a network in besides loopback, such as 192.0.2.0/24; may be repeated."""
        self.allow.append(network)

    opt_h = usage.Options.opt_help

    def opt_version(self) -> NoReturn:
        """Print the version and end."""
        print(f"echod {VERSION} (Twisted {twisted_version}, Python {platform.python_version()})")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """There are no arguments but the options."""
        if arguments:
            raise usage.UsageError(f"unexpected argument {escaped(arguments[0])}")

    def parseOptions(self, options: Any = None) -> None:
        """Read the command line. What it gets wrong is one line and exit code 64."""
        try:
            with readers_may_leave():  # --help, and the others that only print
                super().parseOptions(options)
        except usage.UsageError as error:
            _end(EX_USAGE, [f"{escaped(str(error))}; {_right_option(str(error))}"])
        except OSError as error:
            _end(EX_CANTCREAT, [f"standard output: {system_error(error)}"])

    def postOptions(self) -> None:
        """What does not go together, and the options that only look."""
        if self["config"] == "":
            raise usage.UsageError("--config: the file's name is empty")
        if self["config"] is not None and self.listen:
            raise usage.UsageError("--listen serves without any file: leave out --config")
        if self["check-config"] or self["print-config"]:
            try:
                configuration, notes = (read(self), []) if self["print-config"] else fitted(self, None)
                notes += [] if self["print-config"] else warnings(configuration)
            except Refused as error:
                _end(error.code, error.lines)
            for line in describe(configuration) if self["print-config"] else listeners(configuration):
                print(line)
            _end(0, notes)
        until_the_daemon_takes_them()
        self.identity = _identity(self)
        self.pidfile = pidfile_of(self.parent, self.identity)


def _right_option(said: str) -> str:
    """What to do about an option that we have not: it may be one of twistd's own."""
    from twisted.scripts import twistd

    match = re.fullmatch(r"option -(-?)([a-z_]+) not recognized", said)
    if match is not None:
        theirs = twistd.ServerOptions()  # type: ignore[attr-defined]  # its own, for this system
        name = match[2] if match[1] else theirs.synonyms.get(match[2], "")
        for flag, value in ((name, ""), (f"{name}=", "=…")):
            if flag in theirs.longOpt:
                return f"that is twistd's: twistd --{name}{value} echod …"
    return "--help lists the options"


def read(options: Options) -> Configuration:
    """The configuration that the command line asks for. Raises Refused where it is wrong."""
    try:
        if options.listen:
            return from_listen(options.listen, options.allow, kinds(), endpoint.unknown)
        path = None if options["config"] is None else Path(options["config"])
        return load(path, kinds(), os.environ, allow=options.allow, unknown=endpoint.unknown)
    except ConfigurationError as error:
        raise Refused(EX_CONFIG, [str(fault) for fault in error.faults]) from error
    except OSError as error:  # no descriptor to read what is installed
        raise Refused(EX_OSERR, [f"{escaped(str(error.filename))}: {system_error(error)}"]) from error


def fitted(options: Options, identity: Identity | None) -> tuple[Configuration, list[str]]:
    """The same with its names resolved, as far as the limit of open files allows, owned by the user that will serve
    it; and the warnings of that. Raises Refused."""
    try:
        configuration, notes = resolved(read(options))
        configuration, shrunk = fit(configuration, fd_limit.raise_limit())
    except ConfigurationError as error:
        raise Refused(EX_CONFIG, [str(fault) for fault in error.faults]) from error
    except Unresolved as error:
        raise Refused(EX_OSERR, error.errors) from error
    return owning(configuration, identity) if identity else configuration, [*notes, *shrunk]


def makeService(options: Options) -> Daemon:
    """The daemon, with everything read, checked and bound. Ends the process with 78 or 71 where that fails."""
    open_standard_streams()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    reactor.seconds = time.monotonic  # a step of the wall clock must move no timer
    identity, pidfile = options.identity, options.pidfile
    try:
        twisted_internals.check(reactor)
        configuration, notes = wait_for(partial(fitted, options, identity))
        console = _console(options, configuration)
        notify = Notify(os.environ, reactor)
        store = Store(systemd.passed(os.environ), notify, os.environ)
        hold()
        absent: dict[Wanted, str] = {}
        bound = bind_all(reactor, wanted(services_of(configuration)), store, absent)
    except Refused as error:
        _end(error.code, error.lines)
    except Unbindable as error:
        _end(EX_CONFIG if isinstance(error, Unsuited) else EX_OSERR, error.faults)
    except (NoThread, twisted_internals.Incompatible) as error:
        _end(EX_OSERR, [str(error)])
    try:
        if pidfile is not None:
            pidfile.check()
            twistd: Any = options.parent
            twistd["pidfile"] = ""  # we write it
        log, show_on = _outputs(options, configuration, reactor, console=console is not None)
        daemon = Daemon(configuration, bound, reactor, log, show_on, store, partial(fitted, options, identity), absent)
    except OSError as error:
        _end(EX_CANTCREAT, [f"{escaped(str(error.filename))}: {system_error(error)}"], bound)
    except Unready as error:
        _end(EX_OSERR, [str(error)], bound)
    except UnusableService as error:
        _end(EX_CONFIG, [escaped(str(error))], bound)
    if console is not None and show_on is not None:
        own = OwnTerminal(reactor, show_on, lambda: desk_of(daemon.listeners, console))
        daemon.events.subscribe(own.event)
    elif log.output.is_terminal:
        daemon.events.subscribe(partial(_hint, daemon))
    daemon.events.subscribe(notify.event)
    store.begin()
    reactor.addSystemEventTrigger("before", "shutdown", store.end)  # before the one that stops the daemon
    if os.geteuid() == 0 and (identity is None or identity.user == 0):
        notes.append("serving as root: start it as another user, or become one by --uid")
    for note in [*notes, *store.passed.close_rest(), *open_to_nobody(bound), *filter(None, [notify.fault])]:
        log.say("warn", note)
    rules = None
    if configuration.daemon.landlock:
        writes = [file for file in (log.output.path, pidfile and pidfile.path) if file]
        awaited = [place.address for place in absent]
        rules = landlock.rules_of(configuration, bound, writes, os.environ, awaited)
    daemon.become = partial(_become, identity, rules, bound, daemon, pidfile)
    if pidfile is not None:
        reactor.addSystemEventTrigger("after", "shutdown", pidfile.remove)
    reactor.callWhenRunning(install, reactor, daemon.abandon, daemon.reload, daemon.rotated)
    return daemon


def _hint(daemon: Daemon, name: str, _fields: Mapping[str, Any]) -> None:
    """Say what to type next, below everything that the start has said."""
    if name == "daemon.ready":
        served = [(ADMIN if one.is_admin else one.served.config.kind.kind, one.place) for one in daemon.listeners]
        if line := hint(served, client_program()):
            daemon.log.say("info", line)


def _identity(options: Options) -> Identity | None:
    """Whom the command line says to become, ours or twistd's, which leaves it to us. Ends the process with 64."""
    twistd: Any = options.parent if options.parent is not None else {}
    user, group = (twistd.get(name) if options[name] is None else options[name] for name in ("uid", "gid"))
    if user is None and group is None:
        return None
    try:
        identity = wait_for(partial(identity_of, user, group))  # the user database may be on another machine
    except (Impossible, OSError) as error:
        _end(EX_USAGE, [str(error)])
    except NoThread as error:
        _end(EX_OSERR, [str(error)])
    if identity is not None and twistd.get("euid"):
        _end(EX_USAGE, ["--euid keeps a way back to root: leave it out"])
    twistd["uid"] = twistd["gid"] = None
    return identity


def _become(
    identity: Identity | None,
    rules: landlock.Rules | None,
    bound: Iterable[Bound],
    daemon: Daemon,
    pidfile: Pidfile | None,
) -> None:
    """Write the pidfile, give away what only the start needed, and start to write from a thread.

    Ends the process with 73 or 71 where one of these fails.
    """
    log = daemon.log
    try:
        if pidfile is not None:
            pidfile.write()
    except OSError as error:
        log.say("critical", f"{escaped(pidfile.path if pidfile else '')}: {system_error(error)}")
        raise SystemExit(EX_CANTCREAT) from error
    try:
        _give_away(identity, rules, bound, log)
        for output in daemon.outputs:
            output.start()
    except (OSError, NoThread) as error:
        what = f"privileges cannot be given away: {system_error(error)}" if isinstance(error, OSError) else str(error)
        log.say("critical", what)
        if pidfile is not None:
            pidfile.remove()
        raise SystemExit(EX_OSERR) from error


def _give_away(identity: Identity | None, rules: landlock.Rules | None, bound: Iterable[Bound], log: Log) -> None:
    """Become the user that serves, and begin Landlock. Raises OSError."""
    try:
        if identity is not None:
            become(identity)
            for line in stay_behind(one.address for one in bound if one.path is not None):
                log.say("warn", line)
        if rules is not None:
            log.say("info", f"confined by Landlock, version {landlock.confine(rules)}")
    except landlock.Missing as error:
        log.say("warn", str(error))


def _console(options: Options, configuration: Configuration) -> str | None:
    """The console service that the terminal is for, if any. Ends the process with 64 where that cannot be."""
    if not options["console"]:
        return None
    twistd: Any = options.parent or {}
    try:
        return console_of(configuration, daemonised=not twistd.get("nodaemon", True))
    except NoConsole as error:
        _end(EX_USAGE, [str(error)])


def _outputs(
    options: Options, configuration: Configuration, reactor: Any, *, console: bool
) -> tuple[Log, Output | None]:
    """The log where twistd was told to put it, and standard output where there is one to show things on.

    With a console they are one where both are the terminal at which somebody types. Raises OSError where the log
    cannot be opened.
    """
    twistd: Any = options.parent or {}
    daemonised = not twistd.get("nodaemon", True)
    path = twistd.get("logfile") or ("twistd.log" if daemonised else None)
    if path in (None, "-"):
        output = Output(sys.stderr.fileno())
    else:
        output = Output(str(path), opened=open_log(os.path.abspath(path), options.identity))
    asked = configuration.daemon
    log = Log(output, asked.log_format, asked.log_level, os.environ, later=reactor.callLater)
    if console and path in (None, "-") and shares_the_terminal():
        return log, output
    return log, None if daemonised else Output(sys.stdout.fileno())


def _end(code: int, lines: Iterable[str], bound: Iterable[Bound] = ()) -> NoReturn:
    for one in bound:
        one.close()
    with suppress(OSError, ValueError):  # a terminal or a pipe that is gone must not change the exit code
        for line in lines:
            print(f"echod: {line}", file=sys.stderr, flush=True)
    raise SystemExit(code)
