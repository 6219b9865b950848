"""Limits: what holds a ramp back besides the guards at its start: velocity, dwell, repeat, damping, and the receivers' well-being.

One object per review; the drain book asks it before every step and tells it after. Times are steady seconds.

`World.last_change` holds, per "service/domain" and direction, when automation last moved it: "... out", "... in" (dwell), and
"... gray" when a gray drain of it began (repeat).
"""

from __future__ import annotations

from dataclasses import replace

from steerd.core.relief import worse
from steerd.core.strain import strain_of
from steerd.core.world import World
from steerd.model.plan import Cause, Drain, Phase, Strain, Veto

__all__ = ["Limits"]

_WORTH = 0.01
"""A cut that leaves less than this part of a move is not worth a write."""
_TINY = 1e-9


class Limits:
    """The limits of one service at `now`."""

    def __init__(self, world: World, service: str, now: float) -> None:
        self._world = world
        self._service = service
        self._now = now

    # -- damping ----------------------------------------------------------------------------------------------------

    def back_at(self, drain: Drain, due: float) -> float:
        """When a held drain may begin to come back, given that `restore_after` ends at `due`."""
        until = due
        for name in self._damped(drain):
            extra = self._world.damper.extra_s(name, self._now)
            until = max(until, due + extra, self._world.damper.suppressed_until(name, self._now) or 0.0)
        return until

    def _damped(self, drain: Drain) -> tuple[str, ...]:
        if drain.kind != "region":
            return (drain.name,)
        domains = self._world.domains
        return tuple(sorted({domains.zone_of[e] for e in domains.members(self._service, drain.name)}))

    def flapped(self, drain: Drain) -> None:
        """A domain turned bad while it came back. An entry of the same moment is counted once."""
        for name in self._damped(drain):
            known = self._world.damper.penalties.get(name)
            if known is None or known.at < self._now:
                self._world.damper.flap(name, self._now)
                self._world.state_changed = True

    # -- dwell and repeat ---------------------------------------------------------------------------------------------

    def turns_at(self, name: str, direction: str) -> float:
        """When automation may move `name` in `direction` ("in" or "out") again, after it last moved it the other way."""
        other = "out" if direction == "in" else "in"
        last = self._world.last_change.get(f"{self._service}/{name} {other}")
        return last + self._world.fleet.guards.dwell_s if last is not None else 0.0

    def dwell(self, name: str) -> Veto | None:
        """A drain of what came back a moment ago has to wait."""
        until = self.turns_at(name, "out")
        if self._now >= until:
            return None
        self._world.timers.at(until, "service", self._service)
        waited = self._world.fleet.guards.dwell_s
        text = f"{name} was put back less than {waited:.0f} s ago: one move must be seen to work before the next"
        return Veto(self._service, name, "dwell", text, self._now)

    def most(self, name: str) -> float:
        """How far a gray drain of `name` may go: half, when the last one began less than `repeat_block` ago."""
        last = self._world.last_change.get(f"{self._service}/{name} gray")
        blocked = last is not None and self._now - last < self._world.fleet.guards.repeat_block_s
        return 0.5 if blocked else 1.0

    # -- velocity -----------------------------------------------------------------------------------------------------

    def cut(self, before: float, after: Drain) -> tuple[Drain | None, Veto | None]:
        """`after` as far as the window has room for it, and what stopped the rest. `before` is the fraction out so far."""
        part = self._part(after)
        need = part * (after.fraction - before)
        if not after.automatic or after.cause in (Cause.DEAD, Cause.NEW) or need <= _TINY:
            return after, None
        room = self._world.velocity.room(self._service, self._now)
        if need <= room + _TINY:
            return after, None
        frees = self._world.velocity.frees_at(self._service, self._now)
        self._world.timers.at(frees, "service", self._service)
        rules = self._world.fleet.guards
        fraction = before + room / part
        text = (
            f"max_removed: {rules.max_removed_share:.0%} of the capacity of {self._service} in {rules.max_removed_per_s:.0f} s "
            f"leaves room for {fraction:.0%} of {after.name}; the rest goes on in {frees - self._now:.0f} s"
        )
        veto = Veto(self._service, after.name, "velocity", text, self._now)
        if fraction - before < _WORTH:
            return None, veto
        return replace(after, fraction=fraction, phase=Phase.DRAINING), veto

    def _part(self, drain: Drain) -> float:
        """The part of the service's capacity that this drain is about: without what another one has fully out."""
        world = self._world
        domains = world.domains
        total = sum(domains.capacity(self._service, z) for z in domains.zones[self._service])
        members = domains.members(self._service, drain.name)
        gone: set[str] = set()
        for other in world.drains.of_service(self._service, domains):
            if other.key != drain.key and other.fraction >= 1.0 - _TINY:
                gone |= members & domains.members(self._service, other.name)
        endpoints = world.fleet.endpoint_by_name
        left = domains.capacity(self._service, drain.name) - sum(endpoints[e].capacity for e in gone)
        return left / total if total > 0 and len(gone) < len(members) else 0.0

    # -- what happened ------------------------------------------------------------------------------------------------

    def moved(self, before: float, after: Drain) -> None:
        """Automation moved a domain from `before` (the fraction out) to where `after` stands."""
        if not after.automatic or abs(after.fraction - before) <= _TINY:
            return
        key = f"{self._service}/{after.name}"
        out = after.fraction > before
        self._world.last_change[f"{key} {'out' if out else 'in'}"] = self._now
        if out and after.cause is Cause.GRAY and before <= _TINY:
            self._world.last_change[f"{key} gray"] = self._now
        if out and after.cause not in (Cause.DEAD, Cause.NEW):
            self._world.velocity.took(self._service, self._part(after) * (after.fraction - before), self._now)

    def back(self, drain: Drain) -> None:
        """Automation put a domain back for good."""
        self._world.last_change[f"{self._service}/{drain.name} in"] = self._now

    # -- the receivers ------------------------------------------------------------------------------------------------

    def worse(self, drain: Drain) -> str | None:
        """Why the next step out must not be taken: the receivers suffer. Only gray and operators' drains ask."""
        if drain.cause not in (Cause.GRAY, Cause.OPERATOR) or drain.force or drain.now:
            return None
        before = dict(drain.before).get(self._service)
        return worse(before, self._strain(drain), self._world.service(self._service).objectives)

    def began(self, drain: Drain) -> Drain:
        """A staged drain that begins now, with how its receivers in this service stand before it."""
        mine = (self._service, self._strain(drain))
        return replace(drain, before=(*(b for b in drain.before if b[0] != self._service), mine))

    def _strain(self, drain: Drain) -> Strain:
        world = self._world
        out = {drain.name}
        out.update(d.name for d in world.drains.of_service(self._service, world.domains) if d.fraction > 0)
        return strain_of(world, self._service, out, self._now)
