"""What a lost look is worth: blips, the weight that follows from them, and verdicts under loss."""

from __future__ import annotations

from math import log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.ambient import Ambient
from steerd.core.ballot_box import BallotBox, Subject
from steerd.core.verdict import CheckRule, CheckRun, CheckState, Recheck
from steerd.model.rules import VerdictRules
from steerd.model.sample import Layer, Sample, Status
from steerd.model.vote import Verdict

LIVE = CheckRule("liveness", Layer.LIVENESS, 5.0, 5.0)
READY = CheckRule("readiness", Layer.READINESS, 5.0, 5.0)
USER = CheckRule("user_path", Layer.USER_PATH, 30.0, 90.0)
RIGHT = CheckRule("correctness", Layer.CORRECTNESS, 60.0, 180.0)


def known(rate: float) -> Ambient:
    """An agent that has seen `rate` of very many looks taken back."""
    ambient = Ambient()
    ambient.measure(round(1e6 * (1.0 - rate)), round(1e6 * rate))
    return ambient


def run_of(rule: CheckRule = LIVE, rate: float = 0.0) -> CheckRun:
    run = CheckRun(rule, VerdictRules(), 0.0, known(rate))
    for at in range(-9, 0, 3):
        run.observe(Sample("e", rule.name, rule.layer, Status.PASS, float(at)))
    return run


def fail(run: CheckRun, at: float, **more: object) -> None:
    more = {"transport": True, **more}
    run.observe(Sample("e", run.rule.name, run.rule.layer, Status.FAIL, at, **more))  # type: ignore[arg-type]  # keywords of Sample


def looks_until_bad(run: CheckRun, **more: object) -> int:
    for number in range(1, 20):
        fail(run, float(number), **more)
        if run.state is CheckState.FAIL:
            return number
    raise AssertionError("20 failures in a row are not bad")


@pytest.mark.parametrize(
    ("rate", "looks"),
    [(0.0, 3), (0.01, 3), (0.05, 3), (0.10, 4), (0.16, 5), (0.20, 6), (0.25, 7), (0.33, 8), (0.60, 8), (1.0, 8)],
)
def test_the_more_looks_get_lost_the_more_it_takes(rate: float, looks: int) -> None:
    run = run_of(rate=rate)
    assert run.row == looks
    assert run.recheck() == Recheck("liveness", looks - 1, 1)
    assert run.asked() == Recheck("liveness", looks, 1)
    assert looks_until_bad(run) == looks
    assert run.all_failed
    assert run.transport


@given(st.floats(0.0, 0.32), st.integers(1, 5))
def test_a_row_that_is_bad_by_chance_is_never_more_likely_than_fall_at_five_percent(rate: float, fall: int) -> None:
    ambient = known(rate)
    run = CheckRun(LIVE, VerdictRules(fall=fall), 0.0, ambient)
    assert run.row >= fall
    if ambient.rate > 0.0:
        assert run.row * log(ambient.rate) <= fall * log(0.05) + 1e-6 or ambient.rate <= 0.05
    assert (run.row - 1) * ambient.weight < fall


def test_an_answer_that_is_an_error_was_not_lost() -> None:
    assert looks_until_bad(run_of(rate=0.2), transport=False) == 3


def test_a_look_that_cost_tokens_got_through_and_one_that_did_not_was_free() -> None:
    user = run_of(USER, 0.2)
    assert user.recheck(unpaid=False) == Recheck("user_path", 1, 3)
    assert user.recheck(unpaid=True) == Recheck("user_path", 5, 3)
    fail(user, 1.0, counts_as=3)
    assert user.state is CheckState.FAIL
    lost = run_of(USER, 0.2)
    assert looks_until_bad(lost, counts_as=3, unpaid=True) == 6
    wrong = run_of(RIGHT, 0.2)
    assert wrong.recheck() == Recheck("correctness", 1, 1)
    assert looks_until_bad(wrong, transport=False) == 2
    assert looks_until_bad(run_of(RIGHT, 0.2), unpaid=True) == 4


def test_what_was_bad_stays_bad_when_the_weight_falls() -> None:
    ambient = Ambient()
    run = CheckRun(LIVE, VerdictRules(), 0.0, ambient)
    for at in (1.0, 2.0, 3.0):
        fail(run, at)
    ambient.measure(80, 120)
    assert ambient.weight < 1.0
    assert run.all_failed
    assert run.transport
    fail(run, 4.0)
    assert run.state is CheckState.FAIL
    assert run.all_failed


def test_a_failure_that_began_before_a_pass_is_old_news() -> None:
    run = run_of()
    for at in (1.0, 1.25, 1.5):
        run.observe(Sample("e", "liveness", Layer.LIVENESS, Status.PASS, at, confirm=True))
    for at in (0.9, 1.1, 1.4):  # these began in between and timed out later
        fail(run, at)
    assert run.state is CheckState.GOOD
    assert not run.unresolved
    assert (run.failed, run.blips) == (3, 3)
    fail(run, 1.6)
    assert run.unresolved


def test_blips_are_failures_that_were_taken_back_before_the_check_was_bad() -> None:
    run = run_of()
    fail(run, 1.0)
    assert run.blips == 0
    run.observe(Sample("e", "liveness", Layer.LIVENESS, Status.PASS, 2.0, confirm=True))
    assert run.blips == 1
    fail(run, 3.0, confirm=True)
    fail(run, 4.0, transport=False)
    run.observe(Sample("e", "liveness", Layer.LIVENESS, Status.PASS, 5.0))
    assert run.blips == 1
    for at in (6.0, 7.0, 8.0):
        fail(run, at)
    for at in (9.0, 10.0, 11.0):
        run.observe(Sample("e", "liveness", Layer.LIVENESS, Status.PASS, at))
    assert run.state is CheckState.GOOD
    assert run.blips == 1


def test_one_blip_of_a_young_agent_is_no_rate_and_old_ones_are_forgotten() -> None:
    ambient = Ambient()
    ambient.measure(1, 1)
    assert ambient.weight == 1.0
    ambient.measure(800, 200)
    assert ambient.weight < 0.6
    ambient.measure(800 + 1_000, 200)
    assert ambient.weight == 1.0, "of all looks so far one in ten was lost, of the latest hardly any"


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=30))
def test_the_weight_is_bounded_whatever_comes(steps: list[tuple[int, int]]) -> None:
    ambient, passed, blips = Ambient(), 0, 0
    for more_passed, more_blips in steps:
        passed, blips = passed + more_passed, blips + more_blips
        ambient.measure(passed, blips)
        assert 0.0 <= ambient.rate <= 1.0
        assert 3 / 8 <= ambient.weight <= 1.0


# -- a whole box ---------------------------------------------------------------------------------------------------------


def make_box(endpoints: int, *, ready: bool = False) -> BallotBox:
    box = BallotBox("a", 1)
    rules = (LIVE, READY) if ready else (LIVE,)
    box.configure([Subject(f"e{n}", rules, {}) for n in range(endpoints)], {}, VerdictRules(), "c", 0.0)
    return box


def look(
    box: BallotBox, endpoint: int, at: float, *, lost: bool, confirm: bool = False, check: str = "liveness"
) -> Recheck | None:
    layer = Layer.LIVENESS if check == "liveness" else Layer.READINESS
    status = Status.FAIL if lost else Status.PASS
    seen = box.observe(Sample(f"e{endpoint}", check, layer, status, at, transport=lost, confirm=confirm), at)
    return seen.confirm[0] if seen.confirm else None


def watch(
    box: BallotBox, endpoints: int, rng: Random, loss: float, seconds: range, *, dead: frozenset[int] = frozenset()
) -> int:
    """Looks every 5 s at every endpoint, confirms as asked, a heartbeat every 2 s. Returns how many verdicts were unhealthy that
    should not have been."""
    wrong = 0
    for second in seconds:
        for n in range(second % 5, endpoints, 5):
            recheck = look(box, n, float(second), lost=n in dead or rng.random() < loss)
            for number in range(recheck.looks if recheck else 0):
                lost = n in dead or rng.random() < loss
                look(box, n, second + 0.01 * (number + 1), lost=lost, confirm=True)
            wrong += n not in dead and box.verdict(f"e{n}") is Verdict.UNHEALTHY
        if second % 2 == 0:
            box.refresh()
            box.delta(float(second))
    return wrong


@pytest.mark.parametrize("loss", [0.1, 0.2, 0.3])
def test_an_agent_that_loses_looks_learns_it_and_seldom_blames_anybody(loss: float) -> None:
    box, rng = make_box(60), Random(7)
    watch(box, 60, rng, 0.0, range(30))
    assert box.ambient.weight == 1.0
    watch(box, 60, rng, loss, range(30, 150))
    assert box.ambient.rate == pytest.approx(loss, abs=0.08)
    looks = 60 * 600 // 5
    assert (
        watch(box, 60, rng, loss, range(150, 750)) < looks * 0.004
    )  # 3 in a row at 30% and 3 passes back: 1 look in 10


def test_dead_endpoints_teach_an_agent_nothing_about_its_ways() -> None:
    box, rng = make_box(60), Random(7)
    watch(box, 60, rng, 0.0, range(60))
    dead = frozenset(range(40))
    watch(box, 60, rng, 0.0, range(60, 120), dead=dead)
    assert box.ambient.rate == 0.0
    assert {box.verdict(f"e{n}") for n in dead} == {Verdict.UNHEALTHY}
    watch(box, 60, rng, 0.0, range(120, 180))
    assert (box.ambient.rate, box.ambient.weight) == (0.0, 1.0)


def test_an_endpoint_that_dies_while_looks_get_lost_is_seen_dead_by_the_next_confirm() -> None:
    box, rng = make_box(60), Random(7)
    watch(box, 60, rng, 0.2, range(300))
    box.asked("e3", 296.0)
    recheck = look(box, 3, 310.0, lost=True)
    assert recheck is not None
    assert 4 <= recheck.looks <= 7
    for number in range(recheck.looks):
        look(box, 3, 310.25 + 0.25 * number, lost=True, confirm=True)
    assert box.verdict("e3") is Verdict.UNHEALTHY
    assert box.vote("e3").all_failed
    assert box.vote("e3").transport


def test_a_reload_keeps_what_was_learned() -> None:
    box, rng = make_box(60), Random(7)
    watch(box, 60, rng, 0.2, range(120))
    learned = box.ambient.rate
    box.configure([Subject(f"e{n}", (LIVE,), {}) for n in range(5)], {}, VerdictRules(), "d", 120.0)
    box.refresh()
    assert box.ambient.rate == pytest.approx(learned, abs=0.02)


def test_a_pass_that_took_the_short_way_overtakes_too() -> None:
    """A lane's pass goes from the ballot box to the run; the simulator counts the looks it left out."""
    box = BallotBox("a", 1)
    box.configure([Subject("e", (LIVE,), {})], {}, VerdictRules(), "hash", 0.0)
    run = box.run("e", "liveness")
    assert not box.passes(run, "e", 0.0, 0.1)  # nothing is known yet: not the short way
    for at in (1.0, 2.0, 3.0):
        box.observe(Sample("e", "liveness", Layer.LIVENESS, Status.PASS, at), at)
    assert box.passes(run, "e", 10.0, 10.1)
    fail(run, 9.0)
    assert not run.unresolved
    run.resume(20.0)
    fail(run, 19.0)
    assert not run.unresolved
    fail(run, 20.5)
    assert run.unresolved
