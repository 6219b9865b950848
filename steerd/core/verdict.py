"""One agent's view of one endpoint: hysteresis per check, the verdict over all checks, fast confirm (decisions.md,
section 2).

The state of a check, from its looks in order (n = `fall` or `rise` looks in a row):

    a look is    PASS 0 < SATURATED 1 < SLOW 2 < FAIL 3; ERROR is no look at all
    level L      latches after `fall` looks at or over L, clears after `rise` looks under L
    state        the highest latched level; GOOD without one; UNKNOWN before the first full answer

A look that is under one level is under every higher one, so the latches nest: FAIL latched means SLOW and SATURATED
latched, and a check comes back through the levels it really passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from steerd.model.rules import VerdictRules
from steerd.model.sample import Layer, Sample, Status
from steerd.model.vote import CheckCounts, Verdict, Vote

__all__ = ["PAID", "CheckRule", "CheckRun", "CheckState", "EndpointTracker", "Observation", "Recheck"]

_SEVERITY = {Status.PASS: 0, Status.SATURATED: 1, Status.SLOW: 2, Status.FAIL: 3}
_LEVELS = (1, 2, 3)

_UNHEALTHY = (Layer.LIVENESS, Layer.READINESS, Layer.PROGRESS, Layer.USER_PATH, Layer.CORRECTNESS)
"""Layers whose FAIL makes an endpoint unhealthy, in the order in which they are named as the reason."""

_GATES = (Layer.LIVENESS, Layer.READINESS)
"""Layers that must be good before an endpoint is healthy; the others only once they have answered."""

_CORRECTNESS_FALL = 2
"""A wrong answer needs an immediate repeat, not three."""

_EARLY = 0.75
"""Looks may be closer than their interval by the jitter: the limit of one confirm per interval allows for it."""


PAID = frozenset({Layer.USER_PATH, Layer.CORRECTNESS})
"""Layers whose looks cost tokens: agents take turns at them, and they are confirmed only where one of them failed."""


class CheckState(IntEnum):
    """What a check says, from its looks in a row. The numbers are the severities of a look."""

    UNKNOWN = -1
    GOOD = 0
    SATURATED = 1
    SLOW = 2
    FAIL = 3


@dataclass(frozen=True, slots=True)
class CheckRule:
    """A check as the verdict sees it. `interval_s` is the check's own; `period_s` how often this agent looks, which is
    longer where agents take turns.
    """

    name: str
    layer: Layer
    interval_s: float
    period_s: float


@dataclass(frozen=True, slots=True)
class Recheck:
    """Look again at once: `looks` times, each of which counts as `counts_as` looks."""

    check: str
    looks: int
    counts_as: int


@dataclass(frozen=True, slots=True)
class Observation:
    """What a look did. `changed`: the vote must be sent. `urgent`: at once. `confirm`: looks to make at once."""

    changed: bool = False
    urgent: bool = False
    confirm: tuple[Recheck, ...] = ()


_NOTHING = Observation()
_CHANGED = Observation(changed=True)


class CheckRun:
    """The looks of one check in a row. Fed by `observe`; a dependency's run is shared by the endpoints behind it."""

    __slots__ = (
        "_bad",
        "_good",
        "_latched",
        "_transport",
        "confirmed_at",
        "error",
        "failed",
        "fall",
        "last_at",
        "layer",
        "looks",
        "passed",
        "reason",
        "rise",
        "rule",
        "state",
    )

    def __init__(self, rule: CheckRule, rules: VerdictRules, now: float) -> None:
        self.rule = rule
        self.rise = rules.rise
        self.fall = min(rules.fall, _CORRECTNESS_FALL) if rule.layer is Layer.CORRECTNESS else rules.fall
        self.state = CheckState.UNKNOWN
        self.error: str | None = None
        self.reason: str | None = None
        self.layer = rule.layer
        self.passed = 0
        self.failed = 0
        self.looks = 0
        self.last_at = now
        self.confirmed_at: float | None = None
        self._bad = [0, 0, 0, 0]
        self._good = [0, 0, 0, 0]
        self._latched = 0
        self._transport = 0

    def observe(self, sample: Sample) -> bool:
        """Takes one look. True when it began a run of FAIL or SLOW that the state does not account for yet."""
        self.looks += 1
        self.last_at = max(self.last_at, sample.at + sample.duration_s)
        severity = _SEVERITY.get(sample.status)
        if severity is None:
            self.error = sample.reason or "the probe could not do its job"
            return False
        self.error = None
        counts = 1 if sample.unpaid else sample.counts_as
        self._count(sample, counts)
        bad = good = counts
        if self.rare and severity <= CheckState.SATURATED:
            # A check that agents take turns at comes by too rarely for `rise` or `fall` looks in a row to be a fair demand of
            # each agent: with 7 agents and 30 s it would take 10 minutes. One turn's PASS or SATURATED is that agent's whole
            # word, as one confirm look is (section 2): what is full is not asked again at once. The quorum guards both ways.
            bad, good = max(counts, self.fall), max(counts, self.rise)
        began = False
        for level in _LEVELS:
            if severity >= level:
                began |= level > CheckState.SATURATED and self._bad[level] == 0
                self._bad[level] += bad
                self._good[level] = 0
            else:
                self._bad[level] = 0
                self._good[level] += good
        self._latch()
        return began and self.unresolved

    @property
    def rare(self) -> bool:
        """Agents take turns at this check: left alone, what it says here may be old by the time it counts."""
        return self.rule.period_s > self.rule.interval_s * 1.5

    @property
    def steady(self) -> bool:
        """Good, with nothing under way: one more pass changes no run and no latch."""
        return self.state is CheckState.GOOD and self._bad[1] == 0 and self.error is None

    def passes(self, sample: Sample) -> None:
        """Takes a pass of a steady check: the short way of `observe`, for nearly all looks of a healthy fleet."""
        self.looks += 1
        self.passed += not sample.confirm
        self.last_at = max(self.last_at, sample.at + sample.duration_s)

    def _count(self, sample: Sample, counts: int) -> None:
        if sample.status is Status.FAIL:
            self.failed += not sample.confirm
            self._transport = self._transport + counts if sample.transport else 0
        else:
            self.passed += not sample.confirm
            self._transport = 0
        if sample.status is not Status.PASS:
            self.reason, self.layer = sample.reason, sample.layer

    def _latch(self) -> None:
        for level in _LEVELS:
            if self._bad[level] >= self.fall:
                self._latched = max(self._latched, level)
        while self._latched and self._good[self._latched] >= self.rise:
            self._latched -= 1
        if self._latched or self.state is not CheckState.UNKNOWN or self._good[1] >= self.rise:
            self.state = CheckState(self._latched)

    @property
    def unresolved(self) -> bool:
        """A run of FAIL or SLOW is under way, and it is not known yet whether it will last."""
        return any(self._bad[level] > 0 and self.state < level for level in (3, 2))

    @property
    def all_failed(self) -> bool:
        """The last `fall` looks all failed."""
        return self._bad[3] >= self.fall

    @property
    def transport(self) -> bool:
        """The last `fall` looks all failed in transport."""
        return self._transport >= self.fall

    def face(self) -> tuple[CheckState, str | None, bool, bool, bool, Layer]:
        """What a vote shows of this run, without its counts and reason."""
        return self.state, self.error, self.unresolved, self.all_failed, self.transport, self.layer

    def may_confirm(self, now: float) -> bool:
        """Whether the limit of one confirm per interval allows one now; if so it is taken."""
        if self.confirmed_at is not None and now - self.confirmed_at < _EARLY * self.rule.interval_s:
            return False
        self.confirmed_at = now
        return True

    def recheck(self, *, unpaid: bool = False) -> Recheck:
        """The looks that confirm a first bad look of our own. One that cost nothing is repeated like any other."""
        if self.rule.layer is Layer.USER_PATH:
            return Recheck(self.rule.name, self.fall - 1 if unpaid else 1, self.fall)
        return Recheck(self.rule.name, self.fall - 1, 1)

    def asked(self) -> Recheck:
        """The looks that answer a coordinator's question. A wrong answer among them is repeated by its own confirm."""
        if self.rule.layer is Layer.USER_PATH:
            return Recheck(self.rule.name, 1, self.fall)
        return Recheck(self.rule.name, 1 if self.rule.layer is Layer.CORRECTNESS else self.fall, 1)


class EndpointTracker:
    """All checks of one endpoint, and the vote they make. Times are steady seconds and are passed in."""

    def __init__(self, endpoint: str, runs: Mapping[str, CheckRun], now: float) -> None:
        self.endpoint = endpoint
        self.runs = dict(runs)
        self.version: str | None = None
        self._since = now
        self._touched = 0
        self._built: tuple[int, int, bool] | None = None
        self._sequence = 0
        self._pulse = _pulse(self.runs)

    def replace_runs(self, runs: Mapping[str, CheckRun], now: float) -> None:
        """Takes the checks of a new config; runs of checks that stayed the same are handed in again."""
        self.runs = dict(runs)
        self._pulse = _pulse(self.runs)
        self._since = now
        self.touch()

    def observe(self, sample: Sample, now: float) -> Observation:
        """Takes one look of one of this endpoint's checks. Raises KeyError for a check it does not have."""
        run = self.runs[sample.check]
        if sample.status is Status.PASS and run.steady and sample.version in (None, self.version):
            run.passes(sample)
            return _NOTHING
        before = run.face()
        began = run.observe(sample)
        changed = run.face() != before
        if sample.version is not None and sample.version != self.version:
            self.version = sample.version
            changed = True
        if not began:
            return _CHANGED if changed else _NOTHING
        urgent = run.rule.layer is not Layer.DEPENDENCY
        repeat = run.rule.layer is Layer.CORRECTNESS or (sample.unpaid and run.rule.layer in PAID)
        confirm = (run.recheck(unpaid=sample.unpaid),) if run.may_confirm(now) or repeat else ()
        return Observation(changed=True, urgent=urgent, confirm=confirm)

    def asked(self, now: float, *, paid: bool) -> tuple[Recheck, ...]:
        """What to look at when a coordinator asks: every check but dependencies (and those that cost tokens, unless
        `paid`), where it would tell anything new and the limit of one confirm per check interval allows it.
        """
        skip = {Layer.DEPENDENCY} if paid else {Layer.DEPENDENCY, *PAID}
        return tuple(
            run.asked()
            for run in self.runs.values()
            if run.rule.layer not in skip and not (run.all_failed and not run.rare) and run.may_confirm(now)
        )

    def touch(self) -> None:
        """The next vote counts as new even if it says the same."""
        self._touched += 1

    def vote(self, abstaining: str | None) -> Vote:
        """The vote now. `abstaining` makes it unknown, with that reason.

        `errors` are "check: reason". The sequence grows when the content may differ.
        """
        mark = (sum(run.looks for run in self.runs.values()), self._touched, abstaining is not None)
        if mark != self._built:
            self._built = mark
            self._sequence += 1
        counts = tuple(CheckCounts(name, run.passed, run.failed) for name, run in self.runs.items() if run.looks)
        errors = tuple(f"{name}: {run.error}" for name, run in self.runs.items() if run.error is not None)
        if abstaining is not None:
            verdict, behind, suspects = Verdict.UNKNOWN, None, []
        else:
            verdict, behind = self._judge()
            suspects = [r for r in self._usable() if r.unresolved and r.rule.layer is not Layer.DEPENDENCY]
            behind = behind or (suspects[0] if suspects else None)
        if behind is None and verdict is Verdict.UNKNOWN and errors and abstaining is None:
            broken = next(run for run in self.runs.values() if run.error is not None)
            return self._unjudged(broken, counts, errors)
        unhealthy = verdict is Verdict.UNHEALTHY and behind is not None
        failed = [*suspects, behind] if unhealthy and behind is not None else suspects
        return Vote(
            endpoint=self.endpoint,
            verdict=verdict,
            sequence=self._sequence,
            layer=behind.layer if behind else None,
            check=behind.rule.name if behind else None,
            reason=behind.reason if behind else abstaining,
            transport=unhealthy and behind is not None and behind.transport,
            all_failed=unhealthy and behind is not None and behind.all_failed,
            suspect=bool(suspects),
            counts=counts,
            version=self.version,
            errors=errors,
            paid=any(run.rule.layer in PAID for run in failed),
        )

    def _unjudged(self, broken: CheckRun, counts: tuple[CheckCounts, ...], errors: tuple[str, ...]) -> Vote:
        """A vote that is unknown because the probe itself could not do its job: it says so."""
        return Vote(
            endpoint=self.endpoint,
            verdict=Verdict.UNKNOWN,
            sequence=self._sequence,
            layer=broken.rule.layer,
            check=broken.rule.name,
            reason=broken.error,
            counts=counts,
            version=self.version,
            errors=errors,
        )

    def stale(self, now: float) -> bool:
        """The last look of the check that keeps this vote alive is over 3 of its intervals old."""
        pulse = self._pulse
        if pulse is None:
            return True
        return now - max(pulse.last_at, self._since) > 3.0 * pulse.rule.period_s

    def _usable(self) -> list[CheckRun]:
        return [run for run in self.runs.values() if run.error is None]

    def _judge(self) -> tuple[Verdict, CheckRun | None]:
        """The table of section 2, first that matches, and the run behind it."""
        runs = self._usable()
        failing = [r for r in runs if r.state is CheckState.FAIL and r.rule.layer in _UNHEALTHY]
        if failing:
            return Verdict.UNHEALTHY, min(failing, key=lambda r: (not r.all_failed, _UNHEALTHY.index(r.rule.layer)))
        for run in runs:
            if run.state is CheckState.SATURATED:
                return Verdict.SATURATED, run
        for run in runs:
            if run.state >= CheckState.SLOW:
                return Verdict.DEGRADED, run
        gates = [r for r in runs if r.rule.layer in _GATES]
        if gates:
            answered = all(r.state is CheckState.GOOD for r in gates)
        else:
            own = [r for r in runs if r.rule.layer is not Layer.DEPENDENCY]
            answered = any(r.state is CheckState.GOOD for r in own)
        return (Verdict.HEALTHY if answered else Verdict.UNKNOWN), None


def _pulse(runs: Mapping[str, CheckRun]) -> CheckRun | None:
    """The check that keeps a vote alive: liveness; without one the check of its own that this agent makes most
    often.
    """
    own = [run for run in runs.values() if run.rule.layer is not Layer.DEPENDENCY]
    return min(own, key=lambda r: (r.rule.layer is not Layer.LIVENESS, r.rule.period_s), default=None)
