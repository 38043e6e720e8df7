"""Connection attempts of `ping --connect` over TLS: the handshake follows the connection on the same descriptor."""

from __future__ import annotations

import argparse
import errno
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from echod.address import Address
from echod.client.connect_attempt import Attempt, HandshakeFailed
from echod.client.tls_settings import context_of, expectations_of
from echod.tls.transcript import ObservedSocket
from echod.tls.verification import explained, server_name, verify_name
from echod.transports.lookup import Target


class TLSProbes:
    """The settings of all attempts. Raises ValueError if they cannot be used."""

    def __init__(self, arguments: argparse.Namespace, clock: Callable[[], float]) -> None:
        self.expected = expectations_of(arguments)
        self.server_name = server_name(self.expected.host)
        self.context = context_of(arguments, self.expected)
        self.clock = clock

    def attempt(
        self,
        reactor: Any,
        target: Target,
        address: Address,
        patience: float,
        ended: Callable[[Attempt, OSError | None], None],
    ) -> Attempt:
        """Prepare an attempt. Raises OSError."""
        attempt = TLSAttempt(reactor, target, address, patience, ended)
        attempt.settings = self
        return attempt


class TLSAttempt(Attempt):
    """A connection attempt that is complete after the TLS handshake and the verification of the server.

    At the end it sends close_notify before the FIN.
    """

    settings: TLSProbes
    tls: ObservedSocket | None = None

    def begin_handshake(self) -> None:
        """Start the TLS handshake."""
        self.connected_at = self.settings.clock()
        try:
            wrapped = self.settings.context.wrap_socket(
                self.socket, server_hostname=self.settings.server_name, do_handshake_on_connect=False
            )
        except OSError as error:  # the peer has reset the connection already
            self.fail(OSError(error.errno or errno.ECONNRESET, os.strerror(error.errno or errno.ECONNRESET)))
            return
        assert isinstance(wrapped, ObservedSocket)
        self.socket = self.tls = wrapped
        self._shake(wrapped)

    def doRead(self) -> None:
        """Continue the handshake, or drop received data until the peer closes."""
        if self.tls is None:
            super().doRead()
        else:
            self._shake(self.tls)

    def doWrite(self) -> None:
        """Continue the handshake, or handle the end of connecting."""
        if self.tls is None:
            super().doWrite()
        else:
            self.stopWriting()
            self._shake(self.tls)

    def _shake(self, tls: ObservedSocket) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self.startReading()
        except ssl.SSLWantWriteError:
            self.startWriting()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self.fail(HandshakeFailed("the server closed the connection within the handshake"))
        except ssl.SSLError as error:
            self.fail(HandshakeFailed(explained(error, tls.transcript, self.settings.expected)))
        except OSError as error:
            self.fail(error)
        else:
            self._verify(tls)

    def _verify(self, tls: ObservedSocket) -> None:
        expected = self.settings.expected
        wrong = verify_name(tls.getpeercert(binary_form=True) or b"", expected.host) if expected.verified else None
        if wrong is not None:
            self.fail(HandshakeFailed(wrong))
            return
        self.tls = None  # from now on only the socket is watched
        with suppress(OSError):  # unwrap writes close_notify, then waits for the peer's, which is not needed
            tls.unwrap()
        self.complete()
