"""A round trip through one provider, step by step, so that a human sees what works and what is missing before 3 a.m.

Reading changes nothing. Writing moves a scratch record or backend that nobody is served from: out and back, each time
verified as a real move is. What goes wrong in between, a Ctrl-C too, is put back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from steerd.model.route import Desired, Fence, Member, Observed, Route
from steerd.providers.base import Change, ChecksRights, Provider, ProviderError, Unreachable, Untold
from steerd.providers.records import fence_name
from steerd.providers.scratch import SCRATCH_VALUES, why_not

__all__ = ["Step", "not_tried", "trial", "write_trial"]

CALL_S = 10.0
VERIFY_S = 30.0
TRIES, GAP_S = 3, 1.0
"""How often it is tried to put back what was moved, and the seconds in between."""
RIGHTS_S = 2.0
"""More for each route whose rights are asked for: some systems are asked once per route, and count calls."""
_PLAN = "test"
"""The plan that the fence of a scratch record names."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried. `ok` False: `text` says what happened and `action` what to do. `took_s` in seconds.
    `checked` False: nothing could be asked, so that it is well says nothing."""

    what: str
    ok: bool
    text: str
    action: str = ""
    took_s: float = 0.0
    checked: bool = True


Tell = Callable[[Step], None]
"""Takes each step as it is done."""


class _Failed(Exception):
    """A step did not work; what comes after it makes no sense."""

    def __init__(self, step: Step) -> None:
        super().__init__(step.text)
        self.step = step


async def trial(provider: Provider, routes: Sequence[Route], fleet: str) -> AsyncIterator[Step]:
    """Opens `provider` (the caller closes it), reads every route, and asks for rights where the system can tell them."""
    try:
        yield (await _timed("open", provider.open, lambda _: "credentials and settings are taken"))[0]
        for route in routes:
            reading = partial(_read, provider, route)
            step, observed = await _timed(f"read {route.name}", reading, partial(_seen, fleet=fleet))
            yield step
            if not observed.exists:
                text = (
                    "nothing stands there yet: the first write makes it" if route.types else "there is no such backend"
                )
                action = "" if route.types else "make it, or correct `backend` in the route"
                yield Step(f"{route.name} exists", bool(route.types), text, action, checked=False)
    except _Failed as failed:
        yield failed.step
        return
    async for step in _rights(provider, routes):
        yield step


async def _rights(provider: Provider, routes: Sequence[Route]) -> AsyncIterator[Step]:
    if not routes:
        text = "no route of this config is written by it: there is nothing to ask rights for"
        yield Step("rights", True, text, checked=False)
        return
    if not isinstance(provider, ChecksRights):
        yield Step("rights", True, "this system cannot be asked what may be written", checked=False)
        return
    try:
        found = await provider.missing_rights(routes, _deadline(CALL_S + RIGHTS_S * len(routes)))
    except ProviderError as error:
        yield Step("rights", False, error.text, error.action)
        return
    lacking = [right for right in found if not isinstance(right, Untold)]
    untold = [right for right in found if isinstance(right, Untold)]
    for right in lacking:
        yield Step(
            "rights", False, f"{right} is missing", "grant it: `packaging/` holds the least policy that is enough"
        )
    for sentence in untold:
        yield Step("rights", True, f"cannot be told: {sentence}", checked=False)
    if not lacking and not untold:
        yield Step("rights", True, "everything a write needs is allowed")


def not_tried(kind: str, steps: Sequence[Step]) -> Step:
    """In place of a write where nothing can be moved harmlessly: why, and what `steps` have shown instead."""
    shown = ", ".join(step.what for step in steps if step.ok and step.checked) or "nothing"
    action = f"without a write it was checked: {shown}; `mode: observe` shows what would be written before anything is"
    return Step("write", False, f"not tried: {why_not(kind)}", action)


async def write_trial(provider: Provider, route: Route, fleet: str, tell: Tell) -> None:
    """Moves the scratch `route`: both in, the first out, and both in again; the members of a backend end with the weights they had
    (where all were out, in: an answer is never emptied). Each write is read back and verified. Nothing is written where anything
    else than an earlier trial's stands. After a failure, or when it is cancelled, it is put back; where that fails too, the
    last step says what was left."""
    trip = _Trip(provider, route, fleet, tell)
    try:
        await trip.out_and_back()
    except _Failed as failed:
        tell(failed.step)
    except asyncio.CancelledError:
        tell(Step(f"write {route.name}", False, "stopped" + (": it is put back first" if trip.begun else "")))
        raise
    finally:
        if trip.begun and not trip.done:
            await trip.put_back()
        if trip.stays:
            members, fence = ", ".join(trip.keys), fence_name(route.name)
            text = f"{route.name} stays with {members}, and its fence as TXT at {fence}"
            tell(Step("clean up", True, text, "delete both when you are done"))


class _Trip:
    """One scratch route on its way out and back. `now`: the weights last read or tried, in the order of `keys`; `had`: before."""

    def __init__(self, provider: Provider, route: Route, fleet: str, tell: Tell) -> None:
        self._provider, self._route, self._fleet, self._tell = provider, route, fleet, tell
        self._top = 1 if provider.capabilities.membership else min(100, provider.capabilities.weight_max)
        self._had: tuple[int, ...] = ()
        self._now: tuple[int, ...] = ()
        self._number = 0
        self.keys = tuple(target.key for target in route.targets)
        self.begun = self.done = self.stands = False

    async def out_and_back(self) -> None:
        """Raises `_Failed`."""
        route, top = self._route, self._top
        self._had = self._weights(await self._read())
        await _refuse_what_is_used(self._provider, route)
        for weights in ((top, top), (0, top), self._last):
            await self._write(weights)
        self.done = True

    async def put_back(self) -> None:
        """To the weights it began with; a record to both in, where one stands. Tells what was left where that fails."""
        failed = Step("", False, "it was stopped again")
        try:
            for attempt in range(TRIES):
                if attempt:
                    await asyncio.sleep(GAP_S)
                try:
                    await self._back()
                except _Failed as error:
                    failed = error.step
                else:
                    self.done = True
                    break
        finally:
            if not self.done:
                left, began = (self._in_words(weights) for weights in (self._now, self._had))
                text = f"left: {left} (it began with {began}): {failed.text}"
                action = f"put it back by hand. {failed.action}".rstrip()
                self._tell(Step(f"put back {self._route.name}", False, text, action))

    async def _back(self) -> None:
        observed = await self._read()
        self._now = self._weights(observed)
        if observed.exists and self._now != self._had:
            await self._write(self._last)
        else:
            text = "stands as it began" if observed.exists else "nothing stands there, as when it began"
            self._tell(Step(f"put back {self._route.name}", True, text))

    @property
    def stays(self) -> bool:
        """A record was written that nothing but a human deletes: what is volatile is gone with the provider."""
        return self.begun and self.stands and bool(self._route.types) and not self._provider.capabilities.volatile

    @property
    def _last(self) -> tuple[int, ...]:
        return (self._top, self._top) if self._route.types or not any(self._had) else self._had

    def _weights(self, observed: Observed) -> tuple[int, ...]:
        self.stands = observed.exists
        return tuple(observed.weights.get(key, 0) for key in self.keys)

    def _in_words(self, weights: Sequence[int]) -> str:
        return ", ".join(f"{key} {weight or 'out'}" for key, weight in zip(self.keys, weights, strict=True))

    async def _read(self) -> Observed:
        return (await _timed(f"read {self._route.name}", partial(_read, self._provider, self._route), lambda _: ""))[1]

    async def _write(self, weights: tuple[int, ...]) -> None:
        route, provider = self._route, self._provider
        said = ", ".join(f"{key} {'in' if weight else 'out'}" for key, weight in zip(self.keys, weights, strict=True))
        desired = Desired(tuple(_member(route, key, weight) for key, weight in zip(self.keys, weights, strict=True)))
        observed = await self._read()
        stands = observed.fence
        epoch, seq = (stands.epoch, stands.seq) if stands is not None else (0, 0)
        self._number += 1
        fence = Fence(self._fleet, epoch, seq + self._number, _PLAN)
        try:
            change = provider.translate(route, desired, observed, fence)
        except (ProviderError, ValueError) as error:
            action = error.action if isinstance(error, ProviderError) else "this is a bug: please report it"
            raise _Failed(Step(f"write {route.name}", False, str(error), action)) from error
        if change.nothing:
            self._tell(Step(f"write {route.name}", True, f"{said}: stands so already"))
        else:
            self.begun = self.stands = True
            self._now = weights
            step, _ = await _timed(
                f"write {route.name}",
                lambda: _whole(provider.apply(change, _deadline(CALL_S))),
                lambda receipt: f"{said}: accepted {receipt.text}".rstrip(),
            )
            self._tell(step)
        verified = partial(_verified, provider, route, change)
        step, _ = await _timed(f"verify {route.name}", verified, lambda text: text)
        self._tell(step)


async def _refuse_what_is_used(provider: Provider, route: Route) -> None:
    """Raises `_Failed` unless `route` serves nobody: no record yet, or one of an earlier trial; a backend of these servers only."""
    # People may be served by the address type that the trial does not write; a CNAME there is refused by the reading.
    wider = replace(route, types=("A", "AAAA")) if route.types else route
    _, stood = await _timed(f"read {route.name}", partial(_read, provider, wider), lambda _: "")
    where = f"write {route.name}"
    if stood.foreign:
        others = ", ".join(stood.foreign)
        raise _Failed(Step(where, False, f"others stand there too ({others}): this is no scratch", "name another one"))
    if stood.fence is not None and stood.fence.plan != _PLAN:
        text = f"it carries the fence of fleet {stood.fence.fleet!r}, plan {stood.fence.plan}: traffic is steered by it"
        raise _Failed(Step(where, False, text, "name another one with --write NAME"))
    served = {value for values in stood.values.values() for value in values}
    if route.types and stood.exists and not served <= set(SCRATCH_VALUES):
        raise _Failed(
            Step(where, False, f"it serves {', '.join(sorted(served))}: this is no scratch record", "name another one")
        )


async def _verified(provider: Provider, route: Route, change: Change) -> str:
    end, text = _deadline(VERIFY_S), "not served as written"
    while True:
        found = await provider.verify(route, change, min(end, _deadline(CALL_S)))
        if found.in_sync:
            return "served as written everywhere that was asked"
        text = found.text or text
        if asyncio.get_running_loop().time() + 0.5 > end:
            raise Unreachable(f"after {VERIFY_S:g} s: {text}", "look at what that system serves")
        await asyncio.sleep(0.5)


async def _whole(write: Coroutine[Any, Any, T]) -> T:
    """A write that is under way is waited for even when cancelled: what is put back must not be overtaken by it."""
    task = asyncio.create_task(write)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=CALL_S)
        raise
    finally:
        if not task.done():
            task.cancel()
        elif not task.cancelled():
            task.exception()  # read, so that the loop does not report it as nobody's


def _member(route: Route, key: str, weight: int) -> Member:
    return Member(key, weight, route.target(key).values_for(frozenset({key})) if weight else ())


def _seen(observed: Observed, fleet: str) -> str:
    if not observed.exists:
        return "answered"
    serves = (
        ", ".join(f"{key} {weight}" for key, weight in sorted(observed.weights.items()) if weight) or "nothing of ours"
    )
    foreign = f"; left alone, as it is nobody's target: {', '.join(observed.foreign)}" if observed.foreign else ""
    if observed.fence is None:
        owner = ""
    elif observed.fence.fleet == fleet:
        owner = f"; last written by this fleet, epoch {observed.fence.epoch}"
    else:
        owner = f"; CARRIES THE FENCE OF ANOTHER FLEET: {observed.fence.fleet}"
    return f"serves {serves}{foreign}{owner}"


async def _read(provider: Provider, route: Route) -> Observed:
    return await provider.read(route, _deadline(CALL_S))


def _deadline(within_s: float) -> float:
    return asyncio.get_running_loop().time() + within_s


async def _timed(what: str, call: Callable[[], Awaitable[T]], words: Callable[[T], str]) -> tuple[Step, T]:
    """The step and the result. Raises `_Failed` with the step that tells why not."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(VERIFY_S + CALL_S):
            result: Any = await call()
    except ProviderError as error:
        raise _Failed(Step(what, False, error.text, error.action, loop.time() - began)) from error
    except TimeoutError:
        raise _Failed(Step(what, False, "no answer in time", "look at that system", loop.time() - began)) from None
    return Step(what, True, words(result), took_s=loop.time() - began), result
