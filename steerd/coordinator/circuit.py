"""A traffic system that does not answer is left alone for a while, so that calls to it do not pile up.

    closed --5 calls in a row without an answer--> open --wait over, or a write--> half-open --answer--> closed
                                                     ^-------------no answer, twice the wait----'

Any answer closes the circuit, a refusal too. A write that carries out a decision never waits for an open circuit: it is the
trial. Only reads and verification do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.base import Change, Misconfigured, Provider, ProviderError, Receipt, Unreachable, Verified
from steerd.providers.errors import HeldBack
from steerd.providers.pace import is_urgent

__all__ = ["AFTER", "Circuit", "Guarded", "State"]

AFTER = 5
"""Calls in a row without an answer that open the circuit."""
FIRST_S = 5.0
MOST_S = 30.0
LEAST_S = 1.0
"""A call that has less time than this and gets no answer says nothing of the system."""

State = Literal["closed", "open", "half-open"]

T = TypeVar("T")


class Circuit:
    """Of one provider. Times are the coordinator's clock's seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._unanswered = 0
        self._wait_s = FIRST_S
        self._until = 0.0
        self._trying = False
        self._last = ""

    @property
    def state(self) -> State:
        """Where it stands now."""
        if self._unanswered < AFTER:
            return "closed"
        return "half-open" if self._trying or self._now() >= self._until else "open"

    def enter(self, name: str, *, urgent: bool) -> bool:
        """A call is about to be made; whether it is the trial. Raises `Unreachable` when it should not be made."""
        if self._unanswered < AFTER:
            return False
        if not urgent and (self._trying or self._now() < self._until):
            wait_s = max(self._until - self._now(), 1.0)
            raise Unreachable(
                f"not asked: the last {self._unanswered} calls to provider {name} got no answer ({self._last})",
                "look at that system; steerd tries again by itself, and every write is tried at once",
                wait_s,
            )
        self._trying = True
        return True

    def answered(self) -> None:
        """It answered, whatever it said."""
        self._unanswered, self._wait_s, self._trying, self._last = 0, FIRST_S, False, ""

    def left(self) -> None:
        """Nothing was sent, or not waited for: that says nothing."""
        self._trying = False

    def unanswered(self, why: str, *, trial: bool) -> None:
        """It did not. Calls that were under way together open the circuit once; only a trial that fails makes the wait longer."""
        self._unanswered += 1
        self._last = why
        if trial:
            self._trying, self._wait_s = False, min(2.0 * self._wait_s, MOST_S)
        if trial or self._unanswered == AFTER:
            self._until = self._now() + self._wait_s

    def standing(self) -> dict[str, Any]:
        """For `status`: the state, calls in a row without an answer, seconds until the next try, and the last error."""
        state = self.state
        again_s = round(max(0.0, self._until - self._now()), 1) if state == "open" else 0.0
        return {"circuit": state, "unanswered": self._unanswered, "again_in_s": again_s, "last_error": self._last}


class Guarded:
    """A provider behind its circuit; all else is the provider's own."""

    kind: ClassVar[Kind]

    def __init__(self, name: str, provider: Provider, circuit: Circuit) -> None:
        self.provider = provider
        self.capabilities: Capabilities = provider.capabilities
        self.circuit = circuit
        self._name = name

    async def open(self) -> None:
        """The provider's."""
        await self.provider.open()

    async def close(self) -> None:
        """The provider's."""
        await self.provider.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The provider's, unless the circuit is open."""
        return await self._call(partial(self.provider.read, route, deadline), deadline)

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """The provider's."""
        return self.provider.translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """The provider's, unless the circuit is open."""
        return await self._call(partial(self.provider.apply, change, deadline), deadline)

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """The provider's, unless the circuit is open."""
        return await self._call(partial(self.provider.verify, route, change, deadline), deadline)

    async def _call(self, call: Callable[[], Awaitable[T]], deadline: float) -> T:
        loop, circuit = asyncio.get_running_loop(), self.circuit
        trial = circuit.enter(self._name, urgent=is_urgent())
        fair = deadline - loop.time() >= LEAST_S  # else its silence says nothing
        try:
            result = await call()
        except (HeldBack, Misconfigured):
            circuit.left()  # the first was not sent, the second may not have been
            raise
        except Unreachable as error:
            self._silent(error.text, fair=fair, trial=trial)
            raise
        except ProviderError:
            circuit.answered()
            raise
        except asyncio.CancelledError:
            self._silent("no answer in time", fair=fair and loop.time() >= deadline, trial=trial)
            raise
        except Exception as error:
            self._silent(f"{type(error).__name__}: {error}", fair=True, trial=trial)
            raise
        circuit.answered()
        return result

    def _silent(self, why: str, *, fair: bool, trial: bool) -> None:
        if fair:
            self.circuit.unanswered(why, trial=trial)
        else:
            self.circuit.left()
