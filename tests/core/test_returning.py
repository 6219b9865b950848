"""What is well comes back while the dead carry everything, and what is dead leaves as soon as somebody well is there."""

from __future__ import annotations

import pytest

from steerd.core import events as ev
from steerd.core.decide import room_for
from steerd.model.vote import Verdict
from tests.support.bench import Bench
from tests.support.fleets import make_fleet


def test_a_healthy_endpoint_takes_over_from_the_dead_of_its_zone() -> None:
    """The zone may not leave as a whole; that holds neither its dead in service nor its well ones out."""
    b = Bench(make_fleet({"eu": 1}, per_zone=4, outside=3))
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    for endpoint in ("eua-1", "eua-2"):
        b.all_say(Verdict.UNHEALTHY, [endpoint])
        b.run(60)
    b.all_say(Verdict.UNHEALTHY, ["eua-3", "eua-4"])
    b.run(30)
    assert b.vetoes() == ["never-empty eua"]
    assert b.share("eua-3") == pytest.approx(0.5, abs=0.01), "nobody is well: nothing moves between the dead"
    b.all_say(Verdict.HEALTHY, ["eua-1"])
    b.run(10)
    assert b.share("eua-1") == pytest.approx(1.0)
    b.run(3600)
    assert b.share("eua-1") == pytest.approx(1.0)
    b.all_say(Verdict.HEALTHY)
    b.run(3600)
    assert b.drains() == []
    assert b.share("eua-4") == pytest.approx(0.25, abs=0.01)


def test_a_wider_drain_that_stands_keeps_what_is_well_inside_it() -> None:
    b = Bench(make_fleet(per_zone=4))
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    b.all_say(Verdict.UNHEALTHY, ["eua-1", "eua-2", "eua-3"])
    b.run(10)
    assert b.drains() == ["eua 1.00 held dead"] or b.drains() == ["eua 1.00 held down"]
    b.run(1200)
    assert b.share("eua") == 0
    assert b.share("eua-4") == 0


@pytest.mark.parametrize(("weighed", "told"), [(True, "eua-1 would run at 267% of its capacity"), (False, None)])
def test_one_that_would_be_loaded_more_than_anything_is_now_does_not_come_back(weighed: bool, told: str | None) -> None:
    """More demand than everything can take: it is spread by what endpoints weigh, and where all others weigh half, the one that
    returns would get twice what they have. Where they weigh in full it only eases their load."""
    b = Bench(make_fleet({"eu": 2, "us": 2}, per_zone=2))
    b.lead()
    b.all_say(Verdict.HEALTHY)
    b.run(5)
    b.command("drain", "eua-1", reason="test", now=True)
    b.deliver_event(ev.DemandObserved("chat", 1200.0))
    world = b.engine.world
    [drain] = world.drains.book.values()
    if weighed:
        world.services["chat"].factors = {e: (0.5, b.now) for e in b.fleet.endpoint_by_name if e != "eua-1"}
    assert room_for(world, "chat", drain) == told
