"""An agent for `benchmarks.probes`, in a process of its own: looks at addresses of 127/8, and prints what it did, one line of
JSON now and then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.addresses import address
from probes.outcome import Outcome
from steerd.agent.agent import Agent
from steerd.model.fleet import Agent as AgentConfig
from steerd.model.fleet import Check, Endpoint, Fleet, Region, Service
from steerd.model.sample import Layer
from steerd.telemetry.meters import Meters
from steerd.telemetry.observers import AgentTelemetry


def fleet(options: argparse.Namespace) -> Fleet:
    """`endpoints` endpoints, one HTTP liveness check each."""
    settings: dict[str, Any] = {"path": options.path, "fresh_every": options.fresh_every}
    check = Check("liveness", Layer.LIVENESS, "http", options.interval, min(2.0, options.interval * 2), settings)
    port = options.port
    endpoints = tuple(
        Endpoint(f"e{n}", "chat", "z1", f"http://{address(n)}:{port}", 1.0) for n in range(options.endpoints)
    )
    return Fleet(
        name="bench",
        regions=(Region("r1", ("z1",)),),
        agents=(AgentConfig("a1", "z1"),),
        services=(Service(name="chat", checks=(check,), endpoints=endpoints),),
    )


class Telemetry(AgentTelemetry):
    """The agent's own telemetry, and beside it (with `delays`) every delay since the last line and (with `latencies`) every
    duration.
    """

    def __init__(self, meters: Meters, *, delays: bool, latencies: bool) -> None:
        super().__init__(meters)
        self._wanted = delays or latencies
        self.delays: list[float] = []
        self.durations: dict[str, list[float]] | None = {} if latencies else None
        self.outcomes: dict[str, int] = {}

    def on_look(self, endpoint: str, service: str, zone: str, check: str, *, outcome: Any, delay_s: float) -> None:
        super().on_look(endpoint, service, zone, check, outcome=outcome, delay_s=delay_s)
        assert isinstance(outcome, Outcome)
        if self.durations is not None:
            self.durations.setdefault(endpoint, []).append(outcome.duration_s)
        key = f"{outcome.status} {outcome.reason or ''}".strip()
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    def passes(self, endpoint: str, service: str, zone: str, check: str) -> Callable[[float, float], None]:
        inner, delays = super().passes(endpoint, service, zone, check), self.delays
        if not self._wanted:
            return inner
        durations = self.durations.setdefault(endpoint, []) if self.durations is not None else None

        def passed(duration_s: float, delay_s: float) -> None:
            inner(duration_s, delay_s)
            delays.append(delay_s)
            if durations is not None:
                durations.append(duration_s)

        return passed


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoints", type=int, default=2000)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/")
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--fresh-every", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two lines")
    parser.add_argument("--latencies", action="store_true", help="say every duration so far, by endpoint")
    parser.add_argument("--delays", action="store_true", help="say quantiles of the start delay")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    meters = Meters()
    telemetry = Telemetry(meters, delays=options.delays, latencies=options.latencies)
    agent = Agent(fleet(options), "a1", resolve=str, observer=telemetry)
    stop = asyncio.Event()
    work = asyncio.create_task(agent.run(stop))
    ends = time.monotonic() + options.seconds
    number = descriptors = 0
    while time.monotonic() < ends and not work.done():
        await asyncio.sleep(options.every)
        if (
            number % 4 == 0
        ):  # counting ten thousand takes 20 ms, in which no look starts: most lines tell of the agent alone
            descriptors = _descriptors()
        _line(agent, telemetry, descriptors)
        number += 1
    stop.set()
    await work


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _line(agent: Agent, telemetry: Telemetry, descriptors: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    delays = sorted(telemetry.delays)
    telemetry.delays.clear()
    durations = telemetry.durations
    rss_pages = int(Path("/proc/self/statm").read_text().split()[1])
    status = agent.status()
    found = {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "looks": status["looks"],
        "missed": status["missed"],
        "delay_p50_ms": _at(delays, 0.5) * 1e3,
        "delay_p99_ms": _at(delays, 0.99) * 1e3,
        "delay_max_ms": _at(delays, 1.0) * 1e3,
        "durations": durations,
        "abstaining": status["abstaining"],
        "rss_mib": rss_pages * resource.getpagesize() / 2**20,
        "descriptors": descriptors,
        "tasks": len(asyncio.all_tasks()),
        "outcomes": telemetry.outcomes,
    }
    print(json.dumps(found), flush=True)


def _at(values: list[float], quantile: float) -> float:
    return values[min(len(values) - 1, int(len(values) * quantile))] if values else 0.0


if __name__ == "__main__":
    uvloop.run(main())
