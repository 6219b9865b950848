"""Hysteresis of checks, the verdict over them, suspects and confirms."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.core.verdict import CheckRule, CheckRun, CheckState, EndpointTracker, Observation, Recheck
from steerd.model.rules import VerdictRules
from steerd.model.sample import Layer, Sample, Status
from steerd.model.vote import Verdict

P, F, S, Q, E = Status.PASS, Status.FAIL, Status.SLOW, Status.SATURATED, Status.ERROR
RULES = VerdictRules()
LETTERS = {"P": P, "F": F, "S": S, "Q": Q, "E": E}


def make_run(layer: Layer = Layer.LIVENESS, rules: VerdictRules = RULES) -> CheckRun:
    return CheckRun(CheckRule(layer.value, layer, 5.0, 5.0), rules, 0.0)


def sample(status: Status, at: float = 0.0, layer: Layer = Layer.LIVENESS, **more: object) -> Sample:
    return Sample("e", layer.value, layer, status, at, **more)  # type: ignore[arg-type]  # keywords of Sample


def after(looks: str, layer: Layer = Layer.LIVENESS) -> CheckRun:
    run = make_run(layer)
    for letter in looks:
        run.observe(sample(LETTERS[letter], layer=layer))
    return run


def tracker(*layers: Layer) -> EndpointTracker:
    return EndpointTracker("e", {layer.value: make_run(layer) for layer in layers or (Layer.LIVENESS,)}, 0.0)


def feed(t: EndpointTracker, looks: str, layer: Layer = Layer.LIVENESS, **more: object) -> list[Observation]:
    """Feeds looks 1 s apart, each after all that came before; every call is one moment to the limit of confirms."""
    began = sum(run.looks for run in t.runs.values())
    return [t.observe(sample(LETTERS[c], float(began + n), layer, **more), float(n)) for n, c in enumerate(looks)]


@pytest.mark.parametrize(
    ("looks", "state"),
    [
        ("", CheckState.UNKNOWN),
        ("PP", CheckState.UNKNOWN),
        ("PFPFPFPF", CheckState.UNKNOWN),
        ("PPP", CheckState.GOOD),
        ("FFF", CheckState.FAIL),
        ("FSF", CheckState.SLOW),
        ("FQS", CheckState.SATURATED),
        ("PPPFF", CheckState.GOOD),
        ("PPPFFP", CheckState.GOOD),
        ("PPPFFPFF", CheckState.GOOD),
        ("PPPFFF", CheckState.FAIL),
        ("PPPFFFPP", CheckState.FAIL),
        ("PPPFFFPPFPP", CheckState.FAIL),
        ("PPPFFFPPP", CheckState.GOOD),
        ("PPPSSS", CheckState.SLOW),
        ("PPPSSFF", CheckState.SLOW),
        ("PPPSSFFF", CheckState.FAIL),
        ("PPPFFFSS", CheckState.FAIL),
        ("PPPFFFSSS", CheckState.SLOW),
        ("PPPFFFSSQ", CheckState.SLOW),
        ("PPPFFFQQQ", CheckState.SATURATED),
        ("PPPQQQPPP", CheckState.GOOD),
        ("PPPFEF", CheckState.GOOD),
        ("PPPFEFEF", CheckState.FAIL),
        ("EEEEEE", CheckState.UNKNOWN),
    ],
)
def test_states(looks: str, state: CheckState) -> None:
    assert after(looks).state is state


def test_wrong_answers_are_bad_after_one_repeat() -> None:
    assert after("PPPF", Layer.CORRECTNESS).state is CheckState.GOOD
    assert after("PPPFF", Layer.CORRECTNESS).state is CheckState.FAIL


@given(st.text("PFSQE", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_fewer_than_fall_bad_looks_in_a_row_never_make_good_bad(looks: str, fall: int, rise: int) -> None:
    run = make_run(rules=VerdictRules(fall=fall, rise=rise))
    for _ in range(rise):
        run.observe(sample(P))
    row = 0
    for letter in looks:
        if letter != "E":
            row = 0 if letter == "P" else row + 1
        run.observe(sample(LETTERS[letter]))
        if row >= fall:
            assert run.state > CheckState.GOOD
            return
        assert run.state is CheckState.GOOD


@given(st.text("PFSQE", max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_the_state_is_what_three_separate_latches_say(looks: str, fall: int, rise: int) -> None:
    """A deliberately simple twin: one latch per level over the plain history."""
    run = make_run(rules=VerdictRules(fall=fall, rise=rise))
    history: list[int] = []
    latched = [False] * 4
    for letter in looks:
        run.observe(sample(LETTERS[letter]))
        if letter == "E":
            continue
        history.append("PQSF".index(letter))
        for level in (1, 2, 3):
            if len(history) >= fall and all(h >= level for h in history[-fall:]):
                latched[level] = True
            elif len(history) >= rise and all(h < level for h in history[-rise:]):
                latched[level] = False
        assert all(latched[low] or not latched[high] for low, high in pairwise((1, 2, 3)))
        worst = max((n for n in (1, 2, 3) if latched[n]), default=0)
        if run.state is CheckState.UNKNOWN:
            assert worst == 0
        else:
            assert run.state == worst
        assert run.all_failed == (len(history) >= fall and all(h == 3 for h in history[-fall:]))


@pytest.mark.parametrize(
    ("looks", "verdict"),
    [
        ({}, Verdict.UNKNOWN),
        ({Layer.LIVENESS: "PPP"}, Verdict.UNKNOWN),
        ({Layer.LIVENESS: "PPP", Layer.READINESS: "PPP"}, Verdict.HEALTHY),
        ({Layer.LIVENESS: "PPP", Layer.READINESS: "PPP", Layer.USER_PATH: "F"}, Verdict.HEALTHY),
        ({Layer.LIVENESS: "PPP", Layer.READINESS: "FFF"}, Verdict.UNHEALTHY),
        ({Layer.LIVENESS: "P", Layer.PROGRESS: "FFF"}, Verdict.UNHEALTHY),
        ({Layer.LIVENESS: "PPP", Layer.READINESS: "PPP", Layer.CORRECTNESS: "FF"}, Verdict.UNHEALTHY),
        ({Layer.LIVENESS: "PPP", Layer.READINESS: "PPP", Layer.DEPENDENCY: "FFF"}, Verdict.DEGRADED),
        ({Layer.LIVENESS: "PPP", Layer.READINESS: "PPP", Layer.USER_PATH: "SSS"}, Verdict.DEGRADED),
        ({Layer.LIVENESS: "QQQ", Layer.READINESS: "PPP", Layer.USER_PATH: "SSS"}, Verdict.SATURATED),
        ({Layer.LIVENESS: "QQQ", Layer.READINESS: "FFF"}, Verdict.UNHEALTHY),
        # a check that cannot do its job is out of the verdict
        ({Layer.LIVENESS: "PPP", Layer.READINESS: "PPP", Layer.USER_PATH: "FFFE"}, Verdict.HEALTHY),
        ({Layer.LIVENESS: "PPPE", Layer.READINESS: "PPP"}, Verdict.HEALTHY),
        ({Layer.LIVENESS: "PPPE", Layer.READINESS: "PPPE"}, Verdict.UNKNOWN),
        ({Layer.LIVENESS: "PPP", Layer.READINESS: "PPP", Layer.USER_PATH: "FFFEF"}, Verdict.UNHEALTHY),
    ],
)
def test_verdicts(looks: dict[Layer, str], verdict: Verdict) -> None:
    t = tracker(*Layer)
    for layer in Layer:
        feed(t, looks.get(layer, ""), layer)
    assert t.vote(None).verdict is verdict
    assert t.vote("doubts itself").verdict is Verdict.UNKNOWN


def test_an_endpoint_without_liveness_is_healthy_once_a_check_of_its_own_is_good() -> None:
    t = tracker(Layer.USER_PATH, Layer.DEPENDENCY)
    feed(t, "PPP", Layer.DEPENDENCY)
    assert t.vote(None).verdict is Verdict.UNKNOWN
    feed(t, "PPP", Layer.USER_PATH)
    assert t.vote(None).verdict is Verdict.HEALTHY


def test_an_unhealthy_vote_says_why() -> None:
    t = tracker(Layer.LIVENESS, Layer.USER_PATH)
    feed(t, "PPPFF", reason="connection refused", transport=True)
    feed(t, "F", reason="connection refused", transport=True)
    vote = t.vote(None)
    assert (vote.layer, vote.check, vote.reason) == (Layer.LIVENESS, "liveness", "connection refused")
    assert vote.all_failed
    assert vote.transport
    assert not vote.suspect
    assert [(c.check, c.passed, c.failed) for c in vote.counts] == [("liveness", 3, 3)]


def test_transport_needs_every_one_of_the_last_looks() -> None:
    t = tracker()
    feed(t, "PPPFF", transport=True)
    feed(t, "F", transport=False)
    feed(t, "FF", transport=True)
    assert t.vote(None).all_failed
    assert not t.vote(None).transport
    feed(t, "F", transport=True)
    assert t.vote(None).transport


def test_one_pass_ends_all_failed_before_it_ends_unhealthy() -> None:
    t = tracker()
    feed(t, "PPPFFF", transport=True)
    assert feed(t, "P")[0].changed
    vote = t.vote(None)
    assert vote.verdict is Verdict.UNHEALTHY
    assert not vote.all_failed
    assert not vote.transport


def test_the_check_that_still_fails_stands_behind_the_vote() -> None:
    t = tracker(Layer.LIVENESS, Layer.USER_PATH)
    feed(t, "FFFP")
    feed(t, "FFF", Layer.USER_PATH)
    assert t.vote(None).check == "user_path"
    assert t.vote(None).all_failed


@pytest.mark.parametrize("before", ["PPP", ""])
@pytest.mark.parametrize("first", ["F", "S"])
def test_a_first_failure_is_suspect_and_confirmed_at_once(before: str, first: str) -> None:
    t = tracker()
    feed(t, before)
    seen = feed(t, first, reason="timed out")[0]
    assert seen == Observation(changed=True, urgent=True, confirm=(Recheck("liveness", 2, 1),))
    vote = t.vote(None)
    assert vote.suspect
    assert vote.reason == "timed out"
    assert not feed(t, first)[0].confirm
    assert t.vote(None).suspect
    assert feed(t, first)[0].changed
    assert not t.vote(None).suspect


def test_a_pass_clears_the_suspicion() -> None:
    t = tracker()
    feed(t, "PPPF")
    assert feed(t, "P")[0].changed
    assert not t.vote(None).suspect


def test_slow_that_turns_into_fail_is_confirmed_anew() -> None:
    t = tracker()
    feed(t, "PPPSSS")
    seen = t.observe(sample(F, 100.0), 100.0)
    assert seen.urgent
    assert seen.confirm


def test_saturation_is_no_suspicion() -> None:
    t = tracker()
    feed(t, "PPP")
    seen = feed(t, "Q")[0]
    assert not seen.urgent
    assert not seen.confirm
    assert not t.vote(None).suspect


def test_confirms_are_limited_to_one_per_interval() -> None:
    t = tracker()
    feed(t, "PPP")
    confirms = [t.observe(sample(s, at), at).confirm for at, s in ((10, F), (10.3, P), (10.6, F), (11, P), (16, F))]
    assert [bool(c) for c in confirms] == [True, False, False, False, True]


def test_a_user_path_confirm_is_one_look_that_counts_as_fall() -> None:
    t = tracker(Layer.USER_PATH)
    feed(t, "PPP", Layer.USER_PATH)
    confirm = feed(t, "F", Layer.USER_PATH)[0].confirm
    assert confirm == (Recheck("user_path", 1, 3),)
    feed(t, "F", Layer.USER_PATH, counts_as=confirm[0].counts_as)
    vote = t.vote(None)
    assert vote.verdict is Verdict.UNHEALTHY
    assert vote.all_failed
    assert vote.counts[0].failed == 2  # looks really made


def test_a_wrong_answer_is_always_repeated() -> None:
    t = tracker(Layer.CORRECTNESS)
    t.asked(0.0, paid=True)  # takes the limit
    assert feed(t, "F", Layer.CORRECTNESS)[0].confirm == (Recheck("correctness", 1, 1),)


def test_a_dependency_is_confirmed_but_makes_no_suspect() -> None:
    t = tracker(Layer.DEPENDENCY)
    feed(t, "PPP", Layer.DEPENDENCY)
    seen = feed(t, "F", Layer.DEPENDENCY)[0]
    assert seen.confirm
    assert not seen.urgent
    assert not t.vote(None).suspect


def test_a_coordinator_may_ask_for_everything_once_per_interval() -> None:
    t = tracker(*Layer)
    assert {(r.check, r.looks, r.counts_as) for r in t.asked(10.0, paid=True)} == {
        ("liveness", 3, 1),
        ("readiness", 3, 1),
        ("progress", 3, 1),
        ("user_path", 1, 3),
        ("correctness", 1, 1),
    }
    assert t.asked(11.0, paid=True) == ()
    assert t.asked(16.0, paid=True)


def test_what_is_known_to_be_dead_is_not_asked_again() -> None:
    t = tracker()
    feed(t, "FFF")
    assert t.asked(100.0, paid=True) == ()


def test_sequences_grow_when_a_vote_may_differ_and_only_then() -> None:
    t = tracker()
    first = t.vote(None)
    assert t.vote(None) == first
    feed(t, "P")
    second = t.vote(None)
    assert second.sequence > first.sequence
    assert t.vote("doubt").sequence > second.sequence
    assert t.vote(None).sequence > second.sequence + 1


def test_a_steady_check_changes_nothing_but_counts() -> None:
    t = tracker()
    seen = feed(t, "PPPPPP")
    assert [s.changed for s in seen] == [False, False, True, False, False, False]
    assert t.vote(None).counts[0].passed == 6


def test_a_new_version_label_is_a_change() -> None:
    t = tracker()
    feed(t, "PPP")
    assert feed(t, "P", version="v2")[0].changed
    assert t.vote(None).version == "v2"
    assert not feed(t, "P", version="v2")[0].changed


def test_errors_are_named() -> None:
    t = tracker(Layer.LIVENESS)
    feed(t, "PPP")
    assert feed(t, "E", reason="the probe's key was refused")[0].changed
    vote = t.vote(None)
    assert vote.errors == ("liveness: the probe's key was refused",)
    assert vote.verdict is Verdict.UNKNOWN
    assert vote.reason == "the probe's key was refused"
    assert feed(t, "P")[0].changed
    assert t.vote(None).verdict is Verdict.HEALTHY


def test_a_vote_is_stale_three_intervals_after_its_last_liveness_look() -> None:
    t = tracker(Layer.LIVENESS, Layer.READINESS)
    t.observe(sample(P, 100.0), 100.0)
    t.observe(sample(P, 114.0, Layer.READINESS), 114.0)
    assert not t.stale(115.0)
    assert t.stale(115.1)


def test_without_liveness_the_most_frequent_check_keeps_a_vote_alive() -> None:
    slow = CheckRun(CheckRule("user_path", Layer.USER_PATH, 30.0, 150.0), RULES, 0.0)
    quick = CheckRun(CheckRule("readiness", Layer.READINESS, 10.0, 10.0), RULES, 0.0)
    t = EndpointTracker("e", {"user_path": slow, "readiness": quick}, 0.0)
    assert not t.stale(30.0)
    assert t.stale(31.0)


def test_a_coordinator_asks_for_checks_that_cost_tokens_only_by_name() -> None:
    t = tracker(Layer.LIVENESS, Layer.USER_PATH, Layer.CORRECTNESS)
    assert [r.check for r in t.asked(0.0, paid=False)] == ["liveness"]
    assert {r.check for r in t.asked(0.0, paid=True)} == {"user_path", "correctness"}


def test_a_pass_in_turn_is_that_agents_whole_word() -> None:
    rule = CheckRule("user_path", Layer.USER_PATH, interval_s=30.0, period_s=210.0)
    run = CheckRun(rule, RULES, 0.0)
    run.observe(sample(Status.FAIL, layer=Layer.USER_PATH, counts_as=3))
    assert run.state is CheckState.FAIL
    run.observe(sample(Status.PASS, layer=Layer.USER_PATH))
    assert run.state is CheckState.GOOD


def test_saturated_in_turn_is_that_agents_whole_word() -> None:
    run = CheckRun(CheckRule("user_path", Layer.USER_PATH, interval_s=30.0, period_s=210.0), RULES, 0.0)
    run.observe(sample(Status.PASS, layer=Layer.USER_PATH))
    run.observe(sample(Status.SATURATED, layer=Layer.USER_PATH))
    assert run.state is CheckState.SATURATED
    run.observe(sample(Status.FAIL, layer=Layer.USER_PATH, counts_as=3))
    run.observe(sample(Status.SATURATED, layer=Layer.USER_PATH))
    assert run.state is CheckState.SATURATED, "what answers that it is full does not fail"
    often = make_run(Layer.USER_PATH)
    for status in (Status.PASS, Status.PASS, Status.PASS, Status.SATURATED):
        often.observe(sample(status, layer=Layer.USER_PATH))
    assert often.state is CheckState.GOOD, "where every agent looks at every interval, one look is one look"


def test_a_paid_look_that_never_connected_is_one_look_and_is_repeated() -> None:
    t = tracker(Layer.USER_PATH)
    feed(t, "P", Layer.USER_PATH)
    first = t.observe(sample(Status.FAIL, 30.0, Layer.USER_PATH, counts_as=3, transport=True, unpaid=True), 30.0)
    assert [(r.looks, r.counts_as) for r in first.confirm] == [(2, 3)]
    assert t.vote(None).suspect
    t.observe(sample(Status.FAIL, 30.3, Layer.USER_PATH, counts_as=3, transport=True, unpaid=True), 30.3)
    assert t.runs["user_path"].state is not CheckState.FAIL
    t.observe(sample(Status.FAIL, 30.6, Layer.USER_PATH, counts_as=3, transport=True, unpaid=True), 30.6)
    assert t.runs["user_path"].state is CheckState.FAIL
    assert t.runs["user_path"].transport


def test_looks_made_because_one_failed_are_no_sample_of_the_failure_rate() -> None:
    run = make_run()
    run.observe(sample(Status.FAIL))
    run.observe(sample(Status.FAIL, confirm=True))
    run.observe(sample(Status.PASS, confirm=True))
    run.observe(sample(Status.PASS))
    assert (run.passed, run.failed) == (1, 1)
