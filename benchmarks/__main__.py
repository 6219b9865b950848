"""`python -m benchmarks [NAME ...]`: every benchmark, or the named ones."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "failover_bind": "crash of an endpoint -> the answer of BIND changes",
    "false_drains": "lost looks -> weights taken from endpoints that are well, steerd beside others' rules",
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
