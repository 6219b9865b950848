"""`python -m benchmarks [NAME ... [OPTION ...]]`: the named benchmarks, or all but the long ones; options are for the one named."""

from __future__ import annotations

import importlib
import sys
from itertools import takewhile

NAMES = {
    "crash_detection": "crash of an endpoint -> the coordinator knows, for 3 to 9 agents, in virtual time",
    "decision": "what a decision and a vote cost at 10 000 endpoints x 9 agents",
    "failover_bind": "crash of an endpoint -> the answer of BIND changes",
    "probes": "CPU of a look, beside other health checkers",
    "probe_load": "20 000 looks a second on one core, and 10 000 endpoints in memory",
    "probe_latency": "reported latency against what a packet capture at the server would show",
    "providers": "decision -> answer of each real traffic system: BIND, Knot, PowerDNS, HAProxy, Envoy",
    "simulator": "virtual time against CPU time, on small fleets and a large one",
}
LONG = {
    "probe_soak": "ten minutes of looks: memory, descriptors, tasks",
    "false_drains": "lost looks -> weights taken from endpoints that are well, steerd beside others' rules (hours)",
}
"""Run when they are named."""


def main(words: list[str]) -> int:
    names = list(takewhile(lambda word: not word.startswith("-"), words))
    options = words[len(names) :]
    known = NAMES | LONG
    unknown = [n for n in names if n not in known]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    if options and len(names) != 1:
        print(f"options ({' '.join(options)}) are for one benchmark: name it first", file=sys.stderr)
        return 2
    for name in names or NAMES:
        print(f"== {name}: {known[name]}", flush=True)
        importlib.import_module(f"benchmarks.{name}").run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
