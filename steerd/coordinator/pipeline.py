"""The engine's wishes in their order: persist, then apply and verify, then answer the operator.

A decision that cannot be stored is kept and tried again, together with newer ones: nothing is applied before it is stored,
and no state is stored without the decisions it rests on. The engine learns of it by "not-persisted" and backs off by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from steerd.coordinator.clock import Clock
from steerd.coordinator.executor import Executor
from steerd.coordinator.journal import Journal, StaleEpochError
from steerd.core.effects import Answer, Apply, Effect, Persist, Verify
from steerd.model.plan import Decision, HardState
from steerd.stores.base import StoreUnavailable

__all__ = ["Pipeline"]

RETRY_S = 1.0


class Pipeline:
    """`answer` resolves an operator's command; `stale` is called when the store says that another leads;
    `trouble` with the text while the store cannot be written, None once it can."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        clock: Clock,
        *,
        answer: Callable[[Answer], None],
        stale: Callable[[], None],
        trouble: Callable[[str | None], None],
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._clock = clock
        self._answer = answer
        self._stale = stale
        self._trouble = trouble
        self._batches: deque[tuple[Effect, ...]] = deque()
        self._unstored: dict[str, Decision] = {}
        self._state: HardState | None = None
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, effects: tuple[Effect, ...]) -> None:
        """Queue the effects of one step; those not meant for here are left out."""
        batch = tuple(e for e in effects if isinstance(e, Persist | Apply | Verify | Answer))
        if batch:
            self._batches.append(batch)
            self._idle.clear()
            self._more.set()

    def reset(self) -> None:
        """The lead changed: what was decided under the old one is void."""
        self._forget()
        batches, self._batches = list(self._batches), deque()
        for effect in (e for batch in batches for e in batch):
            if isinstance(effect, Answer):
                self._answer(_not_stored(effect, "the lead was lost meanwhile"))
        self._trouble(None)

    async def settle(self) -> None:
        """Wait until everything queued was tried once."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            if not self._batches:
                self._idle.set()
                await self._wait()
            if self._batches:
                await self._carry_out(self._batches.popleft())
            elif self._state is not None:
                await self._store()

    async def _wait(self) -> None:
        """Until there is a batch, or it is time to try again what could not be stored."""
        self._more.clear()
        if self._state is None:
            await self._more.wait()
            return
        more = asyncio.ensure_future(self._more.wait())
        retry = asyncio.ensure_future(self._clock.sleep(RETRY_S))
        try:
            await asyncio.wait({more, retry}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            more.cancel()
            retry.cancel()

    async def _carry_out(self, batch: tuple[Effect, ...]) -> None:
        why: str | None = None
        for effect in batch:
            if isinstance(effect, Persist):
                self._add(effect)
                if why is None:
                    why = await self._store()
            elif isinstance(effect, Apply):
                if why is None:
                    self._executor.submit(effect)
                else:
                    self._executor.refuse(effect, "not-persisted", why)
            elif isinstance(effect, Verify):
                self._executor.submit(effect)
            elif isinstance(effect, Answer):
                self._answer(effect if why is None or effect.result != "ok" else _not_stored(effect, why))

    def _add(self, persist: Persist) -> None:
        """Keep until stored. A decision whose routes a newer one all covers is needless."""
        new = persist.decision
        self._state = persist.state
        if new is not None:
            self._unstored.pop(new.id, None)
            needless = [i for i, d in self._unstored.items() if d.routes.keys() <= new.routes.keys()]
            for old in needless:
                del self._unstored[old]
            self._unstored[new.id] = new

    async def _store(self) -> str | None:
        """Store all that waits, in one transaction. None when done, else why not."""
        state = self._state
        if state is None:
            return None
        decisions = sorted(self._unstored.values(), key=lambda d: (d.epoch, d.seq))
        try:
            await self._journal.persist(decisions, state)
        except StaleEpochError as error:
            if self._state is state:
                self._forget()
                self._stale()
            return str(error)
        except StoreUnavailable as error:
            self._trouble(str(error))
            return str(error)
        if self._state is state:  # else the lead changed meanwhile
            self._forget()
        self._trouble(None)
        return None

    def _forget(self) -> None:
        self._unstored.clear()
        self._state = None


def _not_stored(answer: Answer, why: str) -> Answer:
    text = f"not stored, so not done yet ({why}). It is tried again until it works or another coordinator leads."
    return Answer(answer.id, "not-persisted", text, answer.data)
