"""Activate: what a region does before it takes traffic it did not carry (decisions.md, section 10).

    ensure -> step 1 -> step 2 -> ... -> done          each step has a timeout and a check
                 `- failed: stop (an alert, the takeover waits for a human) or continue, as the step says

`scale` asks the coordinator to run a hook; `wait_ready` and `wait_lag` look at what the engine knows. The state is soft: a new
leader begins again at the first step, so hooks must say what is wanted ("8 replicas"), not what to add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from steerd.core import datagate
from steerd.core.effects import RunHook
from steerd.core.events import HookFinished
from steerd.model.health import Health

if TYPE_CHECKING:
    from steerd.core.world import World

__all__ = ["Activation", "ensure", "finished", "forget", "ready_endpoints", "words"]

_DEFAULT_TIMEOUT_S = 300.0
_HOOK_GRACE_S = 5.0
"""The coordinator ends a hook at its timeout and says so; this is for an answer that never comes."""
_AGAIN_S = 1.0


@dataclass(slots=True)
class Activation:
    """One region's steps for one service. `spent` names each finished step with its seconds."""

    service: str
    region: str
    began: float
    step_at: float
    step: int = 0
    asked: bool = False
    accept_data_loss: bool = False
    status: Literal["running", "done", "failed"] = "running"
    text: str = ""
    ended: float | None = None
    spent: list[tuple[str, float]] = field(default_factory=list)


def ensure(world: World, service: str, region: str, now: float, *, accept_data_loss: bool = False) -> Activation | None:
    """The activation of `region`, begun if need be and moved on; None when it has no steps. Who accepts the loss of data does not
    wait for lag."""
    steps = world.service(service).activate.get(region, ())
    if not steps:
        return None
    found = world.activations.get((service, region))
    if found is None:
        found = Activation(service, region, now, now)
        world.activations[service, region] = found
        world.record(
            "activate", region, f"{region} prepares to take {service} over: {len(steps)} steps", now, service=service
        )
    found.accept_data_loss = found.accept_data_loss or accept_data_loss
    while found.status == "running" and _advance(world, found, steps, now):
        pass
    return found


def forget(world: World, service: str, region: str, now: float) -> None:
    """The region is not about to take over any more, or it did: the next time begins anew."""
    if world.activations.pop((service, region), None) is not None:
        world.alerts.clear("activation-failed", f"{service}/{region}")


def finished(world: World, event: HookFinished, now: float) -> None:
    """A hook came back."""
    found = world.activations.get((event.service, event.region))
    if found is None or found.status != "running" or not found.asked or event.step != found.step:
        return  # of a takeover that is over, or given up after its timeout
    steps = world.service(event.service).activate.get(event.region, ())
    if found.step < len(steps):
        if event.ok:
            _next(world, found, steps, event.text, now)
        else:
            _fail(world, found, steps, event.text or "the hook failed", now)
    world.touch(event.service)


def words(step: Mapping[str, Any]) -> str:
    """One step in words. A hook's URL may carry a secret, so it is named by its kind only."""
    if "wait_ready" in step:
        return f"wait for {step['wait_ready']} endpoints ready"
    if "wait_lag" in step:
        return f"wait for the lag of {step['wait_lag']}"
    return f"scale by {next((k for k in ('webhook', 'command', 'autoscaling', 'kubernetes') if k in step['scale']), 'hook')}"


def ready_endpoints(world: World, service: str, region: str) -> int:
    """Endpoints of the region that a quorum sees healthy now."""
    states = (world.board.states[e] for e in world.domains.members(service, region))
    return sum(s.decided and s.health is Health.HEALTHY for s in states)


def _advance(world: World, act: Activation, steps: tuple[Mapping[str, Any], ...], now: float) -> bool:
    """One look at the current step; True when it ended and the next one may be looked at."""
    if act.step >= len(steps):
        _done(world, act, now)
        return False
    step = steps[act.step]
    timeout_s = float(step.get("timeout_s") or _DEFAULT_TIMEOUT_S)
    if "scale" in step:
        if not act.asked:
            act.asked = True
            hook = {**step["scale"], "timeout_s": timeout_s}
            world.emit(RunHook(act.service, act.region, act.step, hook))
        timeout_s += _HOOK_GRACE_S
        act.text = "the hook runs"
    else:
        met, act.text = _met(world, act, step, now)
        if met:
            _next(world, act, steps, act.text, now)
            return True
    if now >= act.step_at + timeout_s:
        _fail(world, act, steps, f"not within {timeout_s:g} s: {act.text}", now)
        return act.status == "running"
    world.timers.at(min(now + _AGAIN_S, act.step_at + timeout_s), "service", act.service)
    return False


def _met(world: World, act: Activation, step: Mapping[str, Any], now: float) -> tuple[bool, str]:
    if "wait_ready" in step:
        ready = ready_endpoints(world, act.service, act.region)
        return ready >= step["wait_ready"], f"{ready} of {step['wait_ready']} endpoints ready"
    name = step["wait_lag"]
    if act.accept_data_loss:
        return True, f"the loss of data in {name} is accepted"
    dependency = next((d for d in world.fleet.dependencies if d.name == name), None)
    rpo = datagate.rpo_of(world, act.service, dependency) if dependency is not None else None
    lag = datagate.lag_of(world, act.service, name, act.region, now)
    if rpo is None or lag is None:
        return False, f"the lag of {name} in {act.region} is not known"
    return lag <= rpo, f"{name} in {act.region} is {lag:.0f} s behind, RPO {rpo:g} s"


def _next(world: World, act: Activation, steps: tuple[Mapping[str, Any], ...], text: str, now: float) -> None:
    spent = now - act.step_at
    act.spent.append((words(steps[act.step]), spent))
    line = f"step {act.step + 1} of {len(steps)}, {words(steps[act.step])}: {text or 'done'}"
    world.record("activate", act.region, line, now, service=act.service, step=act.step, took_s=round(spent, 3))
    act.step, act.step_at, act.asked, act.text = act.step + 1, now, False, ""


def _fail(world: World, act: Activation, steps: tuple[Mapping[str, Any], ...], text: str, now: float) -> None:
    step = steps[act.step]
    line = f"step {act.step + 1} of {len(steps)}, {words(step)}: {text}"
    of = f"{act.service}/{act.region}"
    world.alerts.set("activation-failed", of, f"{act.region} prepares to take {act.service} over: {line}", now)
    if step.get("on_failure") == "continue":
        _next(world, act, steps, f"{text}; goes on all the same", now)
        return
    act.status, act.text, act.ended = "failed", line, now
    world.record("activate", act.region, f"stopped: {line}", now, service=act.service, failed=True)


def _done(world: World, act: Activation, now: float) -> None:
    act.status, act.text, act.ended = "done", "every step is done", now
    took = now - act.began
    rto = world.service(act.service).objectives.rto_s
    text = f"ready after {took:.1f} s of the RTO of {rto:g} s"
    world.record("activate", act.region, text, now, service=act.service, took_s=round(took, 3), rto_s=rto)
