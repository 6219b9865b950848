"""Explain: why a zone, region, endpoint, service, agent or route stands as it does, in words an on-call person reads once."""

from __future__ import annotations

from typing import Any

from steerd.core import ramp, story
from steerd.core.rulewords import drain_words, rule_words
from steerd.core.view import domain_health, served_shares
from steerd.core.world import World
from steerd.model.health import Health
from steerd.model.plan import Cause, Drain, Phase

__all__ = ["explain"]


def explain(world: World, name: str, now: float) -> dict[str, Any]:
    """The chain from voices to the last move, and what would change it. Raises KeyError for a name nobody has."""
    kind = world.fleet.kind_of(name)
    if kind is None and name in world.steer.routes:
        kind = "route"
    if kind == "endpoint":
        return _endpoint(world, name, now)
    if kind in ("zone", "region") and world.domains.services_in(name):
        return _domain(world, name, kind, now)
    if kind == "service":
        return _service(world, name, now)
    if kind == "agent":
        return _agent(world, name, now)
    if kind == "route":
        return _route(world, name)
    if kind == "dependency":
        answer = _base(name, kind, [])
        answer["text"], answer["would_change"] = story.dependency(world, name, now)
        return answer
    if kind == "coordinator":
        return _base(name, kind, story.coordinator(world, name))
    if kind is not None:
        return _base(name, kind, [f"{name} is a {kind}; it carries no traffic and takes part in no vote"])
    raise KeyError(name)


def _base(name: str, kind: str, text: list[str]) -> dict[str, Any]:
    return {
        "name": name, "kind": kind, "health": None, "since": None, "share": None, "text": text, "voices": [], "diagnosis": [],
        "guards": [], "drains": [], "moves": [], "would_change": [],
    }  # fmt: skip


def _endpoint(world: World, name: str, now: float) -> dict[str, Any]:
    state = world.board.states[name]
    share = served_shares(world, state.service).get(name, 0.0)
    rules = world.fleet.quorum
    text = [
        f"{name} ({state.zone}) is {state.health.word} (since {_ago(state.since, now)}), with {share:.1%} of {state.service}"
    ]
    if state.voices:
        said = ", ".join(
            f"{v.zone} says {v.verdict.value}" + (f" ({v.reason})" if v.reason else "") for v in state.voices
        )
        text.append(f"{len(state.voices)} voices: {said}")
    if not state.decided:
        text.append(f"no quorum now ({state.undecided_why}): its health is held as it was")
    if world.board.confirmed_dead(name):
        text.append("confirmed dead: every voice from outside its zone fails in transport and sees others answer")
    answer = _base(name, "endpoint", text)
    answer.update(health=state.health.word, since=state.since, share=share)
    rows = story.samples(world, name, now)
    answer["samples"] = rows
    text += story.sample_words(rows)
    answer["voices"] = [
        {"zone": v.zone, "verdict": v.verdict.value, "reason": v.reason, "layer": v.layer, "agents": list(v.agents)}
        for v in state.voices
    ]
    if state.health is Health.DOWN:
        most = max(1, int(rules.up_at * max(len(state.voices), 1)))
        answer["would_change"].append(
            f"it is no longer down when at most {most} voice(s) say unhealthy (now {state.counts.unhealthy})"
        )
    else:
        need = max(1, -(-int(rules.down_at * 1000) * max(len(state.voices), rules.voices) // 1000))
        regions = f" from {rules.vantage_regions} vantage regions" if rules.vantage_regions > 1 else ""
        answer["would_change"].append(
            f"it is down when {need} voices{regions} say unhealthy, their last looks all failed"
        )
    _moves(world, answer, state.service, name, now)
    return answer


def _domain(world: World, name: str, kind: str, now: float) -> dict[str, Any]:
    answer = _base(name, kind, [])
    for service in world.domains.services_in(name):
        members = sorted(world.domains.members(service, name))
        shares = served_shares(world, service)
        share = sum(shares.get(e, 0.0) for e in members)
        health = domain_health(world, service, name)
        down = [e for e in members if world.board.states[e].health is Health.DOWN]
        line = f"{service}: {name} is {health.word}, {len(down)} of {len(members)} endpoints down, with {share:.1%} of the traffic"
        answer["text"].append(line)
        for endpoint in down[:5]:
            answer["text"].append(f"  {endpoint}: {world.board.states[endpoint].reason or 'down'}")
        answer["health"] = max((answer["health"] or health.word), health.word, key=_rank)
        answer["share"] = share if answer["share"] is None else answer["share"] + share
        if kind == "region":
            stands, change = story.region_words(world, service, name, now)
            answer["text"] += stands
            answer["would_change"] += change
        _moves(world, answer, service, name, now)
    return answer


def _rank(word: str) -> int:
    return Health[word.upper()].value


def _service(world: World, name: str, now: float) -> dict[str, Any]:
    states = [world.board.states[e] for e in sorted(world.domains.members_of_service(name))]
    by_health: dict[str, int] = {}
    for state in states:
        by_health[state.health.word] = by_health.get(state.health.word, 0) + 1
    answer = _base(
        name, "service", [f"{name}: " + ", ".join(f"{n} endpoints {h}" for h, n in sorted(by_health.items()))]
    )
    answer["share"] = 1.0
    stands, answer["would_change"] = story.service_words(world, name, now)
    answer["text"] += stands
    _moves(world, answer, name, name, now)
    for state in states:
        if state.health is not Health.HEALTHY:
            answer["text"].append(
                f"  {state.name}: {state.health.word}" + (f", {state.reason}" if state.reason else "")
            )
    return answer


def _agent(world: World, name: str, now: float) -> dict[str, Any]:
    state = world.votes.agents[name]
    answer = _base(name, "agent", [])
    if state.heard_at is None:
        answer["text"].append(
            f"agent {name} ({state.zone}) was never heard by this coordinator: its vantage zone has no voice from it"
        )
        answer["would_change"].append("start it with the same config and a url that reaches this coordinator")
        return answer
    word = (
        "voting"
        if state.fresh and state.abstaining is None
        else f"abstaining ({state.abstaining})"
        if state.fresh
        else "absent"
    )
    answer["text"].append(
        f"agent {name} ({state.zone}) is {word}; last heard {now - state.heard_at:.1f} s ago, "
        f"votes on {len(state.endpoints)} endpoints"
    )
    bad = [
        e
        for e in sorted(state.endpoints)
        if (v := world.votes.votes[e].get(name)) is not None and v.verdict.value == "unhealthy"
    ]
    answer["text"].extend(
        f"  it says {e} is unhealthy: {world.votes.votes[e][name].reason or ''}".rstrip(": ") for e in bad[:10]
    )
    if state.config_hash != world.fleet.config_hash:
        answer["text"].append(f"it runs config {state.config_hash}, this coordinator {world.fleet.config_hash}")
        answer["would_change"].append("give it and this coordinator the same file")
    if not state.fresh:
        answer["would_change"].append(
            "start or reconnect it: its vantage zone has a voice again with its next full ballot"
        )
    elif state.abstaining is not None:
        answer["would_change"].append(
            "mend what it doubts itself for, on its host: it votes again a few clean seconds later"
        )
    return answer


def _route(world: World, key: str) -> dict[str, Any]:
    state = world.steer.routes[key]
    answer = _base(
        key,
        "route",
        [
            f"{key} carries {state.route.service} per {state.route.per}; it is {'in sync' if state.in_sync else 'not in sync'}"
        ],
    )
    if state.error or state.read_error:
        answer["text"].append(f"last trouble: {state.error or state.read_error}")
    if state.held:
        answer["text"].append(
            "somebody edited: " + ", ".join(f"{t} stands at {w}" for t, w in sorted(state.held.items()))
        )
        answer["would_change"].append(f"`steerd restore {key}` gives it back to steerd")
    if state.caps.fence_note:
        answer["text"].append(state.caps.fence_note)
    return answer


def _moves(world: World, answer: dict[str, Any], service: str, name: str, now: float) -> None:
    """Diagnosis, drains, guards and the last decision, as far as they concern `name`."""
    members = world.domains.members(service, name) or world.domains.members_of_service(service)
    diagnosis = world.diagnoser.services.get(service)
    for d in diagnosis.current if diagnosis is not None else ():
        covers = world.domains.members(service, d.of) or world.domains.members_of_service(service)
        if covers & members:
            dead = ", confirmed dead" if d.dead else ""
            label = f" ({d.label})" if d.label else ""
            answer["diagnosis"].append(f"{d.kind.value} {d.of}{label}{dead}")
            answer["text"].append(f"diagnosis: the {d.kind.value} {d.of} explains it{label}{dead}")
    for drain in world.drains.of_service(service, world.domains):
        if world.domains.members(service, drain.name) & members:
            answer["drains"].append(_drain(drain))
            answer["text"].append(_drain_words(world, drain, service, now))
            due = ramp.next_at(drain, world.service(service).ramp)
            answer["text"].extend(drain_words(world, service, drain, due, now))
    answer["text"].extend(rule_words(world, service, name, now))
    for veto in world.services[service].vetoes:
        if veto.name == name or world.domains.members(service, veto.name) & members:
            answer["guards"].append({"name": veto.name, "guard": veto.guard, "text": veto.text})
            answer["text"].append(f"guard {veto.guard} stops a drain of {veto.name}: {veto.text}")
    if world.freeze is not None:
        answer["text"].append(f"frozen by {world.freeze.by}: {world.freeze.reason}")
        if (thaw := "`steerd unfreeze` lets automation move again") not in answer["would_change"]:
            answer["would_change"].append(thaw)
    last = world.services[service].last
    if last is not None:
        text = f"decision {last.id}: {'; '.join(last.moves) or last.why.get('text', '')}"
        answer["moves"].append(
            {"at": last.at, "text": text, "why": dict(last.why), "epoch": last.epoch, "config_hash": last.config_hash}
        )


def _drain(drain: Drain) -> dict[str, Any]:
    return {
        "name": drain.name, "by": drain.by, "cause": drain.cause.value, "phase": drain.phase.value, "fraction": drain.fraction,
        "since": drain.since, "until": drain.until, "reason": drain.reason,
    }  # fmt: skip


def _drain_words(world: World, drain: Drain, service: str, now: float) -> str:
    text = f"{drain.name} is {drain.fraction:.0%} out ({drain.phase.value}) by {drain.by}: {drain.reason}"
    rules = world.service(service).ramp
    due = ramp.next_at(drain, rules)
    if due is not None:
        what = "comes back" if drain.phase is Phase.HELD else "takes its next step"
        text += f"; it {what} in {max(0.0, due - now):.0f} s if it stays well"
    elif drain.automatic and drain.phase is Phase.HELD:
        wait = "" if drain.cause is Cause.NEW else f" for {rules.restore_after_s:.0f} s"
        text += f"; it starts to come back once it has been healthy{wait}"
    return text


def _ago(since: float, now: float) -> str:
    return f"{max(0.0, now - since):.0f} s ago" if since else "the start"
