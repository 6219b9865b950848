"""Is the latency that steerd reports the one on the wire? A server knows of each answer how long after the request's arrival, which
the kernel stamps, it was sent: what a packet capture would show. What steerd reports beyond that is its error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from math import nan

from benchmarks.addresses import address
from benchmarks.probes import Steerd
from tests.support.servers import free_port

ENDPOINTS, INTERVAL_S, SECONDS = 2_000, 0.4, 15
STARTING = 5
"""Looks at each address that are made while everything starts."""


def run(_options: Sequence[str] = ()) -> None:
    """Prints the distribution of the difference."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stamping_server", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdout.readline()
    steerd = Steerd(
        port, "--endpoints", str(ENDPOINTS), "--interval", str(INTERVAL_S), "--fresh-every", "1000000", "--latencies",
        "--every", str(SECONDS),
    )  # fmt: skip
    try:
        reported: dict[str, list[float]] = steerd.line()["durations"]  # type: ignore[assignment]  # this one is a map
    finally:
        steerd.stop()
    server.stdin.write(b"\n")
    server.stdin.flush()
    took: dict[str, list[float]] = json.loads(server.stdout.readline())
    server.wait(10)
    errors: list[float] = []
    times: list[float] = []
    for number in range(ENDPOINTS):
        pairs = list(zip(reported.get(f"e{number}", []), took.get(address(number), []), strict=False))
        errors += [a - b for a, b in pairs[STARTING:]]
        times += [b for _, b in pairs[STARTING:]]
    rate = len(errors) / (SECONDS - STARTING * INTERVAL_S)
    print(
        f"  {rate:.0f} looks/s; on the wire {_quantiles(times)}; reported beyond that {_quantiles(errors)} (goal: p99 <= 0.5 ms)"
    )


def _quantiles(values: list[float]) -> str:
    ordered = sorted(values)
    found = {q: ordered[int(len(ordered) * q / 100)] if ordered else nan for q in (50, 90, 99)}
    return ", ".join(f"p{q} {value * 1e3:.3f} ms" for q, value in found.items())
