"""One write, one verification, one read of one route: the order of calls, their deadlines, what errors mean.

Every call needs a lease that outlives its deadline (invariant 12). After a lost answer the provider is read back before
anything else: the write may have happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar, cast

from steerd.coordinator.clock import Clock
from steerd.core.effects import Apply, Verify
from steerd.core.events import ApplyFinished, RouteObserved, VerifyFinished
from steerd.model.route import Observed, Route
from steerd.providers.base import (
    Change,
    Conflict,
    Incomplete,
    Misconfigured,
    Provider,
    ProviderError,
    Throttled,
    Unreachable,
)
from steerd.providers.pace import urgent

__all__ = ["CallRules", "Calls", "NoLease"]

log = logging.getLogger(__name__)

T = TypeVar("T")

Result = Literal["conflict", "refused", "throttled", "unreachable", "misconfigured"]
"""What `ProviderError.result` may be."""

GetProvider = Callable[[str], Provider]
"""By name; raises the `ProviderError` that keeps it from being used."""


class NoLease(Exception):
    """This coordinator may not act now: it does not lead, or its lease ends too soon."""


@dataclass(frozen=True, slots=True)
class CallRules:
    """Seconds. A call gets `call_s`, or what the lease leaves, but at least `least_s`; else it is not started."""

    call_s: float = 5.0
    least_s: float = 2.0
    margin_s: float = 0.05
    verify_s: float = 5.0
    verify_gap_s: float = 0.2


class Calls:
    """`lease_remaining()` is the seconds for which this coordinator may still act."""

    def __init__(
        self, get: GetProvider, lease_remaining: Callable[[], float], clock: Clock, rules: CallRules | None = None
    ) -> None:
        self._get = get
        self._lease_remaining = lease_remaining
        self._clock = clock
        self._rules = rules or CallRules()
        self._changes: dict[str, Change] = {}
        self._seen: set[str] = set()

    def anew(self) -> None:
        """The lead or the config changed: routes are to be read before anything can be decided about them, which is as urgent
        as a write."""
        self._seen.clear()

    def forget(self, route: str) -> None:
        """The route left the config."""
        self._changes.pop(route, None)

    async def read(self, route: Route) -> RouteObserved | None:
        """What the provider serves now, or why that is not known; None when this coordinator may not ask."""
        try:
            with urgent() if route.key not in self._seen else nullcontext():
                observed = await self._read(self._get(route.provider), route)
        except NoLease:
            return None
        except ProviderError as error:
            return RouteObserved(route.key, None, words(error))
        self._seen.add(route.key)
        return RouteObserved(route.key, observed)

    async def apply(self, route: Route, effect: Apply) -> ApplyFinished:
        """Read, translate, write conditionally. Never raises for what a provider does. May use all calls of the account."""
        with urgent():
            return await self._apply(route, effect)

    async def _apply(self, route: Route, effect: Apply) -> ApplyFinished:
        observed: Observed | None = None
        try:
            provider = self._get(route.provider)
            observed = await self._read(provider, route)
            change = translate(provider, route, effect, observed)
            self._changes[route.key] = change
            if change.nothing:
                return ApplyFinished(
                    effect.route, effect.decision, "unchanged", change.summary, self._clock.now(), None, observed
                )
            try:
                receipt = await self._bounded(lambda deadline: provider.apply(change, deadline), change.summary)
            except (Incomplete, Unreachable) as error:
                return await self._read_back(provider, route, effect, error)
            except Conflict as error:
                return ApplyFinished(
                    effect.route, effect.decision, "conflict", words(error), observed=await self._look(provider, route)
                )
        except NoLease as error:
            return ApplyFinished(effect.route, effect.decision, "no-lease", str(error), observed=observed)
        except ProviderError as error:
            return failed(effect, error, observed)
        text = f"{change.summary} ({receipt.text})" if receipt.text else change.summary
        return ApplyFinished(effect.route, effect.decision, "applied", text, self._clock.now())

    async def verify(
        self, route: Route, effect: Verify, superseded: Callable[[], bool] = lambda: False
    ) -> VerifyFinished:
        """Ask every authoritative place until all answer as desired, the time is up, or a newer write waits behind."""
        end = self._clock.loop_time() + self._rules.verify_s
        text, observed = "nothing answered in time", None
        while True:
            wait_s = self._rules.verify_gap_s
            try:
                provider = self._get(route.provider)
                change = await self._change(provider, route, effect)
                verified = await self._bounded(partial(provider.verify, route, change), f"verify {route.key}", end)
                text, observed = verified.text, verified.observed
                if verified.in_sync:
                    return VerifyFinished(effect.route, effect.decision, True, text, self._clock.now(), observed)
            except NoLease as error:
                return VerifyFinished(effect.route, effect.decision, False, str(error), observed=observed)
            except (Unreachable, Throttled) as error:
                text = words(error)
                wait_s = max(wait_s, error.retry_after_s or 0.0)
            except ProviderError as error:
                return VerifyFinished(effect.route, effect.decision, False, words(error), observed=observed)
            if self._clock.loop_time() + wait_s >= end or superseded():
                return VerifyFinished(effect.route, effect.decision, False, text, observed=observed)
            await self._clock.sleep(wait_s)

    async def _change(self, provider: Provider, route: Route, effect: Verify) -> Change:
        """The change that was applied; after a restart, the same one made again from what stands there."""
        change = self._changes.get(route.key)
        if change is None or change.desired != effect.desired or change.fence != effect.fence:
            change = translate(provider, route, effect, await self._read(provider, route))
            self._changes[route.key] = change
        return change

    async def _read_back(
        self, provider: Provider, route: Route, effect: Apply, error: Incomplete | Unreachable
    ) -> ApplyFinished:
        """The answer was lost, or not all was written: what stands there decides whether the write happened."""
        observed = await self._look(provider, route)
        if observed is not None and self._took(provider, route, effect, observed):
            text = f"an answer was lost ({error.text}), reading back shows the write"
            return ApplyFinished(effect.route, effect.decision, "applied", text, self._clock.now(), None, observed)
        return failed(effect, error, observed)

    def _took(self, provider: Provider, route: Route, effect: Apply, observed: Observed) -> bool:
        """True when `observed` is as desired and, where the provider keeps fences, carries ours."""
        if observed.fence not in (None, effect.fence):
            return False
        try:
            return translate(provider, route, effect, observed).nothing
        except ProviderError:
            return False

    async def _look(self, provider: Provider, route: Route) -> Observed | None:
        try:
            return await self._read(provider, route)
        except (NoLease, ProviderError):
            return None  # the caller has an error to report already; this look would only have explained it

    async def _read(self, provider: Provider, route: Route) -> Observed:
        return await self._bounded(lambda deadline: provider.read(route, deadline), f"read {route.key}")

    async def _bounded(self, call: Callable[[float], Awaitable[T]], what: str, end: float = float("inf")) -> T:
        """Run one provider call under lease and deadline; anything but a `ProviderError` becomes `Unreachable`."""
        deadline = min(await self._deadline(), end)
        try:
            # The provider keeps the deadline itself; this is for one that does not.
            async with asyncio.timeout_at(deadline + self._rules.margin_s / 2):
                return await call(deadline)
        except ProviderError:
            raise
        except TimeoutError:
            raise Unreachable(f"{what}: no answer in time") from None
        except Exception as error:
            log.exception("%s failed in a way a provider should not", what)
            raise Unreachable(f"{what}: {type(error).__name__}: {error}", "this is a bug: please report it") from error

    async def _deadline(self) -> float:
        """The loop time by which a call that starts now must end. Waits for a renewal that is due."""
        rules = self._rules
        while (left := self._lease_remaining() - rules.margin_s) < rules.least_s:
            if left <= 0.0:
                raise NoLease("not done: this coordinator does not lead any more, or its lease ends too soon")
            await self._clock.sleep(0.1)
        return self._clock.loop_time() + min(rules.call_s, left)


def translate(provider: Provider, route: Route, effect: Apply | Verify, observed: Observed) -> Change:
    """`provider.translate`, with its ValueError (nothing would be served) as a refusal."""
    standing = observed.fence
    if standing is not None and standing.fleet == effect.fence.fleet and standing.newer_than(effect.fence):
        raise Conflict(
            f"{route.key} carries the newer fence {standing.text!r}, ours is {effect.fence.text!r}",
            "another coordinator of this fleet wrote it: stop the one that should not run; where it is gone for good,"
            " restart this one, which then takes a newer epoch",
        )
    try:
        return provider.translate(route, effect.desired, observed, effect.fence)
    except ValueError as error:
        raise ProviderError(str(error), "this is a bug: please report it") from error
    except ProviderError:
        raise
    except Exception as error:
        log.exception("translating %s failed in a way a provider should not", route.key)
        raise Misconfigured(
            f"{route.key}: {type(error).__name__}: {error}", "this is a bug: please report it"
        ) from error


def failed(effect: Apply, error: ProviderError, observed: Observed | None) -> ApplyFinished:
    """The event for a write that did not stand."""
    return ApplyFinished(
        effect.route, effect.decision, cast("Result", error.result), words(error), None, error.retry_after_s, observed
    )


def words(error: ProviderError) -> str:
    """What happened and what to do, in one line."""
    return f"{error.text}: {error.action}" if error.action else error.text
