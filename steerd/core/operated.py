"""Operated: the ramps of operators' drains. One drain may cover several services, and every one of them is asked before each step.

A step goes out, or back, when its time has come and no service says no: a region that takes over is not ready or has old data,
receivers suffer, there is no room to return, failback waits for a human. A service in which an automatic drain keeps the domain out
anyhow has no say, while there is another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from steerd.core import guards, passive, ramp
from steerd.core.decide import room_for
from steerd.core.effects import Record
from steerd.core.expiry import waits
from steerd.core.limits import Limits
from steerd.core.standing import standing_for
from steerd.core.wants import well
from steerd.core.world import World
from steerd.model.plan import Drain, Phase, Veto
from steerd.model.rules import Ramp

__all__ = ["advance", "ramp_of", "with_baselines"]

_DONE = 1.0 - 1e-9
_AGAIN_S = 10.0
"""How soon a step that something stands in the way of is tried again."""
_READY_S = 1.0
"""How soon after it became ready a takeover goes on."""


def advance(world: World, services: Iterable[str], seen: set[str], now: float) -> None:
    """Moves the operators' drains that touch these services, but for those in `seen`, which grows by them."""
    mine = {d.key for s in services for d in world.drains.of_service(s, world.domains) if not d.automatic}
    for key in sorted(mine - seen):
        seen.add(key)
        drain = world.drains.book.get(key)
        if drain is None:
            continue
        asked = _asked(world, drain)
        if asked:
            _note(world, key, asked, _advance(world, drain, asked, now))


def ramp_of(world: World, drain: Drain) -> Ramp:
    """The steps of an operator's drain: the slowest of the services it covers."""
    ramps = [world.service(s).ramp for s in world.domains.services_in(drain.name)]
    return max(ramps, key=lambda r: (r.drain_step_every_s, r.restore_step_every_s), default=world.fleet.ramp)


def with_baselines(world: World, drain: Drain, now: float) -> Drain:
    """The drain with how its receivers stand, in every service, as it begins."""
    for service in world.domains.services_in(drain.name):
        drain = Limits(world, service, now).began(drain)
    return drain


def _asked(world: World, drain: Drain) -> list[str]:
    """The services that have a say."""
    there = [s for s in world.domains.services_in(drain.name) if world.services[s].adopted]
    return [s for s in there if not _out_anyhow(world, s, drain)] or there


def _out_anyhow(world: World, service: str, drain: Drain) -> bool:
    members = world.domains.members(service, drain.name)
    return any(
        d.automatic
        and d.phase is Phase.HELD
        and d.fraction >= _DONE
        and members <= world.domains.members(service, d.name)
        for d in world.drains.of_service(service, world.domains)
    )


def _note(world: World, key: str, asked: Iterable[str], vetoes: dict[str, Veto]) -> None:
    """Keeps what holds the drain back for the reviews of the services that say so."""
    before = world.drains.holds.pop(key, {})
    if vetoes and key in world.drains.book:
        world.drains.holds[key] = vetoes
    for service in asked:
        old, new = before.get(service), vetoes.get(service)
        if (old and (old.guard, old.text)) != (new and (new.guard, new.text)):
            world.touch(service)


def _advance(world: World, drain: Drain, asked: list[str], now: float) -> dict[str, Veto]:
    """One drain; returns service -> what stops its next step there."""
    rules = ramp_of(world, drain)
    if drain.phase is not Phase.RESTORING and drain.until is not None:
        if now >= drain.until:
            _expired(world, drain, asked, rules, now)
            return {}
        world.timers.at(drain.until, "service", asked[0])
    due = ramp.next_at(drain, rules)
    if drain.phase is Phase.HELD or due is None:
        return {}
    if now < due:
        world.timers.at(due, "service", asked[0])
        return {}
    if drain.phase is Phase.RESTORING:
        if all(well(world.board, s, drain) for s in asked):
            _back(world, drain, asked, rules, now)
        else:
            world.timers.at(now + _READY_S, "service", asked[0])
        return {}
    held, vetoes = _held_back(world, drain, asked, now)
    if not held and not _suffers(world, drain, asked, rules, now):
        vetoes = _out(world, drain, asked, rules, now)
    return vetoes


def _held_back(world: World, drain: Drain, asked: list[str], now: float) -> tuple[bool, dict[str, Veto]]:
    """A region that takes over is not ready for (more of) it: the drain waits where it is."""
    said = {s: passive.takeover(world, s, drain.name, drain.kind, now, drain) for s in asked}
    if any(hold is not None for hold in said.values()):
        world.timers.at(now + _READY_S, "service", asked[0])
        return True, {s: hold for s, hold in said.items() if isinstance(hold, Veto)}
    return False, {}


def _suffers(world: World, drain: Drain, asked: list[str], rules: Ramp, now: float) -> bool:
    """Receivers got worse past their objective: stop, and take the last step back, once."""
    why = {s: text for s in asked if (text := Limits(world, s, now).worse(drain)) is not None}
    if not why:
        return False
    after = ramp.step_back(drain, rules, now)
    world.drains.put(after)
    words = "; ".join(f"{s}: {text}" if len(asked) > 1 else text for s, text in why.items())
    text = f"one step back, to {after.fraction:.0%} out, and no further: {words}"
    world.alerts.set("drain-stopped", drain.name, f"{drain.name}: {text}", now)
    world.emit(Record("step", drain.name, text, now, {"services": sorted(why), "fraction": after.fraction}))
    return True


def _out(world: World, drain: Drain, asked: list[str], rules: Ramp, now: float) -> dict[str, Veto]:
    """The next step out. The last one is asked for again: what else was in service when the drain began may be out by now."""
    after = ramp.step(drain, rules, now)
    assert after is not None
    if after.fraction >= _DONE and (vetoes := _last_one(world, drain, asked, now)):
        world.timers.at(now + _AGAIN_S, "service", asked[0])
        return vetoes
    world.drains.put(after)
    text = f"{after.fraction:.0%} out"
    world.emit(Record("step", drain.name, text, now, {"services": asked, "fraction": after.fraction}))
    due = ramp.next_at(after, rules)
    if due is not None:
        world.timers.at(due, "service", asked[0])
    return {}


def _last_one(world: World, drain: Drain, asked: list[str], now: float) -> dict[str, Veto]:
    found = {}
    for service in asked:
        members = world.domains.members(service, drain.name)
        intent = guards.Intent(service, drain.name, drain.kind, drain.cause, members, automatic=False)
        veto = guards.check(intent, standing_for(world, service), now)
        if veto is not None:
            found[service] = veto
    return found


def _expired(world: World, drain: Drain, asked: list[str], rules: Ramp, now: float) -> None:
    """Its time is over: it comes back, unless automation stands still, or there is no room."""
    if world.freeze is not None:
        world.alerts.set(
            "restore-held", drain.name, f"the drain of {drain.name} by {drain.by} expired: {waits(world)}", now
        )
        return
    if any(world.diagnoser.services[s].everywhere for s in asked if s in world.diagnoser.services):
        text = f"the drain of {drain.name} by {drain.by} expired: it waits for the end of the global diagnosis"
        world.alerts.set("restore-held", drain.name, text, now)
        world.timers.at(now + _AGAIN_S, "service", asked[0])
        return
    held = replace(drain, phase=Phase.HELD)
    if _no_room(world, held, asked, now):
        return
    world.emit(Record("restore", drain.name, f"the drain by {drain.by} expired", now, {"by": "automatic"}))
    _step_back_in(world, held, asked, rules, now)


def _back(world: World, drain: Drain, asked: list[str], rules: Ramp, now: float) -> None:
    if not _no_room(world, drain, asked, now):
        _step_back_in(world, drain, asked, rules, now)


def _step_back_in(world: World, drain: Drain, asked: list[str], rules: Ramp, now: float) -> None:
    after = ramp.step(drain, rules, now)
    data: dict[str, object] = {"services": asked}
    if after is None:
        world.drains.remove(drain.key)
        world.alerts.clear("drain-stopped", drain.name)
        for service in asked:
            Limits(world, service, now).back(drain)
        world.emit(Record("restored", drain.name, "fully back in service", now, data))
        return
    world.drains.put(after)
    text = f"{1 - after.fraction:.0%} back"
    world.emit(Record("restore", drain.name, text, now, {**data, "fraction": after.fraction}))
    due = ramp.next_at(after, rules)
    if due is not None:
        world.timers.at(due, "service", asked[0])


def _no_room(world: World, drain: Drain, asked: list[str], now: float) -> bool:
    """The checks of a returning domain; asked again every 10 s, with an alert meanwhile."""
    for service in asked:
        short = passive.may_return(world, service, drain, now) or room_for(world, service, drain)
        if short is not None:
            world.alerts.set("restore-held", drain.name, short, now)
            world.timers.at(now + _AGAIN_S, "service", asked[0])
            return True
    world.alerts.clear("restore-held", drain.name)
    return False
