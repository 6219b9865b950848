"""An operator's freeze: nothing moves by itself until it ends, neither what expires nor what the world changes."""

from __future__ import annotations

import pytest

from steerd.core import events as ev
from steerd.model.vote import Verdict
from tests.core.test_passive import bench, lose
from tests.core.test_passive import fleet as passive_fleet
from tests.support.bench import Bench
from tests.support.fleets import make_fleet


def up(**kwargs: float) -> Bench:
    b = Bench(make_fleet(**kwargs))  # type: ignore[arg-type]  # keywords of make_fleet
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    return b


def test_a_drain_that_expires_waits_for_the_end_of_the_freeze_and_says_so() -> None:
    b = up()
    b.command("drain", "eua", reason="x", for_s=600.0)
    b.run(300)
    b.command("freeze", reason="audit")
    before = len(b.writes)
    b.run(900)
    assert len(b.writes) == before
    text = next(a.text for a in b.engine.world.alerts.active.values() if a.kind == "restore-held")
    assert "steerd unfreeze" in text
    b.command("unfreeze")
    b.run(5)
    assert b.share("eua") > 0
    assert "restore-held" not in b.alerts()
    b.run(2000)
    assert b.drains() == []


def test_an_operators_own_steps_go_on_under_a_freeze() -> None:
    b = up()
    b.command("freeze", reason="audit")
    b.command("drain", "eua", reason="x")
    b.run(300)
    assert b.share("eua") == 0
    b.command("restore", "eua", now=True)
    b.run(5)
    assert b.share("eua") == pytest.approx(1 / 6, abs=0.01)


def test_a_pin_that_expires_waits_too_and_a_new_one_takes_its_place() -> None:
    b = up()
    b.command("pin", "eua", share=0.4, reason="x", for_s=600.0)
    b.command("pin", "usa", share=0.3, reason="x", for_s=600.0)
    b.run(5)
    b.command("freeze", reason="audit")
    before = len(b.writes)
    b.run(700)
    assert len(b.writes) == before
    held = [a for a in b.engine.world.alerts.active.values() if a.kind == "restore-held"]
    assert sorted(a.of for a in held) == ["eua/pin", "usa/pin"]
    assert "steerd unfreeze" in held[0].text
    b.command("pin", "usa", share=0.3, reason="still")
    b.command("unfreeze")
    b.run(5)
    assert b.share("eua") == pytest.approx((1 - 0.3) / 5, abs=0.01)
    assert b.share("usa") == pytest.approx(0.3, abs=0.01)
    assert "restore-held" not in b.alerts()


def test_a_freeze_that_expires_lets_go_of_what_expired_before() -> None:
    b = up()
    b.command("pin", "eua", share=0.4, reason="x", for_s=600.0)
    b.command("freeze", reason="audit", for_s=1200.0)
    b.run(1199)
    assert b.share("eua") == pytest.approx(0.4, abs=0.01)
    b.run(5)
    assert b.share("eua") == pytest.approx(1 / 6, abs=0.01)


def test_demand_that_changes_under_a_freeze_moves_nothing_until_it_ends() -> None:
    b = up(demand=850.0)
    b.command("drain", "eua", reason="x", now=True)
    b.run(5)
    assert b.share("eua") > 0.01
    b.command("freeze", reason="audit")
    before = len(b.writes)
    b.deliver_event(ev.DemandObserved("chat", 300.0))
    b.run(60)
    assert len(b.writes) == before
    b.command("unfreeze")
    b.run(5)
    assert b.share("eua") == 0


def test_a_freeze_holds_automatic_failback() -> None:
    b = bench(passive_fleet(failback="automatic"))
    lose(b)
    b.run(30)
    assert b.share("us") > 0.98
    b.muted.clear()
    b.all_say(Verdict.HEALTHY)
    b.run(590)
    b.command("freeze", reason="audit")
    before = len(b.writes)
    b.run(2000)
    assert len(b.writes) == before
    assert b.engine.world.active["chat"].region == "us"
    b.command("unfreeze")
    b.run(2000)
    assert b.engine.world.active["chat"].region == "eu"


def test_a_region_whose_drain_was_removed_does_not_become_active_under_a_freeze() -> None:
    """Nothing keeps it out any more, but the active mark is a move too."""
    b = bench(passive_fleet(failback="automatic"))
    b.command("drain", "eu", reason="x", now=True)
    b.run(5)
    b.command("freeze", reason="audit")
    b.engine.world.drains.remove("operator:*:eu")
    b.run(60)
    assert b.engine.world.active["chat"].region == "us"
    assert b.share("us") > 0.9
