"""The connection of an exchange: opened, watched, kept idle between two asks, closed."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from time import monotonic
from typing import Final

from probes.wire.engine import ASKED, EVENTS, Engine
from probes.wire.origin import Origin

__all__ = ["CONNECT", "ENDED", "IDLE", "NEWS", "SHAKE", "WAIT", "WAITS", "Link"]

NEWS: Final = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR
"""Events that bring bytes, or the end of them."""

ENDED: Final = EPOLLRDHUP | EPOLLHUP | EPOLLERR

WAITS: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket raises that has nothing more for now."""

IDLE: Final = 0
CONNECT: Final = 1
SHAKE: Final = 2
WAIT: Final = 3

# `socket.socket` is this class with conveniences that cost a microsecond a connection.
_SOCKET = socket.SocketType
_FAR: Final = 16
_UNDER_WAY: Final = (errno.EINPROGRESS, 0)
_KIND = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)


class Link:
    """One origin's connection. `state` is IDLE between two asks, when `sock` is the connection kept for the next, if any.

    Who inherits says what follows: `_words` is what to send once it is open, `_heard` is called when there is something to read,
    `_broken` for an error of the network, `_raised` for any other. Times are of `time.monotonic`, 0.0 for what did not happen.
    """

    __slots__ = (
        "_far",
        "_renewed",
        "_resume",
        "_session",
        "_spare",
        "_spare_fd",
        "_unsent",
        "connect_at",
        "connected_at",
        "engine",
        "fd",
        "handle",
        "origin",
        "sent_at",
        "sock",
        "state",
        "tls_at",
    )

    handle: Callable[[int, int], None]

    def __init__(self, engine: Engine, origin: Origin) -> None:
        self.engine = engine
        self.origin = origin
        self.state = IDLE
        self.sock: socket.SocketType | ssl.SSLSocket | None = None
        self.fd = -1
        self.handle = self._event
        self.connect_at = self.connected_at = self.tls_at = self.sent_at = 0.0
        self._unsent = b""
        self._far = 0
        """How many connects from now are not expected to be over at once. On one host the kernel shakes hands within the call:
        then the request follows at once, and `epoll` has one thing to tell instead of two.
        """
        self._renewed = False
        """Connected for this ask alone."""
        self._resume = False
        """A TLS session of before may be used. A resumed one shows no certificate, so only for what replaces a kept connection."""
        self._spare: socket.SocketType | ssl.SSLSocket | None = None
        """The kept connection, while an ask is made on one of its own."""
        self._spare_fd = -1
        self._session: ssl.SSLSession | None = None

    @property
    def keeps(self) -> bool:
        """An idle connection is kept."""
        return self._spare is not None or (self.state == IDLE and self.sock is not None)

    # -- what follows -------------------------------------------------------------------------------------------------

    def _words(self) -> bytes:
        raise NotImplementedError

    def _heard(self, event: int) -> None:
        raise NotImplementedError

    def _broken(self, error: OSError) -> None:
        raise NotImplementedError

    def _raised(self, error: Exception) -> None:
        raise NotImplementedError

    # -- opening ------------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Opens a connection; a kept one is laid aside."""
        if self.sock is not None:
            self._spare, self._spare_fd = self.sock, self.fd
        self.sock, self.fd = None, -1
        self.connect_at = monotonic()
        self.state = CONNECT
        origin = self.origin
        try:
            sock = self.sock = _SOCKET(origin.family, _KIND)
            fd = self.fd = sock.fileno()
            code = sock.connect_ex(origin.address)
            if code in _UNDER_WAY:
                events = ASKED if self._sent_at_once(sock) and self._renewed else EVENTS
                self.engine.handlers[fd] = self.handle
                self.engine.register(fd, events)
                return
        except OSError as error:
            self._broken(error)
            return
        self._broken(OSError(code, errno.errorcode.get(code, str(code))))

    def _sent_at_once(self, sock: socket.SocketType) -> bool:
        """The connection is open, and took the whole request. Raises OSError where it could not be opened."""
        if self._far or self.origin.tls is not None:
            self._far -= self._far > 0
            return False
        data = self._words()
        connected_at = monotonic()
        try:
            sent = sock.send(data)
        except BlockingIOError:
            self._far = _FAR
            return False
        self.connected_at = connected_at
        self.sent_at = monotonic()
        self.state = WAIT
        self._unsent = data[sent:]
        return sent == len(data)

    def _event(self, fd: int, event: int) -> None:
        """`epoll` has news of a connection of ours."""
        state = self.state
        if fd != self.fd or state == IDLE:
            if event & NEWS:
                self._unasked(fd)
            return
        try:
            if state == WAIT:
                if self._unsent and event & EPOLLOUT:
                    self._send(self._unsent)
                if event & NEWS and self.state == WAIT:
                    self._heard(event)
            elif state == CONNECT:
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
            self.connected_at = monotonic()
            self.state = WAIT
            self._send(self._words())
            return
        self.tls_at = monotonic()
        self.state = SHAKE
        try:
            self.sock = self.origin.tls.wrap_socket(
                sock,  # type: ignore[arg-type]  # the C class of a socket does all that is asked of one here
                do_handshake_on_connect=False,
                server_hostname=self.origin.server_name,
                session=self._session if self._resume else None,
            )
        except OSError as error:
            self._broken(error)
            return
        self._shake()

    def _shake(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except WAITS:
            return
        except OSError as error:
            self._broken(error)
            return
        self.connected_at = monotonic()
        self.state = WAIT
        self._send(self._words())

    def _send(self, data: bytes) -> None:
        assert self.sock is not None
        try:
            sent = self.sock.send(data)
        except WAITS:
            sent = 0
        except OSError as error:
            self._broken(error)
            return
        self.sent_at = monotonic()
        self._unsent = b"" if sent == len(data) else data[sent:]

    # -- keeping and closing ------------------------------------------------------------------------------------------

    def _unasked(self, fd: int) -> None:
        """A connection that nothing was asked on was closed by the peer, or brings what nobody asked for."""
        if fd == self._spare_fd:
            self._drop_spare()
        elif fd == self.fd:
            self._drop()

    def _silent(self) -> bool:
        """The kept connection is open and has nothing to say: what comes next on it is the answer to what is asked next."""
        assert self.sock is not None
        try:
            self.sock.recv(1)
        except WAITS:
            return True
        except OSError:
            return False
        return False

    def _lay_down(self) -> None:
        """Closes the connection of an ask that ended, and takes up the one laid aside."""
        self._drop()
        if self._spare is not None:
            self.sock, self.fd = self._spare, self._spare_fd
            self._spare, self._spare_fd = None, -1

    def _drop(self) -> None:
        sock = self.sock
        if sock is not None:
            self.engine.handlers.pop(self.fd, None)
            sock.close()
            self.sock, self.fd = None, -1

    def _drop_spare(self) -> None:
        sock = self._spare
        if sock is not None:
            self.engine.handlers.pop(self._spare_fd, None)
            sock.close()
            self._spare, self._spare_fd = None, -1
