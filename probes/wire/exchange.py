"""One request and its answer on a connection, kept or fresh: a state machine fed by `epoll`."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Callable
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import Final

from probes.clock import Phase
from probes.errors import HOST_ERRNOS
from probes.faults import Fault, fault_of, raised, timeout_fault
from probes.outcome import Stages, Status
from probes.wire.answer import Answer, Reader
from probes.wire.engine import EVENTS, Engine
from probes.wire.origin import Origin
from probes.wire.request import Encoded

__all__ = ["KEEP_ALIVE_S", "Exchange"]

KEEP_ALIVE_S: Final = 75.0
"""How long an idle connection is kept: longer than the usual interval, so that the frequent looks find one."""

_CHUNK = 32_768
_IDLE_CLOSED = 408
_READS: Final = 16
"""Pieces read in a row. A peer that sends as fast as we read would keep the event loop to itself otherwise."""

_GONE = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR
_ENDED = EPOLLRDHUP | EPOLLHUP | EPOLLERR
_WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

# `socket.socket` is this class with conveniences that cost a microsecond a connection.
_SOCKET = socket.SocketType
_KIND = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)

_IDLE, _CONNECT, _SHAKE, _WAIT = range(4)
_PHASES = {_IDLE: Phase.START, _CONNECT: Phase.CONNECT, _SHAKE: Phase.TLS, _WAIT: Phase.WAIT}


class Exchange:
    """Asks one origin, again and again, one request at a time, and keeps one connection for it.

    `begin` never raises for anything of the network: what became of it is told by `ended(self)`, once, before or after `begin`
    returns. Then either `fault` is set, or `status` with `answer`: None where the status is in `plain`, the statuses that say all
    there is to know, and the answer came in one piece.
    """

    __slots__ = (
        "_ident",
        "_kept",
        "_kept_fd",
        "_kept_since",
        "_limit",
        "_looked",
        "_open",
        "_reader",
        "_renewed",
        "_request",
        "_resume",
        "_session",
        "_state",
        "_unsent",
        "answer",
        "busy",
        "connect_at",
        "connected_at",
        "deadline",
        "end_at",
        "ended",
        "engine",
        "fault",
        "fd",
        "first_at",
        "handle",
        "origin",
        "plain",
        "sent_at",
        "sock",
        "start_at",
        "status",
        "tls_at",
    )

    def __init__(
        self, engine: Engine, origin: Origin, ended: Callable[[Exchange], None], *, plain: frozenset[int], limit: int
    ) -> None:
        self.engine = engine
        self.origin = origin
        self.ended = ended
        self.plain = plain
        self.busy = False
        self.sock: socket.SocketType | ssl.SSLSocket | None = None
        self.fd = -1
        self.handle = self._event
        self.deadline = self.start_at = self.end_at = self.sent_at = 0.0
        self._limit = limit
        self._kept: socket.SocketType | ssl.SSLSocket | None = None
        self._kept_fd = -1
        self._kept_since = 0.0
        self._session: ssl.SSLSession | None = None
        self._state = _IDLE

    # -- the ask ------------------------------------------------------------------------------------------------------

    def begin(self, request: Encoded, ident: bytes, deadline: float, *, fresh: bool) -> None:
        """Asks. `deadline` is of `time.monotonic`; with `fresh` on a connection of its own, which verifies TLS in full."""
        self.busy = True
        self.status = 0
        self.answer: Answer | None = None
        self.fault: Fault | None = None
        self.deadline = deadline
        self.connect_at = self.connected_at = self.tls_at = self.first_at = 0.0
        self._reader: Reader | None = None
        self._request = request
        self._ident = ident
        self._unsent = b""
        self._renewed = fresh
        self._resume = not fresh
        self.start_at = now = time.perf_counter()
        self.engine.watch(self)
        kept = self._kept
        if kept is None or fresh:
            self._connect()
            return
        if now - self._kept_since > KEEP_ALIVE_S or not _silent(kept):
            self._drop_kept()
            self._connect()
            return
        self.sock, self.fd = kept, self._kept_fd
        self._kept = None
        self._state = _WAIT
        self._send(request.kept(ident))

    def expire(self, now: float) -> None:
        """The deadline may have passed: see `Engine.watch`."""
        if self.busy and self.deadline <= now:
            phase = Phase.READ if self._reader is not None and self._reader.headed else _PHASES[self._state]
            limit_s = self.deadline - self.start_at
            self._fail(timeout_fault(phase, limit_s))

    def close(self) -> None:
        """Closes what is open; an ask under way ends without a word."""
        self.busy = False
        self._drop()
        self._drop_kept()

    @property
    def keeps(self) -> bool:
        """An idle connection is kept."""
        return self._kept is not None

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

    # -- connecting ---------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self.connect_at = time.perf_counter()
        self._state = _CONNECT
        origin = self.origin
        try:
            sock = self.sock = _SOCKET(origin.family, _KIND)
            fd = self.fd = sock.fileno()
            code = sock.connect_ex(origin.address)
            if code in (0, errno.EINPROGRESS):
                self.engine.handlers[fd] = self.handle
                self.engine.register(fd, EVENTS)
                return
        except OSError as error:
            self._broken(error)
            return
        self._broken(OSError(code, errno.errorcode.get(code, str(code))))

    def _event(self, fd: int, event: int) -> None:
        """`epoll` has news of a connection of ours."""
        if fd != self.fd or not self.busy:
            if fd == self._kept_fd and event & _GONE:
                self._drop_kept()  # closed by the peer while idle, or it speaks without being asked
            return
        state = self._state
        try:
            if state == _WAIT:
                if self._unsent and event & EPOLLOUT:
                    self._send(self._unsent)
                if event & _GONE and self.busy:
                    self._read(event)
            elif state == _CONNECT:
                self._connected(event)
            else:
                self._shake()
        except Exception as error:  # noqa: BLE001 - a bug of ours ends this look as an ERROR, and no other look
            self._raised(error)

    def _connected(self, event: int) -> None:
        sock = self.sock
        assert sock is not None
        if event & (EPOLLERR | EPOLLHUP):
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._broken(OSError(code, errno.errorcode.get(code, str(code))))
                return
        elif not event & EPOLLOUT:
            return
        if self.origin.tls is None:
            self.connected_at = time.perf_counter()
            self._ask()
            return
        self.tls_at = time.perf_counter()
        self._state = _SHAKE
        # A resumed session shows no certificate: only connections that replace a kept one may use it.
        session = self._session if self._resume else None
        try:
            self.sock = self.origin.tls.wrap_socket(
                sock,  # type: ignore[arg-type]  # the C class of a socket does all that is asked of one here
                do_handshake_on_connect=False,
                server_hostname=self.origin.server_name,
                session=session,
            )
        except OSError as error:
            self._broken(error)
            return
        self._shake()

    def _shake(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except _WAITS:
            return
        except OSError as error:
            self._broken(error)
            return
        self.connected_at = time.perf_counter()
        self._ask()

    def _ask(self) -> None:
        self._state = _WAIT
        request = self._request
        self._send(request.last(self._ident) if self._renewed else request.kept(self._ident))

    # -- asking and reading -------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        assert self.sock is not None
        try:
            sent = self.sock.send(data)
        except _WAITS:
            sent = 0
        except OSError as error:
            self._broken(error)
            return
        self.sent_at = time.perf_counter()
        self._unsent = b"" if sent == len(data) else data[sent:]

    def _read(self, event: int) -> None:
        sock = self.sock
        assert sock is not None
        secure = self.origin.tls is not None
        for _ in range(_READS):
            try:
                data = sock.recv(_CHUNK)
            except _WAITS:
                return
            except OSError as error:
                self._broken(error)
                return
            if not self.first_at:
                self.first_at = time.perf_counter()
            if self._take(data, event):
                return
            if not secure and len(data) < _CHUNK and not event & _ENDED:
                return  # the socket is empty: the next byte makes an event
        self.expire(time.monotonic())
        if self.busy:
            self.engine.read_on(self, self.fd, EPOLLIN | (EPOLLRDHUP if event & _ENDED else 0))

    def _take(self, data: bytes, event: int) -> bool:
        """One piece of the answer. True when there is nothing more to read."""
        reader = self._reader
        if reader is None:
            if not data:
                self._closed_unanswered()
                return True
            if self.plain and not self._request.bodiless:
                status, keep = self.engine.quick.status_of(data)
                if status == _IDLE_CLOSED and self._again():
                    return True
                if status in self.plain:
                    self.status = status
                    self._end(keep=keep and not event & _ENDED and len(data) < _CHUNK)
                    return True
            reader = self._reader = Reader(self._limit, bodiless=self._request.bodiless)
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
        self._end(keep=reader.keep and not event & _ENDED and len(data) < _CHUNK)
        return True

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _end(self, *, keep: bool) -> None:
        self.end_at = now = time.perf_counter()
        if self.fault is None and isinstance(self.sock, ssl.SSLSocket):
            self._session = self.sock.session  # now, since tickets come after the handshake
        if keep and not self._renewed and not self._unsent and self._kept is None:
            self._kept, self._kept_fd, self._kept_since = self.sock, self.fd, now
            self.sock, self.fd = None, -1
        else:
            self._drop()
        self._state = _IDLE
        self.busy = False
        self.ended(self)

    def _fail(self, fault: Fault) -> None:
        self.fault = fault
        self._end(keep=False)

    def _closed_unanswered(self) -> None:
        if self._again():
            return
        self._fail(Fault(Status.FAIL, "connection closed without an answer", transport=True))

    def _broken(self, error: OSError) -> None:
        answered = bool(self.first_at) and self._state == _WAIT
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) and self._state == _WAIT and not answered:
            self._closed_unanswered()
            return
        if not answered and error.errno not in HOST_ERRNOS and not isinstance(error, ssl.SSLError) and self._again():
            return
        phase = Phase.READ if answered else _PHASES[self._state]
        fault = fault_of(error, phase, answered=answered)
        self._fail(fault if fault is not None else raised(error))

    def _again(self) -> bool:
        """Asks once more, on a new connection, where a kept one turned out dead: servers that close idle ones make it so,
        and some say 408 on it first, which may cross the request.
        """
        if self.connect_at or self._renewed:
            return False  # it was new: a second, silent attempt would hide every other failure
        self._drop()
        self._renewed = True
        self.first_at = 0.0
        self._unsent = b""
        self._reader = None
        self._connect()
        return True

    def _raised(self, error: Exception) -> None:
        if not self.busy:
            raise error  # it is of whoever was told of the end
        self._fail(raised(error))

    def _drop(self) -> None:
        sock = self.sock
        if sock is not None:
            self.engine.handlers.pop(self.fd, None)
            sock.close()
            self.sock, self.fd = None, -1

    def _drop_kept(self) -> None:
        sock = self._kept
        if sock is not None:
            self.engine.handlers.pop(self._kept_fd, None)
            sock.close()
            self._kept, self._kept_fd = None, -1


def _silent(sock: socket.SocketType | ssl.SSLSocket) -> bool:
    """An idle connection is open and has nothing to say: what comes next on it is the answer to what is asked next."""
    try:
        sock.recv(1)
    except _WAITS:
        return True
    except OSError:
        return False
    return False
