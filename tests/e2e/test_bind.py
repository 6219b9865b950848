"""The main job on real processes and a real BIND: what is dead leaves the answer, and nothing else changes anything."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from steerd import wire
from steerd.model.sample import Layer
from steerd.model.vote import Ballot, Verdict, Vote
from tests.support.rig import ZONES, Rig, chat
from tests.support.wait import until_sync

pytestmark = pytest.mark.server("named")

QUICK = {
    "quorum": {"vote_ttl": "4s"},
    "ramp": {"restore_after": "2s", "restore_steps": ["50%", "100%"], "restore_step_every": "1s"},
    "services": {"chat": {"checks": {"user_path": {"interval": "1s", "timeout": "1s"}}}},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig"), QUICK, interval="500ms") as made:
        yield made.start_all()


@pytest.fixture
def rig(world: Rig) -> Rig:
    """The one world, well again after the test before."""
    return world.mend()


@pytest.fixture
def began(rig: Rig) -> float:
    """When this test began: what the tests before it did is history."""
    del rig
    return time.time()


def happened(rig: Rig, since: float) -> list[str]:
    """Kinds of everything in the history since then, oldest first."""
    return [e["kind"] for e in rig.client.get(f"/v1/history?since={since:.3f}&limit=500")["events"]]


def moved(rig: Rig, since: float) -> bool:
    return bool({"drain", "decision"} & set(happened(rig, since)))


def absent(agent: str) -> Any:
    return lambda status: status["agents"][agent]["state"] == "absent"


def alert(kind: str) -> Any:
    return lambda status: any(a["kind"] == kind for a in status["alerts"])


def test_a_killed_endpoint_leaves_the_answer_and_comes_back(rig: Rig, began: float) -> None:
    before, everything = rig.served(), rig.records()
    assert before == set(rig.addresses.values())
    victim = rig.addresses["eua"]
    rig.models["eua"].kill()
    until_sync(lambda: rig.answer_lost(victim), 20.0)
    assert rig.served() == before - {victim}
    assert rig.records() == everything
    status = rig.wait(lambda s: all(r["in_sync"] for r in chat(s)["routes"]))
    assert chat(status)["endpoints"]["chat-eua"]["health"] == "down"
    assert chat(status)["diagnosis"]["of"] == "eua"
    rig.models["eua"].start()
    until_sync(lambda: rig.served() == before, 60.0)
    rig.wait(lambda s: not s["drains"])
    assert rig.records() == everything
    kinds = happened(rig, began)
    assert kinds.index("drain") < kinds.index("decision") < kinds.index("in-sync") < kinds.index("restored")


def test_a_hung_endpoint_leaves_the_answer(rig: Rig) -> None:
    rig.models["usa"].pause()
    try:
        until_sync(lambda: rig.answer_lost(rig.addresses["usa"]), 20.0)
    finally:
        rig.models["usa"].resume()


def test_a_paused_agent_changes_nothing(rig: Rig, began: float) -> None:
    before = rig.served()
    rig.daemons["probe-eua"].signal(signal.SIGSTOP)
    rig.wait(absent("probe-eua"), 20.0)
    assert rig.served() == before
    rig.daemons["probe-eua"].signal(signal.SIGCONT)
    rig.wait(lambda s: s["agents"]["probe-eua"]["state"] == "voting", 30.0)
    assert rig.served() == before
    assert not moved(rig, began)


def test_an_agent_that_reports_everything_down_changes_nothing(rig: Rig, began: float) -> None:
    before = rig.served()
    assert rig.daemons["probe-usa"].stop() == 0
    asyncio.run(_lie(rig))
    assert rig.served() == before
    assert not moved(rig, began)


async def _lie(rig: Rig) -> None:
    """Speaks the agents' own protocol and says that all is dead, until the coordinator says that it stands alone."""
    votes = tuple(
        Vote(f"chat-{z}", Verdict.UNHEALTHY, 1, Layer.LIVENESS, "liveness", "refused", transport=True, all_failed=True)
        for z in ZONES
    )
    start = time.time_ns()  # as an agent numbers its starts: the real one, started again later, is heard
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{rig.port}/v1/agents/probe-usa/stream") as stream,
    ):
        await stream.receive()
        for number in range(1, 200):
            frame = Ballot("probe-usa", start, number, number == 1, votes)
            await stream.send_bytes(wire.encode(frame))
            status = await asyncio.to_thread(rig.status)
            if status is not None and alert("vantage-isolated")(status):
                return
            await asyncio.sleep(0.2)
    raise AssertionError("the liar was never found out")


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="a network namespace needs root and unshare"
)
def test_an_agent_without_a_network_changes_nothing(rig: Rig, began: float) -> None:
    before = rig.served()
    assert rig.daemons["probe-eub"].stop() == 0
    daemon = rig.start_agent("eub", prefix=["unshare", "--net"])
    rig.wait(absent("probe-eub"), 20.0)
    until_sync(lambda: "abstain" in daemon.tail(200), 20.0)
    assert "cannot reach coordinator co" in daemon.tail(200)
    assert daemon.alive
    assert rig.served() == before
    assert not moved(rig, began)


@pytest.mark.parametrize("how", ["unauthorized"])
def test_a_wrong_key_is_alerted_and_the_target_keeps_its_traffic(rig: Rig, how: str) -> None:
    before = rig.served()
    rig.models["eub"].mode(how)
    status = rig.wait(alert("probe-error"), 30.0)
    [text] = {a["text"].split(" cannot check ")[1] for a in status["alerts"] if a["kind"] == "probe-error"}
    assert "chat-eub" in text
    assert all(a["action"] for a in status["alerts"])
    assert rig.served() == before


def test_status_and_explain_as_an_operator_sees_them(rig: Rig) -> None:
    rig.models["eua"].kill()
    rig.wait(lambda s: s["drains"])
    run = subprocess.run(
        [sys.executable, "-m", "steerd", "status", "--socket", str(rig.socket)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        timeout=30,
    )
    assert run.returncode == 1, run.stderr
    assert "eua" in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 100
    told = rig.client.get("/v1/explain/chat-eua")
    assert told["health"] == "down"
    assert any("confirmed dead" in line or "down" in line for line in told["text"])
