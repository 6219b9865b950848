"""Vantage: which agents disagree with everybody else (decisions.md, section 4, first paragraph). Alerts only, moves nothing."""

from __future__ import annotations

from steerd.core.votes import AgentState
from steerd.core.world import World
from steerd.model.vote import Verdict

__all__ = ["isolated", "review_agents"]

_FOR_S = 10.0
_BAD_SHARE = 0.5
_DISAGREE_SHARE = 0.8
_START_TTLS = 4.0
"""So many times `vote_ttl` may pass until an agent of the config is heard for the first time."""


def isolated(world: World, zone: str, now: float) -> bool:
    """Votes from vantage zone `zone` are bad for >= 50% of endpoints in >= 2 zones while >= 80% of the other voices disagree."""
    total, blamed = world.board.heard.get(zone, 0), world.board.blamed.get(zone, ())
    bad, others, disagree = len(blamed), 0, 0
    if bad < _BAD_SHARE * total:
        return False
    zones: set[str] = set()
    for state in (world.board.states[name] for name in blamed):
        zones.add(state.zone)
        said = [v.verdict for v in state.voices]  # its own among them, which is unhealthy
        others += len(said) - 1
        disagree += len(said) - said.count(Verdict.UNHEALTHY)
    return total > 0 and len(zones) >= 2 and others > 0 and disagree >= _DISAGREE_SHARE * others


def _silence(world: World, agent: AgentState, now: float) -> str | None:
    """What to say of an agent that is not heard. One that was never heard gets the time in which a fleet starts."""
    if agent.fresh:
        return None
    if agent.heard_at is not None:
        return f"agent {agent.name} in {agent.zone} is not heard"
    if agent.known_at is None:
        agent.known_at = now
    waits = now - agent.known_at < _START_TTLS * world.fleet.quorum.vote_ttl_s
    return None if waits else f"agent {agent.name} in {agent.zone} is in the config and was never heard here"


def review_agents(world: World, since: dict[str, float], now: float) -> None:
    """Brings the alerts about agents up to date: isolated vantages, absent and abstaining agents, differing configs."""
    texts: dict[str, str] = {}
    for zone in sorted({a.zone for a in world.votes.agents.values() if a.fresh}):
        if not world.board.blamed.get(zone) or not isolated(world, zone, now):
            since.pop(zone, None)
            continue
        began = since.setdefault(zone, now)
        if now - began >= _FOR_S:
            texts[zone] = f"{zone} sees failures that nobody else sees: one voice of several, so nothing moves"
        else:
            world.timers.at(began + _FOR_S, "agents", "")
    world.alerts.assert_only("vantage-isolated", texts, now)
    agents = world.votes.agents.values()
    absent = {a.name: text for a in agents if (text := _silence(world, a, now)) is not None}
    world.alerts.assert_only("agent-absent", absent, now)
    doubting = {
        a.name: f"agent {a.name} abstains: {a.abstaining}" for a in agents if a.fresh and a.abstaining is not None
    }
    world.alerts.assert_only("agent-abstaining", doubting, now)
    mine = world.fleet.config_hash
    differing = {
        a.name: f"agent {a.name} runs config {a.config_hash}, this coordinator {mine}"
        for a in agents
        if a.fresh and a.config_hash and mine and a.config_hash != mine
    }
    world.alerts.assert_only("config-mismatch", differing, now)
