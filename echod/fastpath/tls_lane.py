"""TLS on the fast path: a connection is a descriptor and its engine (`layers.tls_engine`).

      plain path: handshake ─► [ read ► decode ► transform ► encode ► write ] ─► plain path: every end

Rules:

* The plain path accepts a connection and performs its handshake. Then the lane carries it.
* The plain path gets the connection back, with its engine, as soon as the lane cannot continue: after the peer's FIN or
  close_notify, a wrong record, or many small records in one read, which the work budget has to bound. Only if a FIN has
  arrived with close_notify, and nothing is pending, the lane closes the connection itself.
* A short write keeps the encrypted bytes, and stops reading. Before a FIN, close_notify is sent.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from twisted.logger import Logger

from echod.events import Closing
from echod.fastpath.forwarding import SMALL, room_after
from echod.fastpath.loop import Events, Loop, Round
from echod.fastpath.pipes import Waiting
from echod.fastpath.stream_lane import StreamLane
from echod.transports.layers.detaching import Detached
from echod.transports.layers.layer_interface import Facts, Receiver
from echod.transports.layers.tls import TlsLayer
from echod.transports.layers.tls_engine import TlsEngine
from echod.transports.layers.tls_record_queue import FREE

_log = Logger()


def _port_sets_it() -> Receiver:
    """The builder of a layer until `StreamPort.take_over`, which knows its conversation."""
    raise AssertionError("the port builds the conversation")


class TlsLane(StreamLane):
    """A StreamLane whose connections are encrypted. Its arguments are those of StreamLane."""

    def __init__(self, loop: Loop, *arguments: Any) -> None:
        super().__init__(loop, *arguments)
        self._engines: dict[int, TlsEngine] = {}
        self._carry_all = self._change_all = self._decrypting()

    def _native_lane(self) -> None:
        return None  # it does not know TLS

    def _adopt(self, detached: Detached, host: bytes, facts: Facts) -> None:
        """Carry a connection whose handshake is complete. Data may have arrived with its last message."""
        descriptor = detached.socket.detach()
        engine = self._engines[descriptor] = detached.engine
        self._facts[descriptor] = facts
        self._begin(descriptor, host, facts.remote)
        if descriptor in self._engines:
            self._proceed(descriptor, engine, detached.unsent)

    def _decrypting(self) -> Round:
        """Create the function of a round. A read of one whole record of data takes the shortest way."""
        read, write, transform = os.read, os.write, self._transform
        carried, room, ready, engines = self._byte_counts.carried, self._room, self._loop.ready, self._engines

        def carry_all(events: Events) -> None:
            carry = self._carry
            descriptor = -1
            try:
                for descriptor, happened in events:
                    if ready[descriptor] is not carry:
                        ready[descriptor](descriptor, happened)
                        continue
                    left, reply = 0, b""  # bytes that are lost if a call fails, and their encrypted reply
                    try:
                        data = read(descriptor, requested := room[descriptor])
                        size = len(data)
                        if size == requested or requested > SMALL:
                            room[descriptor] = room_after(size, requested, self._most)
                        engine = engines[descriptor]
                        if not engine.queue.is_whole(data):
                            self._received(descriptor, engine, data)
                            continue
                        data, ended = engine.decode_record(data)
                        if ended or not data:
                            self._proceed(descriptor, engine, ended=ended)
                            continue
                        carried[descriptor] += len(data)
                        left = len(data)
                        answer = transform(data)
                        if len(answer) != left:  # only kinds of other packages change the length
                            self._byte_counts.grow(descriptor, len(answer) - left)
                            left = len(answer)
                        reply = engine.encode(answer)
                        sent = write(descriptor, reply)
                        if sent != len(reply):
                            self._wait(descriptor, Waiting(len(reply) - sent, None, memoryview(reply), left))
                    except BlockingIOError:
                        if left:
                            self._wait(descriptor, Waiting(len(reply), None, memoryview(reply), left))
                    except OSError:
                        self._reset(descriptor, Closing.LOST, left)
                    except Exception:  # a bug of the service: its peer must not wait
                        self._failed(descriptor, left)
            except Exception:
                self._loop.give_up(descriptor)

        return carry_all

    def _received(self, descriptor: int, engine: TlsEngine, data: bytes) -> None:
        """Handle a read that is not one whole record."""
        if data:
            engine.queue.add(data)
            self._proceed(descriptor, engine)
        else:
            self._hand_back(descriptor)  # the plain path reads the end again

    def _proceed(self, descriptor: int, engine: TlsEngine, unsent: bytes = b"", *, ended: bool = False) -> None:
        """Reply to the bytes in the queue, after `unsent` and the engine's own output. `ended` is the peer's end."""
        try:
            self._reply_to_queue(descriptor, engine, unsent, ended)
        except Exception:  # a bug of the service: its peer must not wait
            self._failed(descriptor, 0)

    def _failed(self, descriptor: int, left: int) -> None:
        """Log the exception of the service, and reset the connection; `left` bytes of the reply are lost."""
        _log.failure("the service failed; a connection of {label} is reset", label=self._factory.label)
        self._reset(descriptor, Closing.FAILED, left)

    def _reply_to_queue(self, descriptor: int, engine: TlsEngine, unsent: bytes, ended: bool) -> None:
        output, left, records, data = [unsent], 0, 0, b""
        while not ended:
            output.append(engine.take_output())
            if data:
                self._byte_counts.carried[descriptor] += len(data)
                answer = self._transform(data)
                self._byte_counts.grow(descriptor, len(answer) - len(data))
                left += len(answer)
                output.append(engine.encode(answer))
            if records >= FREE or not engine.queue.has_piece:
                break
            piece = engine.queue.take()
            records += engine.queue.begun
            data, ended = engine.decode(piece)
        reply = b"".join(output)
        sent, finished = 0, False
        try:
            sent = os.write(descriptor, reply) if reply else 0
            if ended and sent == len(reply) and not data and engine.error is None:
                finished = not os.read(descriptor, 1)
        except BlockingIOError:
            pass
        except OSError:
            self._reset(descriptor, Closing.LOST, left)
            return
        if finished:  # the FIN has arrived after close_notify: a close loses nothing
            self._end(descriptor, Closing.DONE)
        elif ended or engine.queue.has_piece:
            self._hand_back(descriptor, reply[sent:], left, data if ended else b"", ended=ended)
        elif sent != len(reply):
            self._wait(descriptor, Waiting(len(reply) - sent, None, memoryview(reply), left))

    def _hand_over(self, descriptor: int) -> None:
        waiting = self._waiting.get(descriptor)
        if waiting is None:
            self._hand_back(descriptor)
        else:
            self._hand_back(descriptor, waiting.content(), waiting.unsent)

    def _hand_back(
        self, descriptor: int, unsent: bytes = b"", counted: int = 0, data: bytes = b"", *, ended: bool = False
    ) -> None:
        """Move a connection to the plain path, with its pending output and what the engine has decoded last."""
        engine, facts = self._engines.pop(descriptor), self._facts.pop(descriptor)
        layer = self._factory.layers[-1](_port_sets_it)
        assert isinstance(layer, TlsLayer)
        layer.attach(engine, facts)
        counted = min(counted, len(unsent))
        if self._plain.take_over(descriptor, *self._forget(descriptor, counted), b"", facts, layer, counted):
            layer.resume_from_fastpath(unsent, counted, data, ended=ended)
        self._loop.yield_to_reactor()  # the plain path may have set timers

    def _end(self, descriptor: int, reason: Closing, unsent: int = 0) -> None:
        engine = self._engines.pop(descriptor)
        if reason in (Closing.IDLE, Closing.DONE):
            with suppress(OSError):
                os.write(descriptor, engine.close_notify())
        super()._end(descriptor, reason, unsent)
