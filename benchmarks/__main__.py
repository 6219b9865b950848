"""`python -m benchmarks [NAME ...]`: every benchmark, or the named ones."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "failover_bind": "crash of an endpoint -> the answer of BIND changes",
    "probes": "CPU of a look, beside other health checkers",
    "probe_load": "20 000 looks a second on one core, and 10 000 endpoints in memory",
    "probe_latency": "reported latency against a server's own clock",
    "probe_soak": "ten minutes of looks: memory, descriptors, tasks",
}


def main(names: list[str]) -> int:
    unknown = [n for n in names if n not in NAMES]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        print(f"== {name}: {NAMES[name]}", flush=True)
        importlib.import_module(f"benchmarks.{name}").run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
