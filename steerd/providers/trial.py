"""A round trip through one provider, step by step, so that a human sees what works and what is missing before 3 a.m.

Reading changes nothing. Writing moves a scratch record or backend that nobody is served from: out and back, each time
verified as a real move is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from steerd.model.route import Desired, Fence, Member, Observed, Route
from steerd.providers.base import ChecksRights, Provider, ProviderError, Unreachable, Untold
from steerd.providers.scratch import SCRATCH_VALUES, why_not

__all__ = ["Step", "not_tried", "trial", "write_trial"]

CALL_S = 10.0
VERIFY_S = 30.0
RIGHTS_S = 2.0
"""More for each route whose rights are asked for: some systems are asked once per route, and count calls."""
_PLAN = "test"
"""The plan that the fence of a scratch record names."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried. `ok` False: `text` says what happened and `action` what to do. `took_s` in seconds."""

    what: str
    ok: bool
    text: str
    action: str = ""
    took_s: float = 0.0


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
                yield Step(f"{route.name} exists", bool(route.types), text, action)
    except _Failed as failed:
        yield failed.step
        return
    async for step in _rights(provider, routes):
        yield step


async def _rights(provider: Provider, routes: Sequence[Route]) -> AsyncIterator[Step]:
    if not routes:
        yield Step("rights", True, "no route of this config is written by it: there is nothing to ask rights for")
        return
    if not isinstance(provider, ChecksRights):
        yield Step("rights", True, "this system cannot be asked what may be written")
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
        yield Step("rights", True, f"cannot be told: {sentence}")
    if not lacking and not untold:
        yield Step("rights", True, "everything a write needs is allowed")


def not_tried(kind: str, steps: Sequence[Step]) -> Step:
    """In place of a write where nothing can be moved harmlessly: why, and what `steps` have shown instead."""
    shown = ", ".join(step.what for step in steps if step.ok) or "nothing"
    action = f"without a write it was checked: {shown}; `mode: observe` shows what would be written before anything is"
    return Step("write", False, f"not tried: {why_not(kind)}", action)


async def write_trial(provider: Provider, route: Route, fleet: str) -> AsyncIterator[Step]:
    """Moves the scratch `route`: both in, the first out, and both in again; the members of a backend end with the weights they had
    (where all were out, in: an answer is never emptied). Each write is read back and verified. Nothing is written where anything
    else than an earlier trial's stands."""
    keys = [target.key for target in route.targets]
    top = 1 if provider.capabilities.membership else min(100, provider.capabilities.weight_max)
    try:
        _, stood = await _timed(f"read {route.name}", partial(_read, provider, route), lambda _: "")
        _refuse_what_is_used(route, stood)
        had = tuple(stood.weights.get(key, 0) for key in keys)
        last = (top, top) if route.types or not any(had) else had
        for n, weights in enumerate(((top, top), (0, top), last)):
            said = ", ".join(f"{key} {'in' if weight else 'out'}" for key, weight in zip(keys, weights, strict=True))
            members = tuple(_member(route, key, weight) for key, weight in zip(keys, weights, strict=True))
            async for step in _one_write(provider, route, Desired(members), fleet, n, said):
                yield step
    except _Failed as failed:
        yield failed.step


def _refuse_what_is_used(route: Route, stood: Observed) -> None:
    """Raises `_Failed` unless `route` serves nobody: no record yet, or one of an earlier trial; a backend of these servers only."""
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


async def _one_write(
    provider: Provider, route: Route, desired: Desired, fleet: str, number: int, said: str
) -> AsyncIterator[Step]:
    _, observed = await _timed(f"read {route.name}", partial(_read, provider, route), lambda _: "")
    stands = observed.fence
    epoch, seq = (stands.epoch, stands.seq) if stands is not None else (0, 0)
    fence = Fence(fleet, epoch, seq + 1 + number, _PLAN)
    try:
        change = provider.translate(route, desired, observed, fence)
    except (ProviderError, ValueError) as error:
        action = error.action if isinstance(error, ProviderError) else "this is a bug: please report it"
        raise _Failed(Step(f"write {route.name}", False, str(error), action)) from error
    if change.nothing:
        yield Step(f"write {route.name}", True, f"{said}: stands so already")
    else:
        step, _ = await _timed(
            f"write {route.name}",
            lambda: provider.apply(change, _deadline(CALL_S)),
            lambda receipt: f"{said}: accepted {receipt.text}".rstrip(),
        )
        yield step

    async def verified() -> str:
        end, text = _deadline(VERIFY_S), "not served as written"
        while True:
            found = await provider.verify(route, change, min(end, _deadline(CALL_S)))
            if found.in_sync:
                return "served as written everywhere that was asked"
            text = found.text or text
            if asyncio.get_running_loop().time() + 0.5 > end:
                raise Unreachable(f"after {VERIFY_S:g} s: {text}", "look at what that system serves")
            await asyncio.sleep(0.5)

    step, _ = await _timed(f"verify {route.name}", verified, lambda text: text)
    yield step


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
