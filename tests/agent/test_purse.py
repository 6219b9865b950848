"""What looks may cost: shares of agents, the reserve, real requests that stand in; and an agent that keeps to it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from probes.outcome import Layer as ProbeLayer
from probes.outcome import Outcome, Status
from steerd.agent.purse import Purse
from steerd.agent.scheduler import Due
from steerd.agent.watchlist import Watch, watchlist
from steerd.core.cadence import agree
from steerd.model.fleet import Agent, Check, Endpoint, Fleet, Region, Service
from steerd.model.sample import Layer
from steerd.model.vote import Verdict
from tests.agent.test_agent import Ears
from tests.agent.test_failure_modes import fleet_of, verdict
from tests.support.agent_rig import running
from tests.support.model_server import ModelServer
from tests.support.wait import until

PASS, FAIL = Status.PASS, Status.FAIL


def make_fleet(agents: int = 4, **budget: Any) -> Fleet:
    """One endpoint with a user path every 30 s, seen by some agents."""
    settings = {"max_tokens": 16, **({"budget": budget} if budget else {})}
    checks = (
        Check("liveness", Layer.LIVENESS, "http", 5.0, 2.0, {}),
        Check("user_path", Layer.USER_PATH, "openai-chat", 30.0, 30.0, settings),
    )
    return Fleet(
        name="t",
        regions=(Region("r", ("z",)),),
        agents=tuple(Agent(f"a{n}", "z") for n in range(agents)),
        services=(Service(name="s", checks=checks, endpoints=(Endpoint("e1", "s", "z", "http://x", 1.0),)),),
    )


def opened(fleet: Fleet, agent: str = "a0") -> tuple[Purse, Watch, Watch]:
    """A purse that has saved up since yesterday, and the watches of liveness and of the user path."""
    purse, plan = Purse(), watchlist(fleet, agent)
    purse.configure(plan.watches, fleet.tokens_per_day, len(fleet.agents), -86400.0)
    liveness, user = plan.watches
    return purse, liveness, user


def ended(status: Status, tokens: int = 50, **readings: float) -> Outcome:
    return Outcome(status, ProbeLayer.USER_PATH, tokens=tokens, readings=readings)


def turn(
    purse: Purse, watch: Watch, now: float, status: Status = PASS, tokens: int = 50, *, confirm: bool = False
) -> Any:
    """One look that is due; what stood in its place, or None when it was made."""
    due = Due(watch, now, confirm)
    instead = purse.instead(due, now)
    if instead is None:
        purse.paid(due, ended(status, tokens), now)
    return instead


def test_free_checks_and_fleets_without_a_budget_are_left_alone() -> None:
    purse, liveness, user = opened(make_fleet())
    assert all(turn(purse, liveness, 0.0) is None for _ in range(10_000))
    assert all(turn(purse, user, 0.0, tokens=10_000) is None for _ in range(100))


def test_all_agents_together_stay_within_the_budget_of_an_endpoint() -> None:
    fleet = make_fleet(4, tokens_per_day=20_000, stand_in=0)
    spent = 0
    for agent in fleet.agent_by_name:
        purse, _, user = opened(fleet, agent)
        assert user.agents == 4
        for slot in range(int(86400 / user.cadence.period_s)):
            if turn(purse, user, slot * user.cadence.period_s) is None:
                spent += 50
    assert 10_000 < spent <= 20_000


def test_the_fleets_budget_holds_over_all_endpoints() -> None:
    fleet = replace(make_fleet(2), tokens_per_day=10_000)
    (service,) = fleet.services
    endpoints = tuple(Endpoint(f"e{n}", "s", "z", f"http://x{n}", 1.0) for n in range(50))
    fleet = replace(fleet, services=(replace(service, endpoints=endpoints),))
    spent = 0
    for agent in fleet.agent_by_name:
        purse, plan = Purse(), watchlist(fleet, agent)
        purse.configure(plan.watches, fleet.tokens_per_day, 2, 0.0)
        for now in range(0, 86400, 60):
            for watch in plan.watches:
                if watch.check.name == "user_path" and turn(purse, watch, float(now)) is None:
                    spent += 50
        assert purse.status(86400.0)["left_out"] > 0
    assert 5_000 < spent <= 10_000


def test_what_is_kept_back_is_for_confirms_and_for_what_is_not_well() -> None:
    purse, _, user = opened(make_fleet(1, tokens_per_day=10_000, stand_in=0))
    while turn(purse, user, 0.0) is None:
        pass
    refused = purse.instead(Due(user, 0.0), 0.0)
    assert refused is not None
    assert (refused.status, refused.host_error) == (Status.ERROR, False)
    assert "token budget of e1 is spent" in (refused.reason or "")
    assert turn(purse, user, 0.0, FAIL, confirm=True) is None
    assert turn(purse, user, 0.0, FAIL) is None  # it is not well: whether it recovers is worth the reserve
    while turn(purse, user, 0.0, FAIL, confirm=True) is None:
        pass
    assert turn(purse, user, 60.0, confirm=True) is not None
    assert turn(purse, user, 3600.0) is None


def test_looks_that_cost_nothing_are_not_charged() -> None:
    purse, _, user = opened(make_fleet(1, tokens_per_day=10_000, stand_in=0))
    assert all(turn(purse, user, 0.0, FAIL, tokens=0) is None for _ in range(1000))


def test_a_reload_keeps_what_was_spent() -> None:
    fleet = make_fleet(1, tokens_per_day=10_000, stand_in=0)
    purse, _, user = opened(fleet)
    while turn(purse, user, 0.0) is None:
        pass
    purse.configure(watchlist(fleet, "a0").watches, None, 1, 1.0)
    assert turn(purse, user, 1.0) is not None
    for per_day in (20_000, 40_000, 10_000):  # nor does a budget that changes begin anew
        fleet = make_fleet(1, tokens_per_day=per_day, stand_in=0)
        purse.configure(watchlist(fleet, "a0").watches, None, 1, 1.0)
        assert turn(purse, user, 1.0) is not None
    fleet = replace(fleet, tokens_per_day=100_000)
    purse.configure(watchlist(fleet, "a0").watches, fleet.tokens_per_day, 1, 1.0)
    assert turn(purse, user, 3600.0) is None


def test_an_agent_that_starts_has_nothing_saved_up() -> None:
    fleet = make_fleet(1, tokens_per_day=100_000, stand_in=0)
    for restart in range(5):
        purse, plan = Purse(), watchlist(fleet, "a0")
        now = 60.0 * restart
        purse.configure(plan.watches, None, 1, now)
        refused = turn(purse, plan.watches[1], now)
        assert refused is not None
        assert "begins empty" in (refused.reason or "")
        assert turn(purse, plan.watches[1], now + 59.0) is None  # one look's worth has come together


def test_what_a_confirm_costs_is_not_what_a_look_costs() -> None:
    purse, _, user = opened(make_fleet(1, tokens_per_day=100_000, stand_in=0))
    assert turn(purse, user, 0.0) is None
    known = purse._accounts[user.key].cost
    for _ in range(3):
        assert turn(purse, user, 0.0, tokens=2_000, confirm=True) is None
    assert purse._accounts[user.key].cost == known


def storm(purse: Purse, watches: list[Watch], now: float, tokens: int) -> int:
    """How many of confirms that are all asked for at once are made, each at `tokens`."""
    dues = [due for watch in watches if purse.instead(due := Due(watch, now, confirm=True), now) is None]
    for due in dues:
        purse.paid(due, ended(PASS, tokens), now)
    return len(dues)


def test_a_storm_of_confirms_stays_within_the_budget() -> None:
    fleet = replace(make_fleet(1), tokens_per_day=100_000)
    (service,) = fleet.services
    endpoints = tuple(Endpoint(f"e{n}", "s", "z", f"http://x{n}", 1.0) for n in range(50))

    def confirmed(tokens: int, **settings: Any) -> int:
        check = replace(service.checks[1], settings={**service.checks[1].settings, **settings})
        asked = replace(fleet, services=(replace(service, endpoints=endpoints, checks=(check,)),))
        purse, plan = Purse(), watchlist(asked, "a0")
        purse.configure(plan.watches, asked.tokens_per_day, 1, -86400.0)
        assert len(plan.watches) == 50
        made = storm(purse, list(plan.watches), 0.0, tokens)
        while again := storm(purse, list(plan.watches), 0.0, tokens):
            made += again
        return made

    # 10 000 tokens are saved up, and the last confirm owes what the reserve of 2 000 does not pay.
    assert confirmed(2_700) == 4
    assert confirmed(50, long_every=0) == 200
    assert 10 < confirmed(300, long_words=200) < 35


def test_a_confirm_that_costs_more_than_the_reserve_goes_into_debt_and_is_paid_off() -> None:
    purse, _, user = opened(make_fleet(1, tokens_per_day=10_000, stand_in=0))
    while turn(purse, user, 0.0) is None:
        pass
    assert turn(purse, user, 0.0, FAIL, 2_700, confirm=True) is None
    owed_s = 2_700 / 9_000 * 86400.0
    for now in (1.0, 0.8 * owed_s):
        assert turn(purse, user, now, confirm=True) is not None
        assert turn(purse, user, now) is not None
    assert turn(purse, user, owed_s, FAIL, 2_700, confirm=True) is None


def test_what_a_confirm_costs_is_learned_from_confirms() -> None:
    purse, _, user = opened(make_fleet(1, tokens_per_day=10_000_000, stand_in=0))
    account = purse._accounts[user.key]
    assert account.confirm == 46 + 2_600
    for _ in range(20):
        assert turn(purse, user, 0.0, FAIL, 40, confirm=True) is None
    assert account.confirm == 46 + 2_600  # they failed before the long question was asked
    for _ in range(20):
        assert turn(purse, user, 0.0, tokens=60, confirm=True) is None
    assert 59 < account.confirm < 70
    assert account.cost == 46


def test_real_requests_stand_in_for_a_question_but_not_for_ever() -> None:
    purse, _, user = opened(make_fleet(1, tokens_per_day=200_000))
    assert turn(purse, user, 0.0) is None  # it is not known to be well yet
    made = []
    for slot in range(1, 13):
        now = 30.0 * slot
        purse.progress("e1", ended(PASS, 0, served=25.0, failed=0.0), now - 5.0)
        made.append(turn(purse, user, now) is None)
    assert made.count(True) == 3
    stood = purse.status(400.0)["stood_in"]
    assert stood == 9
    assert turn(purse, user, 400.0, confirm=True) is None


def test_what_does_not_stand_in() -> None:
    for readings, status, well in (
        ({"served": 5.0}, PASS, PASS),  # too few: they may be ours
        ({"served": 90.0, "failed": 1.0}, PASS, PASS),
        ({"served": 90.0}, FAIL, PASS),
        ({"served": 90.0}, PASS, FAIL),
    ):
        purse, _, user = opened(make_fleet(1, tokens_per_day=200_000))
        assert turn(purse, user, 0.0, well) is None
        purse.progress("e1", ended(status, 0, **readings), 25.0)
        assert turn(purse, user, 30.0) is None
    purse, _, user = opened(make_fleet(1, tokens_per_day=200_000))
    assert turn(purse, user, 0.0) is None
    purse.progress("e1", ended(PASS, 0, served=90.0), 25.0)
    assert turn(purse, user, 60.0) is None  # that was more than an interval ago


def test_turns_survive_the_loss_of_an_agent() -> None:
    """Whoever is lost, the endpoint is asked by somebody in two of any two intervals in a row but one."""
    names = [f"a{n}" for n in range(5)]
    for lost in names:
        times = sorted(
            cadence.time(slot)
            for name in names
            if name != lost
            for cadence in [agree(name, names, "e1", "user_path", 30.0, turns=True)]
            for slot in range(20)
        )
        gaps = [later - before for before, later in itertools.pairwise(times)]
        assert max(gaps) < 2 * 30.0 + 30.0 / 5
        assert len(times) == 80


async def test_an_agent_keeps_to_its_budget_and_its_votes_stay(server_process: ModelServer) -> None:
    ears = Ears()
    budget = {"budget": {"tokens_per_day": 100, "stand_in": 0}}
    server_process.mode("healthy")
    async with running(fleet_of(server_process.url, user_path=budget), ears) as agent:
        await until(lambda: any("token budget" in reason for _, _, reason, _ in ears.errors), 20.0)
        asked = server_process.requests().get("/v1/chat/completions", 0)
        await until(lambda: verdict(agent) is Verdict.HEALTHY, 20.0)
        left_out = agent.status()["tokens"]["left_out"]
        await until(lambda: agent.status()["tokens"]["left_out"] > left_out + 2, 20.0)
        assert server_process.requests().get("/v1/chat/completions", 0) == asked
        assert agent.vote_of("e1").errors == ()
        # What is not paid for is not unseen: progress still tells.
        server_process.mode("stall")
        await until(lambda: verdict(agent) is Verdict.UNHEALTHY, 20.0)
        assert agent.vote_of("e1").check == "progress"
    server_process.mode("healthy")
