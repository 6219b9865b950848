"""The providers of a coordinator: opened in the background, opened again when that failed, closed at the end.

One that cannot be opened does not stop the coordinator: its routes are unknown until it can be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from steerd.coordinator.circuit import Circuit, Guarded
from steerd.coordinator.clock import Clock
from steerd.providers.base import Provider, ProviderError, Unreachable
from steerd.providers.pace import Paces

__all__ = ["Connections"]

log = logging.getLogger(__name__)

OPEN_WITHIN_S = 5.0
RETRY_FIRST_S = 1.0
RETRY_MOST_S = 30.0
CLOSE_WITHIN_S = 1.0


class Connections:
    """Providers by name. `opened(name)` is called each time one has come up."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        clock: Clock,
        opened: Callable[[str], None],
        paces: Paces | None = None,
    ) -> None:
        self._providers = dict(providers)
        self._guarded: dict[str, Guarded] = {}
        self._paces = paces or Paces()
        self._clock = clock
        self._opened = opened
        self._up: set[str] = set()
        self._errors: dict[str, ProviderError] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def get(self, name: str) -> Guarded:
        """The open provider `name`, behind its circuit. Raises the `ProviderError` that keeps it from being open."""
        if name in self._up:
            return self._guarded[name]
        error = self._errors.get(name)
        if error is not None:
            raise error
        raise Unreachable(f"provider {name} is not open yet")

    def status(self) -> dict[str, dict[str, Any]]:
        """Name -> state ("open", "opening" or "failed") and why; the circuit; the account's calls, where they are limited."""
        told: dict[str, dict[str, Any]] = {}
        for name in sorted(self._providers):
            error = self._errors.get(name)
            state = "open" if name in self._up else "failed" if error else "opening"
            told[name] = {"state": state, "text": error.text if error else "", "action": error.action if error else ""}
            if name in self._up:
                told[name].update(self._guarded[name].circuit.standing())
            if (account := self._paces.standing(name)) is not None:
                told[name]["account"] = account
        return told

    async def open(self, group: asyncio.TaskGroup, within_s: float) -> None:
        """Open all; waits at most `within_s`, the others follow in the background of `group`."""
        self._group = group
        for name in self._providers:
            self._keepers[name] = group.create_task(self._keep(name), name=f"open {name}")
        if self._keepers:
            await asyncio.wait(self._keepers.values(), timeout=within_s)

    def replace(self, providers: Mapping[str, Provider]) -> None:
        """Take a new set: what is the same object stays open, the rest is closed or opened in the background.

        A successor opens once its predecessor is closed: both may want the same port.
        """
        assert self._group is not None, "open comes first"
        old = self._providers
        closing: dict[str, asyncio.Task[None]] = {}
        for name in [n for n in old if providers.get(n) is not old[n]]:
            self._keepers.pop(name).cancel()
            was_up = name in self._up
            self._up.discard(name)
            self._errors.pop(name, None)
            if was_up:
                closing[name] = self._group.create_task(self._close(name, old[name]), name=f"close {name}")
        self._providers = dict(providers)
        for name in [n for n in self._providers if n not in self._keepers]:
            self._keepers[name] = self._group.create_task(self._keep(name, closing.get(name)), name=f"open {name}")

    async def close(self) -> None:
        """Close all that are open; an error there is told and stops nobody."""
        for keeper in self._keepers.values():
            keeper.cancel()
        up, self._up = self._up, set()
        await asyncio.gather(*(self._close(n, self._providers[n]) for n in sorted(up)))

    async def _keep(self, name: str, after: asyncio.Task[None] | None = None) -> None:
        """Try until it is open."""
        if after is not None:
            await asyncio.wait({after})
        provider, wait_s = self._providers[name], RETRY_FIRST_S
        while True:
            try:
                async with asyncio.timeout(OPEN_WITHIN_S):
                    await provider.open()
            except ProviderError as error:
                self._errors[name] = error
            except TimeoutError:
                self._errors[name] = Unreachable(f"provider {name} did not open within {OPEN_WITHIN_S:g} s")
            except Exception as error:
                log.exception("provider %s failed to open in a way it should not", name)
                self._errors[name] = Unreachable(f"provider {name}: {type(error).__name__}: {error}")
            else:
                self._errors.pop(name, None)
                self._guarded[name] = Guarded(name, provider, Circuit(self._clock.now))
                self._up.add(name)
                self._opened(name)
                return
            log.warning("provider %s is not open: %s %s", name, self._errors[name].text, self._errors[name].action)
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MOST_S)

    async def _close(self, name: str, provider: Provider) -> None:
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await provider.close()
        except Exception:
            log.exception("provider %s did not close cleanly", name)
