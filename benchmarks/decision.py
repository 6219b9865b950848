"""What a decision costs, what a vote costs, and where the time goes: one engine, no network, CPU time of this process.

    python -m benchmarks decision              every figure
    python -m benchmarks decision --profile    and where the time of a decision goes (functions by own time)

Nine agents. Three fleets of 10 000 endpoints: 104 services of 96; one service with a target per endpoint; one with a target per
zone. CPU time rather than wall time: the machine may be busy with other things, a decision is one thread's work.
"""

from __future__ import annotations

import cProfile
import gc
import io
import json
import pstats
import resource
import sys
import time
from collections.abc import Iterator, Sequence

from steerd import wire
from steerd.core import effects as fx
from steerd.core import events as ev
from steerd.core.engine import Engine
from steerd.model.fleet import Fleet
from steerd.model.route import Fence, Observed
from steerd.model.sample import Layer
from steerd.model.vote import Ballot, CheckCounts, Heartbeat, Verdict, Vote
from tests.support.fleets import WEIGHTED, make_fleet, repeated

ENDPOINTS = 10_000
DECISIONS = 60


def run(options: Sequence[str] = ()) -> None:
    """Prints every figure beside its goal."""
    profile = "--profile" in options
    for title, fleet in fleets():
        bench = Bench(fleet)
        print(f"{title}", flush=True)
        bench.votes()
        bench.decisions(DECISIONS)
        if profile:
            bench.profile(DECISIONS)
    steady(make_fleet({"eu": 4, "us": 4}, per_zone=ENDPOINTS // 8, demand=None, outside=1))


def fleets() -> Iterator[tuple[str, Fleet]]:
    eight = {"eu": 4, "us": 4}
    yield "104 services x 96 endpoints, a target per endpoint", many_services(104, 96)
    yield (
        f"1 service x {ENDPOINTS} endpoints in 8 zones, a target per endpoint",
        make_fleet(eight, per_zone=ENDPOINTS // 8, demand=None, outside=1),
    )
    yield (
        f"1 service x {ENDPOINTS} endpoints in 8 zones, a target per zone",
        make_fleet(eight, per_zone=ENDPOINTS // 8, demand=None, outside=1, per="zone"),
    )


def many_services(count: int, size: int) -> Fleet:
    one = make_fleet({"eu": 4, "us": 4}, per_zone=size // 8, demand=None, outside=1)
    return repeated(one, count)


class Bench:
    """A leading engine whose routes serve everything, driven with ballots."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.engine = Engine("co")
        self.now, self.number = 1000.0, 0
        self.step(ev.ConfigLoaded(fleet, {"dns": WEIGHTED}))
        self.step(ev.LeadershipChanged(True, 2, "co", None))
        for route in fleet.route_by_key.values():
            served = {t.key: t.values_for(frozenset(t.endpoints)) for t in route.targets}
            fence = Fence("test", 1, 0, "")
            self.step(ev.RouteObserved(route.key, Observed(dict.fromkeys(served, 255), served, fence)))

    def step(self, event: ev.Event) -> tuple[fx.Effect, ...]:
        """One step, and the tick after it that the engine asks for when something waits to be judged."""
        out = self.engine.step(event, self.now)
        return out + self.engine.step(ev.Tick(), self.now) if self.engine.wake_at(self.now) <= self.now else out

    def frames(self) -> list[Ballot]:
        """A full ballot of every agent, with counts that went on."""
        self.number += 1
        names, number = list(self.fleet.endpoint_by_name), self.number
        return [Ballot(a.name, 1, number, True, tuple(healthy(e, number) for e in names)) for a in self.fleet.agents]

    def votes(self) -> None:
        count = len(self.fleet.endpoint_by_name) * len(self.fleet.agents)
        for title in ("first full ballots", "full ballots, counts go on"):
            best = 0.0
            for _ in range(1 if title.startswith("first") else 5):
                self.now += 1.0
                frames = self.frames()
                gc.collect()
                began = time.process_time()
                for frame in frames:
                    self.step(ev.BallotReceived(frame))
                best = max(best, count / (time.process_time() - began))
            goal = "" if title.startswith("first") else "   (goal: >= 500 000)"
            print(f"  {title}: {best:,.0f} votes folded per core-second{goal}")
        self.now += 1.0
        began, beats = time.process_time(), 0
        for _ in range(200):
            self.number += 1
            for agent in self.fleet.agents:
                self.step(ev.BallotReceived(Heartbeat(agent.name, 1, self.number)))
                beats += 1
        print(f"  heartbeat: {(time.process_time() - began) / beats * 1e6:.0f} us")

    def decisions(self, count: int) -> None:
        """One endpoint after another dies; every agent says so in a ballot of its own."""
        decisive, others = [], []
        for took, decided in self.deaths(count):
            (decisive if decided else others).append(took * 1e3)
        for title, times in (("decisive ballot -> Apply", decisive), ("every other step", others)):
            times.sort()
            p50, p99 = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))]
            goal = "   (goal: <= 10 ms p99)" if times is decisive else ""
            print(f"  {title}: {p50:.2f} ms median, {p99:.2f} ms p99, {len(times)} times{goal}")

    def deaths(self, count: int) -> Iterator[tuple[float, bool]]:
        names = list(self.fleet.endpoint_by_name)
        stride = len(names) // count
        offset = self.number % stride
        for nth in range(count):
            self.now += 1.0
            self.number += 1
            dead = names[(nth * stride + offset) % len(names)]
            for agent in self.fleet.agents:
                vote = Vote(
                    dead, Verdict.UNHEALTHY, 10_000 + self.number, Layer.LIVENESS, "liveness", "refused", True, True
                )
                event = ev.BallotReceived(Ballot(agent.name, 1, self.number, False, (vote,)))
                began = time.process_time()
                out = self.step(event)
                yield time.process_time() - began, any(isinstance(o, fx.Apply) for o in out)
                self.carry_out(out)

    def carry_out(self, out: tuple[fx.Effect, ...]) -> None:
        for effect in out:
            if isinstance(effect, fx.Apply):
                members = effect.desired.members
                seen = Observed(
                    {m.target: m.weight for m in members}, {m.target: m.values for m in members}, effect.fence
                )
                self.step(ev.ApplyFinished(effect.route, effect.decision, "applied", accepted_at=self.now))
                self.step(ev.VerifyFinished(effect.route, effect.decision, True, observed=seen))

    def profile(self, count: int) -> None:
        profiler = cProfile.Profile()
        steps = iter(self.deaths(count))
        profiler.enable()
        for _ in steps:
            pass
        profiler.disable()
        text = io.StringIO()
        pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(18)
        print("\n".join(line for line in text.getvalue().splitlines() if line.strip()))


def healthy(endpoint: str, looks: int) -> Vote:
    return Vote(endpoint, Verdict.HEALTHY, looks, counts=(CheckCounts("liveness", looks, 0),))


def steady(fleet: Fleet) -> None:
    """Thirty seconds of a quiet fleet as a coordinator sees them: frames decoded, folded, ticks; and what status costs."""
    bench = Bench(fleet)
    for frame in bench.frames():
        bench.step(ev.BallotReceived(frame))
    bench.now += 1.0
    packed = [wire.encode(frame) for frame in bench.frames()]
    gc.collect()
    began = time.process_time()
    for data in packed:
        frame = wire.decode(data)
        assert isinstance(frame, Ballot)
        bench.step(ev.BallotReceived(frame))
    for second in range(30):
        bench.now += 1.0
        bench.step(ev.Tick())
        if second % 2 == 0:
            bench.number += 1
            for agent in fleet.agents:
                beat = wire.decode(wire.encode(Heartbeat(agent.name, 1, bench.number)))
                assert isinstance(beat, Heartbeat)
                bench.step(ev.BallotReceived(beat))
    used = (time.process_time() - began) / 30.0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"steady state, {ENDPOINTS} endpoints x 9 agents, full ballots each 30 s, heartbeats each 2 s")
    print(
        f"  {used:.3f} core (goal: <= 0.25); {size:.0f} MiB at most in this process, all fleets above included (goal: <= 400)"
    )
    times = []
    for _ in range(5):
        began = time.process_time()
        text = json.dumps(bench.engine.status(bench.now))
        times.append(time.process_time() - began)
    print(f"  status: {min(times) * 1e3:.0f} ms with JSON of {len(text) / 1e6:.1f} MB (goal over the API: <= 150 ms)")


if __name__ == "__main__":
    run(sys.argv[1:])
