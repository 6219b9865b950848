"""A paused agent (SIGSTOP, as a starved or suspended host does it) must not blame anyone when it wakes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from steerd.model.vote import Ballot, Heartbeat, Verdict
from tests.support.agent_rig import Listener, Targets
from tests.support.wait import until

ROOT = Path(__file__).parents[2]


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_a_paused_agent_abstains_when_it_wakes_and_blames_nobody() -> None:
    async with Listener().serve() as listener, Targets().serve() as targets:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.agent_process", listener.url, targets.url, cwd=ROOT
        )
        try:
            await until(lambda: [v.verdict for v in listener.votes.values()] == [Verdict.HEALTHY] * 2, 20.0)
            os.kill(process.pid, signal.SIGSTOP)
            await until(lambda: stopped(process.pid))
            before = len(listener.frames)
            loop = asyncio.get_running_loop()
            until_s = loop.time() + 1.5
            await until(lambda: loop.time() > until_s)
            assert len(listener.frames) <= before + 1  # one may have been in the socket
            os.kill(process.pid, signal.SIGCONT)
            await until(lambda: any(f.abstaining for f in listener.frames), 10.0)
            frames = listener.frames[before:]
            first = next(n for n, f in enumerate(frames) if f.abstaining)
            assert "late" in str(frames[first].abstaining)
            voted = [v for f in frames[:first] if isinstance(f, Ballot) for v in f.votes]
            assert not [v for v in voted if v.verdict is Verdict.UNHEALTHY]
            await until(lambda: listener.frames[-1].abstaining is None, 15.0)
            await until(lambda: [v.verdict for v in listener.fulls[-1].votes] == [Verdict.HEALTHY] * 2, 15.0)
            assert all(v.verdict is not Verdict.UNHEALTHY for b in listener.ballots for v in b.votes)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            await asyncio.wait_for(process.wait(), 10.0)
    assert process.returncode == 0
    assert any(isinstance(f, Heartbeat) for f in listener.frames)
