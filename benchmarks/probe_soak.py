"""Looks for `SOAK_MINUTES` (10) at 2000 addresses, every tenth on a fresh connection: does anything grow?"""

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
    """Prints what there was after a tenth of the time and at the end."""
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
    early, last = lines[len(lines) // 10], lines[-1]
    for name, limit in (("rss_mib", 8.0), ("descriptors", 64), ("tasks", 4)):
        grown = last[name] - early[name]
        verdict = "steady" if grown <= limit else "GROWS"
        print(f"  {name:12} {early[name]:.1f} -> {last[name]:.1f}: {verdict}")
    print(f"  {last['looks']:.0f} looks, {last['missed']:.0f} missed, {last['outcomes']}")
