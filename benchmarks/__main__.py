"""`python -m benchmarks [NAME ...] [--quick]`: every benchmark, or the named ones. Words with dashes are theirs to read."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "crash_detection": "crash of an endpoint -> the coordinator knows, for 3 to 9 agents, in virtual time",
    "failover_bind": "crash of an endpoint -> the answer of BIND changes",
    "simulator": "virtual time against CPU time, on small fleets and a large one",
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
    sys.exit(main([n for n in sys.argv[1:] if not n.startswith("-")]))
