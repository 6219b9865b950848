"""What an agent sends, worked out without sockets and clocks: looks go in, ballots and heartbeats come out.

The agent drives it in real time, the simulator in virtual time. One box serves every coordinator: a delta and a
heartbeat are built once and go to all of them; a full ballot is built for the one that connects. Every frame has a
higher number than the one before, so a coordinator that gets them in order never goes back.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from steerd.core.ambient import Ambient
from steerd.core.verdict import PAID, CheckRule, CheckRun, EndpointTracker, Observation, Recheck
from steerd.model.rules import VerdictRules
from steerd.model.sample import SELF, Layer, Reading, Sample, Status
from steerd.model.vote import Ballot, Heartbeat, Verdict, Vote

__all__ = ["COALESCE_S", "HEARTBEAT_S", "READING_LIFE_S", "REFRESH_ROUNDS", "BallotBox", "Subject"]

COALESCE_S = 0.05
"""Seconds a delta waits for more news of the same moment; a suspect does not wait."""

HEARTBEAT_S = 2.0
"""Seconds between two heartbeats of an agent."""

READING_LIFE_S = 120.0
"""Seconds after which a reading is no longer worth sending in a full ballot."""

REFRESH_ROUNDS = 15
"""Every vote is sent again, for its counts, once in this many rounds of `refresh` (30 s at a 2 s heartbeat)."""

_MEASURE_ROUNDS = 5
"""How much a failure says is measured anew once in this many rounds (10 s)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What one endpoint is judged by: its own checks, and the dependencies behind it.

    `dependencies` maps the name of the check (`dependency:vectors`) to the subject that is looked at for it;
    endpoints with the same dependency share its looks.
    """

    endpoint: str
    checks: tuple[CheckRule, ...]
    dependencies: Mapping[str, str]


class BallotBox:
    """Trackers of all endpoints an agent sees, and the frames made of their votes. Times are steady seconds."""

    def __init__(self, agent: str, incarnation: int, *, version: str = "") -> None:
        self.agent = agent
        self.incarnation = incarnation
        self.abstaining: str | None = None
        self._version = version
        self._config_hash = ""
        self._number = 0
        self._rules = VerdictRules()
        self.ambient = Ambient()
        self._free: tuple[CheckRun, ...] = ()
        self._trackers: dict[str, EndpointTracker] = {}
        self._shared: dict[str, CheckRun] = {}
        self._behind: dict[str, tuple[str, ...]] = {}
        self._dirty: dict[str, None] = {}  # a set that keeps the order in which the changes happened
        self._left_out: set[str] = set()
        self._failing: dict[str, None] = {}
        self._round = 0
        self._names: tuple[str, ...] = ()
        self._pulses: list[tuple[float, int]] = []
        """A heap of (when the vote may be stale, its place in `_names`), one for each that was not when it was last asked."""
        self._silent: set[int] = set()
        self._readings: dict[tuple[str, str], tuple[float, float]] = {}
        self._unsent: dict[tuple[str, str], None] = {}

    # -- config ---------------------------------------------------------------------------------------------------

    def configure(
        self,
        subjects: Iterable[Subject],
        shared: Mapping[str, CheckRule],
        rules: VerdictRules,
        config_hash: str,
        now: float,
    ) -> None:
        """Takes a new config. `shared` are the checks of dependency subjects by subject name.

        Runs of checks that stayed the same go on; a changed check, or a change of the rules, starts over. Send a full
        ballot to every coordinator afterwards.
        """
        keep = rules == self._rules
        self._rules, self._config_hash = rules, config_hash
        self._shared = {
            name: self._run(self._shared.get(name) if keep else None, rule, now) for name, rule in shared.items()
        }
        behind: dict[str, list[str]] = {}
        trackers: dict[str, EndpointTracker] = {}
        for subject in subjects:
            old = self._trackers.get(subject.endpoint)
            known = old.runs if old is not None and keep else {}
            runs = {rule.name: self._run(known.get(rule.name), rule, now) for rule in subject.checks}
            for check, name in subject.dependencies.items():
                runs[check] = self._shared[name]
                behind.setdefault(name, []).append(subject.endpoint)
            if old is None:
                old = EndpointTracker(subject.endpoint, runs, now)
            elif old.runs != runs:
                old.replace_runs(runs, now)
            trackers[subject.endpoint] = old
        self._trackers = trackers
        self._names = tuple(trackers)
        self._pulses, self._silent = [], set(range(len(self._names)))
        self._behind = {name: tuple(endpoints) for name, endpoints in behind.items()}
        dear = {*PAID, Layer.DEPENDENCY}
        own = (run for t in trackers.values() for run in t.runs.values() if run.rule.layer not in dear)
        self._free = (*own, *self._shared.values())
        self.ambient.rebase(*self._totals())
        self._dirty = dict.fromkeys(e for e in self._dirty if e in trackers)
        self._failing = dict.fromkeys(e for e in self._failing if e in trackers)
        self._left_out &= trackers.keys()
        gone = [key for key in self._readings if key[0] not in trackers and key[0] not in self._shared]
        for key in gone:
            del self._readings[key]
            self._unsent.pop(key, None)

    def _run(self, old: CheckRun | None, rule: CheckRule, now: float) -> CheckRun:
        return old if old is not None and old.rule == rule else CheckRun(rule, self._rules, now, self.ambient)

    # -- what happens -----------------------------------------------------------------------------------------------

    def observe(self, sample: Sample, now: float) -> Observation:
        """Takes one look, of an endpoint or of a dependency subject. Looks of what left the config change nothing."""
        subject = sample.endpoint
        for name, value in sample.readings.items():
            key = (subject, name)
            self._readings[key] = (value, now)
            self._unsent[key] = None
        tracker = self._trackers.get(subject)
        if tracker is None:
            return self._observe_shared(sample, now)
        if sample.check not in tracker.runs:
            return Observation()
        seen = tracker.observe(sample, now)
        if subject in self._left_out:
            self._left_out.discard(subject)
            seen = replace(seen, changed=True)
        if seen.changed:
            self._dirty[subject] = None
        if sample.status is Status.FAIL:
            self._failing[subject] = None
        return seen

    def doubt(self, endpoint: str, check: str, now: float) -> bool:
        """A look by `check` will not pass, and what it says comes later: the endpoint is suspect until then. True when that is
        new.
        """
        tracker = self._trackers.get(endpoint)
        if tracker is None or not tracker.doubt(check, now):
            return False
        self._dirty[endpoint] = None
        return True

    def passes(self, run: CheckRun, subject: str, started: float, ended: float) -> bool:
        """The short way of `observe`: a regular look of `subject`, whose run is `run` (see `run`), passed and says nothing
        else. False, and nothing is taken, where that would change anything: then `observe` it.
        """
        return subject not in self._left_out and run.passes(started, ended)

    def note_self(self, values: Mapping[str, float], now: float) -> None:
        """What the agent sees of itself, by name: goes out with the next heartbeat, under the agent's own name."""
        for name, value in values.items():
            self._readings[SELF + self.agent, name] = (value, now)
            self._unsent[SELF + self.agent, name] = None

    def _observe_shared(self, sample: Sample, now: float) -> Observation:
        """A dependency is looked at once for all endpoints behind it; only a change of its state reaches their
        votes.
        """
        run = self._shared.get(sample.endpoint)
        if run is None:
            return Observation()
        before = run.face()
        began = run.observe(sample)
        changed = run.face() != before
        if changed:
            self._dirty.update(dict.fromkeys(self._behind.get(sample.endpoint, ())))
        confirm = (run.recheck(),) if began and run.may_confirm(now) else ()
        return Observation(changed=changed, confirm=confirm)

    def outrank(self, seen: int) -> bool:
        """A coordinator has seen incarnation `seen` of this agent: if that is above ours (the clock was set back), start above
        it. True when it changed; every coordinator then needs a full ballot.
        """
        if not self.incarnation < seen < 2**63 - 1:
            return False
        self.incarnation = seen + 1
        return True

    def asked(self, endpoint: str, now: float, *, paid: bool = False) -> tuple[Recheck, ...]:
        """A coordinator asks for a look at `endpoint` now: what to look at, with `paid` also by checks that cost tokens.
        Nothing for endpoints this agent does not see.
        """
        tracker = self._trackers.get(endpoint)
        return tracker.asked(now, paid=paid) if tracker is not None else ()

    def abstain(self, reason: str | None) -> bool:
        """The agent doubts itself (a reason) or votes again (None). True when that flips its votes.

        After a flip to abstaining the next delta carries the reason, which makes every vote unknown; after a flip
        back send a full ballot, so that what was seen meanwhile counts.
        """
        flips = (reason is None) != (self.abstaining is None)
        self.abstaining = reason
        if flips:
            for tracker in self._trackers.values():
                tracker.touch()
        return flips

    def refresh(self) -> None:
        """Puts votes into the next delta for their counts' sake: those that saw a failure since the last round, and a
        part of the rest in turn, so that no round is a burst. Now and then measures how much a failure says. Call it with
        every heartbeat.
        """
        if self._round % _MEASURE_ROUNDS == 0:
            self.ambient.measure(*self._totals())
        self._dirty.update(self._failing)
        self._failing = {}
        self._dirty.update(dict.fromkeys(self._names[self._round :: REFRESH_ROUNDS]))
        self._round = (self._round + 1) % REFRESH_ROUNDS

    def _totals(self) -> tuple[int, int]:
        """Passes and blips of all checks that cost nothing. A wrong answer is no loss, and turns come by too rarely."""
        return sum(run.passed for run in self._free), sum(run.blips for run in self._free)

    # -- what goes out ------------------------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Some vote must be sent."""
        return bool(self._dirty)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Endpoints whose votes go into the next delta."""
        return tuple(self._dirty)

    def run(self, subject: str, check: str) -> CheckRun:
        """The run of one check of an endpoint or of a dependency subject. Raises KeyError for one that is not looked at."""
        tracker = self._trackers.get(subject)
        return self._shared[subject] if tracker is None else tracker.runs[check]

    def full(self, now: float) -> Ballot:
        """Every vote that is not stale, and every recent reading: for a coordinator that connects, or lost frames.

        A full ballot would refresh the votes it carries, so stale ones are left out: absent, until the next look.
        """
        stale = self.stale(now)
        self._left_out = set(stale)
        votes = tuple(t.vote(self.abstaining) for name, t in self._trackers.items() if name not in self._left_out)
        readings = tuple(
            Reading(subject, name, value, now - at)
            for (subject, name), (value, at) in self._readings.items()
            if now - at <= READING_LIFE_S
        )
        return self._ballot(votes, readings, full=True)

    def delta(self, now: float) -> Ballot:
        """The votes that changed since the last delta, and new readings. Empty when nothing did.

        Like a full ballot it would refresh what it carries, and leaves stale votes out.
        """
        names, self._dirty = self._dirty, {}
        stale = {name for name in names if self._trackers[name].stale(now)}
        self._left_out |= stale
        votes = tuple(self._trackers[name].vote(self.abstaining) for name in names if name not in stale)
        return self._ballot(votes, self._fresh_readings(now), full=False)

    def heartbeat(self, now: float) -> Heartbeat:
        """Refreshes every vote but the stale ones; carries new readings."""
        self._number += 1
        return Heartbeat(
            agent=self.agent,
            incarnation=self.incarnation,
            number=self._number,
            stale=self.stale(now),
            readings=self._fresh_readings(now),
            abstaining=self.abstaining,
            config_hash=self._config_hash,
        )

    def stale(self, now: float) -> tuple[str, ...]:
        """Endpoints whose last liveness look is over 3 intervals old, in config order.

        Most were looked at a moment ago: each is asked again when it may have become stale, not at every heartbeat.
        """
        self._ask(set(self._silent), now)
        return tuple(self._names[place] for place in sorted(self._silent))

    def follow(self, now: float) -> None:
        """Asks the votes that may have become stale by now, as `stale` does: called often, it leaves that little to do at once."""
        self._ask(set(), now)

    def _ask(self, asked: set[int], now: float) -> None:
        """Which votes are stale: of these places in `_names`, and of those whose time has come."""
        pulses, silent = self._pulses, self._silent
        while pulses and pulses[0][0] < now:
            asked.add(heapq.heappop(pulses)[1])
        for place in asked:
            tracker = self._trackers[self._names[place]]
            if tracker.stale(now):
                silent.add(place)
            else:
                silent.discard(place)
                heapq.heappush(pulses, (tracker.stale_after(now), place))

    def vote(self, endpoint: str) -> Vote:
        """What this agent says of one endpoint now. Raises KeyError for one it does not see."""
        return self._trackers[endpoint].vote(self.abstaining)

    def verdict(self, endpoint: str) -> Verdict:
        """The verdict of `vote`."""
        return self.vote(endpoint).verdict

    @property
    def endpoints(self) -> tuple[str, ...]:
        """What this agent sees, in config order."""
        return tuple(self._trackers)

    def _fresh_readings(self, now: float) -> tuple[Reading, ...]:
        keys, self._unsent = self._unsent, {}
        return tuple(Reading(key[0], key[1], self._readings[key][0], now - self._readings[key][1]) for key in keys)

    def _ballot(self, votes: tuple[Vote, ...], readings: tuple[Reading, ...], *, full: bool) -> Ballot:
        self._number += 1
        return Ballot(
            agent=self.agent,
            incarnation=self.incarnation,
            number=self._number,
            full=full,
            votes=votes,
            readings=readings,
            abstaining=self.abstaining,
            config_hash=self._config_hash,
            version=self._version,
        )
