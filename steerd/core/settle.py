"""Settle: after a review the active mark moves where it belongs, and steps that nobody waits for end (decisions.md, section 10).

`steerd.core.passive` answers which region may; here it happens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from steerd.core import activate, datagate, ramp
from steerd.core.passive import active_region, admission, comes_before, in_service, leaving, passive, regions_of, serves
from steerd.core.world import World
from steerd.model.plan import Active, Cause, Drain, Phase, Veto

__all__ = ["after_review", "called_back"]


def called_back(world: World, service: str, region: str, now: float, *, at_once: bool = False) -> None:
    """An operator restores `region`: where it comes before the active one, it becomes active again, by the ramp or at once."""
    active = active_region(world, service)
    known = world.active.get(service)
    if active is None or known is None or not comes_before(world, service, region):
        return
    world.state_changed = True
    world.touch(service)
    if at_once:
        _flip(world, service, known, region, now)
        return
    world.active[service] = replace(known, called=region)
    found = world.activations.get((service, region))
    if found is not None and found.status == "failed":
        activate.forget(world, service, region, now)  # asked for again: its steps run anew


def after_review(world: World, service: str, vetoes: Iterable[Veto], now: float) -> None:
    """Moves the active mark where it belongs, ends steps nobody waits for, and tells what holds a takeover back."""
    if passive(world, service):
        _settle(world, service, now)
    for key in [k for k in world.activations if k[0] == service and k not in world.wanted_regions]:
        found = world.activations[key]
        if found.status != "running" and serves(world, *key):
            continue  # it took over: its times stand until it is passive again
        if _under_way(world, service, key[1]):
            if found.status == "running":
                activate.ensure(world, *key, now)
            continue
        activate.forget(world, *key, now)
    behind = sorted({v.text for v in vetoes if v.guard == "data"})
    if behind:
        world.alerts.set("data-behind", service, f"no region takes {service} over: {'; '.join(behind)}", now)
    else:
        world.alerts.clear("data-behind", service)


def _under_way(world: World, service: str, region: str) -> bool:
    """A move that `region` takes over from stands in the book, between two steps or done: its own steps go on, and stay done."""
    active = active_region(world, service)
    if active == region:
        return True
    out = leaving(
        world, service, (d for d in world.drains.of_service(service, world.domains) if d.phase is not Phase.RESTORING)
    )
    return active in out if active is not None else bool(set(out) - {region})


def _settle(world: World, service: str, now: float) -> None:
    known = world.active.get(service)
    if known is None:
        return
    manual = world.service(service).routing.failback == "manual"
    diagnosis = world.diagnoser.services.get(service)
    still = world.freeze is not None or (diagnosis is not None and diagnosis.everywhere)
    active = known.region
    for region in regions_of(world, service):
        if region == active and in_service(world, service, region):
            return
        if region == active or not in_service(world, service, region):
            continue
        earlier = comes_before(world, service, region)
        if earlier and manual and known.called != region:
            continue
        drain = _reason(world, service, region if earlier else active, whole=earlier)
        asked = known.called == region or (drain is not None and not drain.automatic)
        if still and earlier and not asked:
            continue  # nothing comes back by itself while automation stands still
        world.wanted_regions.add((service, region))
        returning = earlier and drain is not None and drain.phase is Phase.RESTORING
        if not returning and admission(world, service, region, now, drain) is not None:
            continue
        if earlier and not returning and in_service(world, service, active):
            world.drains.put(_on_its_way_back(world, service, region, now))
        _flip(world, service, known, region, now)
        return


def _on_its_way_back(world: World, service: str, region: str, now: float) -> Drain:
    """A region that nothing keeps out any more comes back by the restore ramp, not with everything at once."""
    out = Drain(
        name=region, kind="region", cause=Cause.NEW, by="automatic", reason=f"first in the order of {service}: comes back",
        since=now, service=service, phase=Phase.HELD, fraction=1.0, step_at=now,
    )  # fmt: skip
    return ramp.release(out, world.service(service).ramp, now)


def _reason(world: World, service: str, region: str, *, whole: bool) -> Drain | None:
    """The drain behind a move of the region, the one with the most say: of those that cover the `whole` of it, or touch it."""
    members = world.domains.members(service, region)
    found = []
    for drain in world.drains.of_service(service, world.domains):
        common = members & world.domains.members(service, drain.name)
        if common == members or (common and not whole):
            found.append(drain)
    return max(found, key=lambda d: (d.accept_data_loss, d.force, not d.automatic), default=None)


def _flip(world: World, service: str, known: Active, region: str, now: float) -> None:
    lost = datagate.lost_since(world, service, known.region)
    world.active[service] = Active(region, now)
    world.lags.forget(service)
    world.state_changed = True
    rto = world.service(service).objectives.rto_s
    act = world.activations.get((service, region))
    facts: dict[str, object] = {"service": service, "was": known.region, "rto_s": rto}
    text = f"{region} takes {service} over from {known.region}"
    if lost is not None:
        facts["took_s"] = round(now - lost, 3)
        text += f", {now - lost:.1f} s after the first suspicion (RTO {rto:g} s)"
    if act is not None:
        facts["steps"] = [[name, round(spent, 3)] for name, spent in act.spent]
    world.record("takeover", region, text, now, **facts)
