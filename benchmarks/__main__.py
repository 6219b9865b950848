"""`python -m benchmarks [NAME ...] [--OPTION ...]`: every benchmark, or the named ones. Options go to each of them."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "decision": "what a decision and a vote cost at 10 000 endpoints x 9 agents",
    "failover_bind": "crash of an endpoint -> the answer of BIND changes",
}


def main(arguments: list[str]) -> int:
    names = [a for a in arguments if not a.startswith("--")]
    options = [a for a in arguments if a.startswith("--")]
    unknown = [n for n in names if n not in NAMES]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        print(f"== {name}: {NAMES[name]}", flush=True)
        importlib.import_module(f"benchmarks.{name}").run(*options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
