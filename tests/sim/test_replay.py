"""Replays of what a bench's engine was given: the same core decides the same, and what it does not share with then is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from steerd.coordinator.ring import Ring
from steerd.core.events import ApplyFinished, Event, VerifyFinished
from steerd.model.vote import Verdict
from steerd.sim.replay import Replayed, replay, told
from tests.support.bench import Bench
from tests.support.fleets import make_fleet


def recorded(folder: Path, keep: Callable[[Event], bool], after_s: float = 120.0) -> tuple[Bench, Replayed]:
    """A zone dies; `after_s` later the recording ends. Of its events those that `keep` says are there."""
    bench = Bench(make_fleet())
    bench.lead()
    bench.all_say(Verdict.HEALTHY)
    bench.run(30.0)
    bench.all_say(Verdict.UNHEALTHY, ["eua-1", "eua-2"])
    bench.run(after_s)
    ring = Ring(folder / "ring")
    ring.open()
    for event, now in bench.fed:
        if keep(event):
            ring.append(event, now, list)
    ring.close()
    return bench, replay(folder / "ring")


def test_the_same_core_decides_the_same(tmp_path: Path) -> None:
    bench, found = recorded(tmp_path, lambda event: True)
    assert len(bench.writes) == found.applies == 1
    assert found.differences == []


def test_a_decision_that_only_todays_core_makes_is_told(tmp_path: Path) -> None:
    """Nothing answers its write: then, nobody asked for it."""
    bench, found = recorded(tmp_path, lambda event: not isinstance(event, ApplyFinished | VerifyFinished))
    (one,) = found.differences
    assert one.then == "nothing"
    assert one.at == bench.writes[0][0]
    assert "eub-1=" in one.now
    assert "eua-1" not in one.now
    assert any("then nothing; now " in line for line in told(found))


def test_a_recording_that_ends_before_the_answer_tells_nothing(tmp_path: Path) -> None:
    _, found = recorded(tmp_path, lambda event: not isinstance(event, ApplyFinished | VerifyFinished), after_s=30.0)
    assert found.applies == 1
    assert found.differences == []
