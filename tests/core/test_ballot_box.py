"""Frames an agent sends: full, delta, heartbeat, abstaining, stale."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steerd.core.ballot_box import READING_LIFE_S, REFRESH_ROUNDS, BallotBox, Subject
from steerd.core.verdict import CheckRule, Recheck
from steerd.model.rules import VerdictRules
from steerd.model.sample import Layer, Sample, Status
from steerd.model.vote import Ballot, Heartbeat, Verdict, Vote

LIVE = CheckRule("liveness", Layer.LIVENESS, 5.0, 5.0)
VECTORS = CheckRule("dependency:vectors", Layer.DEPENDENCY, 10.0, 10.0)


def make(endpoints: int = 3, *, behind: bool = False) -> BallotBox:
    box = BallotBox("euw1a", 7, version="1.2")
    configure(box, endpoints, behind=behind)
    return box


def configure(
    box: BallotBox, endpoints: int, *, behind: bool = False, rules: VerdictRules | None = None, now: float = 0.0
) -> None:
    dependencies = {"dependency:vectors": "vectors@eu"} if behind else {}
    subjects = [Subject(f"e{n}", (LIVE,), dependencies) for n in range(endpoints)]
    shared = {"vectors@eu": VECTORS} if behind else {}
    box.configure(subjects, shared, rules or VerdictRules(), f"hash-{endpoints}", now)


def look(box: BallotBox, endpoint: str, status: Status, at: float = 0.0, **readings: float) -> None:
    box.observe(Sample(endpoint, "liveness", Layer.LIVENESS, status, at, readings=readings), at)


def good(box: BallotBox, endpoint: str, at: float = 0.0) -> None:
    for _ in range(3):
        look(box, endpoint, Status.PASS, at)


def votes(ballot: Ballot) -> dict[str, Vote]:
    return {vote.endpoint: vote for vote in ballot.votes}


def test_a_full_ballot_has_every_vote_and_says_who_speaks() -> None:
    box = make()
    good(box, "e0")
    ballot = box.full(1.0)
    assert (ballot.agent, ballot.incarnation, ballot.full, ballot.version) == ("euw1a", 7, True, "1.2")
    assert ballot.config_hash == "hash-3"
    assert {e: v.verdict for e, v in votes(ballot).items()} == {
        "e0": Verdict.HEALTHY,
        "e1": Verdict.UNKNOWN,
        "e2": Verdict.UNKNOWN,
    }


def test_a_delta_has_what_changed_since_the_last_in_the_order_it_happened() -> None:
    box = make()
    good(box, "e2")
    good(box, "e0")
    dirty = [box.dirty]
    assert list(votes(box.delta(1.0))) == ["e2", "e0"]
    assert [*dirty, box.dirty] == [True, False]
    assert box.delta(1.0).votes == ()
    look(box, "e0", Status.PASS)
    assert not box.dirty
    look(box, "e0", Status.FAIL)
    suspect = votes(box.delta(2.0))["e0"]
    assert suspect.suspect
    assert suspect.verdict is Verdict.HEALTHY


def test_every_frame_has_a_higher_number() -> None:
    box = make()
    frames: list[Ballot | Heartbeat] = [
        box.full(0.0),
        box.heartbeat(0.0),
        box.delta(0.0),
        box.full(0.0),
        box.heartbeat(0.0),
    ]
    assert [f.number for f in frames] == [1, 2, 3, 4, 5]


def test_stale_votes_are_named_by_heartbeats_and_left_out_of_ballots() -> None:
    box = make(2)
    good(box, "e0", 10.0)
    good(box, "e1", 20.0)
    box.delta(20.0)
    assert box.heartbeat(25.0).stale == ()
    assert box.heartbeat(26.0).stale == ("e0",)
    assert list(votes(box.full(26.0))) == ["e1"]
    look(box, "e0", Status.PASS, 27.0)  # says what it said before, yet who got the full ballot does not have it
    assert list(votes(box.delta(27.0))) == ["e0"]
    assert box.heartbeat(27.0).stale == ()


def test_a_delta_does_not_refresh_what_is_stale() -> None:
    box = make(2, behind=True)
    good(box, "e0", 10.0)
    good(box, "e1", 100.0)
    box.delta(100.0)
    for _ in range(3):
        box.observe(Sample("vectors@eu", "dependency:vectors", Layer.DEPENDENCY, Status.FAIL, 100.0), 100.0)
    assert list(votes(box.delta(100.0))) == ["e1"]
    look(box, "e0", Status.PASS, 101.0)
    assert votes(box.delta(101.0))["e0"].verdict is Verdict.DEGRADED


def test_abstaining_makes_every_vote_unknown_and_new_again_afterwards() -> None:
    box = make()
    good(box, "e0")
    before = votes(box.full(0.0))["e0"]
    assert box.abstain("cut off")
    assert not box.abstain("cut off, still")
    silent = box.delta(1.0)
    assert silent.abstaining == "cut off, still"
    assert box.heartbeat(1.0).abstaining == "cut off, still"
    during = votes(box.full(1.0))["e0"]
    assert during.verdict is Verdict.UNKNOWN
    assert box.abstain(None)
    after = votes(box.full(2.0))["e0"]
    assert after.verdict is Verdict.HEALTHY
    assert before.sequence < during.sequence < after.sequence
    assert box.full(2.0).abstaining is None


def test_votes_are_new_after_abstaining_even_if_no_look_was_made_meanwhile() -> None:
    box = make()
    good(box, "e0")
    before = votes(box.full(0.0))["e0"]
    box.abstain("doubt")
    box.abstain(None)
    assert votes(box.full(0.0))["e0"].sequence > before.sequence


def test_readings_travel_once_and_are_in_full_ballots_while_recent() -> None:
    box = make()
    look(box, "e0", Status.PASS, 1.0, queue=4.0, ttft_s=0.2)
    look(box, "e0", Status.PASS, 2.0, queue=5.0)
    sent = {(r.subject, r.name): (r.value, r.age_s) for r in box.heartbeat(4.0).readings}
    assert sent == {("e0", "queue"): (5.0, 2.0), ("e0", "ttft_s"): (0.2, 3.0)}
    assert box.heartbeat(6.0).readings == ()
    assert {r.name for r in box.full(6.0).readings} == {"queue", "ttft_s"}
    assert box.full(READING_LIFE_S + 3.0).readings == ()


def test_a_dependency_is_seen_once_for_all_endpoints_behind_it() -> None:
    box = make(3, behind=True)
    for name in ("e0", "e1", "e2"):
        good(box, name)
    box.delta(0.0)
    fail = Sample("vectors@eu", "dependency:vectors", Layer.DEPENDENCY, Status.FAIL, 1.0, reason="refused")
    assert box.observe(fail, 1.0).confirm == (Recheck("dependency:vectors", 2, 1),)
    box.observe(fail, 1.0)
    box.observe(fail, 1.0)
    ballot = votes(box.delta(1.0))
    assert {v.verdict for v in ballot.values()} == {Verdict.DEGRADED}
    assert len(ballot) == 3
    assert ballot["e1"].check == "dependency:vectors"
    assert not ballot["e1"].suspect
    assert box.observe(fail, 2.0).changed is False


def test_refresh_sends_failure_counts_at_once_and_everything_in_turn() -> None:
    box = make(40)
    for n in range(40):
        good(box, f"e{n}")
    box.delta(0.0)
    look(box, "e7", Status.FAIL)
    look(box, "e7", Status.PASS)
    box.delta(0.0)
    look(box, "e7", Status.PASS)
    seen: set[str] = set()
    for turn in range(REFRESH_ROUNDS):
        box.refresh()
        part = votes(box.delta(1.0))
        assert turn > 0 or part["e7"].counts[0].failed == 1
        assert len(part) <= 4
        seen |= part.keys()
    assert len(seen) == 40


def test_a_reload_keeps_what_stayed_and_forgets_what_left() -> None:
    box = make(3)
    for name in ("e0", "e1", "e2"):
        good(box, name)
    look(box, "e2", Status.PASS, 1.0, queue=1.0)
    configure(box, 2, now=1.0)
    ballot = box.full(1.0)
    assert ballot.config_hash == "hash-2"
    assert {e: v.verdict for e, v in votes(ballot).items()} == {"e0": Verdict.HEALTHY, "e1": Verdict.HEALTHY}
    assert ballot.readings == ()
    look(box, "e2", Status.FAIL)  # a look that was under way when its endpoint left
    assert not [name for name in votes(box.delta(1.0)) if name == "e2"]
    configure(box, 2, rules=VerdictRules(fall=5), now=2.0)
    assert {v.verdict for v in box.full(2.0).votes} == {Verdict.UNKNOWN}


def test_asking_for_an_endpoint_it_does_not_see_is_nothing() -> None:
    box = make()
    assert box.asked("elsewhere", 0.0) == ()
    assert box.asked("e0", 0.0) == (Recheck("liveness", 3, 1),)


steps = st.lists(
    st.tuples(
        st.sampled_from(["look", "delta", "full", "heartbeat", "abstain", "vote", "refresh"]),
        st.integers(0, 2),
        st.sampled_from(list(Status)),
    ),
    max_size=80,
)


@given(steps)
def test_a_coordinator_that_hears_everything_knows_what_the_agent_thinks(moves: list[tuple[str, int, Status]]) -> None:
    """Folding frames as a coordinator does (highest sequence wins) ends in the agent's own votes."""
    box, now = make(), 0.0
    known: dict[str, Vote] = {}
    abstaining: str | None = None
    last = 0

    def hear(frame: Ballot | Heartbeat) -> None:
        nonlocal abstaining, last
        assert frame.number > last
        last, abstaining = frame.number, frame.abstaining
        if isinstance(frame, Ballot):
            if frame.full:
                known.clear()
            for vote in frame.votes:
                old = known.get(vote.endpoint)
                assert old is None or vote.sequence >= old.sequence
                assert old is None or vote.sequence > old.sequence or vote == old
                known[vote.endpoint] = vote

    hear(box.full(now))
    for move, number, status in moves:
        now += 0.1
        if move == "look":
            look(box, f"e{number}", status, now)
        elif move == "abstain":
            if box.abstain("doubt" if status is Status.FAIL else None):
                hear(box.full(now) if box.abstaining is None else box.delta(now))
        elif move == "refresh":
            box.refresh()
        else:
            hear(getattr(box, move)(now) if move in ("delta", "full", "heartbeat") else box.full(now))
    hear(box.delta(now))
    assert abstaining == box.abstaining
    if abstaining is None:
        for name in box.endpoints:
            told, own = known[name], box.vote(name)
            assert (told.verdict, told.suspect, told.all_failed, told.transport, told.errors) == (
                own.verdict,
                own.suspect,
                own.all_failed,
                own.transport,
                own.errors,
            )


def test_an_agent_whose_clock_was_set_back_starts_above_what_is_known_of_it() -> None:
    box = BallotBox("a1", 100)
    assert not box.outrank(99)
    assert not box.outrank(100)  # that is us, coming back
    assert box.outrank(500)
    assert box.full(0.0).incarnation == 501


@given(st.lists(st.tuples(st.floats(0.1, 9.0), st.integers(0, 3), st.booleans()), max_size=60))
def test_stale_is_what_was_not_looked_at_for_three_intervals(steps: list[tuple[float, int, bool]]) -> None:
    """Whenever it is asked, and however looks and heartbeats fall."""
    box, now, last = make(4), 0.0, dict.fromkeys(range(4), 0.0)
    for wait, number, looks in steps:
        now += wait
        if looks:
            look(box, f"e{number}", Status.PASS, now)
            last[number] = now
            if number % 2:
                box.follow(now)  # asked between heartbeats, nothing is forgotten
        else:
            expected = tuple(f"e{n}" for n, at in last.items() if now - at > 15.0)
            assert box.heartbeat(now).stale == expected
    configure(box, 4, now=now)
    assert box.heartbeat(now).stale == tuple(f"e{n}" for n, at in last.items() if now - at > 15.0)


def test_a_look_whose_answer_is_still_sought_makes_its_endpoint_suspect_until_then() -> None:
    box = make(1)
    good(box, "e0")
    box.delta(1.0)
    assert box.doubt("e0", "liveness", 20.0)
    assert not box.doubt("e0", "liveness", 20.0)  # said once
    assert not box.doubt("e9", "liveness", 20.0)
    vote = votes(box.delta(20.0))["e0"]
    assert (vote.verdict, vote.suspect, vote.check) == (Verdict.HEALTHY, True, "liveness")
    look(box, "e0", Status.PASS, 21.0)
    assert not votes(box.delta(21.0))["e0"].suspect
    box.doubt("e0", "liveness", 22.0)
    look(box, "e0", Status.SATURATED, 23.0)
    assert not votes(box.delta(23.0))["e0"].suspect


def test_a_check_that_never_got_there_is_no_check_that_cannot_do_its_job() -> None:
    box = make(1)
    for transport, errors in ((False, ("liveness: no metrics",)), (True, ())):
        sample = Sample("e0", "liveness", Layer.LIVENESS, Status.ERROR, 1.0, reason="no metrics", transport=transport)
        box.observe(sample, 1.0)
        assert box.vote("e0").errors == errors
