"""How long from the crash of an endpoint until the coordinator knows: K agents, interval I, against 3 failures in a row of one.

Virtual time: the real agents' ballot boxes and cadences, the real coordinator and engine, in the simulator's network (1 ms a way).
Crashes fall at random moments, one endpoint of a service at a time, far enough apart to be independent; `--quick` makes fewer.
The goal is about crashes: p95 <= I/K + 1 s. A hang costs two timeouts more: of the look that meets it, and of those that agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from steerd.core.cadence import agree
from steerd.model.fleet import Agent, Check, Coordinator, Endpoint, Fleet, ProviderSpec, Region, Service
from steerd.model.route import Route, Target
from steerd.model.rules import Quorum, Ramp
from steerd.model.sample import Layer
from steerd.sim.rehearsal import Rehearsal
from steerd.sim.scenario import Fault, Scenario

AGENTS = (3, 5, 7, 9)
INTERVALS_S = (1.0, 5.0, 10.0)
CRASHES, FEW = 1000, 60
GOAL_S = 1.0
FALL = 3

_CHECK = "liveness"
_SERVICES = 10
_ROUNDS = 20
_ZONES = {"eu": ("eu-a", "eu-b"), "us": ("us-a", "us-b")}
_PER_ZONE = 10
_WARM_S = 30.0
_NEVER_S = 1e9


@dataclass(frozen=True, slots=True)
class Found:
    """One cell, in seconds: from each crash to `down`, to the first write, and to the third failure of one prober.
    `rate` is regular looks per second and endpoint."""

    agents: int
    interval_s: float
    timeout_s: float
    kind: str
    down: list[float]
    written: list[float]
    alone: list[float]
    rate: float

    @property
    def limit_s(self) -> float:
        """The goal: a slot and a second; where looks end by their timeout, the two that follow each other as well."""
        waits_s = 2 * self.timeout_s if self.kind == "hang" else 0.0
        return self.interval_s / self.agents + GOAL_S + waits_s


def percentile(values: list[float], fraction: float) -> float:
    """The smallest of `values` that at least `fraction` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(len(ordered) * fraction * 1000) // 1000) - 1)]


def timeout_of(interval_s: float) -> float:
    """2 s, the default, and never longer than the interval."""
    return min(2.0, interval_s)


def measure(agents: int, interval_s: float, kind: str, crashes: int, seed: int = 1) -> Found:
    """One cell: as many rehearsals as `crashes` need."""
    found = Found(agents, interval_s, timeout_of(interval_s), kind, [], [], [], 0.0)
    looks = seconds = 0.0
    while len(found.down) < crashes:
        rounds = min(_ROUNDS, -(-(crashes - len(found.down)) // _SERVICES))
        made, watched_s = _rehearse(found, rounds, Random(f"{agents} {interval_s} {kind} {seed}"), seed)
        looks, seconds, seed = looks + made, seconds + watched_s, seed + 1
    return Found(agents, interval_s, found.timeout_s, kind, found.down, found.written, found.alone, looks / seconds)


def _fleet(agents: int, interval_s: float, timeout_s: float) -> Fleet:
    """Agents look from places of their own; ten services in four zones. What has crashed stays out: nothing is restored."""
    zones = [z for names in _ZONES.values() for z in names]
    check = Check(_CHECK, Layer.LIVENESS, "http", interval_s, timeout_s)
    services = []
    for s in range(_SERVICES):
        name = f"s{s}"
        endpoints = tuple(
            Endpoint(f"{name}-{z}-{n}", name, z, "http://198.51.100.1:8000", 1.0, address=f"203.0.{s}.{i * 20 + n}")
            for i, z in enumerate(zones)
            for n in range(_PER_ZONE)
        )
        targets = tuple(Target(e.name, (e.name,), {e.name: (e.address or "",)}) for e in endpoints)
        route = Route(
            key=f"dns/{name}.test", service=name, provider="dns", name=f"{name}.test", per="endpoint", targets=targets
        )
        ramp = Ramp(restore_after_s=_NEVER_S)
        services.append(Service(name=name, endpoints=endpoints, routes=(route,), checks=(check,), ramp=ramp))
    return Fleet(
        name="crash-detection",
        regions=tuple(Region(name, members) for name, members in _ZONES.items()),
        agents=tuple(Agent(f"agent-{i}", f"place-{i}") for i in range(agents)),
        coordinators=(Coordinator("co", "eu", "http://127.0.0.1:1"),),
        providers=(ProviderSpec("dns", "memory"),),
        services=tuple(services),
        quorum=Quorum(),
        config_hash="bench",
    )


def _rehearse(found: Found, rounds: int, rng: Random, seed: int) -> tuple[float, float]:
    """`rounds` crashes of each service, added to `found`. Returns regular looks made, and endpoint-seconds they took."""
    fleet = _fleet(found.agents, found.interval_s, found.timeout_s)
    apart_s = 2 * found.interval_s + 3 * found.timeout_s + 5.0
    warm_s = _WARM_S + 4 * found.interval_s
    faults = []
    for service in fleet.services:
        victims = rng.sample(service.endpoints, rounds)
        for number, endpoint in enumerate(victims):
            at = warm_s + number * (apart_s + found.interval_s) + rng.random() * found.interval_s
            faults.append(Fault(at, "endpoint", endpoint.name, found.kind, until=at + apart_s))
    duration_s = warm_s + rounds * (apart_s + found.interval_s)
    rehearsal = Rehearsal(Scenario("crash-detection", "", fleet, duration_s, tuple(faults)), seed)
    rehearsal.run()
    assert not rehearsal.problems, rehearsal.problems
    assert not rehearsal.watch.violations, rehearsal.watch.violations
    for fault in faults:
        _take(found, rehearsal, fault)
    return _looks(rehearsal), duration_s * len(fleet.endpoint_by_name)


def _take(found: Found, rehearsal: Rehearsal, fault: Fault) -> None:
    recorder, until = rehearsal.recorder, fault.until or 0.0
    downs = [at for at, word in recorder.health[fault.target] if word == "down" and fault.at <= at <= until]
    outs = [at for at, share in recorder.shares[fault.target] if share == 0.0 and fault.at <= at <= until]
    assert downs, f"{fault.target} crashed at {fault.at} s and was never found"
    assert outs, f"{fault.target} crashed at {fault.at} s and was never taken out"
    found.down.append(downs[0] - fault.at)
    found.written.append(outs[0] - fault.at)
    found.alone.append(_alone(found, fault, rehearsal.data.now() - rehearsal.kernel.now) - fault.at)


def _alone(found: Found, fault: Fault, wall_s: float) -> float:
    """When one prober with this interval, and no help, has seen the third look in a row fail. A look that times out keeps the
    next one waiting."""
    cadence = agree("alone", ("alone",), fault.target, _CHECK, found.interval_s, turns=False)
    look_s = found.timeout_s if found.kind == "hang" else 0.0
    ended = wall_s + fault.at
    slot: int | None = None
    for _ in range(FALL):
        slot = cadence.after(ended, slot)
        ended = cadence.time(slot) + look_s
    return ended - wall_s


def _looks(rehearsal: Rehearsal) -> float:
    """Regular looks of all agents: those that confirm are not counted among the passed and the failed."""
    total = 0
    for agent in rehearsal.agents.values():
        agent.wake_all()
        total += sum(job.run.passed + job.run.failed for jobs in agent.by_subject.values() for job in jobs)
    return total


def row(cell: Found) -> str:
    """One line of the table."""
    p95, alone = percentile(cell.down, 0.95), percentile(cell.alone, 0.95)
    kept = "yes" if p95 <= cell.limit_s else "NO"
    return (
        f"{cell.agents:2} {cell.interval_s:4g} {len(cell.down):6} "
        f"{percentile(cell.down, 0.5):6.2f} {p95:6.2f} {max(cell.down):6.2f} {cell.limit_s:7.2f} {kept:>4} "
        f"{percentile(cell.written, 0.5):8.2f} {percentile(cell.written, 0.95):6.2f} "
        f"{alone:9.2f} {alone / p95:5.1f}x {cell.rate:8.4f} {cell.agents / cell.interval_s:8.4f}"
    )


HEAD = " K    I      n    p50    p95    max  goal95 kept  write50    w95 alone p95 faster  looks/s      K/I"


def run(options: Sequence[str] = ()) -> None:
    """Prints both tables, crashes and hangs."""
    crashes = FEW if "--quick" in options else CRASHES
    for kind, goal in (
        ("crash", "refused; goal: I/K + 1 s"),
        ("hang", "accepts and never answers; timeout 2 s, at I = 1 s 1 s; goal: I/K + 1 s + 2 timeouts"),
    ):
        print(
            f"{kind} ({goal}); seconds from the fault to `down`, to the first write; `alone`: {FALL} looks of one prober"
        )
        print(HEAD, flush=True)
        for agents in AGENTS:
            for interval_s in INTERVALS_S:
                print(row(measure(agents, interval_s, kind, crashes)), flush=True)
