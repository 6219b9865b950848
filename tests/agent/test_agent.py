"""An agent at work between real targets and real streams on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from probes.faults import Fault
from probes.outcome import Layer as ProbeLayer
from probes.outcome import Outcome, Status
from probes.wire.exchange import Exchange
from steerd.agent.agent import Agent
from steerd.agent.looks import _believed
from steerd.agent.observer import NullObserver
from steerd.model.fleet import Check, Dependency, Fleet
from steerd.model.rules import VerdictRules
from steerd.model.sample import Layer
from steerd.model.vote import Ballot, Verdict
from tests.support.agent_rig import Listener, Targets, make_fleet, running, secret
from tests.support.wait import until


class Ears(NullObserver):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.looks: list[tuple[str, str, str]] = []
        self.statuses: list[Status] = []
        self.abstains: list[str | None] = []
        self.errors: list[tuple[str, str, str, bool]] = []
        self.over: list[tuple[str, str]] = []
        self.streams: list[tuple[str, str, str]] = []

    def on_look(self, endpoint: str, service: str, zone: str, check: str, *, outcome: Outcome, delay_s: float) -> None:
        self.looks.append((endpoint, service, check))
        self.statuses.append(outcome.status)

    def on_abstain(self, reason: str | None) -> None:
        self.abstains.append(reason)

    def on_error_outcome(
        self, endpoint: str, service: str, check: str, reason: str, *, host: bool, detail: str | None
    ) -> None:
        self.errors.append((endpoint, check, reason, host))

    def on_error_over(self, endpoint: str, service: str, check: str) -> None:
        self.over.append((endpoint, check))

    def on_stream(self, coordinator: str, state: str, text: str) -> None:
        self.streams.append((coordinator, state, text))


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with Listener().serve() as found:
        yield found


@pytest.fixture
async def targets() -> AsyncIterator[Targets]:
    async with Targets().serve() as found:
        yield found


def well(listener: Listener, *endpoints: str) -> bool:
    return all(e in listener.votes and listener.votes[e].verdict is Verdict.HEALTHY for e in endpoints)


async def test_healthy_targets_become_healthy_votes_and_a_dead_one_an_unhealthy_vote(
    listener: Listener, targets: Targets
) -> None:
    async with running(make_fleet(targets.url, {"co1": listener.url})) as agent:
        await until(lambda: well(listener, "e1", "e2"))
        assert agent.verdict_of("e1") is Verdict.HEALTHY
        targets.status["e1"] = 500
        await until(lambda: listener.votes["e1"].verdict is Verdict.UNHEALTHY)
        vote = listener.votes["e1"]
        assert vote.all_failed
        assert not vote.transport
        assert vote.check == "liveness"
        assert any(v.suspect for b in listener.ballots for v in b.votes if v.endpoint == "e1")
        assert listener.votes["e2"].verdict is Verdict.HEALTHY
        targets.status["e1"] = 200
        await until(lambda: well(listener, "e1"))


async def test_a_first_failure_is_confirmed_at_once_and_not_an_interval_later(
    listener: Listener, targets: Targets
) -> None:
    fleet = make_fleet(targets.url, {"co1": listener.url}, endpoints=("e1",), interval_s=3600.0)
    async with running(fleet):
        await until(lambda: listener.fulls)
        targets.status["e1"] = 500
        await listener.confirm("e1")  # stands for the first look: the next one of its own is an hour away
        await until(lambda: listener.votes["e1"].verdict is Verdict.UNHEALTHY)
        assert targets.hits["e1"] in range(3, 6)
        hits = targets.hits["e1"]
        await listener.confirm("e1")  # within the interval, and known to be dead
        await listener.confirm("nobody")
        await until(lambda: any(f.number > listener.ballots[-1].number for f in listener.frames))  # a heartbeat
        assert targets.hits["e1"] == hits


async def test_a_target_that_never_answers_fails_in_transport(listener: Listener, targets: Targets) -> None:
    targets.hang.add("e1")
    async with running(make_fleet(targets.url, {"co1": listener.url}, endpoints=("e1",))):
        await until(lambda: "e1" in listener.votes and listener.votes["e1"].verdict is Verdict.UNHEALTHY, 10.0)
        assert listener.votes["e1"].transport


async def test_no_network_at_all_makes_an_agent_abstain_rather_than_blame(listener: Listener) -> None:
    """Every reference and every target is out of reach, the coordinator alone is not."""
    closed = ("http://127.0.0.1:1/livez", "http://127.0.0.1:2/livez")
    ears = Ears()
    fleet = make_fleet("http://127.0.0.1:3", {"co1": listener.url}, references=closed, interval_s=1.0)
    async with running(fleet, ears) as agent:
        await until(lambda: any(f.abstaining for f in listener.frames))
        assert "cut off" in str(agent.status()["abstaining"])
        assert agent.status()["references"]["total"] == 2
        assert agent.verdict_of("e1") is Verdict.UNKNOWN
        await until(lambda: ears.looks)
        unhealthy = [v for b in listener.ballots if b.abstaining for v in b.votes if v.verdict is not Verdict.UNKNOWN]
        assert unhealthy == []
        agent.reload(replace(fleet, references=(listener.url + "/livez", listener.url + "/other")))
        await until(lambda: agent.status()["abstaining"] is None)
        await until(lambda: listener.fulls[-1].abstaining is None)
    assert [reason is None for reason in ears.abstains] == [False, True]


async def test_a_suspect_makes_the_agent_look_at_its_references_soon(listener: Listener, targets: Targets) -> None:
    """Otherwise the next round is 5 s away, and until then a cut-off agent would blame its targets."""
    fleet = make_fleet(targets.url, {"co1": listener.url}, references=(listener.url + "/livez",))
    async with running(fleet):
        await until(lambda: well(listener, "e1", "e2"))
        assert listener.livez == 1
        targets.status["e1"] = 500
        await until(lambda: listener.livez == 2, 3.0)


async def test_an_abstaining_agent_makes_no_confirms(listener: Listener, targets: Targets) -> None:
    closed = ("http://127.0.0.1:1/livez", "http://127.0.0.1:2/livez")
    fleet = make_fleet(targets.url, {"co1": listener.url}, endpoints=("e1",), references=closed, interval_s=0.5)
    fleet = replace(fleet, verdict=VerdictRules(fall=20, rise=1, confirm_gap_s=0.001))
    ears = Ears()
    async with running(fleet, ears) as agent:
        await until(lambda: agent.status()["abstaining"] and Status.PASS in ears.statuses)
        targets.status["e1"] = 500
        await listener.confirm("e1")
        await until(lambda: ears.statuses.count(Status.FAIL) >= 2)
        assert targets.hits["e1"] < 10  # 19 more with the confirm of the first failure, 20 with the coordinator's


async def test_looks_that_wait_behind_hung_targets_are_no_doubt_of_this_host(
    listener: Listener, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steerd.agent.agent._MAX_IN_FLIGHT", 1)
    monkeypatch.setattr("steerd.agent.agent._MIN_IN_FLIGHT", 1)
    names = tuple(f"e{n}" for n in range(6))
    targets.delay_s = dict.fromkeys(names, 0.1)
    async with running(make_fleet(targets.url, {"co1": listener.url}, endpoints=names, interval_s=0.2)) as agent:
        await until(lambda: agent.status()["missed"] >= 12)
        assert agent.status()["abstaining"] is None


async def test_timeouts_grow_with_doubt(listener: Listener, targets: Targets) -> None:
    targets.delay_s["e1"] = 0.45
    ears = Ears()
    fleet = make_fleet(targets.url, {"co1": listener.url}, endpoints=("e1",), interval_s=0.3)
    async with running(fleet, ears) as agent:
        await until(lambda: Status.FAIL in ears.statuses)
        assert Status.PASS not in ears.statuses
        assert agent._running is not None
        for _ in range(7):
            agent._running.voter.doubt.host_error("no descriptors left", asyncio.get_running_loop().time())
        await until(lambda: Status.PASS in ears.statuses)


async def test_a_stalled_process_abstains_and_blames_nobody_for_its_own_time(
    listener: Listener, targets: Targets
) -> None:
    ears = Ears()
    async with running(make_fleet(targets.url, {"co1": listener.url}), ears):
        await until(lambda: well(listener, "e1", "e2"))
        time.sleep(1.5)  # noqa: ASYNC251 - the stall under test
        await until(lambda: ears.abstains)
        assert "late" in str(ears.abstains[0])
        await until(lambda: any(f.abstaining for f in listener.frames))
        await until(lambda: ears.abstains[-1] is None, 10.0)
        await until(lambda: listener.fulls[-1].abstaining is None and well(listener, "e1", "e2"))
    assert all(v.verdict is not Verdict.UNHEALTHY for b in listener.ballots for v in b.votes)


async def test_a_look_that_ran_out_of_time_while_the_process_was_stalled_is_the_hosts_fault(
    listener: Listener, targets: Targets
) -> None:
    ears = Ears()
    targets.delay_s["e1"] = 0.2
    fleet = make_fleet(targets.url, {"co1": listener.url}, endpoints=("e1",), interval_s=0.8)
    async with running(fleet, ears) as agent:
        await until(lambda: targets.hits.get("e1"))
        time.sleep(1.5)  # noqa: ASYNC251 - the look's whole time goes by while it waits for its answer
        await until(lambda: ears.looks)
        assert [(error[0], error[3]) for error in ears.errors] == [("e1", True)]
        assert "late during the look" in ears.errors[0][2]
        assert agent.vote_of("e1").counts[0].failed == 0


def test_only_blame_is_disbelieved_after_a_stall() -> None:
    layer = ProbeLayer.LIVENESS
    fail = _believed(Outcome(Status.FAIL, layer, "timed out", transport=True), 0.5)
    assert (fail.status, fail.host_error, fail.transport) == (Status.ERROR, True, False)
    assert _believed(Outcome(Status.PASS, layer), 0.5).status is Status.PASS
    assert _believed(Outcome(Status.FAIL, layer, "timed out"), 0.0).status is Status.FAIL


async def test_a_probe_that_cannot_be_made_is_an_error_told_once(listener: Listener, targets: Targets) -> None:
    fleet = make_fleet(targets.url, {"co1": listener.url}, endpoints=("e1",))
    broken = Check("user_path", Layer.READINESS, "http", 0.1, 0.5, {"status": "banana"})
    service = replace(fleet.services[0], checks=(*fleet.services[0].checks, broken))
    ears = Ears()
    async with running(replace(fleet, services=(service,)), ears) as agent:
        await until(lambda: well(listener, "e1"))
        await until(lambda: len([look for look in ears.looks if look[2] == "user_path"]) > 3)
        assert len(ears.errors) == 1
        endpoint, check, reason, host = ears.errors[0]
        assert (endpoint, check, host) == ("e1", "user_path", False)
        assert "banana" in reason
        assert listener.votes["e1"].errors[0].startswith("user_path: ")
        assert "e1 user_path" in agent.status()["errors"]
        agent.reload(fleet)
        assert ears.over == [("e1", "user_path")]


async def test_a_dependency_is_looked_at_once_and_degrades_every_endpoint_behind_it(
    listener: Listener, targets: Targets
) -> None:
    fleet = make_fleet(targets.url, {"co1": listener.url}, endpoints=("e1", "e2", "e3"))
    settings = {"interval": 0.1, "timeout": 0.5, "url": f"{targets.url}/vectors"}
    fleet = replace(
        fleet,
        services=(replace(fleet.services[0], depends_on=("vectors",)),),
        dependencies=(Dependency("vectors", "http", settings=settings),),
    )
    ears = Ears()
    async with running(fleet, ears):
        await until(lambda: well(listener, "e1", "e2", "e3"))
        targets.status["vectors"] = 503
        await until(lambda: [v.verdict for v in listener.votes.values()] == [Verdict.DEGRADED] * 3)
        assert {v.check for v in listener.votes.values()} == {"dependency:vectors"}
        looks = [look for look in ears.looks if look[0] == "vectors"]
        assert targets.hits["vectors"] in (len(looks), len(looks) + 1)


async def test_reload_starts_and_stops_looking_without_disturbing_the_rest(
    listener: Listener, targets: Targets
) -> None:
    fleet = make_fleet(targets.url, {"co1": listener.url}, config_hash="one")
    async with running(fleet) as agent:
        await until(lambda: well(listener, "e1", "e2"))
        agent.reload(make_fleet(targets.url, {"co1": listener.url}, endpoints=("e2", "e3"), config_hash="two"))
        await until(lambda: listener.fulls[-1].config_hash == "two")
        assert {v.endpoint: v.verdict for v in listener.fulls[-1].votes} == {
            "e2": Verdict.HEALTHY,
            "e3": Verdict.UNKNOWN,
        }
        await until(lambda: well(listener, "e3"))
        with pytest.raises(ValueError, match="no agent 'a1'"):
            agent.reload(Fleet(name="test"))
        assert agent.verdict_of("e2") is Verdict.HEALTHY
        assert listener.sessions == 1


async def test_reload_moves_streams_to_the_coordinators_of_the_new_config(listener: Listener, targets: Targets) -> None:
    second = Listener("co2")
    async with second.serve(), running(make_fleet(targets.url, {"co1": listener.url})) as agent:
        await until(lambda: listener.fulls)
        agent.reload(make_fleet(targets.url, {"co2": second.url}))
        await until(lambda: second.fulls)
        await until(lambda: list(agent.status()["streams"]) == ["co2"])


async def test_an_error_of_a_look_that_outlives_its_check_is_not_kept(listener: Listener, targets: Targets) -> None:
    targets.status["e1"] = 401
    targets.delay_s["e1"] = 0.3
    ears = Ears()
    fleet = make_fleet(targets.url, {"co1": listener.url}, interval_s=0.5)
    async with running(fleet, ears) as agent:
        await until(lambda: targets.hits.get("e1"))
        agent.reload(make_fleet(targets.url, {"co1": listener.url}, endpoints=("e2",), interval_s=0.5))
        await until(lambda: ("e1", "chat", "liveness") in ears.looks)
        assert agent.status()["errors"] == {}
        assert not ears.errors


async def test_an_agent_whose_every_look_fails_on_its_host_abstains_whatever_its_score(
    listener: Listener, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where looks are so rare that clean seconds take off what each error adds.
    monkeypatch.setattr("steerd.core.doubt.SelfDoubt.score", lambda *_: 0)
    ears = Ears()
    async with running(make_fleet(targets.url, {"co1": listener.url}), ears) as agent:
        await until(lambda: well(listener, "e1", "e2"))
        assert agent._running is not None

        def unreachable(exchange: Exchange, *_: object, **__: object) -> None:
            exchange.status, exchange.answer, exchange.end_at = 0, None, exchange.start_at
            exchange.connect_at = exchange.connected_at = exchange.first_at = exchange.tls_at = 0.0
            words = "this host: network is unreachable"
            exchange.fault = Fault(Status.ERROR, words, host_error=True)
            exchange.ended(exchange)

        with monkeypatch.context() as cut:
            cut.setattr(Exchange, "begin", unreachable)
            await until(lambda: ears.abstains)
            assert "network is unreachable" in str(ears.abstains[0])
        await until(lambda: ears.abstains[-1] is None)


async def test_status_is_plain_and_complete(listener: Listener, targets: Targets) -> None:
    async with running(make_fleet(targets.url, {"co1": listener.url})) as agent:
        await until(lambda: listener.fulls)
        status = json.loads(json.dumps(agent.status()))
        assert status["agent"] == "a1"
        assert status["zone"] == "z1"
        assert status["streams"]["co1"]["state"] == "connected"
        assert status["endpoints"] == 2
    assert agent.status()["running"] is False


async def test_each_start_has_a_higher_incarnation() -> None:
    fleet = make_fleet("http://127.0.0.1:3", {})
    first = Agent(fleet, "a1", resolve=secret).status()["incarnation"]
    assert Agent(fleet, "a1", resolve=secret).status()["incarnation"] > first


async def test_an_unknown_agent_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match="its agents are: a1"):
        Agent(make_fleet("http://127.0.0.1:3", {}), "a2", resolve=secret)


async def test_a_background_task_that_dies_ends_the_agent() -> None:
    class Broken(NullObserver):
        def on_loop_lag(self, lag_s: float) -> None:
            raise RuntimeError("the observer broke")

    agent = Agent(make_fleet("http://127.0.0.1:3", {}), "a1", resolve=secret, observer=Broken())
    with pytest.raises(RuntimeError, match="the observer broke"):
        await asyncio.wait_for(agent.run(asyncio.Event()), 5.0)


async def test_the_agent_ends_while_targets_and_coordinators_hang(listener: Listener, targets: Targets) -> None:
    listener.greet = False
    targets.hang |= {"e1", "e2"}
    fleet = make_fleet(targets.url, {"co1": listener.url, "co2": "http://127.0.0.1:1"}, interval_s=1.0)
    async with running(fleet) as agent:  # fails at its end unless the agent stops within its 5 s
        await until(lambda: listener.sessions and targets.hits.get("e1"))
    assert not agent.status()["running"]


async def test_a_version_that_is_no_text_is_said_as_one_and_the_agent_lives(listener: Listener) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nX-Version: v\xff1\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fleet = make_fleet(f"http://127.0.0.1:{port}", {"co1": listener.url})
    (service,) = fleet.services
    check = replace(service.checks[0], settings={"version": {"header": "X-Version"}})
    fleet = replace(fleet, services=(replace(service, checks=(check,)),))
    async with running(fleet) as agent:
        await until(lambda: verdict_of(agent) is Verdict.HEALTHY and agent.vote_of("e1").version == "v?1")
        await until(lambda: any(v.version == "v?1" for f in listener.frames if isinstance(f, Ballot) for v in f.votes))
    server.close()


def verdict_of(agent: Agent) -> Verdict:
    """The agent's verdict of e1; unknown before it has begun."""
    return agent.verdict_of("e1") if agent.status()["endpoints"] else Verdict.UNKNOWN
