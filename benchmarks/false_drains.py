"""False drains: how often automation takes weight from endpoints that are all well, because looks get lost. Beside others' rules.

    python -m benchmarks false_drains [--hours H] [--endpoints N] [--cases 1%,20%] [--agents 9,6,5] [--jobs J] [--seed S]

`make sim` runs 24 h of 1000 endpoints. The fleet is run in parts of 100 endpoints, as many processes as there are cores: 3 regions
of 3 zones, a look every 5 s, one service. Everything that decides is production code (`loss_fleet`); the others' rules are
models of what they publish (`loss_peers`), on the same looks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import takewhile

from benchmarks.loss_fleet import INTERVAL_S, Moves, Shard, make_fleet
from benchmarks.loss_peers import PEERS, quorum_removals, removals
from benchmarks.loss_trace import CASES, START_S, Link, lost_slots
from steerd.agent.watchlist import watchlist

_PART = 100
_PEER_AGENTS = 9


def run(words: Sequence[str] = ()) -> None:
    """Prints the table, a row as soon as it is known."""
    options = _options(words)
    agents = [int(n) for n in options.agents.split(",")]
    seconds, parts = options.hours * 3600.0, max(1, options.endpoints // _PART)
    each = options.endpoints // parts
    scale = 24.0 / options.hours * 1000.0 / (each * parts)
    print(
        f"{options.hours:g} h, {each * parts} endpoints, seed {options.seed}; others: removals per 24 h and 1000 endpoints; "
        f"steerd: automatic weight decreases in all of this run, by number of agents",
        flush=True,
    )
    print(
        "| loss | " + " | ".join(PEERS) + " | " + " | ".join(f"steerd K={k}" for k in agents) + " | CPU |", flush=True
    )
    print("|---" * (len(PEERS) + len(agents) + 2) + "|", flush=True)
    notes: list[str] = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for name in options.cases.split(","):
            work = [(name, k, each, part, parts, options.seed, seconds) for k in (*agents, 0) for part in range(parts)]
            done = list(pool.map(_one, work))
            peers = [result for result, _ in done if isinstance(result, dict)]
            cells = [f"{sum(p[peer] for p in peers) * scale:,.0f}" for peer in PEERS]
            for k in agents:
                moves = [m for (m, _), w in zip(done, work, strict=True) if w[1] == k and isinstance(m, Moves)]
                cells.append(str(sum(m.decreases for m in moves)))
                notes.append(_note(name, k, moves))
            print(f"| {name} | " + " | ".join(cells) + f" | {sum(cpu for _, cpu in done):,.0f} s |", flush=True)
    print("\n".join(notes), flush=True)


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks false_drains")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--agents", default="9,6,5")
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    unknown = [name for name in options.cases.split(",") if name not in CASES]
    if unknown:
        parser.error(f"there is no case {', '.join(unknown)}; there are: {', '.join(CASES)}")
    return options


def _one(work: tuple[str, int, int, int, int, int, float]) -> tuple[Moves | dict[str, int], float]:
    """One part of one case: steerd's moves with so many agents, or for 0 what the others did. And the CPU seconds."""
    name, agents, endpoints, part, parts, seed, seconds = work
    began = time.process_time()
    result: Moves | dict[str, int]
    if agents:
        result = Shard(CASES[name], make_fleet(agents, endpoints, part, parts), f"{seed}/{part}", seconds).run()
    else:
        result = _peers(name, endpoints, part, parts, f"{seed}/{part}", seconds)
    return result, time.process_time() - began


def _peers(name: str, endpoints: int, part: int, parts: int, seed: str, seconds: float) -> dict[str, int]:
    fleet = make_fleet(_PEER_AGENTS, endpoints, part, parts)
    zones = {z: n for n, z in enumerate(dict.fromkeys(e.zone for e in fleet.services[0].endpoints))}
    slots = int(seconds / INTERVAL_S)
    seen: dict[str, list[tuple[bytes, float, float]]] = {}
    counts = dict.fromkeys(PEERS, 0)
    for vantage, agent in enumerate(fleet.agents):
        links = [Link(CASES[name], seed, vantage, zone, seconds) for zone in range(len(zones))]
        for watch in watchlist(fleet, agent.name).watches:
            cadence = watch.cadence
            first = cadence.after(START_S)
            looks = bytearray(slots)
            lost = lost_slots(links[zones[watch.zone]], cadence, seed, vantage, watch.subject)
            for slot in takewhile(lambda s, end=first + slots: s < end, lost):  # type: ignore[misc]  # a bound default
                looks[slot - first] = 1
            seen.setdefault(watch.subject, []).append((bytes(looks), cadence.time(first), cadence.period_s))
    for checkers in seen.values():
        for peer, removed in removals(checkers[0][0]).items():
            counts[peer] += removed
        counts["Route 53"] += quorum_removals(checkers)
    return counts


def _note(name: str, agents: int, moves: list[Moves]) -> str:
    health: dict[str, int] = {}
    for m in moves:
        for word, n in m.health.items():
            health[word] = health.get(word, 0) + n
    told = ", ".join(f"{n} x {word}" for word, n in sorted(health.items())) or "none"
    looks, confirms = sum(m.regular for m in moves), sum(m.confirms for m in moves)
    moved = "; ".join(t for m in moves for t in m.texts[:3])[:400]
    return (
        f"  {name}, K={agents}: transitions of health: {told}; {looks:,} looks of the cadence made one by one, "
        f"{confirms:,} confirm looks" + (f"; moved: {moved}" if moved else "")
    )
