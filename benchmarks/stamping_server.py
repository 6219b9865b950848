"""Answers, and keeps for each answer what a packet capture at its door would show: how long after the request's arrival, which the
kernel stamps, it was sent. However late this process comes to read it, the wait is in that time, as it is in a capture's.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
STAMP = struct.Struct("@ll")


class Server:
    """All connections of one port, until a line comes on stdin."""

    def __init__(self, port: int) -> None:
        self.took: dict[str, list[float]] = {}
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("0.0.0.0", port))
        self._listener.listen(8192)
        self._listener.setblocking(False)
        self._on(self._listener, self._accept)

    def serve(self) -> None:
        """Answers until somebody says so."""
        self._epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        while True:
            for fd, _ in self._epoll.poll():
                handler = self._handlers.get(fd)
                if handler is None:
                    return
                handler()

    def _on(self, sock: socket.socket, handler: Callable[[], None]) -> None:
        self._handlers[sock.fileno()] = handler
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _accept(self) -> None:
        try:
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                self._on(sock, partial(self._answer, sock, self.took.setdefault(sock.getsockname()[0], [])))
        except BlockingIOError:
            return

    def _answer(self, sock: socket.socket, took: list[float]) -> None:
        try:
            data, extra, _, _ = sock.recvmsg(4096, 64)
        except OSError:
            data, extra = b"", []
        if not data:
            del self._handlers[sock.fileno()]
            sock.close()
            return
        stamps = [STAMP.unpack(value) for level, kind, value in extra if kind == SO_TIMESTAMPNS]
        now = time.time()
        sock.send(ANSWER)
        took.append(now - stamps[0][0] - stamps[0][1] / 1e9 if stamps else float("nan"))


if __name__ == "__main__":
    server = Server(int(sys.argv[1]))
    print("ready", flush=True)
    server.serve()
    print(json.dumps(server.took), flush=True)
