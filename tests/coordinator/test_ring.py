"""The ring: what the engine took in comes back, within its bound, whatever happened to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steerd.coordinator.ring import Ring, read
from steerd.core.events import (
    AgentLost,
    ApplyFinished,
    BallotReceived,
    ConfigLoaded,
    DemandObserved,
    Event,
    HookFinished,
    LeadershipChanged,
    OperatorCommand,
    ReadingReceived,
    RouteObserved,
    Tick,
    VerifyFinished,
)
from steerd.model.fleet import ProviderSpec, Secret
from steerd.model.plan import Decision, Drain, HardState
from steerd.model.route import Capabilities, Desired, Fence, Member, Observed
from steerd.model.sample import Reading
from steerd.model.vote import Ballot, Heartbeat
from tests.coordinator.rig import vote
from tests.support.fleets import make_fleet

FLEET = make_fleet({"eu": 2})
DESIRED = Desired((Member("a", 1, ("203.0.113.1",)),))
DECISION = Decision(
    epoch=1, seq=2, at=3.0, service="chat", routes={"dns/a": DESIRED}, shares={}, config_hash="", plan="p"
)
STATE = HardState(
    drains=(Drain(name="a", kind="zone", cause="dead", by="automatic", reason="r", since=1.0),),  # type: ignore[arg-type]  # a word is what comes back
    desired={"dns/a": DESIRED},
)
OBSERVED = Observed({"a": 1}, {"a": ("203.0.113.1",)}, Fence("acme", 1, 2, "p"), ttl_s=30.0)
ALL: list[Event] = [
    ConfigLoaded(FLEET, {"dns": Capabilities()}),
    LeadershipChanged(True, 1, "co", STATE, ((DECISION, ("dns/a",)),)),
    BallotReceived(Ballot("a", 1, 1, True, (vote("e", 1, down=True),), (Reading("e", "lag", 1.0),))),
    BallotReceived(Heartbeat("a", 1, 2, stale=("e",))),
    AgentLost("a"),
    ReadingReceived("a", (Reading("e", "lag", 1.0),)),
    DemandObserved("chat", None),
    RouteObserved("dns/a", OBSERVED),
    RouteObserved("dns/a", None, "unreachable"),
    ApplyFinished("dns/a", "1.2", "applied", observed=OBSERVED),
    VerifyFinished("dns/a", "1.2", True),
    HookFinished("chat", "eu", 0, False),
    OperatorCommand("id", "drain", "me", "eua", for_s=60.0),
    Tick(),
]


def nothing() -> list[tuple[Event, float]]:
    return []


def write(path: Path, events: list[Event], **more: Any) -> Ring:
    ring = Ring(path, **more)
    ring.open()
    for n, event in enumerate(events):
        ring.append(event, float(n), nothing)
    ring.close()
    assert ring.problem is None
    return ring


def test_every_kind_of_event_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "ring", ALL)
    found = list(read(tmp_path / "ring"))
    assert [f.event for f in found] == ALL
    assert [f.now for f in found] == [float(n) for n in range(len(ALL))]
    assert [f.starts for f in found] == [True] + [False] * (len(ALL) - 1)
    assert (tmp_path / "ring").stat().st_mode & 0o777 == 0o600


def test_what_only_a_provider_understands_is_left_out(tmp_path: Path) -> None:
    strange = Observed({"a": 1}, token={frozenset({object()}): object()})
    write(tmp_path / "ring", [RouteObserved("dns/a", strange)])
    (found,) = read(tmp_path / "ring")
    assert found.event == RouteObserved("dns/a", Observed({"a": 1}))


def test_secrets_are_recorded_as_references_only(tmp_path: Path) -> None:
    spec = ProviderSpec("dns", "rfc2136", settings={"secret": Secret("env", "TSIG")})
    write(tmp_path / "ring", [ConfigLoaded(make_fleet({"eu": 2})), ConfigLoaded(FLEET)])
    assert b"TSIG" not in (tmp_path / "ring").read_bytes()
    assert repr(spec.settings["secret"]) == "Secret(env: TSIG)"


def test_a_second_run_goes_on_behind_the_first(tmp_path: Path) -> None:
    write(tmp_path / "ring", [Tick(), Tick()])
    write(tmp_path / "ring", [AgentLost("a"), Tick()])
    found = list(read(tmp_path / "ring"))
    assert [f.event for f in found] == [Tick(), Tick(), AgentLost("a"), Tick()]
    assert [f.starts for f in found] == [True, False, True, False]


@pytest.mark.parametrize("damage", ["torn", "flipped"])
def test_a_torn_end_is_cut_off_and_recording_goes_on(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ring"
    write(path, [AgentLost("a"), AgentLost("b")])
    data = path.read_bytes()
    path.write_bytes(data[:-3] if damage == "torn" else data[:-1] + b"?")
    assert [f.event for f in read(path)] == [AgentLost("a")]
    write(path, [AgentLost("c")])
    assert [f.event for f in read(path)] == [AgentLost("a"), AgentLost("c")]


def test_it_stays_within_its_bound_and_each_file_can_be_replayed_alone(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    ring = Ring(path, most_bytes=20_000)
    ring.open()
    opening: list[tuple[Event, float]] = [(ConfigLoaded(FLEET), 0.0), (LeadershipChanged(False, 0, None), 0.0)]
    for n in range(2000):
        ring.append(AgentLost(f"agent-{n}"), float(n), lambda: opening)
    ring.close()
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) <= 20_000
    found = list(read(path))
    starts = [n for n, f in enumerate(found) if f.starts]
    assert starts[0] == 0
    for n in starts:
        assert [type(f.event) for f in found[n : n + 3]] == [ConfigLoaded, LeadershipChanged, AgentLost]
    names = [f.event.agent for f in found if isinstance(f.event, AgentLost)]
    assert names == [f"agent-{n}" for n in range(2000 - len(names), 2000)]


def test_a_file_that_is_no_ring_is_left_alone_and_told(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    path.write_bytes(b"my diary\n" * 10)
    ring = Ring(path)
    ring.open()
    ring.append(Tick(), 1.0, nothing)
    ring.close()
    assert "no ring file" in (ring.problem or "")
    assert path.read_bytes() == b"my diary\n" * 10
    with pytest.raises(ValueError, match="no ring file"):
        list(read(path))


def test_a_disk_that_fails_is_told_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ring = Ring(tmp_path / "file" / "ring")
    ring.open()
    ring.append(Tick(), 1.0, nothing)
    ring.close()
    assert "cannot be replayed" in (ring.problem or "")
