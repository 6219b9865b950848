"""Looks for `SOAK_MINUTES` (10) at 2000 addresses, every tenth on a fresh connection: does anything grow after the first minute?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import Answers
from benchmarks.probes import Steerd
from tests.support.servers import free_port

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))


def run(_options: Sequence[str] = ()) -> None:
    """Prints what there was after a minute (a tenth of the time, if that is less) and at the end."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        folder.chmod(0o755)
        answers = Answers(folder, free_port())
        answers.start()
        steerd = Steerd(answers.port, "--fresh-every", "10")
        try:
            lines = [steerd.line() for _ in range(int(MINUTES * 60))]
        finally:
            steerd.stop()
            answers.stop()
    early, last = lines[min(60, len(lines) // 10)], lines[-1]
    for name, limit in (("rss_mib", 8.0), ("descriptors", 64), ("tasks", 4)):
        grown = last[name] - early[name]
        verdict = "steady" if grown <= limit else "GROWS"
        print(f"  {name:12} {early[name]:.1f} -> {last[name]:.1f}: {verdict}")
    cpu_us = (last["cpu_s"] - early["cpu_s"]) / (last["looks"] - early["looks"]) * 1e6
    print(
        f"  {last['looks']:.0f} looks at {cpu_us:.1f} us of CPU each, {last['missed']:.0f} missed, {last['outcomes']}"
    )
