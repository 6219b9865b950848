"""Story: what `steerd explain` tells beyond drains and guards: samples behind a vote, standbys, data, coordinators."""

from __future__ import annotations

from typing import Any

from steerd.core import activate, datagate, passive
from steerd.core.view import served_shares
from steerd.core.world import World

__all__ = ["coordinator", "dependency", "region_words", "sample_words", "samples", "service_words"]


def samples(world: World, endpoint: str, now: float) -> list[dict[str, Any]]:
    """Each agent's vote on an endpoint with the looks behind it, by agent. Counts are since that agent's start."""
    found: list[dict[str, Any]] = []
    for name in world.board.seers(endpoint):
        agent = world.votes.agents.get(name)
        vote = world.votes.votes.get(endpoint, {}).get(name)
        if agent is None or vote is None:
            found.append({"agent": name, "verdict": None, "age_s": None, "checks": {}, "reason": None})
            continue
        age = round(now - agent.heard_at, 1) if agent.heard_at is not None else None
        counts = {c.check: {"passed": c.passed, "failed": c.failed} for c in vote.counts}
        said = "absent" if not agent.fresh else "unknown" if agent.abstaining is not None else vote.verdict.value
        found.append({"agent": name, "verdict": said, "age_s": age, "checks": counts, "reason": vote.reason})
    return found


def sample_words(rows: list[dict[str, Any]]) -> list[str]:
    """Those of `samples` that do not say healthy, in words, at most ten."""
    lines = []
    for row in rows:
        if row["verdict"] in ("healthy", None):
            continue
        looks = ", ".join(
            f"{n}: {c['failed']} of {c['passed'] + c['failed']} failed" for n, c in sorted(row["checks"].items())
        )
        why = f" ({row['reason']})" if row["reason"] else ""
        lines.append(
            f"  {row['agent']} says {row['verdict']}{why}" + (f"; looks since its start: {looks}" if looks else "")
        )
    return lines[:10]


def service_words(world: World, service: str, now: float) -> tuple[list[str], list[str]]:
    """(how it stands, what would change it) of a service: active region, standbys, data, fallback."""
    text: list[str] = []
    change: list[str] = []
    active = passive.active_region(world, service)
    shares = served_shares(world, service)
    if active is not None:
        routing = world.service(service).routing
        text.append(
            f"{active} is active ({routing.mode}, order {', '.join(routing.order)}, failback {routing.failback})"
        )
        for region in passive.regions_of(world, service):
            if region != active:
                share = sum(shares.get(e, 0.0) for e in world.domains.members(service, region))
                text.append(f"  {region} stands by with {share:.1%}" + _standing(world, service, region, now))
        change += [f"{r} becomes active again with `steerd restore {r}`" for r in passive.held_out(world, service)]
    state = world.services[service]
    if state.result is not None and state.result.diverted > 0:
        text.append(
            f"{state.result.diverted:.0%} of its demand has no room and belongs on {world.service(service).fallback}"
        )
        change.append(f"more room in {service}, or less demand, brings it back from the fallback")
    text += [f"it takes {v:g} of demand as the fallback of {s}" for s, v in sorted(state.spill.items())]
    return text, change


def _standing(world: World, service: str, region: str, now: float) -> str:
    ready = activate.ready_endpoints(world, service, region)
    words = f", {ready} of {len(world.domains.members(service, region))} endpoints ready"
    if (why := datagate.blocked(world, service, region, now)) is not None:
        words += f"; it may not take over: {why}"
    found = world.activations.get((service, region))
    if found is not None:
        words += f"; its steps: {found.status}" + (f" ({found.text})" if found.text else "")
    steps = world.service(service).activate.get(region, ())
    if steps and found is None:
        words += f"; before it takes over: {', '.join(activate.words(step) for step in steps)}"
    return words


def region_words(world: World, service: str, region: str, now: float) -> tuple[list[str], list[str]]:
    """(how it stands, what would change it) of a region in one service."""
    active = passive.active_region(world, service)
    if active is None:
        return [], []
    if active == region:
        others = [
            r for r in passive.regions_of(world, service) if r != region and r not in passive.held_out(world, service)
        ]
        return [f"{region} is the active region of {service}"], [
            f"{r} takes over when {region} is drained" + _standing(world, service, r, now) for r in others[:1]
        ]
    text = [f"{region} stands by for {service}, {active} is active" + _standing(world, service, region, now)]
    if region in passive.held_out(world, service):
        return text, [f"`steerd restore {region}` makes it active again: failback of {service} is manual"]
    return text, [f"it takes over when {active} is drained"]


def dependency(world: World, name: str, now: float) -> tuple[list[str], list[str]]:
    """(how it stands, what would change it) of a dependency: who needs it, and how far its replicas are behind."""
    spec = next(d for d in world.fleet.dependencies if d.name == name)
    users = [s.name for s in world.fleet.services if name in s.depends_on]
    text = [f"{name} is a {spec.kind} that {', '.join(users) or 'nobody'} depends on"]
    change: list[str] = []
    for service in users if spec.stateful else ():
        rpo = datagate.rpo_of(world, service, spec)
        for region in spec.instances or passive.regions_of(world, service):
            lag = datagate.lag_of(world, service, name, region, now)
            words = "lag unknown" if lag is None else f"{lag:.0f} s behind"
            limit = f", RPO {rpo:g} s" if rpo is not None else ", no RPO"
            text.append(f"  {service} in {region}: {words}{limit}")
        change.append(f"a region takes {service} over only while {name} there is within the RPO")
    return text, change


def coordinator(world: World, name: str) -> list[str]:
    """How a coordinator stands, as far as this one knows."""
    spec = next(c for c in world.fleet.coordinators if c.name == name)
    leads = (
        "leads"
        if world.leader == name
        else f"follows {world.leader}"
        if world.leader
        else "follows nobody: nobody leads"
    )
    return [f"coordinator {name} in {spec.region} ({spec.url}) {leads}"]
