"""Tell: what a review says to humans: whether there is a quorum, and which vetoes stand."""

from __future__ import annotations

from steerd.core.world import World
from steerd.model.sample import Layer

__all__ = ["tell_quorum", "tell_vetoes"]

_QUORUM_LOST_AFTER_S = 5.0
"""Agents connect one after another, and one cause is seen at slightly different times."""
_GATES = (Layer.LIVENESS, Layer.READINESS)


def tell_quorum(world: World, service: str, now: float) -> None:
    """`quorum-lost` when no endpoint of the service has had one for a while; after a start, for as long as a first full answer
    takes besides."""
    state = world.services[service]
    members = world.domains.members_of_service(service)
    lost = bool(members) and all(r.undecided == r.size for r in world.board.rolls.of_service(service))
    if not lost:
        state.undecided_since = None
        world.answered.add(service)
        world.alerts.clear("quorum-lost", service)
        return
    if state.undecided_since is None:
        state.undecided_since = now
    due = state.undecided_since + _QUORUM_LOST_AFTER_S
    if service not in world.answered:
        due += _first_answer_s(world, service)
    if now < due:
        world.timers.at(due, "service", service)
        return
    why = world.board.states[min(members)].undecided_why
    world.alerts.set("quorum-lost", service, f"no endpoint of {service} has a quorum: {why}", now)


def _first_answer_s(world: World, service: str) -> float:
    """How long an agent that has just begun needs for `rise` looks of every check that must be good before it votes."""
    slowest = max((c.interval_s for c in world.service(service).checks if c.layer in _GATES), default=0.0)
    return world.fleet.verdict.rise * slowest


def tell_vetoes(world: World, service: str, now: float) -> None:
    """A veto is recorded when it first stands, not at every review."""
    state = world.services[service]
    standing = frozenset((v.name, v.guard) for v in state.vetoes)
    for veto in state.vetoes:
        if (veto.name, veto.guard) not in state.seen_vetoes:
            text = f"{veto.guard}: {veto.text}"
            world.record("veto", veto.name, text, now, service=service, guard=veto.guard)
    texts = {v.name: f"{v.name} should leave {service}, but {v.guard} keeps it: {v.text}" for v in state.vetoes}
    for name in sorted({n for n, _ in state.seen_vetoes} - texts.keys()):
        world.alerts.clear("vetoed", f"{service}/{name}")
    for name in sorted(texts):
        world.alerts.set("vetoed", f"{service}/{name}", texts[name], now)
    state.seen_vetoes = standing
