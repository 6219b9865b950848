"""How much one agent carries: looks a second on one core, and endpoints in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import Answers
from benchmarks.probes import Steerd
from tests.support.servers import free_port

ENDPOINTS = 10_000
WARM, LINES = 6, 6


def run(_options: Sequence[str] = ()) -> None:
    """Prints rate, CPU, start delay and memory for growing rates."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        folder.chmod(0o755)
        answers = Answers(folder, free_port())
        answers.start()
        try:
            for rate in (5_000, 10_000, 20_000):
                _carry(answers, rate)
        finally:
            answers.stop()
    print("  goal: 20 000/s with a p99 start delay under 20 ms (of a core of its own: see the share of CPU it got)")


def _carry(answers: Answers, rate: int) -> None:
    steerd = Steerd(
        answers.port, "--delays", "--endpoints", str(ENDPOINTS), "--interval", str(ENDPOINTS / rate),
        "--fresh-every", "1000000",
    )  # fmt: skip
    try:
        lines = [steerd.line() for _ in range(WARM + LINES)]
    finally:
        steerd.stop()
    first, last = lines[WARM - 1], lines[-1]
    looks = last["looks"] - first["looks"]
    cpu = last["cpu_s"] - first["cpu_s"]
    delay = sorted(line["delay_p99_ms"] for line in lines[WARM:])[LINES // 2]
    print(
        f"  {ENDPOINTS} endpoints, {rate}/s wanted: {looks / LINES:.0f}/s, {last['missed'] - first['missed']:.0f} missed, "
        f"{cpu / LINES:.2f} core, {cpu / max(1, looks) * 1e6:.1f} us a look, start delay p99 {delay:.1f} ms, "
        f"{last['rss_mib']:.0f} MiB, {last['descriptors']:.0f} descriptors",
        flush=True,
    )
