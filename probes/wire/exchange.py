"""One request and its answer on a connection, kept or fresh: a state machine fed by `epoll`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from select import EPOLLIN, EPOLLRDHUP
from time import monotonic
from typing import Final

from probes.clock import Phase
from probes.errors import HOST_ERRNOS
from probes.faults import Fault, fault_of, raised, timeout_fault
from probes.outcome import Stages, Status
from probes.wire.answer import Answer, Reader
from probes.wire.engine import Engine
from probes.wire.link import CONNECT, ENDED, IDLE, SHAKE, WAIT, WAITS, Link
from probes.wire.origin import Origin
from probes.wire.request import Encoded

__all__ = ["KEEP_ALIVE_S", "Exchange"]

KEEP_ALIVE_S: Final = 75.0
"""How long an idle connection is kept: longer than the usual interval, so that the frequent looks find one."""

_CHUNK = 32_768
_IDLE_CLOSED = 408
_READS: Final = 16
"""Pieces read in a row. A peer that sends as fast as we read would keep the event loop to itself otherwise."""

_PHASES = {IDLE: Phase.START, CONNECT: Phase.CONNECT, SHAKE: Phase.TLS, WAIT: Phase.WAIT}


class Exchange(Link):
    """Asks one origin, again and again, one request at a time, and keeps one connection for it.

    `begin` never raises for anything of the network: what became of it is told by `ended(self)`, once, before or after `begin`
    returns. Then either `fault` is set, or `status` with `answer`: None where the status is in `plain`, the statuses that say all
    there is to know, and the answer came in one piece.
    """

    __slots__ = (
        "_ident",
        "_kept_since",
        "_limit",
        "_marked",
        "_reader",
        "_request",
        "answer",
        "deadline",
        "end_at",
        "ended",
        "fault",
        "first_at",
        "plain",
        "start_at",
        "status",
    )

    def __init__(
        self, engine: Engine, origin: Origin, ended: Callable[[Exchange], None], *, plain: frozenset[int], limit: int
    ) -> None:
        super().__init__(engine, origin)
        self.ended = ended
        self.plain = plain
        self.deadline = self.start_at = self.end_at = self.first_at = 0.0
        self.answer: Answer | None = None
        self.fault: Fault | None = None
        self._reader: Reader | None = None
        self._marked = False
        self._limit = limit
        self._kept_since = 0.0
        self._forget()

    @property
    def busy(self) -> bool:
        """An ask is under way."""
        return self.state != IDLE

    # -- the ask ------------------------------------------------------------------------------------------------------

    def begin(self, request: Encoded, ident: bytes, deadline: float, *, fresh: bool) -> None:
        """Asks. `deadline` is of `time.monotonic`; with `fresh` on a connection of its own, which verifies TLS in full."""
        engine = self.engine
        now = monotonic()
        heard = True
        if now > engine.deaf_at:
            heard = engine.listen()
            now = monotonic()
        if self._marked:
            self._forget()
        self.start_at = now
        self.deadline = deadline
        self._request = request
        self._ident = ident
        self.first_at = 0.0
        engine.watch(self)
        if not fresh and self.sock is not None:
            if now - self._kept_since <= KEEP_ALIVE_S and ((heard and self.origin.tls is None) or self._silent()):
                self.state = WAIT
                self._send(request.head + ident + request.tail)
                return
            self._drop()
        self._renewed = fresh
        self._resume = not fresh
        self._marked = True
        self._connect()

    def _forget(self) -> None:
        """What the ask before left behind, unless that was a plain pass on a kept connection."""
        self._marked = False
        self.status = 0
        self.answer = None
        self.fault = None
        self.connect_at = self.connected_at = self.tls_at = 0.0
        self._reader = None
        self._renewed = self._resume = False
        self._unsent = b""

    def expire(self, now: float) -> None:
        """The deadline may have passed: see `Engine.watch`."""
        if self.state != IDLE and self.deadline <= now:
            phase = Phase.READ if self._reader is not None and self._reader.headed else _PHASES[self.state]
            limit_s = self.deadline - self.start_at
            self._fail(timeout_fault(phase, limit_s))

    def close(self) -> None:
        """Closes what is open; an ask under way ends without a word."""
        self.state = IDLE
        self._drop()
        self._drop_spare()

    def stages(self) -> Stages:
        """How long each stage took so far."""
        end_at = self.end_at
        opened = self.connect_at > 0.0 and self.connected_at > 0.0
        shaken = opened and self.tls_at > 0.0
        return Stages(
            connect_s=(self.tls_at if shaken else self.connected_at) - self.connect_at if opened else None,
            tls_s=self.connected_at - self.tls_at if shaken else None,
            first_byte_s=self.first_at - self.sent_at if self.first_at else None,
            total_s=end_at - self.start_at,
        )

    def _words(self) -> bytes:
        request = self._request
        return request.head + self._ident + (request.tail_last if self._renewed else request.tail)

    # -- the answer ---------------------------------------------------------------------------------------------------

    def _heard(self, event: int) -> None:
        """Something came: nearly always one whole answer that is like the one before."""
        sock = self.sock
        assert sock is not None
        if self._reader is not None:
            self._read(event)
            return
        try:
            data = sock.recv(_CHUNK)
        except WAITS:
            return
        except OSError as error:
            self._broken(error)
            return
        self.first_at = now = monotonic()
        if not data:
            self._closed_unanswered()
            return
        if self.plain and not self._request.bodiless:
            status, keep = self.engine.quick.status_of(data)
            if status == _IDLE_CLOSED and self._again():
                return
            if status in self.plain:
                self.status = status
                self._end(now, keep=keep and not event & ENDED and len(data) < _CHUNK)
                return
        self._marked = True
        self._reader = Reader(self._limit, bodiless=self._request.bodiless)
        if not self._take(data, event) and (len(data) == _CHUNK or event & ENDED or self.origin.tls is not None):
            self._read(event)

    def _read(self, event: int) -> None:
        """Further pieces."""
        sock = self.sock
        assert sock is not None
        secure = self.origin.tls is not None
        for _ in range(_READS):
            try:
                data = sock.recv(_CHUNK)
            except WAITS:
                return
            except OSError as error:
                self._broken(error)
                return
            if self._take(data, event):
                return
            if not secure and len(data) < _CHUNK and not event & ENDED:
                return  # the socket is empty: the next byte makes an event
        self.expire(monotonic())
        if self.state != IDLE:
            self.engine.read_on(self, self.fd, EPOLLIN | (EPOLLRDHUP if event & ENDED else 0))

    def _take(self, data: bytes, event: int) -> bool:
        """One piece of the answer. True when there is nothing more to read."""
        reader = self._reader
        assert reader is not None
        if not data:
            fault = reader.closed()
            if fault is not None:
                self._fail(fault)
                return True
        elif not reader.feed(data):
            return False
        if reader.fault is not None:
            self._fail(reader.fault)
            return True
        if reader.status == _IDLE_CLOSED and self._again():
            return True
        self.answer = reader.answer()
        self.status = self.answer.status
        self._end(monotonic(), keep=reader.keep and not event & ENDED and len(data) < _CHUNK)
        return True

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _end(self, now: float, *, keep: bool) -> None:
        self.end_at = now
        if self.origin.tls is not None and self.fault is None:
            assert isinstance(self.sock, ssl.SSLSocket)
            self._session = self.sock.session  # now, since tickets come after the handshake
        self.state = IDLE
        if keep and not self._renewed and not self._unsent:
            self._kept_since = now
        else:
            self._lay_down()
        self.ended(self)

    def _fail(self, fault: Fault) -> None:
        self.fault = fault
        self._marked = True
        self._end(monotonic(), keep=False)

    def _closed_unanswered(self) -> None:
        if self._again():
            return
        self._fail(Fault(Status.FAIL, "connection closed without an answer", transport=True))

    def _broken(self, error: OSError) -> None:
        answered = bool(self.first_at) and self.state == WAIT
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) and self.state == WAIT and not answered:
            self._closed_unanswered()
            return
        if not answered and error.errno not in HOST_ERRNOS and not isinstance(error, ssl.SSLError) and self._again():
            return
        phase = Phase.READ if answered else _PHASES[self.state]
        fault = fault_of(error, phase, answered=answered)
        self._fail(fault if fault is not None else raised(error))

    def _again(self) -> bool:
        """Asks once more, on a new connection, where a kept one turned out dead: servers that close idle ones make it so,
        and some say 408 on it first, which may cross the request.
        """
        if self.connect_at or self._renewed:
            return False  # it was new: a second, silent attempt would hide every other failure
        self._drop()
        self._renewed = self._marked = True
        self.first_at = 0.0
        self._unsent = b""
        self._reader = None
        self._connect()
        return True

    def _raised(self, error: Exception) -> None:
        if self.state == IDLE:
            raise error  # it is of whoever was told of the end
        self._fail(raised(error))
