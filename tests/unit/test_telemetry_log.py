"""The log: one line for each event and diagnostic, also with hostile text of a peer."""

import json
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.escaping import SHOWN
from echod.event_catalogue import CATALOGUE, MOST, MOST_DEBUG
from echod.events import Closing, Events
from echod.gate.refusal import Refusal
from echod.socket_names import unix_name
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.line_rate_limit import CLASSES
from echod.telemetry.log import BUG_EVERY, DIAGNOSTIC, HELD_FOR, LEVELS, Format, Log

CERTIFICATE = {
    "services": "echo, web",
    "source": "/etc/a.pem",
    "subject": "CN=a",
    "until": "2027-01-01 00:00 UTC",
    "days": 7,
}
FIELDS: dict[str, dict[str, Any]] = {
    "listener.opened": {"service": "echo", "address": "tcp://127.0.0.1:7"},
    "listener.awaited": {"service": "echo", "address": "tcp://192.0.2.1:7", "error": "EADDRNOTAVAIL"},
    "listener.closed": {"service": "echo", "address": "tcp://127.0.0.1:7"},
    "connection.opened": {"service": "echo", "address": "tcp://*:7", "peer": "192.0.2.1:5"},
    "connection.refused": {"service": "echo", "address": "tcp://*:7", "peer": "192.0.2.1:5", "reason": Refusal.DENIED},
    "connection.closed": {
        "service": "echo",
        "address": "tcp://*:7",
        "peer": "192.0.2.1:5",
        "reason": Closing.IDLE,
        "bytes_in": 5,
        "bytes_out": 4,
    },
    "handshake.failed": {"service": "echo", "address": "tls://*:7", "peer": "192.0.2.1:5", "error": "not TLS"},
    "proxy.denied": {"service": "echo", "address": "tcp://*:7", "peer": "192.0.2.1:5", "host": "192.0.2.1"},
    "client.denied": {"service": "echo", "address": "tcp://*:7", "peer": "192.0.2.1:5", "host": "192.0.2.1"},
    "accept.paused": {"service": "echo", "address": "tcp://*:7", "error": "EMFILE"},
    "accept.resumed": {"service": "echo", "address": "tcp://*:7", "refused": 3},
    "certificate.loaded": CERTIFICATE,
    "certificate.expiring": CERTIFICATE,
    "daemon.ready": {"listeners": 2},
    "daemon.reloading": {"by": "SIGHUP"},
    "daemon.reloaded": {"opened": 1, "closed": 2, "changed": 3, "changes": "~ echo"},
    "daemon.refused": {"errors": "echod.toml: x: unknown key"},
    "daemon.draining": {"connections": 3, "seconds": 10.0},
    "log.incomplete": {"lines": 2, "events": 1},
    "daemon.stopped": {"counters": {"echo tcp://*:7": {"accepted": 1}}},
}


class Logs(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "log")
        self.clock = Clock()

    def log(self, form: Format = "text", level: str = "info") -> Log:
        """A log that writes to the file of the test synchronously."""
        output = BackgroundWriter(str(self.file))
        self.addCleanup(os.close, output._descriptor)
        return Log(output, form, level, clock=self.clock.seconds, later=self.clock.callLater)

    def lines(self) -> list[str]:
        """The lines written since the last call, without their time."""
        lines = self.file.read_text("utf-8").splitlines()
        os.truncate(self.file, 0)
        return [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", "", line) for line in lines]

    def objects(self) -> list[dict[str, Any]]:
        """The lines written since the last call, parsed as JSON."""
        return [json.loads(line) for line in self.lines()]


class Causes(Logs):
    def test_a_frequent_failure_hides_no_other_one(self) -> None:
        log = self.log()
        errors = [
            "it does not speak TLS: it sent the text 'a'",
            "it does not speak TLS: it sent the text 'b: c, 5 bytes'",
            "it sent the alert unknown_ca",
            "the connection ended after 1 bytes of a PROXY header",
            "the connection ended after 22 bytes of a PROXY header",
            "no PROXY header of version 1, but the text 'x'",
            "no PROXY header of version 1, but the text 'y'",
            "the handshake was not complete within 10 s",
        ]
        for error in errors:
            log.event("handshake.failed", {**FIELDS["handshake.failed"], "error": error})
        self.assertEqual(
            [line.partition("failed: ")[2] for line in self.lines()],
            [error for number, error in enumerate(errors) if number not in (1, 4, 6)],
        )
        self.clock.advance(10)
        self.assertIn(
            "warn  1 more line was not written: handshake.failed: it does not speak TLS",
            self.lines(),
        )


class OurEvents(Logs):
    def test_every_severity_is_a_level_of_the_log(self) -> None:
        self.assertLessEqual({event.severity for event in CATALOGUE.values()}, set(LEVELS))

    def test_events_are_sentences(self) -> None:
        log = self.log(level="debug")
        for name, fields in FIELDS.items():
            log.event(name, fields)
        self.assertEqual(
            self.lines(),
            [
                "info  echo  tcp://127.0.0.1:7",
                "warn  echo  tcp://192.0.2.1:7 does not exist yet; retrying: EADDRNOTAVAIL",
                "debug echo  tcp://127.0.0.1:7 is no longer served",
                "debug echo  tcp://*:7 from 192.0.2.1:5",
                "debug echo  tcp://*:7 refused 192.0.2.1:5: denied",
                "debug echo  tcp://*:7 from 192.0.2.1:5 ended: idle, 5 in, 4 out",
                "info  echo  tls://*:7 handshake with 192.0.2.1:5 failed: not TLS",
                "info  echo  tcp://*:7 refused 192.0.2.1:5, which is not in proxy-from;"
                " if it is a proxy: add 192.0.2.1 to that key",
                "info  echo  tcp://*:7 denied 192.0.2.1:5; to allow it: --allow 192.0.2.1, or the keys allow and deny",
                "warn  echo  tcp://*:7 accepts no connections for now: EMFILE",
                "info  echo  tcp://*:7 accepts again; 3 refused meanwhile",
                "info  echo, web: loaded the certificate CN=a of /etc/a.pem, valid until 2027-01-01 00:00 UTC,"
                " 7 days left",
                "warn  echo, web: the certificate CN=a of /etc/a.pem is valid until 2027-01-01 00:00 UTC, 7 days left:"
                " renew it",
                "info  ready: 2 listeners",
                "debug reading the configuration again, for SIGHUP",
                "info  reloaded: 1 address opened, 2 closed, 3 services changed: ~ echo",
                "error not reloaded, the old configuration stays: echod.toml: x: unknown key",
                "info  stopping: 3 connections have 10 s to end",
                "warn  2 lines could not be written, 1 event not delivered",
                'info  stopped {"echo tcp://*:7": {"accepted": 1}}',
            ],
        )

    def test_a_line_about_a_client_names_the_proxy_that_named_it(self) -> None:
        log = self.log(level="debug")
        log.event("connection.opened", {**FIELDS["connection.opened"], "proxy": "127.0.0.1:6"})
        self.assertEqual(self.lines(), ["debug echo  tcp://*:7 from 192.0.2.1:5 (proxy 127.0.0.1:6)"])

    def test_events_of_single_connections_have_level_debug(self) -> None:
        log = self.log()
        for name, fields in FIELDS.items():
            log.event(name, fields)
        self.assertFalse([line for line in self.lines() if line.startswith("debug")])
        log = self.log(level="warn")
        for name, fields in FIELDS.items():
            log.event(name, fields)
        self.assertEqual(len(self.lines()), 5)

    def test_events_keep_their_fields_in_json(self) -> None:
        log = self.log("json", "debug")
        for name, fields in FIELDS.items():
            log.event(name, fields)
            (said,) = self.objects()
            self.assertEqual({key: said[key] for key in fields}, fields, name)
            self.assertEqual((said["event"], said["level"]), (name, CATALOGUE[name].severity))
            self.assertTrue(said["message"])

    def test_a_log_can_subscribe_to_events(self) -> None:
        events = Events()
        events.subscribe(self.log().event)
        events.tell("daemon.ready", listeners=1)
        self.assertEqual(self.lines(), ["info  ready: 1 listener"])
        self.assertEqual(events.failures, 0)


class OwnLines(Logs):
    def test_lines_of_the_daemon_have_a_level(self) -> None:
        log = self.log(level="warn")
        log.say("info", "unimportant")
        log.say("warn", "important")
        self.assertEqual(self.lines(), ["warn  important"])

    def test_lines_of_services_are_written_at_every_level(self) -> None:
        self.log(level="critical").show("tcp 192.0.2.1:5: hello")
        self.assertEqual(self.lines(), ["info  tcp 192.0.2.1:5: hello"])
        self.log("json", "critical").show("tcp 192.0.2.1:5: hello")
        (said,) = self.objects()
        self.assertEqual((said["message"], said["shown"]), ("tcp 192.0.2.1:5: hello", True))

    def test_lines_start_with_the_time_in_utc(self) -> None:
        begin = datetime.now(UTC).replace(microsecond=0)
        self.log("json").say("info", "now")
        (said,) = self.objects()
        self.assertTrue(said["time"].endswith("Z"))
        self.assertTrue(begin <= datetime.fromisoformat(said["time"]) <= datetime.now(UTC))
        self.log().say("info", "now")
        self.assertRegex(self.file.read_text("utf-8"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info  now\n$")

    @settings(max_examples=100, deadline=None)
    @given(st.text(st.characters()), st.sampled_from(["text", "json"]))
    def test_hostile_text_stays_one_printable_line(self, text: str, form: Format) -> None:
        log = self.log(form, "debug")
        log.say("info", text)
        log.show(text)
        log.event("connection.opened", {"service": "echo", "address": text, "peer": text})
        log.event("daemon.stopped", {"counters": {text: {text: 1}}})
        written = self.file.read_text("utf-8")
        os.truncate(self.file, 0)
        self.assertEqual(written.count("\n"), 4)
        self.assertTrue(written.replace("\n", "").isprintable(), ascii(written))

    @settings(max_examples=50, deadline=None)
    @given(st.text("{}!:.0acdefst %s", max_size=20))
    def test_text_is_never_used_as_a_format(self, text: str) -> None:
        log = self.log(level="debug")
        log.say("info", text)
        log.event("connection.opened", {"service": text, "address": "{service}", "peer": "{peer}"})
        self.assertEqual(self.lines(), [f"info  {text}", f"debug {text}  {{service}} from {{peer}}"])


class RateLimits(Logs):
    """The rate limit of lines: peers cannot fill the log."""

    def test_suppressed_lines_are_counted_and_reported_later(self) -> None:
        log = self.log()
        for _ in range(MOST + 25):
            log.event("accept.paused", {"service": "echo", "address": "tcp://*:7", "error": "EMFILE"})
        log.event("reading.paused", {"limit": 5})
        self.assertEqual(len(self.lines()), MOST + 1)
        self.clock.advance(HELD_FOR)
        self.assertEqual(self.lines(), ["warn  25 more lines were not written: accept.paused"])
        self.assertEqual(log.suppressed, 25)
        self.clock.advance(HELD_FOR)
        log.report_suppressed()
        self.assertEqual(self.lines(), [])

    def test_lines_pass_again_after_their_second(self) -> None:
        log = self.log()
        for _ in range(3):
            for _ in range(MOST):
                log.event("accept.resumed", FIELDS["accept.resumed"])
            self.clock.advance(1)
        self.assertEqual(len(self.lines()), 3 * MOST)
        self.assertEqual(log.suppressed, 0)

    def test_events_that_peers_cause_are_logged_once_a_minute(self) -> None:
        log = self.log()
        for _ in range(2):
            for _ in range(50):
                for name in ("reading.paused", "reading.resumed", "client.denied"):
                    log.event(name, {"limit": 5, **FIELDS.get(name, {})})
                self.clock.advance(1)
            self.clock.advance(20)  # suppressed lines are reported after a minute
            lines = self.lines()
            self.assertEqual(len(lines), 6)
            self.assertEqual(sum("49 more lines were not written" in line for line in lines), 3)

    def test_events_of_the_configuration_are_not_limited(self) -> None:
        log = self.log()
        for number in range(5 * MOST):
            log.event("listener.opened", {"service": "echo", "address": f"tcp://*:{number}"})
            log.say("warn", "open to the network")
        self.assertEqual(len(self.lines()), 10 * MOST)

    def test_level_debug_has_a_higher_limit(self) -> None:
        log = self.log(level="debug")
        for _ in range(MOST_DEBUG + 1):
            log.event("connection.opened", FIELDS["connection.opened"])
        self.assertEqual(len(self.lines()), MOST_DEBUG)
        log.report_suppressed()
        self.assertEqual(self.lines(), ["warn  1 more line was not written: connection.opened"])

    def test_a_bug_is_logged_once_a_minute_for_each_line_of_code_and_always_counted(self) -> None:
        log = self.log("json")
        logger = Logger("echod.test", observer=LogPublisher(log))

        def fail(depth: int) -> None:
            try:
                int("bug") if depth else [2].index(1)  # one line raises for any input
            except ValueError:
                logger.failure("failed with {depth}", depth=depth)

        for number in range(20):
            fail(number % 2)
        self.assertEqual([said["level"] for said in self.objects()], ["critical"])
        self.assertEqual(log.figures(), {"internal_errors": 20, "lines_suppressed": 19})
        self.clock.advance(BUG_EVERY)
        (held,) = self.objects()
        self.assertEqual((held["suppressed"], held["level"]), (19, "warn"))
        fail(0)
        self.assertEqual(len(self.objects()), 1)

    def test_classes_above_the_maximum_share_one_limit(self) -> None:
        log = self.log()
        logger = Logger("echod.test", observer=LogPublisher(log))
        for number in range(3 * CLASSES):
            logger.warn(f"said by {number}")
        self.assertLessEqual(len(self.lines()), CLASSES + MOST)
        log.report_suppressed()
        self.assertLessEqual(len(self.lines()), 2)

    def test_long_texts_are_clipped(self) -> None:
        log = self.log(level="debug")
        logger = Logger("echod.test", observer=LogPublisher(log))
        logger.warn("{it}", it="x" * 10**6)
        logger.failure("{it}", Failure(ValueError("\x1b" * 10**6)), it="\u202e" * 10**6)
        for line in self.lines():
            self.assertLessEqual(len(line), DIAGNOSTIC + 2 * SHOWN)
        name = str(unix_name("\0" + "\x1b" * 107))
        self.assertLessEqual(len(name), SHOWN + 1)


class Diagnostics(Logs):
    """Diagnostics of twisted.logger."""

    def logger(self, log: Log, namespace: str) -> Logger:
        """A logger whose events go only to this log."""
        return Logger(namespace, observer=LogPublisher(log))

    def test_diagnostics_of_echod_have_the_configured_level_and_others_warn(self) -> None:
        for level, ours, others in (
            ("debug", ["debug", "info", "warn", "error", "critical"], ["warn", "error", "critical"]),
            ("info", ["info", "warn", "error", "critical"], ["warn", "error", "critical"]),
            ("error", ["error", "critical"], ["error", "critical"]),
        ):
            log = self.log(level=level)
            for namespace, expected in (
                ("echod.transports.tcp", ours),
                ("twisted.internet.tcp", others),
                ("echodish", others),
            ):
                logger = self.logger(log, namespace)
                for importance in LogLevel.iterconstants():
                    logger.emit(importance, "{what} happened", what="it")
                self.assertEqual(self.lines(), [f"{name:5} it happened" for name in expected], (level, namespace))

    def test_without_level_and_namespace_they_are_info_of_another_package(self) -> None:
        log = self.log(level="debug")
        log({"log_format": "an event without a namespace"})
        self.assertEqual(self.lines(), [])

    def test_a_failure_is_one_line_with_the_error_and_its_place(self) -> None:
        log = self.log()
        try:
            raise ValueError("two\nlines")
        except ValueError:
            self.logger(log, "echod.test").failure("the service failed")
        (line,) = self.lines()
        self.assertRegex(
            line,
            r"^critical the service failed: ValueError: two\\x0alines in "
            r"test_a_failure_is_one_line_with_the_error_and_its_place \(test_telemetry_log\.py:\d+\)$",
        )

    def test_a_failure_names_the_innermost_frames(self) -> None:
        def deeper(depth: int) -> None:
            if depth:
                deeper(depth - 1)
            else:
                raise RuntimeError("deep")

        log = self.log()
        try:
            deeper(20)
        except RuntimeError:
            self.logger(log, "echod.test").failure("lost")
        (line,) = self.lines()
        self.assertEqual(line.count("deeper ("), 4)

    def test_a_failure_without_a_traceback_ends_with_the_error(self) -> None:
        log = self.log()
        self.logger(log, "echod.test").failure("lost", Failure(RuntimeError("nowhere")))
        self.assertEqual(self.lines(), ["critical lost: RuntimeError: nowhere"])

    def test_a_diagnostic_that_cannot_be_formatted_does_not_raise(self) -> None:
        self.logger(self.log(), "echod.test").warn("{missing} {0.bad!z}")
        (line,) = self.lines()
        self.assertTrue(line.startswith("warn  "))

    def test_diagnostics_can_be_json(self) -> None:
        self.logger(self.log("json"), "echod.test").warn("odd: {what}", what="\x1b\u202e")
        (said,) = self.objects()
        self.assertEqual((said["level"], said["message"]), ("warn", r"odd: \x1b\u{202e}"))
