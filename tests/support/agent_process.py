"""An agent as a process of its own: `python -m tests.support.agent_process COORDINATOR_URL TARGETS_URL`, until SIGTERM.

On uvloop where it is present, as the daemon is.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from steerd.agent.agent import Agent
from tests.support.agent_rig import make_fleet, secret


async def main(coordinator: str, targets: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # References that always answer: what is to be seen is the agent's doubt of its own time, not of its network.
    references = (f"{coordinator}/livez", f"{targets}/reference")
    fleet = make_fleet(targets, {"co1": coordinator}, references=references, interval_s=0.25)
    await Agent(fleet, "a1", resolve=secret).run(stop)


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(*sys.argv[1:]))
