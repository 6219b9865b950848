"""Operate: what operators ask for (interfaces.md, CLI). Every command is answered; a veto says which guard and why.

Operators pass every guard but never-empty and residency; their drains still move in steps unless they say `now`, and what does not
fit under `max_utilization` stays where it is unless they say `force`. The loss of data is accepted by its name only
(`accept_data_loss`): `force` does not pass the data gate.
"""

from __future__ import annotations

from dataclasses import replace

from steerd.core import activate, operated, passive, ramp, settle
from steerd.core.effects import Answer
from steerd.core.events import OperatorCommand
from steerd.core.expiry import released
from steerd.core.preview import pinned_words, preview_drain
from steerd.core.standing import standing_for
from steerd.core.world import World
from steerd.model.health import Health
from steerd.model.plan import Cause, Drain, Freeze, Phase, Pin, Veto

__all__ = ["operate"]

_HOUR_S = 3600.0
_DRAIN_FOR_S = 4 * _HOUR_S
_PIN_FOR_S = 1 * _HOUR_S
_MOST_S = 72 * _HOUR_S


def operate(world: World, command: OperatorCommand, now: float) -> None:
    """Carries out one command and emits its `Answer`. Leader only: a follower answers that it does not lead."""
    if not world.leading:
        who = f"{world.leader} leads" if world.leader else "nobody leads"
        world.emit(Answer(command.id, "invalid", f"{world.name} does not lead ({who}): ask the leader"))
        return
    if command.by == "automatic":
        world.emit(_invalid(command, "`automatic` is the name of automation itself: give a person's"))
        return
    answer = _VERBS[command.verb](world, command, now)
    world.emit(answer)
    if answer.result == "ok":
        _remember_unread(world, command)
        text = f"{command.verb} {command.name}".strip() + (f": {command.reason}" if command.reason else "")
        world.record("operator", command.name or world.fleet.name, text, now, by=command.by, verb=command.verb)


def _remember_unread(world: World, command: OperatorCommand) -> None:
    """A service whose routes are still being read takes what stands for granted; this came after, and is to be written then."""
    for service in world.domains.services_in(command.name):
        state = world.services[service]
        if not state.adopted and state.reason is None:
            state.reason = ("operator", command.id)


def _drain(world: World, command: OperatorCommand, now: float) -> Answer:
    kind = world.domains.kind(command.name)
    if kind is None or not world.domains.services_in(command.name):
        return _invalid(command, _unknown(world, command.name))
    if not command.reason:
        return _invalid(command, "a drain needs a reason: --reason WHY")
    for_s = command.for_s if command.for_s is not None else _DRAIN_FOR_S
    if not 0 < for_s <= _MOST_S:
        return _invalid(command, "a drain lasts at most 72 h: renew it when it still stands")
    drain = Drain(
        name=command.name, kind=kind, cause=Cause.OPERATOR, by=command.by, reason=command.reason, since=now,
        until=now + for_s, now=command.now, force=command.force, accept_data_loss=command.accept_data_loss,
    )  # fmt: skip
    known = world.drains.book.get(drain.key)
    renews = known is not None and known.phase is not Phase.RESTORING
    if known is not None and renews:
        drain = _renewed(known, drain)
    preview, veto = preview_drain(world, drain, lambda service: standing_for(world, service), now)
    wait: str | None = None
    if veto is None and drain.fraction < 1.0:
        wait, veto = _takeovers(world, drain, now)
    if veto is not None:
        world.record("veto", command.name, f"{veto.guard}: {veto.text}", now, by=command.by, guard=veto.guard)
        data = {"preview": preview, "veto": {"guard": veto.guard, "text": veto.text}}
        return Answer(command.id, "vetoed", f"{veto.guard}: {veto.text}{_hint(veto)}", data)
    if renews:
        return _renew(world, command, drain, preview, wait, now)
    drain = operated.with_baselines(world, drain, now)
    if wait is not None:  # the first step is due as soon as whoever takes over is ready
        started = replace(drain, step_at=now - operated.ramp_of(world, drain).drain_step_every_s)
        world.drains.put(started)
        world.record("drain", command.name, f"{command.reason}; waits: {wait}", now, by=command.by, cause="operator")
        data = {"preview": preview, "until": started.until, "fraction": 0.0}
        return Answer(command.id, "ok", f"{command.name} drains as soon as it can: {wait}", data)
    started = ramp.begin(drain, operated.ramp_of(world, drain), now)
    if known is not None and known.fraction > started.fraction:  # on its way back: it turns round where it is
        started = replace(started, fraction=known.fraction)
    world.drains.put(started)
    world.record("drain", command.name, command.reason, now, by=command.by, cause="operator")
    text = f"{command.name} is draining: {started.fraction:.0%} at once" + (
        "" if started.fraction >= 1 else ", the rest in steps"
    )
    text += "".join(f"; {words}" for words in pinned_words(world, drain))
    return Answer(command.id, "ok", text, {"preview": preview, "until": started.until, "fraction": started.fraction})


def _renewed(known: Drain, asked: Drain) -> Drain:
    """A drain that stands, asked for again: with the new end, reason and flags. Where it had stopped half way, it goes on."""
    accept = known.accept_data_loss or asked.accept_data_loss
    again = replace(
        known, until=asked.until, reason=asked.reason, by=asked.by, now=asked.now, force=asked.force, accept_data_loss=accept,
        most=1.0,
    )  # fmt: skip
    return replace(again, phase=Phase.DRAINING) if again.phase is Phase.HELD and again.fraction < 1.0 else again


def _renew(
    world: World, command: OperatorCommand, drain: Drain, preview: dict[str, object], wait: str | None, now: float
) -> Answer:
    """Puts the renewed drain in force. `now` takes the rest at once, or as soon as whoever takes over is ready."""
    if command.now and drain.fraction < 1.0 and wait is None:
        drain = replace(drain, fraction=1.0, phase=Phase.HELD, step_at=now)
    elif command.now and drain.fraction < 1.0:
        drain = replace(drain, step_at=now - operated.ramp_of(world, drain).drain_step_every_s)
    world.drains.put(drain)
    text = f"the drain of {command.name} is renewed" + (f", and goes on as soon as it can: {wait}" if wait else "")
    return Answer(command.id, "ok", text, {"preview": preview, "until": drain.until, "fraction": drain.fraction})


def _hint(veto: Veto) -> str:
    """What passes the guard that `--force` does not."""
    return "; --force does not pass this: add --accept-data-loss" if veto.guard == "data" else ""


def _takeovers(world: World, drain: Drain, now: float) -> tuple[str | None, Veto | None]:
    """(what has to be waited for, what forbids it), of all services that the drain takes a region away from."""
    wait: str | None = None
    for service in world.domains.services_in(drain.name):
        for key in [k for k, a in world.activations.items() if k[0] == service and a.status == "failed"]:
            activate.forget(world, *key, now)  # asked for by a human: its steps run anew
        said = passive.takeover(world, service, drain.name, drain.kind, now, drain)
        if isinstance(said, Veto):
            return None, said
        wait = wait or said
    return wait, None


def _restore(world: World, command: OperatorCommand, now: float) -> Answer:
    mine = [d for d in world.drains.book.values() if d.name == command.name]
    held = [k for k, s in world.steer.routes.items() if s.held and (command.name in s.held or command.name == k)]
    left = [s for s in world.domains.services_in(command.name) if passive.comes_before(world, s, command.name)]
    if not mine and not held and not left:
        if world.fleet.kind_of(command.name) is None and command.name not in world.steer.routes:
            return _invalid(command, _unknown(world, command.name))
        wider = sorted({d.name for d in world.drains.book.values() if _inside(world, command.name, d.name)})
        hint = f"; {', '.join(wider)} is, and contains it: restore that" if wider else ""
        return _invalid(command, f"{command.name} is not drained{hint}")
    bad = [d for d in mine if d.automatic and _still_bad(world, d)]
    if bad and not command.force:
        text = f"{command.name} is still down ({bad[0].reason}): it would be drained again at once. Pin it if you know better."
        return Answer(command.id, "vetoed", text, {"veto": {"guard": "health", "text": text}})
    wait, veto = _failbacks(world, command, left, now)
    if veto is not None:
        data = {"veto": {"guard": veto.guard, "text": veto.text}}
        return Answer(command.id, "vetoed", f"{veto.guard}: {veto.text}{_hint(veto)}", data)
    for drain in mine:
        world.alerts.clear("restore-held", drain.name)
        if drain.phase is Phase.RESTORING and (wait is not None or not command.now):
            continue
        if wait is not None:  # due at once, and held by `passive.may_return` until its steps are done
            out = replace(drain, phase=Phase.HELD, accept_data_loss=command.accept_data_loss)
            since = now - world.service(drain.service).ramp.restore_after_s if drain.service is not None else None
            world.drains.put(replace(out, well_since=since) if drain.automatic else replace(out, until=now))
        elif command.now:
            world.drains.remove(drain.key)
        else:
            world.drains.put(ramp.release(replace(drain, until=None), operated.ramp_of(world, drain), now))
    for key in held:
        state = world.steer.routes[key]
        state.held, state.rewrite = {}, True
        world.alerts.clear("drift", key)
        world.services[state.route.service].reason = ("restored", key, now)
        world.touch(state.route.service)
    world.record("restore", command.name, command.reason or "asked for", now, by=command.by)
    rules = operated.ramp_of(world, mine[0]) if mine else world.fleet.ramp
    steps = ", ".join(f"{s:.0%}" for s in rules.restore_steps)
    text = f"{command.name} comes back" + (" at once" if command.now and wait is None else f" in steps: {steps}")
    return Answer(command.id, "ok", text if wait is None else f"{text}; first: {wait}")


def _failbacks(
    world: World, command: OperatorCommand, services: list[str], now: float
) -> tuple[str | None, Veto | None]:
    """Calls the region back where it comes before the active one: (what has to be waited for, what forbids it)."""
    asked = Drain(
        name=command.name, kind="region", cause=Cause.OPERATOR, by=command.by, reason=command.reason or "restore", since=now,
        force=command.force, accept_data_loss=command.accept_data_loss,
    )  # fmt: skip
    wait: str | None = None
    for service in services:
        found = world.activations.get((service, command.name))
        if found is not None and found.status == "failed":
            activate.forget(world, service, command.name, now)
        said = passive.admission(world, service, command.name, now, asked)
        if isinstance(said, Veto):
            return None, said
        wait = wait or said
    for service in services:
        settle.called_back(world, service, command.name, now, at_once=command.now and wait is None)
    return wait, None


def _pin(world: World, command: OperatorCommand, now: float) -> Answer:
    services = world.domains.services_in(command.name)
    if not services:
        return _invalid(command, _unknown(world, command.name))
    if command.share is None or not 0.0 <= command.share <= 1.0:
        return _invalid(command, "a pin needs a share between 0% and 100%")
    if not command.reason:
        return _invalid(command, "a pin needs a reason: --reason WHY")
    for_s = command.for_s if command.for_s is not None else _PIN_FOR_S
    if not 0 < for_s <= _MOST_S:
        return _invalid(command, "a pin lasts at most 72 h: renew it when it is still needed")
    for service in services:
        members = world.domains.members(service, command.name)
        others = {e for e, s in world.services[service].shares.items() if s > 0} - members
        if command.share <= 0 and not others:
            text = f"never-empty: pinning {command.name} to 0 would leave {service} with nothing in service"
            return Answer(command.id, "vetoed", text, {"veto": {"guard": "never-empty", "text": text}})
    for service in services:
        if (clash := _pins_clash(world, service, command.name, command.share)) is not None:
            return _invalid(command, clash)
    released(world, command.name)
    pin = Pin(
        name=command.name, share=command.share, by=command.by, reason=command.reason, since=now, until=now + for_s
    )
    world.pins[command.name] = pin
    world.timers.at(pin.until, "pins", "")
    _touch(world, services)
    return Answer(command.id, "ok", f"{command.name} is pinned to {command.share:.1%}", {"until": pin.until})


def _pins_clash(world: World, service: str, name: str, share: float) -> str | None:
    """Why a pin can not hold beside those that stand: two over one endpoint, or more than 100% together."""
    members = world.domains.members(service, name)
    total = share
    for other in sorted(world.pins):
        if other == name:
            continue
        theirs = world.domains.members(service, other)
        if theirs & members:
            return f"{other} is pinned already and shares endpoints with {name}: unpin it first"
        total += world.pins[other].share if theirs else 0.0
    if total > 1.0 + 1e-9:
        return f"the pins of {service} would add up to {total:.0%}: unpin one, or pin less"
    return None


def _unpin(world: World, command: OperatorCommand, now: float) -> Answer:
    if world.pins.pop(command.name, None) is None:
        return _invalid(command, f"{command.name} is not pinned")
    released(world, command.name)
    _touch(world, world.domains.services_in(command.name))
    return Answer(command.id, "ok", f"{command.name} is no longer pinned")


def _freeze(world: World, command: OperatorCommand, now: float) -> Answer:
    if not command.reason:
        return _invalid(command, "a freeze needs a reason: --reason WHY")
    if command.for_s is not None and not command.for_s > 0:
        return _invalid(command, "a freeze lasts for some time, or without --for until `steerd unfreeze`")
    until = now + command.for_s if command.for_s is not None else None
    world.freeze = Freeze(by=command.by, reason=command.reason, since=now, until=until)
    if until is not None:
        world.timers.at(until, "pins", "")
    _touch(world, tuple(world.services))
    return Answer(command.id, "ok", "automation is frozen: nothing moves by itself until `steerd unfreeze`")


def _unfreeze(world: World, command: OperatorCommand, now: float) -> Answer:
    if world.freeze is None:
        return _invalid(command, "nothing is frozen")
    world.freeze = None
    world.timers.at(now, "pins", "")  # pins that expired meanwhile
    _touch(world, tuple(world.services))
    return Answer(command.id, "ok", "automation goes on")


def _touch(world: World, services: tuple[str, ...]) -> None:
    world.state_changed = True
    for service in services:
        world.touch(service)


def _invalid(command: OperatorCommand, text: str) -> Answer:
    return Answer(command.id, "invalid", text)


def _unknown(world: World, name: str) -> str:
    kind = world.fleet.kind_of(name)
    if kind is None:
        return f"nothing is called {name}: `steerd status` lists endpoints, zones and regions"
    return f"{name} is a {kind}: only endpoints, zones and regions with endpoints can be moved"


def _inside(world: World, name: str, outer: str) -> bool:
    return any(
        (m := world.domains.members(s, name)) and m <= world.domains.members(s, outer)
        for s in world.domains.services_in(name)
    )


def _still_bad(world: World, drain: Drain) -> bool:
    """A diagnosis names the domain, or one around it: what comes back now is drained again in the same breath."""
    service = drain.service or ""
    members = world.domains.members(service, drain.name)
    if not members:
        return False
    diagnosis = world.diagnoser.services.get(service)
    named = (world.domains.members(service, d.of) for d in (diagnosis.current if diagnosis is not None else ()))
    return any(members <= n for n in named) or all(world.board.states[e].health is Health.DOWN for e in members)


_VERBS = {
    "drain": _drain,
    "restore": _restore,
    "pin": _pin,
    "unpin": _unpin,
    "freeze": _freeze,
    "unfreeze": _unfreeze,
}
