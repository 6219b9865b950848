"""One `epoll` for all looks of an event loop."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final

from probes.wire.answer import QuickParser
from probes.wire.deadlines import Deadlines

if TYPE_CHECKING:
    from probes.wire.exchange import Exchange

__all__ = ["ASKED", "EVENTS", "Engine"]

EVENTS: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
"""Registered once for a connection's whole life: edges cost no further system call."""

ASKED: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
"""The same for a connection of one ask, whose request is away before there is anything to be told."""

_BATCH = 256

DEAF_S: Final = 0.0002
"""Seconds after which `epoll` is asked before another look begins. Answers that came meanwhile are taken first, so that none waits
for a long row of looks to begin and its latency is its own. And a kept connection that spoke without being asked is not used,
unless its words came within this time: then they cross the request, as those may that are still on their way.
"""


class Engine:
    """All connections of one event loop. Made by `acquire`, given back by `release`; the last user closes it.

    `handlers` maps a descriptor to who takes its events. `watch` is told of every ask, `quick` parses its answer. Before an ask
    that begins after `deaf_at` (of `time.monotonic`), `listen`.
    """

    _engines: ClassVar[dict[asyncio.AbstractEventLoop, Engine]] = {}

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._users = 0
        self._epoll = select.epoll()
        self._fileno = self._epoll.fileno()
        self._deadlines = Deadlines(loop, self.listen, self._report)
        self._draining = False
        self._unread: list[tuple[Exchange, int, int]] = []
        self.handlers: dict[int, Callable[[int, int], None]] = {}
        self.deaf_at = 0.0
        self.quick = QuickParser()
        self.register = self._epoll.register
        self.watch = self._deadlines.watch
        loop.add_reader(self._fileno, self.listen)

    @classmethod
    def acquire(cls) -> Engine:
        """The engine of the running loop, made for its first user. Raises OSError when this host has no descriptor left."""
        loop = asyncio.get_running_loop()
        for known in [k for k in cls._engines if k.is_closed()]:
            cls._engines.pop(known).abandon()
        engine = cls._engines.get(loop)
        if engine is None:
            engine = cls._engines[loop] = cls(loop)
        engine._users += 1
        return engine

    def release(self) -> None:
        """One user less. Connections are their owners' to close before."""
        self._users -= 1
        if self._users > 0:
            return
        if self._engines.get(self._loop) is self:
            del self._engines[self._loop]
        self._deadlines.close()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._fileno)
        self._epoll.close()

    def abandon(self) -> None:
        """The loop was closed under its users, who cannot close anything any more."""
        self._epoll.close()

    # -- events -------------------------------------------------------------------------------------------------------

    def listen(self) -> bool:
        """Takes what has come. False when that is being done already, further up."""
        if self._draining:
            return False
        handlers = self.handlers
        self._draining = True
        self.deaf_at = 0.0  # what begins meanwhile has not been listened to
        try:
            while True:
                events = self._epoll.poll(0, _BATCH)
                for fd, event in events:
                    handler = handlers.get(fd)
                    if handler is not None:
                        try:
                            handler(fd, event)
                        except Exception as error:  # noqa: BLE001 - see `_report`
                            self._report(error)
                if len(events) < _BATCH:
                    return True
        finally:
            self._draining = False
            self.deaf_at = monotonic() + DEAF_S

    def read_on(self, exchange: Exchange, fd: int, event: int) -> None:
        """`exchange` left bytes in the socket, and no edge will tell of them: it gets `event` again after everybody else."""
        if not self._unread:
            self._loop.call_soon(self._read_on)
        self._unread.append((exchange, fd, event))

    def _read_on(self) -> None:
        unread, self._unread = self._unread, []
        for exchange, fd, event in unread:
            try:
                exchange.handle(fd, event)
            except Exception as error:  # noqa: BLE001 - see `_report`
                self._report(error)

    def _report(self, error: Exception) -> None:
        """An edge is told once: what the end of one look raises must not keep the others from theirs."""
        self._loop.call_exception_handler({"message": "a look's end failed", "exception": error})
