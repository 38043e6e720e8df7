"""`TwistedDaemon`: an echod for the tests of a Twisted client, in the same process and on the same reactor.

def setUp(self):
self.echod = TwistedDaemon(reactor, "echo=tcp://127.0.0.1:0")
self.addCleanup(self.echod.stop)
self.echod.start()
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from echod.config.errors import ConfigurationError
from echod.config.loading import load
from echod.config.name_resolution import Unresolved, resolved
from echod.config.settings import Configuration
from echod.daemon.announcement import listener_fields
from echod.daemon.bind import Unbindable, bind_all, specs_of
from echod.daemon.config_diff import ConfigurationRefused
from echod.daemon.daemon import Daemon
from echod.daemon.daemon_figures import counter_figures
from echod.daemon.fd_store import DescriptorStore
from echod.daemon.running_service import ResourceRefused, UnusableService
from echod.daemon.sd_notify import Notify
from echod.services.registry import kinds
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.log import Log
from echod.testing.admin_client import Received
from echod.testing.announced import Served, listener_of
from echod.testing.configuration import ConfigurationFiles
from echod.testing.daemon import POLL, RECORD
from echod.testing.output import SECONDS, DaemonError
from echod.transports import inherited_sockets, twisted_endpoint_strings


class SynchronousWriter(BackgroundWriter):
    """Writes each line at once, so that a test can read it, and without a thread: a memory file does not block."""

    def start(self) -> None:
        """Continue to write synchronously."""


class TwistedDaemon(Served):
    """A daemon on a reactor, from `start` to the end of `stop`; then the reactor is as clean as before.

    The arguments are those of `echod.testing.Daemon`. It uses Twisted's transports, without the fast path.
    Raises ValueError for an address that is not KIND=URL, or without any.
    """

    def __init__(
        self,
        reactor: Any,
        *listen: str,
        config: str | None = None,
        faults: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        record: str | None = RECORD,
        timeout: float = SECONDS,
    ) -> None:
        super().__init__()
        self.timeout = timeout
        self._reactor = reactor
        self._daemon: Daemon | None = None
        self._log = os.memfd_create("echod-log", os.MFD_CLOEXEC)
        try:
            self._files = ConfigurationFiles(self.dir, listen, config, settings or {}, record, admin=False)
        except BaseException:
            self._discard()
            raise
        if faults:
            self._files.settings["faults"] = dict(faults)

    def start(self) -> None:
        """Serve every address; clients can connect at once. Raises DaemonError, and nothing is left then."""
        try:
            configuration = self._configuration()
            store = DescriptorStore(inherited_sockets.passed({}), Notify({}, self._reactor), {})
            bound = bind_all(self._reactor, specs_of(configuration.services), store=store)
            output = SynchronousWriter(self._log)
            log = Log(output, "text", configuration.daemon.log_level, {}, later=self._reactor.callLater)
            bind = partial(bind_all, self._reactor, store=store)
            try:
                daemon = Daemon(configuration, bound, self._reactor, log, None, bind)
            except BaseException:
                for one in bound:
                    one.close()
                raise
        except (ConfigurationError, Unresolved, Unbindable) as error:
            self._discard()
            raise DaemonError("\n".join(["echod did not start:", *map(str, error.errors)])) from None
        except (ResourceRefused, UnusableService) as error:
            self._discard()
            raise DaemonError(f"echod did not start:\n{error}") from None
        daemon.began = lambda: None  # the heap belongs to the test program
        self._daemon = daemon
        daemon.startService()
        self.listeners = tuple(listener_of(**listener_fields(one)) for one in daemon.listeners)

    def stop(self) -> Deferred[None]:
        """Reset open connections, and close everything; fires when the reactor has forgotten it."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            self._discard()
            return deferLater(self._reactor, 0, lambda: None)
        daemon.abandon()
        stopped = daemon.stopService()
        stopped.addCallback(lambda _: deferLater(self._reactor, 0, lambda: None))  # ports are closed in the next turn

        def ended(_result: object) -> None:
            daemon.shared.reserve.give_up()
            self._discard()

        return stopped.addCallback(ended)

    @property
    def log(self) -> str:
        """Its log so far, and what its services have printed."""
        try:
            return os.pread(self._log, os.fstat(self._log).st_size, 0).decode("utf-8", "backslashreplace")
        except OSError:
            return "it has been stopped"

    def counters(self, service: str | None = None) -> Counter[str]:
        """The counters, of one service over all its addresses, or of all services; those that are 0 are left out."""
        total: Counter[str] = Counter()
        for name, of_one in counter_figures(self._started()).items():
            if service in (None, name.partition(" ")[0]):
                total.update(of_one)
        return total

    def received(self, service: str | None = None) -> list[Received]:
        """The bytes that clients sent to a service, by default the first one.

        Raises DaemonError if they sent more than `record`.
        """
        name = self._name(service)
        recorder = self._started().view.recorder(name)
        if recorder is None:
            raise DaemonError(f"{name} records nothing; expected record=…")
        if recorder.dropped:
            raise DaemonError(f"{name}: clients sent more than is kept; use TwistedDaemon(…, record=…) with more")
        return [
            Received(bytes(one.data), one.peer.scheme, str(one.peer.remote), one.time, one.text)
            for one in recorder.entries
        ]

    def wait_until(self, condition: Callable[[], Any], what: str = "the condition is true") -> Deferred[None]:
        """Fires when `condition()` is true; with DaemonError, with `what` and the log, if it is not in time."""
        ends = self._reactor.seconds() + self.timeout

        def check() -> Any:
            if condition():
                return None
            if self._reactor.seconds() > ends:
                raise DaemonError(f"not in {self.timeout:g} s: {what}\n{self.log}")
            return deferLater(self._reactor, POLL, check)

        return deferLater(self._reactor, 0, check)

    def set_faults(self, service: str | None = None, **faults: Any) -> Deferred[None]:
        """Replace the faults of a service, by default the first one; without `faults` it has none any more.

        The names are those of `[services.NAME.faults]`, with `_` for `-`. Fires when they are in force, or with
        DaemonError if they are wrong.
        """
        keys = {name.replace("_", "-"): value for name, value in faults.items()}
        self._files.of_one.setdefault(self._name(service), {})["faults"] = keys
        return Deferred.fromCoroutine(self._exchange())

    async def _exchange(self) -> None:
        try:
            await self._started().exchange(self._configuration())
        except (ConfigurationError, Unresolved) as error:
            raise DaemonError("\n".join(["echod refused the faults:", *map(str, error.errors)])) from None
        except ConfigurationRefused as error:
            raise DaemonError("\n".join(["echod refused the faults:", *error.lines])) from None

    def _configuration(self) -> Configuration:
        """The configuration in the files. Raises ConfigurationError or Unresolved."""
        self._files.write()
        read = load(self._files.file, kinds(), {}, unknown=twisted_endpoint_strings.unknown)
        configuration, _ = resolved(read)
        return replace(configuration, daemon=replace(configuration.daemon, plane="off"))

    def _started(self) -> Daemon:
        if self._daemon is None:
            raise DaemonError("echod is not running: call start()")
        return self._daemon

    def _discard(self) -> None:
        """Close the log, and remove the directory."""
        if self._log >= 0:
            os.close(self._log)
            self._log = -1
        self._remove_dir()
