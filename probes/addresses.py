"""Names with several addresses, each of which is a target of its own (probes.md): with the name's Host and TLS name, resolved anew
when its TTL is over.

    http, tcp, tls, progress        every look asks all of them, side by side, and `probes.fold` makes one outcome of theirs
    user paths                      every look asks one of them, in turn, since each costs tokens. Where that fails and half of the
                                    look's time is left, the next is asked at once: SLOW when that one is well, FAIL when not
    version, dependencies           any address that takes the connection, as their clients do
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Final

from probes.address import is_address
from probes.clock import StageClock
from probes.fold import fold
from probes.guard import guarded, result
from probes.outcome import Layer, Outcome, Status
from probes.target import Target
from probes.wire.resolver import Resolver

__all__ = ["TURN", "AddressTurns", "Turn", "at_each"]

_PART: Final = 0.5
"""The part of a look's time that must be left for the next address."""


@dataclass(slots=True)
class Turn:
    """Which of a name's addresses one look asks. A name is asked at one address in all of its steps. `of` is how many the name
    of the last choice has.
    """

    number: int
    skipped: str | None = None
    chosen: dict[str, str] = field(default_factory=dict)
    of: int = 1

    def pick(self, host: str, addresses: tuple[str, ...]) -> str:
        """The address of `host` to ask; `addresses` holds at least one."""
        known = self.chosen.get(host)
        if known not in addresses:
            left = [one for one in addresses if one != self.skipped] or list(addresses)
            known = self.chosen[host] = left[self.number % len(left)]
            self.of = len(addresses)
        return known


TURN: ContextVar[Turn | None] = ContextVar("probes_address_turn", default=None)
"""The turn of the look that runs in this task; none where any address will do."""


class AddressTurns:
    """Whose turn it is, per target. Looks begin anywhere, so that agents do not ask the same address at the same time."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    async def look(self, target: Target, deadline: float, ask: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """`ask`'s outcome at the address whose turn it is; see the module's text."""
        number = self._numbers.get(target.name)
        if number is None:
            number = secrets.randbelow(1 << 16)
        self._numbers[target.name] = number + 1
        now = asyncio.get_running_loop().time
        enough_s = _PART * (deadline - now())
        turn = Turn(number)
        first = await _at(turn, ask)
        if first.status is not Status.FAIL or turn.of < 2 or deadline - now() < enough_s:
            return first
        other = Turn(number + 1, skipped=next(iter(turn.chosen.values())))
        second = await _at(other, ask)
        spent = first.tokens + second.tokens
        if second.status is Status.ERROR or second.status is Status.FAIL:
            return replace(first, tokens=spent)
        return replace(
            first,
            status=Status.SLOW,
            reason=f"one address of {turn.of}: {first.reason}",
            detail=f"{other.skipped}: {first.detail or first.reason}",
            transport=False,
            unanswered=False,
            tokens=spent,
        )

    def forget(self, target: str) -> None:
        """The target is gone."""
        self._numbers.pop(target, None)


async def _at(turn: Turn, ask: Callable[[], Awaitable[Outcome]]) -> Outcome:
    token = TURN.set(turn)
    try:
        return await ask()
    finally:
        TURN.reset(token)


async def at_each(
    layer: Layer, host: str, deadline: float, look: Callable[[str | None], Awaitable[Outcome]]
) -> Outcome:
    """`look` at every address of `host`, side by side, as one outcome; at None where `host` is an address already, or nothing."""
    if not host or is_address(host):
        return await look(None)
    clock, found = StageClock(), list[str]()

    async def ask() -> Outcome:
        clock.name = host
        clock.connecting(named=True)
        found.extend(await Resolver.of(asyncio.get_running_loop()).resolve(host))
        clock.dialling()
        return result(Status.PASS, layer, clock)

    resolved = await guarded(layer, deadline, clock, ask())
    if not found:
        return resolved
    outcomes = await asyncio.gather(*map(look, found))
    folded = fold(dict(zip(found, outcomes, strict=True)))
    dns_s = resolved.stages.dns_s or 0.0
    stages = replace(folded.stages, dns_s=dns_s, total_s=(folded.stages.total_s or 0.0) + dns_s)
    return replace(folded, stages=stages, duration_s=folded.duration_s + dns_s)
