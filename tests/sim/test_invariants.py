"""Each rule's check sees what breaks it, and lets pass what does not."""

from __future__ import annotations

import pytest

from steerd.core.effects import Record as Note
from steerd.core.events import Tick
from steerd.model.plan import Cause, Decision, Drain, Penalty, Phase, Pin
from steerd.model.route import Fence, Member
from steerd.providers.memory import Record
from steerd.providers.registry import CAPABILITIES
from steerd.sim import invariants as rules
from steerd.sim.provider import Far
from steerd.sim.store import SimData
from steerd.sim.watch import Watch
from tests.support.bench import Bench
from tests.support.fleets import make_fleet


def ledger() -> rules.Ledger:
    return rules.Ledger(make_fleet())


def record(weight: int, epoch: int, seq: int = 1) -> Record:
    return Record({"a": Member("a", weight)}, 30.0, Fence("test", epoch, seq, ""))


def broken(book: rules.Ledger) -> list[int]:
    return [v.rule for v in book.violations]


def test_an_empty_write() -> None:
    book = ledger()
    rules.non_empty(book, "x", record(1, 1), 0.0)
    assert broken(book) == []
    rules.non_empty(book, "x", record(0, 1), 0.0)
    assert broken(book) == [1]


def test_a_fence_that_goes_back() -> None:
    book, far = ledger(), Far("dns", CAPABILITIES["route53"])
    rules.fence_never_goes_back(book, far, "x", record(1, 1), record(1, 2), 0.0)
    assert broken(book) == []
    rules.fence_never_goes_back(book, far, "x", record(1, 2), record(1, 1, 9), 0.0)
    assert broken(book) == [10]
    plain = Far("lb", CAPABILITIES["haproxy"])
    rules.fence_never_goes_back(book, plain, "x", record(1, 2), record(1, 1), 0.0)
    assert broken(book) == [10]


def test_a_needless_write() -> None:
    book = ledger()
    rules.writes_change_something(book, "x", record(1, 1), record(1, 2), 0.0)
    assert broken(book) == []
    rules.writes_change_something(book, "x", record(1, 1), record(1, 1, 2), 0.0)
    assert broken(book) == [14]


def test_a_call_without_lease() -> None:
    book = ledger()
    rules.lease_outlives_call(book, "co", "co", 6.0, 5.0, 0.0)
    assert broken(book) == []
    rules.lease_outlives_call(book, "co", "other", 9.0, 5.0, 0.0)
    rules.lease_outlives_call(book, "co", "co", 4.0, 5.0, 0.0)
    assert broken(book) == [12, 12]


def test_an_epoch_that_goes_back_and_a_decision_without_why() -> None:
    book = ledger()
    rules.epochs_never_decrease(book, 3, 1, 0.0)
    rules.epochs_never_decrease(book, 2, 9, 0.0)
    rules.decisions_explain_themselves(book, {"epoch": 3, "seq": 1, "why": {}}, 0.0)
    assert broken(book) == [9, 17]


def test_cleanup_of_what_is_needed() -> None:
    book = ledger()
    book.desired_by["r"] = "2"
    book.applied_by["r"] = "1"
    rules.cleanup_spares_what_is_needed(book, "0", 0.0)
    assert broken(book) == []
    rules.cleanup_spares_what_is_needed(book, "1", 0.0)
    rules.cleanup_spares_what_is_needed(book, "2", 0.0)
    assert broken(book) == [11, 11]


def test_conclusions_without_cause() -> None:
    bench = Bench(make_fleet())
    bench.lead()
    bench.all_say("healthy")  # type: ignore[arg-type]  # the word of the enum
    world, book = bench.engine.world, ledger()
    state = world.board.states["eua-1"]
    rules.votes_are_counted_once_and_fresh(book, world, state, bench.now, 0.0)
    rules.order_of_votes_does_not_matter(book, world, state, bench.now, 0.0)
    rules.undecided_changes_nothing(book, state, 0.0)
    assert broken(book) == []
    rules.votes_are_counted_once_and_fresh(book, world, state, bench.now + 100.0, 0.0)
    assert set(broken(book)) == {7}
    state.decided = False
    rules.undecided_changes_nothing(book, state, 0.0)
    state.health = state.health.DOWN
    rules.minority_is_impotent(book, world, state, {"eua"}, 0.0)
    assert {5, 6} <= set(broken(book))


def test_two_zones_of_a_region() -> None:
    bench = Bench(make_fleet())
    world, book = bench.engine.world, ledger()

    def drain(name: str, cause: Cause) -> Drain:
        return Drain(
            name=name, kind="zone", cause=cause, by="automatic", reason="", since=0.0, service="chat", phase=Phase.HELD
        )

    first, second = drain("eua", Cause.DOWN), drain("eub", Cause.DOWN)
    world.drains.book = {d.key: d for d in (first, second)}
    rules.guards_hold(book, world, [second], 0.0)
    assert broken(book) == [3]
    dead = drain("eub", Cause.DEAD)
    world.drains.book = {d.key: d for d in (first, dead)}
    rules.guards_hold(other := ledger(), world, [dead], 0.0)
    assert broken(other) == []


def taken(fractions: list[tuple[set[str], float]], apart_s: float = 60.0) -> rules.Ledger:
    """What the rule finds when decision after decision takes these zones' endpoints down to these parts of their share."""
    bench = Bench(make_fleet())
    bench.lead()
    bench.all_say("healthy")  # type: ignore[arg-type]  # the word of the enum
    bench.run(1.0)
    world, book = bench.engine.world, ledger()
    result = world.services["chat"].result
    assert result is not None
    shares = book.shares["chat"] = dict(result.normal)
    for number, (zones, left) in enumerate(fractions):
        for zone in zones:
            drain = Drain(
                name=zone, kind="zone", cause=Cause.GRAY, by="automatic", reason="", since=0.0, service="chat"
            )
            world.drains.book[drain.key] = drain
        shares = {
            e.name: result.normal[e.name] * left if e.zone in zones else shares[e.name]
            for e in world.service("chat").endpoints
        }
        made = Decision(epoch=2, seq=number, at=0.0, service="chat", routes={}, shares=shares, config_hash="", plan="")
        rules.velocity_and_floor_hold(book, world, made, number * apart_s)
        book.shares["chat"] = shares
    return book


def removed(book: rules.Ledger) -> list[str]:
    return [v.text for v in book.violations if "was removed" in v.text]


def test_the_steps_of_a_drain_take_its_capacity_once() -> None:
    steps = (0.75, 0.5, 0.25, 0.0)
    assert broken(taken([({"eua", "usa"}, left) for left in steps])) == []
    assert broken(taken([({"eua", "usa", "eub"}, left) for left in steps])) == []
    found = taken([({"eua", "usa", "eub", "usb"}, left) for left in steps])
    assert removed(found) == ["67% of chat was removed within 300 s"]


def test_what_was_taken_long_ago_is_not_counted() -> None:
    moves = [({"eua", "usa", "eub"}, 0.0), ({"usb"}, 0.0)]
    assert removed(taken(moves, apart_s=100.0)) == ["67% of chat was removed within 300 s"]
    assert removed(taken(moves, apart_s=400.0)) == []


def test_penalties() -> None:
    book = ledger()
    rules.penalties_stay_in_bounds(book, {"a": 12000.0}, 12000.0, 0.0)
    assert broken(book) == []
    rules.penalties_stay_in_bounds(book, {"a": 12001.0}, 12000.0, 0.0)
    assert broken(book) == [15]


@pytest.mark.parametrize(("penalised", "named"), [("eua-1", "eua-1"), ("eua", "eu"), ("eua-1", None)])
def test_a_step_is_asked_about_those_it_names_and_the_end_about_all(penalised: str, named: str | None) -> None:
    bench = Bench(make_fleet())
    world = bench.engine.world
    watch = Watch(world.fleet, SimData(lambda: 0.0), lambda: 0.0, lambda endpoint: set())
    world.damper.penalties[penalised] = Penalty(world.fleet.damping.max + 1.0, 0.0)
    if named is None:
        watch.stepped(world, Tick(), (), 0.0)
        assert watch.violations == []
        watch.end(world, 0.0)
    else:
        watch.stepped(world, Tick(), (Note("drain", named, "out", 0.0, {}),), 0.0)
    assert [v["invariant"] for v in watch.violations] == [15]


def test_only_who_leads_ends_a_pin() -> None:
    bench = Bench(make_fleet())
    world = bench.engine.world
    watch = Watch(world.fleet, SimData(lambda: 0.0), lambda: 0.0, lambda endpoint: set())
    world.pins["eua"] = Pin(name="eua", share=0.1, by="me", reason="", since=bench.now - 600.0, until=bench.now - 60.0)
    watch.stepped(world, Tick(), (), bench.now)
    assert watch.violations == []
    world.leading = True
    watch.stepped(world, Tick(), (), bench.now)
    assert [v["invariant"] for v in watch.violations] == [13]


def test_every_rule_has_words() -> None:
    assert list(rules.RULES) == list(range(1, 18))
