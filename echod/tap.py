"""`twistd echod`: reads the command line, and creates a daemon with all sockets bound, or exits with an error code."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from twisted import __version__ as twisted_version
from twisted.python import usage

from echod.config.address_listing import listeners, made_certificates, unused_keys, warnings
from echod.config.errors import ConfigurationError
from echod.config.fd_budget import fit
from echod.config.loading import from_listen, load, with_show
from echod.config.name_resolution import Unresolved, resolved
from echod.config.printing import describe
from echod.config.settings import Configuration
from echod.daemon import announcement, fd_limit, landlock, standard_input, twisted_internals_check
from echod.daemon.admin_view import services_of
from echod.daemon.bind import BoundSocket, ListenSpec, Unbindable, Unsuited, bind_all, specs_of, start_warnings
from echod.daemon.config_diff import ConfigurationRefused
from echod.daemon.daemon import Daemon
from echod.daemon.fd_store import DescriptorStore
from echod.daemon.in_thread import wait_for
from echod.daemon.local_console import NoConsole, OwnTerminal, console_of, console_service
from echod.daemon.outputs import outputs_of
from echod.daemon.pidfile import Pidfile, pidfile_of
from echod.daemon.privileges import Identity, IdentityError, become, identity_of, owning, stay_behind
from echod.daemon.running_service import ResourceRefused, UnusableService
from echod.daemon.sd_notify import Notify
from echod.daemon.signals import hold, install
from echod.daemon.startup_hint import suggest
from echod.daemon.usage_errors import meant_by, usage_error
from echod.early_signals import until_the_daemon_takes_them
from echod.escaping import escaped, from_system, system_error
from echod.services.registry import kinds
from echod.stdio import open_standard_streams, readers_may_leave, report
from echod.telemetry.log import Log
from echod.telemetry.threads import NoThread
from echod.transports import inherited_sockets, twisted_endpoint_strings
from echod.version import VERSION
from echod.workers.bus_hub import EX_CONFIG, attach, hub_of, tls_of
from echod.workers.cpu_count import workers_of
from echod.workers.held_sockets import unshareable
from echod.workers.supervisor import Supervisor
from echod.workers.worker import programs

EX_USAGE: Final = 64  #: sysexits(3)
EX_OSERR: Final = 71
EX_CANTCREAT: Final = 73


EXAMPLES: Final = """\
Examples:
  echod --listen echo=tcp://127.0.0.1:7007
  echod --config etc/echod.toml
  echod --config etc/echod.toml --check-config
"""  #: at the end of --help


class Options(usage.Options):
    """The options of `twistd echod` and `python -m echod`."""

    synopsis = "[--config FILE | --listen KIND=URL …] [--allow CIDR …] [--console] [--uid USER [--gid GROUP]] …"
    longdesc = "Serves TCP, TLS, UDP, Unix and WebSocket clients with echo, upper and more. See echod.toml(5)."
    optParameters = [
        ["config", "c", None, "The configuration file; else $ECHOD_CONFIG, /etc/echod/echod.toml, or built in."],
        ["uid", "u", None, "If started as root: the user to switch to when all sockets are bound, by name or number."],
        ["gid", "g", None, "The group to switch to; by default the user's own."],
        ["show", None, None, "Print clients' messages if the service does not set show: text (default), hex or no."],
        ["announce", None, None, "When all is served, print every listener's real address; the value is json."],
    ]
    optFlags = [
        ["console", None, "Use this terminal for the console service: show its messages, answer with typed lines."],
        ["until-eof", None, "Stop when standard input ends, as it does when the program that started echod has ended."],
        ["check-config", None, "Check the configuration, print the listeners and warnings, or every error, and exit."],
        ["print-config", None, "Print every value and its source file, and exit."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.listen: list[str] = []
        self.allow: list[str] = []
        self.identity: Identity | None = None  #: the user to switch to; set after the command line is read
        self.pidfile: Pidfile | None = None
        self.workers: int | None = None  #: the number of workers of the start, which a reload does not change

    def getSynopsis(self) -> str:
        """The first line of --help, with the name of the command that was called."""
        own = os.path.basename(sys.argv[0]) == "echod"
        return f"Usage: {'echod' if own else 'twistd [options] echod'} {self.synopsis}"

    def getUsage(self, width: int | None = None) -> str:
        """The text of --help, with examples. Twisted's own would join their lines."""
        return f"{super().getUsage(width)}\n{EXAMPLES}"

    def opt_listen(self, address: str) -> None:
        """Serve KIND=URL without a file, such as echo=tcp://127.0.0.1:7007; may be repeated."""
        self.listen.append(from_system(address))

    def opt_allow(self, network: str) -> None:
        """Allow a network besides loopback, such as 192.0.2.0/24; may be repeated."""
        self.allow.append(network)

    opt_h = usage.Options.opt_help

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        print(f"echod {VERSION} (Twisted {twisted_version}, Python {platform.python_version()})")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """Refuse every argument that is not an option. Raises UsageError."""
        if arguments:
            raise usage.UsageError(f"unexpected argument {escaped(arguments[0])}{meant_by(arguments[0])}")

    def parseOptions(self, options: Any = None) -> None:
        """Read the command line. A usage error is printed as one line, with exit code 64."""
        try:
            with readers_may_leave():  # --help and other options that only print
                words = sys.argv[1:] if options is None else options
                super().parseOptions(["--show=text" if word == "--show" else word for word in words])
        except usage.UsageError as error:
            _end(EX_USAGE, [usage_error(str(error), self.longOpt)])
        except OSError as error:
            _end(EX_CANTCREAT, [f"standard output: {system_error(error)}"])

    def postOptions(self) -> None:
        """Check the combination of options, and execute the options that only print. Raises UsageError."""
        if self["config"] == "":
            raise usage.UsageError("--config: the file's name is empty")
        if self["config"] is not None and self.listen:
            raise usage.UsageError("--listen and --config cannot be used together: --listen serves without a file")
        if self["check-config"] or self["print-config"]:
            try:
                configuration, notes = (read(self), []) if self["print-config"] else fitted(self, None)
                if self["check-config"]:
                    notes += warnings(configuration)
            except ConfigurationRefused as error:
                _end(error.code, error.lines)
            for line in describe(configuration) if self["print-config"] else listeners(configuration):
                print(line)
            _end(0, notes)
        self._check_streams()
        until_the_daemon_takes_them()
        self.identity = _identity(self)
        self.pidfile = pidfile_of(self.parent, self.identity)

    def _check_streams(self) -> None:
        """Check the options that need standard input or output. Raises UsageError."""
        twistd: Any = self.parent or {}
        daemonised = not twistd.get("nodaemon", True)
        wrong = announcement.refused(self["announce"], daemonised=daemonised)
        wrong = wrong or standard_input.refused(self["until-eof"], daemonised=daemonised, console=self["console"])
        if wrong:
            raise usage.UsageError(wrong)


def read(options: Options) -> Configuration:
    """Read the configuration that the command line selects. Raises ConfigurationRefused if it is wrong."""
    try:
        if options.listen:
            return with_show(
                from_listen(options.listen, options.allow, kinds(), twisted_endpoint_strings.unknown), options["show"]
            )
        path = None if options["config"] is None else Path(options["config"])
        return with_show(
            load(path, kinds(), os.environ, allow=options.allow, unknown=twisted_endpoint_strings.unknown),
            options["show"],
        )
    except ConfigurationError as error:
        raise ConfigurationRefused(EX_CONFIG, [str(one) for one in error.errors]) from error
    except OSError as error:  # no descriptor is left to read the installed packages
        raise ConfigurationRefused(EX_OSERR, [f"{escaped(str(error.filename))}: {system_error(error)}"]) from error


def fitted(options: Options, identity: Identity | None) -> tuple[Configuration, list[str]]:
    """The configuration with resolved names, reduced to the limit of open files; and its warnings. Unix sockets
    belong to `identity`. Raises ConfigurationRefused, also at a reload for what takes effect at the next start."""
    try:
        configuration, notes = resolved(read(options))
        configuration, shrunk = fit(configuration, fd_limit.raise_limit())
    except ConfigurationError as error:
        raise ConfigurationRefused(EX_CONFIG, [str(one) for one in error.errors]) from error
    except Unresolved as error:
        raise ConfigurationRefused(EX_OSERR, error.errors) from error
    if (options.workers or workers_of(configuration.daemon.workers)) > 1 and (alone := unshareable(configuration)):
        raise ConfigurationRefused(EX_CONFIG, alone)
    tls_of(configuration)
    notes = [*notes, *shrunk, *made_certificates(configuration)]
    return owning(configuration, identity) if identity else configuration, notes


def makeService(options: Options) -> Daemon:
    """Create the daemon with a checked configuration and bound sockets. Exits with 78, 73 or 71 if that fails."""
    open_standard_streams()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    reactor.seconds = time.monotonic  # a step of the wall clock must not move timers
    identity, pidfile, reread = options.identity, options.pidfile, partial(fitted, options, options.identity)
    twistd: Any = options.parent or {}
    try:
        twisted_internals_check.check(reactor)
        configuration, notes = wait_for(reread)
        console = _console(options, configuration)
        notify = Notify(os.environ, reactor)
        store = DescriptorStore(inherited_sockets.passed(os.environ), notify, os.environ)
        hold()
        count = options.workers = workers_of(configuration.daemon.workers)
        hub, make_state = hub_of(reactor, configuration)
        workers = Supervisor(reactor, count, hub, identity) if count > 1 else None
        bind = partial(bind_all, reactor, store=store)
        absent: dict[ListenSpec, str] = {}
        bound = bind(specs_of(services_of(configuration)), absent)
    except ConfigurationRefused as error:
        _end(error.code, error.lines)
    except Unbindable as error:
        _end(EX_CONFIG if isinstance(error, Unsuited) else EX_OSERR, error.errors)
    except (NoThread, twisted_internals_check.Incompatible) as error:
        _end(EX_OSERR, [str(error)])
    try:
        if pidfile is not None:
            pidfile.check()
            twistd["pidfile"] = ""  # echod writes it, not twistd
        log, show_on = outputs_of(twistd, configuration, reactor, identity, console=console is not None)
        daemon = Daemon(configuration, bound, reactor, log, show_on, bind, reread, absent, make_state, workers)
    except OSError as error:
        _end(EX_CANTCREAT, [f"{escaped(str(error.filename))}: {system_error(error)}"], bound)
    except ResourceRefused as error:
        _end(EX_OSERR, [str(error)], bound)
    except UnusableService as error:
        _end(EX_CONFIG, [escaped(str(error))], bound)
    if console is not None and show_on is not None:
        own = OwnTerminal(reactor, show_on, lambda: console_service(daemon.listeners, console))
        daemon.events.subscribe(own.event)
    elif log.output.is_terminal:
        daemon.events.subscribe(partial(suggest, lambda: daemon.listeners, partial(log.say, "info")))
    if options["announce"] and show_on is not None:
        daemon.events.subscribe(partial(announcement.write, daemon, show_on.line))
    if options["until-eof"]:
        reactor.callWhenRunning(standard_input.StopAtEof(reactor, partial(log.say, "info")).begin)
    daemon.events.subscribe(notify.event)
    attach(hub, configuration.bus, daemon)
    store.begin()
    reactor.addSystemEventTrigger("before", "shutdown", store.end)  # before the one that stops the daemon
    if os.geteuid() == 0 and (identity is None or identity.user == 0):
        notes.append("serving as root: start echod as another user, or use --uid")
    notes += [*unused_keys(configuration), *(workers.hold(bound) if workers is not None else ())]
    for note in [*notes, *store.passed.close_rest(), *start_warnings(bound), *filter(None, [notify.error])]:
        log.say("warn", note)
    rules = None
    if configuration.daemon.landlock:
        writes = [file for file in (log.output.path, pidfile and pidfile.path) if file]
        executes = programs() if workers is not None else []
        rules = landlock.rules_of(configuration, bound, writes, os.environ, absent, executes)
    daemon.become = partial(_become, identity, rules, bound, daemon, pidfile)
    if pidfile is not None:
        reactor.addSystemEventTrigger("after", "shutdown", pidfile.remove)
    processes = None if workers is None else workers.processes
    reactor.callWhenRunning(install, reactor, daemon.abandon, daemon.reload, daemon.rotated, processes)
    return daemon


def _identity(options: Options) -> Identity | None:
    """The user and group to switch to, from the options of echod or twistd. Exits with 64 or 71 if they fail."""
    twistd: Any = options.parent if options.parent is not None else {}
    user, group = (twistd.get(name) if options[name] is None else options[name] for name in ("uid", "gid"))
    if user is None and group is None:
        return None
    try:
        identity = wait_for(partial(identity_of, user, group))  # the user database may be remote
    except (IdentityError, OSError) as error:
        _end(EX_USAGE, [str(error)])
    except NoThread as error:
        _end(EX_OSERR, [str(error)])
    if identity is not None and twistd.get("euid"):
        _end(EX_USAGE, ["--euid is refused: the process could switch back to root; use --uid"])
    twistd["uid"] = twistd["gid"] = None
    return identity


def _become(
    identity: Identity | None,
    rules: landlock.Rules | None,
    bound: Iterable[BoundSocket],
    daemon: Daemon,
    pidfile: Pidfile | None,
) -> None:
    """Write the pidfile, drop the privileges, and start the threads that write the log.

    Exits with 73 or 71 if one of these fails.
    """
    log = daemon.log
    try:
        if pidfile is not None:
            pidfile.write()
    except OSError as error:
        log.say("critical", f"{escaped(pidfile.path if pidfile else '')}: {system_error(error)}")
        raise SystemExit(EX_CANTCREAT) from error
    try:
        _drop_root(identity, rules, bound, log)
        for output in daemon.outputs:
            output.start()
    except (OSError, NoThread) as error:
        what = f"privileges cannot be dropped: {system_error(error)}" if isinstance(error, OSError) else str(error)
        log.say("critical", what)
        if pidfile is not None:
            pidfile.remove()
        raise SystemExit(EX_OSERR) from error


def _drop_root(identity: Identity | None, rules: landlock.Rules | None, bound: Iterable[BoundSocket], log: Log) -> None:
    """Switch to the user that serves, and enable Landlock. Raises OSError."""
    try:
        if identity is not None:
            become(identity)
            for line in stay_behind(one.address for one in bound if one.path is not None):
                log.say("warn", line)
        if rules is not None:
            log.say("info", f"confined by Landlock, version {landlock.confine(rules)}")
    except landlock.LandlockUnavailable as error:
        log.say("warn", str(error))


def _console(options: Options, configuration: Configuration) -> str | None:
    """The console service that uses the terminal, or None. Exits with 64 if `--console` cannot be used."""
    if not options["console"]:
        return None
    twistd: Any = options.parent or {}
    try:
        return console_of(configuration, daemonised=not twistd.get("nodaemon", True))
    except NoConsole as error:
        _end(EX_USAGE, [str(error)])


def _end(code: int, lines: Iterable[str], bound: Iterable[BoundSocket] = ()) -> NoReturn:
    for one in bound:
        one.close()
    for line in lines:
        report(f"echod: {line}")
    raise SystemExit(code)
