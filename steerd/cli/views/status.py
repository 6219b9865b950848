"""`steerd status`: what is wrong first, then the services as a tree, then what holds automation, then who watches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from steerd.cli.views.paint import grid, health, indent, percent, since, until, weights

__all__ = ["ROWS_MAX", "render", "wrongs"]

Json = Mapping[str, Any]

ROWS_MAX = 40
"""Endpoints shown before healthy ones are only counted: a screen is read at a glance or not at all."""

_WORST_FIRST = ("down", "degraded", "saturated", "unknown", "healthy")
_WAY = {"draining": "being drained", "held": "drained", "restoring": "coming back"}
_VOICES_WORST_FIRST = ("unhealthy", "degraded", "saturated", "unknown", "healthy")


def wrongs(status: Json) -> list[str]:
    """What is not well, in words; empty when all is well. An operator's drain or pin is intended; a freeze is not."""
    found = []
    if not status.get("leader"):
        found.append("nobody leads")
    if status.get("frozen"):
        found.append("frozen by an operator")
    for name, service in status.get("services", {}).items():
        if service["health"] != "healthy":
            found.append(f"{name} is {service['health']}")
        elif ill := [e for e in service.get("endpoints", {}).values() if e["health"] not in ("healthy", "unknown")]:
            found.append(f"{_count(len(ill), 'endpoint')} of {name} {'is' if len(ill) == 1 else 'are'} not healthy")
        if late := [r for r in service.get("routes", ()) if not r.get("in_sync") and r.get("state") != "observe"]:
            found.append(f"{_count(len(late), 'route')} of {name} not in sync")
    found.extend(
        f"{d['name']} is {_WAY.get(d.get('phase'), 'drained')}"
        for d in status.get("drains", ())
        if d.get("by") == "automatic" and d.get("cause") != "new"
    )
    if silent := [a for a in status.get("agents", {}).values() if a["state"] != "voting"]:
        found.append(f"{_count(len(silent), 'agent')} not voting")
    found.extend(what for what, _ in _own_troubles(status))
    if not found and status.get("alerts"):
        found.append(_count(len(status["alerts"]), "alert"))
    return found


def render(status: Json, *, everything: bool = False) -> RenderableType:
    """The whole status. `everything` also lists the healthy endpoints of a large fleet."""
    now = status.get("time")
    parts: list[RenderableType] = [_head(status), *_notes(status, now)]
    endpoints = sum(len(s.get("endpoints", {})) for s in status.get("services", {}).values())
    few = everything or endpoints <= ROWS_MAX
    for name, service in status.get("services", {}).items():
        parts += ["", _title(name, service), Padding(_tree(service, now, few=few), (0, 0, 0, 2))]
        if service.get("routes"):
            parts.append(Padding(_routes(service["routes"]), (0, 0, 0, 2)))
        for veto in service.get("vetoes") or ():
            text = f"{veto['name']} stays in service: {veto['guard']}: {veto['text']}"
            parts.append(Padding(health("degraded", text=text), (0, 0, 0, 2)))
    parts += _holds(status, now)
    parts += ["", _agents(status.get("agents", {}))]
    return Group(*parts)


def _head(status: Json) -> RenderableType:
    bad = wrongs(status)
    line = Text.assemble((status["fleet"], "bold"), "  ")
    line.append_text(health("degraded", text="not well: ") if bad else health("healthy", text="all well"))
    line.append("; ".join(bad))
    leader = status.get("leader")
    facts = [
        f"leader {leader['name']} (epoch {leader['epoch']})" if leader else "no leader",
        f"config {str(status.get('config_hash', ''))[:12]}",
        f"as of {str(status.get('time', ''))[:19].replace('T', ' ')}",
    ]
    return Group(line, Text("   ".join(facts), style="dim"))


def _notes(status: Json, now: Any) -> Iterator[RenderableType]:
    """What needs attention: a sign, what it is, what to do."""
    table = Table.grid(padding=(0, 1))
    frozen = status.get("frozen")
    if frozen:
        ends = f", ends {until(frozen['until'], now)}" if frozen.get("until") else ""
        line = Text.assemble(("frozen", "yellow"), f" by {frozen.get('by')}: {frozen.get('reason', '')}{ends}")
        table.add_row(Text("!", style="yellow"), line.append("\n→ `steerd unfreeze` ends it"))
    for what, text in _own_troubles(status):
        table.add_row(Text("!", style="yellow"), Text.assemble((what, "yellow"), f"  {text}"))
    for alert in status.get("alerts") or ():
        line = Text(f"{alert['kind']} {alert.get('of') or ''}".rstrip(), style="yellow")
        line.append_text(Text(f"  {alert.get('text', '')}", style="not yellow"))
        if age := since(alert.get("since"), now):
            line.append(f"  ({age})", style="dim")
        if alert.get("action"):
            line.append_text(Text(f"\n→ {alert['action']}", style="not yellow"))
        table.add_row(Text("!", style="yellow"), line)
    if table.row_count:
        yield ""
        yield table


def _own_troubles(status: Json) -> Iterator[tuple[str, str]]:
    """What the answering process has to say of itself and its providers: (what, text)."""
    own = status.get("coordinator") or {}
    if own.get("config_problem"):
        yield "config-refused", f"the config on disk is not in force: {own['config_problem']}"
    if own.get("store"):
        yield "store", str(own["store"])
    if own.get("recording"):
        yield "recording", str(own["recording"])
    for name, provider in (status.get("providers") or {}).items():
        if provider.get("state") == "failed":
            yield f"provider {name}", f"{provider.get('text', '')}; {provider.get('action', '')}".rstrip("; ")
        elif provider.get("circuit", "closed") != "closed":
            yield f"provider {name}", _unanswered(provider)
        if (provider.get("account") or {}).get("paused_s"):
            yield f"provider {name}", f"asked us to stay away: calls go on in {provider['account']['paused_s']:g} s"


def _unanswered(provider: Json) -> str:
    words = f"the last {provider['unanswered']} calls got no answer ({provider['last_error']})"
    again = f"asked again in {provider['again_in_s']:g} s" if provider["circuit"] == "open" else "being asked again now"
    return f"{words}; {again}, writes are tried at once"


def _title(name: str, service: Json) -> Text:
    line = Text.assemble((name, "bold"), "  ", health(service["health"]))
    if service.get("demand") is not None:
        line.append(f"   demand {service['demand']:g}")
    if service.get("utilization") is not None:
        line.append(f"   utilization {service['utilization']:.0%}")
    if service.get("mode") == "observe":
        line.append("   observed only")
    why = service.get("diagnosis")
    if why and why.get("kind") not in (None, "none"):
        label = f" ({why['label']})" if why.get("label") else ""
        line.append(f"   explained by {why['kind']} {why.get('of', '')}{label}")
    return line


def _tree(service: Json, now: Any, *, few: bool) -> Table:
    """Regions, their zones, their endpoints. What does not say where it belongs stands at the end of its level."""
    table = grid("where", "health", "share", "since", "voices", "why", right=("share",))
    regions, zones = service.get("regions", {}), service.get("zones", {})
    endpoints = dict(_shown(service.get("endpoints", {}), few=few))
    placed: set[str] = set()

    def zone_rows(depth: int, name: str) -> None:
        table.add_row(*_row(depth, name, zones[name], now))
        for key, endpoint in endpoints.items():
            if endpoint.get("zone") == name:
                placed.add(key)
                table.add_row(*_row(depth + 1, key, endpoint, now))

    for name, region in regions.items():
        table.add_row(*_row(0, name, region, now))
        for zone in (z for z, facts in zones.items() if facts.get("region") == name):
            zone_rows(1, zone)
    for zone in (z for z, facts in zones.items() if facts.get("region") not in regions):
        zone_rows(1, zone)
    for key, endpoint in endpoints.items():
        if key not in placed:
            table.add_row(*_row(2, key, endpoint, now))
    hidden = len(service.get("endpoints", {})) - len(endpoints)
    if hidden:
        table.add_row(Text(f"    and {hidden} more (--all)", style="dim"))
    return table


def _shown(endpoints: Json, *, few: bool) -> list[tuple[str, Any]]:
    if few:
        return list(endpoints.items())
    ill = [(name, e) for name, e in endpoints.items() if e["health"] != "healthy"]
    return sorted(ill, key=lambda item: _WORST_FIRST.index(item[1]["health"]))[:ROWS_MAX]


def _row(depth: int, name: str, facts: Json, now: Any) -> tuple[RenderableType, ...]:
    return (
        indent(depth, name),
        health(facts["health"]),
        percent(facts.get("share")),
        since(facts.get("since"), now),
        _voices(facts.get("voices")),
        Text(facts.get("reason") or ""),
    )


def _voices(voices: Mapping[str, int] | None) -> str:
    """The worst thing any voice says, and how many say so: `4/4 unhealthy`, `1/4 unknown`, `4/4 healthy`."""
    total = sum((voices or {}).values())
    if not voices or not total:
        return ""
    for word in _VOICES_WORST_FIRST:
        if voices.get(word):
            return f"{voices[word]}/{total} {word}"
    return ""


def _routes(routes: list[Json]) -> Table:
    table = grid("route", "written", "serves")
    for route in routes:
        if route.get("state") == "observe":
            state = health("healthy", text="not written")
        elif route.get("observed") is None:
            state = health("unknown", text="not read yet")
        elif route.get("in_sync"):
            state = health("healthy", text="in sync")
        else:
            state = health("degraded", text="not in sync")
        serves = weights(route.get("observed"))
        if not route.get("in_sync") and route.get("desired"):
            serves += f"; wanted {weights(route['desired'])}"
        if route.get("drift"):
            serves += "; edited by someone else: " + ", ".join(sorted(route["drift"]))
        if route.get("error"):
            serves += f"; {route['error']}"
        if route.get("fence_note"):
            serves += f" ({route['fence_note']})"
        table.add_row(Text(f"{route['provider']}/{route['name']}"), state, Text(serves))
    return table


def _holds(status: Json, now: Any) -> list[RenderableType]:
    drains, pins = status.get("drains") or [], status.get("pins") or []
    if not drains and not pins:
        return []
    table = grid("held", "what", "by", "ends", "reason")
    for drain in drains:
        what = _WAY.get(drain.get("phase"), "drained")
        if drain.get("step") not in (None, "100%"):
            what += f", {drain['step']} out"
        table.add_row(
            drain["name"], what, drain.get("by", ""), until(drain.get("until"), now), drain.get("reason") or ""
        )
    for pin in pins:
        what = f"pinned {percent(pin.get('share'))}"
        table.add_row(pin["name"], what, pin.get("by", ""), until(pin.get("until"), now), pin.get("reason") or "")
    return ["", table]


def _agents(agents: Json) -> Text:
    voting = sum(1 for a in agents.values() if a["state"] == "voting")
    line = Text(f"agents  {voting} of {len(agents)} voting")
    for name, agent in agents.items():
        if agent["state"] != "voting":
            age = agent.get("age_s")
            line.append(f"\n  {name} in {agent.get('zone', '?')}: ")
            line.append_text(health("unknown", text=str(agent["state"])))
            line.append(f", last heard {age:.0f} s ago" if age is not None else ", never heard")
            line.append(f": {agent['reason']}" if agent.get("reason") else "")
        if strained := _strain(agent.get("self", {})):
            line.append(f"\n  {name} in {agent.get('zone', '?')}: {strained}")
    if dear := _cost([agent.get("self", {}) for agent in agents.values()]):
        line.append(f"\n  looks: {dear}")
    return line


def _cost(agents: list[Json]) -> str:
    """What looks cost by the kind of their probe, over all agents since each started; the dearest first."""
    kinds: dict[str, dict[str, float]] = {}
    for own in agents:
        for said, value in own.items():
            name, dot, kind = said.partition(".")
            if dot:
                cost = kinds.setdefault(kind, {})
                cost[name] = cost.get(name, 0.0) + value
    words = []
    for kind, cost in sorted(kinds.items(), key=lambda item: -item[1].get("busy_s", 0.0)):
        if looks := cost.get("looks", 0.0):
            spent = f" and {cost['tokens'] / looks:.0f} tokens" if "tokens" in cost else ""
            words.append(f"{looks:.0f} {kind} of {1000 * cost.get('busy_s', 0.0) / looks:.1f} ms{spent}")
    return ", ".join(words)


def _strain(own: Json) -> str:
    """What an agent sees of itself that its reader should know; nothing of one that is well."""
    words = []
    if own.get("start_delay_s", 0.0) > 0.25:
        words.append(f"looks start up to {own['start_delay_s']:.2f} s late")
    if own.get("loop_lag_s", 0.0) > 0.25:
        words.append(f"event loop {own['loop_lag_s']:.2f} s late")
    if own.get("waiting", 0.0) > 0:
        words.append(f"{own['waiting']:.0f} looks wait for a place")
    if own.get("descriptors", 0.0) > 0.8 * own.get("descriptors_limit", float("inf")):
        words.append(f"{own['descriptors']:.0f} of {own['descriptors_limit']:.0f} descriptors open")
    if off_s := own.get("clock_off_s", 0.0):
        words.append(f"its clock is {abs(off_s):.0f} s {'ahead' if off_s > 0 else 'behind'}: set it")
    if own.get("references_failing", 0.0) > 0:
        words.append(f"{own['references_failing']:.0f} references do not answer")
    return ", ".join(words)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
