"""One call of the store: bounded in time, told to the observer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from steerd.coordinator.clock import Clock
from steerd.coordinator.observer import CoordinatorObserver
from steerd.stores.base import StoreError, StoreUnavailable

__all__ = ["StoreCall"]

T = TypeVar("T")


class StoreCall:
    """`await call("persist", store.txn(...))`: the answer, or a `StoreError` after at most `within_s`."""

    def __init__(self, clock: Clock, observer: CoordinatorObserver) -> None:
        self._clock = clock
        self._observer = observer

    async def __call__(self, op: str, work: Awaitable[T], within_s: float = 6.0) -> T:
        began = self._clock.loop_time()
        try:
            async with asyncio.timeout(within_s):
                done = await work
        except TimeoutError:
            self._observer.on_store(op, self._clock.loop_time() - began, ok=False)
            raise StoreUnavailable(f"the store did not answer within {within_s:g} s") from None
        except StoreError:
            self._observer.on_store(op, self._clock.loop_time() - began, ok=False)
            raise
        self._observer.on_store(op, self._clock.loop_time() - began, ok=True)
        return done
