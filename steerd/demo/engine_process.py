"""An engine as a process of its own behind the model server's HTTP front: one byte in, one step made, the byte back.

    python -m steerd.demo.engine_process

It ends with its standard input. Killed, it leaves a front that answers and makes nothing: the failure that health URLs do not see.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Echo bytes until there are none."""
    given, made = sys.stdin.fileno(), sys.stdout.fileno()
    while piece := os.read(given, 1):
        os.write(made, piece)


if __name__ == "__main__":
    main()
