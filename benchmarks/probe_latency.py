"""Is the latency that steerd reports the target's? A server stamps each request when it reads it and when it has answered it, on
the same clock; what steerd reports beyond that is the way there and back, both processes' queues, and its error.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from benchmarks.addresses import address
from benchmarks.probes import Steerd
from tests.support.servers import free_port

ENDPOINTS, INTERVAL_S, SECONDS = 2_000, 0.4, 12


class Stamper(asyncio.Protocol):
    """Answers, and keeps how long each answer took it, by the address it was asked at."""

    took: dict[str, list[float]] = {}  # noqa: RUF012 - one server a process
    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.times = self.took.setdefault(transport.get_extra_info("sockname")[0], [])

    def data_received(self, data: bytes) -> None:
        del data
        began = time.perf_counter()
        self.transport.write(self.ANSWER)
        self.times.append(time.perf_counter() - began)


async def serve(port: int) -> None:
    await asyncio.get_running_loop().create_server(Stamper, "0.0.0.0", port, backlog=8192)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(Stamper.took), flush=True)


def run(_options: Sequence[str] = ()) -> None:
    """Prints the distribution of the difference."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.probe_latency", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
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
    errors = []
    for number in range(ENDPOINTS):
        pairs = list(zip(reported.get(f"e{number}", []), took.get(address(number), []), strict=False))
        errors += [a - b for a, b in pairs[5:]]  # the first ones are made while everything starts
    errors.sort()
    print(
        f"  {len(errors) / SECONDS:.0f} looks/s; reported beyond the server's own time: "
        + ", ".join(f"p{q} {errors[int(len(errors) * q / 100)] * 1e3:.3f} ms" for q in (50, 90, 99))
        + " (goal: p99 <= 0.5 ms; includes loopback and the server's queue)"
    )


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
