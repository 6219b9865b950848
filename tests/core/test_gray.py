"""The gray band: what fails often, but never all at once."""

from __future__ import annotations

from dataclasses import replace
from math import comb, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.gray import _lucky, trimmed_mean
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import make_fleet


def warm(**kwargs: object) -> Bench:
    bench = Bench(make_fleet(**kwargs))  # type: ignore[arg-type]  # a test's keywords
    bench.lead()
    bench.all_say(Verdict.HEALTHY)
    bench.run(30)
    return bench


def transitions(bench: Bench, endpoint: str) -> list[str]:
    return [str(r.data["health"]) for r in bench.records("health") if r.of == endpoint]


@given(st.lists(st.floats(0, 1), max_size=9))
def test_the_trimmed_mean_is_what_a_simple_sort_gives_and_one_voice_moves_it_no_further_than_the_others(
    rates: list[float],
) -> None:
    mean = trimmed_mean(rates)
    if len(rates) >= 3:
        kept = sorted(rates)[1:-1]
        assert mean == pytest.approx(sum(kept) / len(kept))
        for i in range(len(rates)):  # a liar instead of voice i
            others = rates[:i] + rates[i + 1 :]
            for lie in (0.0, 1.0):
                assert min(others) - 1e-9 <= trimmed_mean([*others, lie]) <= max(others) + 1e-9
    else:
        assert mean == min(rates, default=0.0)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        pytest.param(0.02, [], id="under every threshold"),
        pytest.param(0.15, [], id="between leave and enter"),
        pytest.param(0.30, ["degraded"], id="degraded"),
        pytest.param(0.70, ["down"], id="down"),
    ],
)
def test_a_failure_rate_decides(rate: float, expected: list[str]) -> None:
    bench = warm()
    bench.losing["eua-1"] = rate
    bench.run(400)
    assert transitions(bench, "eua-1")[-1:] == expected
    assert len(transitions(bench, "eua-1")) <= 2


def test_it_leaves_when_the_window_is_clean_again_and_not_before() -> None:
    bench = warm()
    bench.losing["eua-1"] = 0.3
    bench.run(300)
    assert bench.health("eua-1") == "degraded"
    bench.losing["eua-1"] = 0.08  # over 5%
    bench.run(600)
    assert bench.health("eua-1") == "healthy" or bench.engine.world.gray.rate("eua-1") > 0.05
    bench.losing["eua-1"] = 0.0
    bench.run(200)
    assert bench.health("eua-1") == "healthy"
    assert bench.engine.world.gray.hot == {}


def test_one_region_of_vantages_cannot_blame_alone() -> None:
    bench = warm(regions={"eu": 5, "us": 2}, outside=0)
    bench.blind_to_loss = {a.name for a in bench.fleet.agents if a.zone.startswith("us")}
    bench.losing["eua-1"] = 0.9  # 5 of 7 voices, all of them from eu
    bench.run(400)
    assert transitions(bench, "eua-1") == []


def test_two_voices_of_seven_cannot_blame() -> None:
    bench = warm()
    bench.blind_to_loss = {a.name for a in bench.fleet.agents if a.zone not in ("eua", "usa")}
    bench.losing["eua-1"] = 1.0
    bench.run(400)
    assert transitions(bench, "eua-1") == []


def test_counts_of_an_agent_that_doubted_itself_do_not_count() -> None:
    bench = warm()
    for agent in [a.name for a in bench.fleet.agents]:
        bench.abstaining[agent] = "no reference answers"
    bench.losing["eua-1"] = 1.0
    bench.run(120)
    bench.losing["eua-1"] = 0.0
    bench.abstaining.clear()
    bench.all_say(Verdict.HEALTHY)
    bench.run(30)
    assert transitions(bench, "eua-1") == []


def test_an_agent_that_started_anew_is_not_compared_with_its_former_self() -> None:
    bench = warm()
    for agent in [a.name for a in bench.fleet.agents]:
        bench._counts[agent, "eua-1"] = (1000.0, 500.0)
    bench.engine.world.gray.hot.clear()
    for agent in [a.name for a in bench.fleet.agents]:
        bench.restart(agent)
    bench.run(60)
    assert transitions(bench, "eua-1") == []
    assert bench.engine.world.gray.hot == {}


def test_a_quiet_fleet_keeps_nothing() -> None:
    bench = warm()
    bench.losing = dict.fromkeys(bench.fleet.endpoint_by_name, 0.0)  # votes come every 2 s, without a failure
    bench.run(120)
    assert bench.engine.world.gray.hot == {}


def test_the_first_failure_is_measured_against_the_passes_before_it() -> None:
    """10 s of failures after a long clean time are 10 s of 60, not everything that is known."""
    bench = warm()
    bench.run(300)
    bench.losing["eua-1"] = 1.0
    bench.run(12)
    bench.losing["eua-1"] = 0.0
    bench.run(300)
    assert transitions(bench, "eua-1") == []


def test_everybody_losing_the_same_blames_nobody_and_one_who_loses_more_stands_out() -> None:
    bench = warm()
    bench.losing = dict.fromkeys(bench.fleet.endpoint_by_name, 0.3)
    bench.run(400)
    assert bench.records("health") == []
    bench.losing["usb-2"] = 0.6
    bench.run(400)
    assert {r.of for r in bench.records("health")} == {"usb-2"}


@pytest.mark.parametrize(
    ("regions", "rate", "expected"),
    [
        pytest.param({"eu": 3, "us": 2}, 0.43, [], id="five voices: chance explains it"),
        pytest.param({"eu": 3, "us": 2}, 0.49, ["degraded"], id="five voices: too much for chance"),
        pytest.param({"eu": 4, "us": 4}, 0.43, ["degraded"], id="eight voices tell more"),
    ],
)
def test_among_many_lost_looks_few_voices_must_see_more(
    regions: dict[str, int], rate: float, expected: list[str]
) -> None:
    bench = warm(regions=regions, outside=0)
    bench.losing = dict.fromkeys(bench.fleet.endpoint_by_name, 0.2)
    bench.losing["eua-1"] = rate
    bench.run(600)
    assert [str(r.data["health"]) for r in bench.records("health")] == expected


def test_a_config_without_the_endpoint_forgets_it() -> None:
    bench = warm()
    bench.losing["eua-1"] = 0.3
    bench.run(60)
    assert "eua-1" in bench.engine.world.gray.hot
    chat = bench.fleet.services[0]
    del bench.losing["eua-1"]
    bench.reload(replace(bench.fleet, services=(replace(chat, endpoints=chat.endpoints[1:]),)), accepted=True)
    assert bench.engine.world.gray.hot == {}


@pytest.mark.parametrize("usual", [0.02, 0.05, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("samples", [60, 108, 180, 324])
def test_chance_alone_is_no_blame_in_a_year_of_a_large_fleet(usual: float, samples: int) -> None:
    """The exact binomial chance of as many failures as it takes, beside a quartile that was as lucky as quartiles are."""
    others = max(0.0, usual - 0.674 * sqrt(usual * (1.0 - usual) / samples))
    enough = next(n for n in range(samples + 1) if n / samples > others and not _lucky(n / samples, others, samples))
    chance = sum(comb(samples, n) * usual**n * (1.0 - usual) ** (samples - n) for n in range(enough, samples + 1))
    assert chance * 8.64e6 * 365 < 0.01


def test_what_no_chance_explains_is_told_as_soon_as_there_are_samples() -> None:
    assert not _lucky(0.5, 0.0, 30)
    assert not _lucky(1.0, 0.2, 30)
    assert _lucky(0.2, 0.0, 30)
    assert not _lucky(0.2, 0.0, 90)
