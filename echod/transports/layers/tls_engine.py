"""One side of a TLS connection, as bytes in and bytes out: an SSLObject of the standard library on two memory BIOs.

All connections of the process share the BIOs. A BIO never gives memory back: with two of its own, each connection
would keep 44 KiB after its first large record. The rules, with their reasons in OpenSSL:

* Only the thread of the reactor uses an engine. Each method leaves both BIOs empty.
* OpenSSL takes an incomplete record out of the BIO. Bytes stay there only after the end of the handshake, which
  `queue` gets back, and after the end of the peer's data or an error, which are dropped.
* `unwrap` writes close_notify and then reads. The incoming BIO is empty, because `unwrap` would drop unread data.
* `write_eof` is never called: it would end writing as well.
"""

from __future__ import annotations

import ssl
from typing import Final

from echod.tls.server import names_may_be_wrong
from echod.transports.layers.tls_record_queue import RECORD, RecordQueue

_INCOMING: Final = ssl.MemoryBIO()
_OUTGOING: Final = ssl.MemoryBIO()


class TlsEngine:
    """The role is that of `context`. A client asks for `server_hostname`. `queue` has the received bytes.

    The caller sends the output after each call that may set it (`take_output`).
    """

    __slots__ = ("data_records", "error", "output", "queue", "tls")

    def __init__(self, context: ssl.SSLContext, queue: RecordQueue, server_hostname: str | None = None) -> None:
        server = context.protocol is not ssl.PROTOCOL_TLS_CLIENT
        self.tls = context.wrap_bio(_INCOMING, _OUTGOING, server_side=server, server_hostname=server_hostname)
        self.queue = queue
        self.output = b""  # messages of the protocol for the peer
        self.error: ssl.SSLError | None = None  # what was wrong with a record
        self.data_records = 0  # of the last piece, the records with data

    def handshake(self, piece: bytes | memoryview) -> bool:
        """Continue the handshake with received bytes. Returns whether it is complete. Raises ssl.SSLError.

        Sets `output`, also before an error: then it is an alert.
        """
        _INCOMING.write(piece)
        try:
            with names_may_be_wrong():
                self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        else:
            if _INCOMING.pending:
                self.queue.put_back(_INCOMING.read())
            return True
        finally:
            self._empty()

    def decode(self, piece: bytes | memoryview) -> tuple[bytes, bool]:
        """Return the plaintext of received bytes that `queue` has cut, and whether the peer has ended.

        The peer has also ended after an error, which is in `error`. Sets `output` if the peer must get a message.
        """
        pieces: list[bytes] = []
        read, ended = self.tls.read, False
        _INCOMING.write(piece)
        try:
            while _INCOMING.pending and not ended:
                data = read(RECORD)
                if data:
                    pieces.append(data)
                else:
                    ended = True
        except ssl.SSLWantReadError:  # the last record is incomplete, or has no data
            pass
        except ssl.SSLZeroReturnError:  # close_notify, after ours
            ended = True
        except ssl.SSLError as error:
            self.error, ended = error, True
        self._empty()
        self.data_records = len(pieces)
        return b"".join(pieces), ended

    def decode_record(self, record: bytes) -> tuple[bytes, bool]:
        """As `decode`, for one whole record: the usual case, in fewer steps."""
        _INCOMING.write(record)
        try:
            data = self.tls.read(len(record))
        except ssl.SSLError as error:
            self._empty()
            if isinstance(error, ssl.SSLWantReadError):
                return b"", False
            if not isinstance(error, ssl.SSLZeroReturnError):
                self.error = error
            return b"", True
        if _OUTGOING.pending:
            self._empty()
        return data, not data

    def encode(self, data: bytes | memoryview) -> bytes:
        """Return one record with at most RECORD bytes of plaintext. `output` must have been sent."""
        self.tls.write(data)
        return _OUTGOING.read()

    def take_output(self) -> bytes:
        """Remove the output."""
        output, self.output = self.output, b""
        return output

    def close_notify(self) -> bytes:
        """Return the message that ends this side's data. Received bytes can still be decoded."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # close_notify is written, and the peer's has not arrived
        return _OUTGOING.read()

    def _empty(self) -> None:
        """Empty the BIOs."""
        if _INCOMING.pending:
            _INCOMING.read()
        if _OUTGOING.pending:
            self.output += _OUTGOING.read()
