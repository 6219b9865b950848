"""One `epoll` for all looks of an event loop, and their deadlines."""

from __future__ import annotations

import asyncio
import heapq
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

from probes.wire.answer import QuickParser

if TYPE_CHECKING:
    from probes.wire.exchange import Exchange

__all__ = ["EVENTS", "Engine"]

EVENTS: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
"""Registered once for a connection's whole life: edges cost no further system call."""

_BATCH = 256

DEADLINE_STEP_S: Final = 0.01
"""Deadlines are kept in steps of this: a look ends at most this much after its own."""

_DRAIN_EVERY: Final = 4


class Engine:
    """All connections of one event loop. Made by `acquire`, given back by `release`; the last user closes it.

    `handlers` maps a descriptor to who takes its events. Times are those of `time.monotonic`, which the event loops' clocks
    count too.
    """

    _engines: ClassVar[dict[asyncio.AbstractEventLoop, Engine]] = {}

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._users = 0
        self._epoll = select.epoll()
        self._fileno = self._epoll.fileno()
        self._buckets: dict[int, list[Exchange]] = {}
        self._due: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._started = 0
        self._draining = False
        self._unread: list[tuple[Exchange, int, int]] = []
        self.handlers: dict[int, Callable[[int, int], None]] = {}
        self.quick = QuickParser()
        self.register = self._epoll.register
        loop.add_reader(self._fileno, self._ready)

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
        if self._timer is not None:
            self._timer.cancel()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._fileno)
        self._epoll.close()

    def abandon(self) -> None:
        """The loop was closed under its users, who cannot close anything any more."""
        self._epoll.close()

    # -- events -------------------------------------------------------------------------------------------------------

    def _ready(self) -> None:
        """The event loop says that some connection has something to tell."""
        if self._draining:
            return
        handlers = self.handlers
        self._draining = True
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
                    return
        finally:
            self._draining = False

    def breathe(self) -> None:
        """Call after each look started in a row of many: takes answers in between, so that none of them waits for the row
        to end and its latency is its own.
        """
        self._started += 1
        if self._started % _DRAIN_EVERY == 0:
            self._ready()

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
        """An edge or a deadline is told once: what the end of one look raises must not keep the others from theirs."""
        self._loop.call_exception_handler({"message": "a look's end failed", "exception": error})

    # -- deadlines ----------------------------------------------------------------------------------------------------

    def watch(self, exchange: Exchange) -> None:
        """Tells `exchange` when its `deadline` has passed, unless it has ended or got a later one by then."""
        step = int(exchange.deadline / DEADLINE_STEP_S) + 1
        bucket = self._buckets.get(step)
        if bucket is not None:
            bucket.append(exchange)
            return
        self._buckets[step] = [exchange]
        heapq.heappush(self._due, step)
        if self._timer is None or step < self._timer_at:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            self._timer_at = self._due[0]
            self._timer = self._loop.call_at(self._timer_at * DEADLINE_STEP_S, self._expire)

    def _expire(self) -> None:
        # Answers that are here already came in time, however late this loop is: the look's own clock would not say so.
        self._ready()
        now = time.monotonic()
        self._timer = None
        while self._due and self._due[0] * DEADLINE_STEP_S <= now:
            for exchange in self._buckets.pop(heapq.heappop(self._due)):
                try:
                    exchange.expire(now)
                except Exception as error:  # noqa: BLE001 - see `_report`
                    self._report(error)
        self._arm()
