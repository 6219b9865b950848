"""Operators' commands where something stands in their way: data, steps, guards, and what they asked for before."""

from __future__ import annotations

import pytest

from steerd.core import events as ev
from steerd.core.effects import Answer
from steerd.core.engine import Engine
from steerd.model.fleet import Routing
from steerd.model.vote import Verdict
from tests.core.test_engine import warm
from tests.core.test_passive import HOOK, back, bench, fleet, hooks, lag, lose
from tests.support.bench import Bench
from tests.support.fleets import make_fleet


def taken_over(**settings: object) -> Bench:
    """eu was lost and us took over; eu is well again and stays out until somebody restores it."""
    b = bench(fleet(trickle=0.0, **settings), 0.0)  # type: ignore[arg-type]  # a test's own settings
    if settings.get("stateful"):
        lag(b, 1.0)
    lose(b)
    b.run(30)
    back(b)
    b.run(700)
    assert b.share("us") == pytest.approx(1.0)
    return b


def test_a_drain_asked_for_again_with_now_skips_the_rest_of_its_steps() -> None:
    b = warm(Bench(make_fleet()))
    b.command("drain", "eua", reason="r")
    assert b.share("eua") == pytest.approx(0.125, abs=0.01)
    assert b.command("drain", "eua", reason="hurry", now=True).result == "ok"
    assert b.share("eua") == 0
    assert [d.partition(" ")[2] for d in b.drains()] == ["1.00 held operator"]


def test_a_restore_asked_for_twice_starts_once() -> None:
    b = warm(Bench(make_fleet()))
    b.command("drain", "eua", reason="r", now=True)
    assert b.command("restore", "eua").result == "ok"
    b.run(10)
    share = b.share("eua")
    assert b.command("restore", "eua").result == "ok"
    assert b.share("eua") == share


def test_data_that_is_behind_keeps_a_region_out_unless_its_loss_is_accepted() -> None:
    b = taken_over(stateful=True)
    lag(b, 300.0, "eu")
    answer = b.command("restore", "eu")
    assert answer.result == "vetoed"
    assert answer.text.startswith("data: state in eu was 300 s behind")
    assert answer.text.endswith("--force does not pass this: add --accept-data-loss")
    assert b.command("restore", "eu", accept_data_loss=True).result == "ok"
    b.run(1)
    assert b.share("eu") == pytest.approx(0.05, abs=0.01)


def test_a_region_called_back_runs_its_steps_first_and_again_after_they_failed() -> None:
    b = taken_over(activate={"eu": HOOK})
    answer = b.command("restore", "eu")
    assert answer.result == "ok"
    assert "first: eu prepares to take chat over" in answer.text
    b.run(5)
    assert b.share("eu") == 0
    told = "\n".join(b.engine.explain("eu", b.now)["text"])
    assert "its steps: running (the hook runs)" in told
    assert any("eu prepares to take over: running" in n for n in b.engine.preview(b.now)["services"]["chat"]["notes"])
    b.deliver_event(ev.HookFinished("chat", "eu", 0, False, "503"))
    b.run(30)
    assert b.share("eu") == 0
    assert b.command("restore", "eu").result == "ok"
    assert len(hooks(b)) == 2
    b.deliver_event(ev.HookFinished("chat", "eu", 0, True))
    b.run(5)
    assert b.share("eu") == pytest.approx(0.05, abs=0.01)


def test_a_region_called_back_at_once_takes_everything() -> None:
    b = taken_over()
    assert b.command("restore", "eu", now=True).result == "ok"
    b.run(1)
    assert b.share("eu") == pytest.approx(1.0)
    assert b.engine.world.active["chat"].region == "eu"


def test_a_takeover_that_no_region_may_make_is_vetoed_with_the_first_reason() -> None:
    steps = {"us": HOOK, "ap": HOOK}
    only_eu = Routing(prefer={"eu": 1.0, "us": 0.0, "ap": 0.0})
    made = make_fleet({"eu": 3, "us": 3, "ap": 3}, demand=400.0, activate=steps, routing=only_eu)
    b = Bench(made, served={e: 255 if e.startswith("eu") else 0 for e in made.endpoint_by_name})
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(1500)  # those that carry nothing are new to this leader, and come in first
    answer = b.command("drain", "eu", reason="r")
    assert "as soon as it can" in answer.text
    for region in ("us", "ap"):
        b.deliver_event(ev.HookFinished("chat", region, 0, False, "503"))
    b.run(70)
    assert [v.partition(" ")[0] for v in b.vetoes()] == ["activate"]
    assert b.share("eu") > 0.9


@pytest.mark.parametrize(
    ("verb", "name", "options", "words"),
    [
        ("pin", "eua", {"share": 0.2}, "a pin needs a reason"),
        ("pin", "eu", {"share": 0.0, "reason": "r"}, "never-empty: pinning eu to 0"),
        ("freeze", "", {"reason": "r", "for_s": 0.0}, "a freeze lasts for some time"),
        ("restore", "chat", {}, "chat is not drained"),
        ("drain", "out0", {"reason": "r"}, "out0 is a zone: only endpoints, zones and regions with endpoints"),
    ],
)
def test_what_is_refused_says_why(verb: str, name: str, options: dict[str, object], words: str) -> None:
    b = warm(Bench(make_fleet({"eu": 3}, outside=2)))
    answer = b.command(verb, name, **options)
    assert answer.result in ("invalid", "vetoed")
    assert answer.text.startswith(words)
    assert b.writes == []


def test_only_the_leader_carries_commands_out() -> None:
    engine = Engine("co")
    engine.step(ev.ConfigLoaded(make_fleet()), 0.0)
    [answer] = engine.step(ev.OperatorCommand("1", "freeze", "op", reason="r"), 1.0)
    assert answer == refused("co does not lead (nobody leads): ask the leader")
    engine.step(ev.LeadershipChanged(leading=False, epoch=0, leader="other"), 2.0)
    [answer] = engine.step(ev.OperatorCommand("1", "freeze", "op", reason="r"), 3.0)
    assert answer == refused("co does not lead (other leads): ask the leader")


def refused(text: str) -> object:

    return Answer("1", "invalid", text)
