"""One check of one endpoint, as one agent sees it: its looks in a row, and how it confirms (decisions.md, section 2).

The state of a check, from its looks in order (n = `fall` or `rise` looks in a row):

    a look is    PASS 0 < SATURATED 1 < SLOW 2 < FAIL 3; ERROR is no look at all
    level L      latches after `fall` looks at or over L, clears after `rise` looks under L
    state        the highest latched level; GOOD without one; UNKNOWN before the first full answer

A failure in transport counts less than one look where this agent loses many anyway (`steerd.core.ambient`). A bad look that
began before one that passed is old news (looks of a confirm overlap, and a timeout takes longer than an answer): it is counted
and says nothing of now.

A look that is under one level is under every higher one, so the latches nest: FAIL latched means SLOW and SATURATED
latched, and a check comes back through the levels it really passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import ceil

from steerd.core.ambient import Ambient
from steerd.model.rules import VerdictRules
from steerd.model.sample import Layer, Sample, Status

__all__ = ["PAID", "CheckRule", "CheckRun", "CheckState", "Recheck"]

_SEVERITY = {Status.PASS: 0, Status.SATURATED: 1, Status.SLOW: 2, Status.FAIL: 3}
_LEVELS = (1, 2, 3)

_CORRECTNESS_FALL = 2
"""A wrong answer needs an immediate repeat, not three."""

_TINY = 1e-9
"""Weights are fractions: 4 looks of 3/4 reach 3."""

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


_STATES = (CheckState.GOOD, CheckState.SATURATED, CheckState.SLOW, CheckState.FAIL)
"""By severity."""
_GOOD = CheckState.GOOD


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


class CheckRun:
    """The looks of one check in a row. Fed by `observe`; a dependency's run is shared by the endpoints behind it."""

    __slots__ = (
        "_ambient",
        "_bad",
        "_good",
        "_latched",
        "_passed_at",
        "_pending",
        "_transport",
        "blips",
        "confirmed_at",
        "doubted",
        "error",
        "failed",
        "fall",
        "last_at",
        "layer",
        "looks",
        "muted",
        "passed",
        "rare",
        "reason",
        "rise",
        "rule",
        "state",
    )

    def __init__(self, rule: CheckRule, rules: VerdictRules, now: float, ambient: Ambient | None = None) -> None:
        self.rule = rule
        self.rare = rule.period_s > rule.interval_s * 1.5
        """Agents take turns at this check: left alone, what it says here may be old by the time it counts."""
        self._ambient = ambient if ambient is not None else Ambient()
        self.rise = rules.rise
        self.fall = min(rules.fall, _CORRECTNESS_FALL) if rule.layer is Layer.CORRECTNESS else rules.fall
        self.state = CheckState.UNKNOWN
        self.error: str | None = None
        self.muted = False
        self.doubted = False
        self.reason: str | None = None
        self.layer = rule.layer
        self.passed = 0
        self.failed = 0
        self.looks = 0
        self.blips = 0
        self.last_at = now
        self.confirmed_at: float | None = None
        self._bad = [0.0, 0.0, 0.0, 0.0]
        self._good = [0, 0, 0, 0]
        self._latched = 0
        self._transport = 0.0
        self._passed_at = float("-inf")
        self._pending = 0

    def observe(self, sample: Sample) -> bool:
        """Takes one look. True when it began a run of FAIL or SLOW that the state does not account for yet."""
        self.looks += 1
        self.doubted = False
        self.last_at = max(self.last_at, sample.at + sample.duration_s)
        severity = _SEVERITY.get(sample.status)
        if severity is None:
            self.error = sample.reason or "the probe could not do its job"
            # It never reached the target, which other checks will say: nothing is wrong with the check.
            self.muted = sample.transport
            return False
        self.error = None
        lost = sample.transport if self.rule.layer not in PAID else sample.unpaid
        self._count(sample, blip=lost and not sample.confirm)
        if severity and sample.at < self._passed_at:
            return False
        counts = 1 if sample.unpaid else sample.counts_as
        weight = counts * self._ambient.weight if lost else float(counts)
        if severity == 0:
            self._passed_at = max(self._passed_at, sample.at)
        else:
            self.reason, self.layer = sample.reason, sample.layer
        if self.rare and severity <= CheckState.SATURATED:
            # A check that agents take turns at comes by too rarely for `rise` or `fall` looks in a row to be a fair demand of
            # each agent: with 7 agents and 30 s it would take 10 minutes. One turn's PASS or SATURATED is that agent's whole
            # word, as one confirm look is (section 2): what is full is not asked again at once. The quorum guards both ways.
            counts, weight = max(counts, self.rise), max(weight, float(self.fall))
        self._transport = self._transport + weight if severity == CheckState.FAIL and sample.transport else 0.0
        began = False
        for level in _LEVELS:
            if severity >= level:
                began |= level > CheckState.SATURATED and self._bad[level] == 0
                self._bad[level] += weight
                self._good[level] = 0
            else:
                self._bad[level] = 0.0
                self._good[level] += counts
        self._latch()
        return began and self.unresolved

    @property
    def steady(self) -> bool:
        """Good, with nothing under way: one more pass changes no run and no latch."""
        return self.state is CheckState.GOOD and self._bad[1] == 0 and self.error is None and not self.doubted

    def passes(self, at: float, ended: float, *, confirm: bool = False) -> bool:
        """Takes a pass of a steady check, begun `at`: the short way of `observe`, for nearly all looks of a healthy fleet. False,
        and nothing is taken, where the check is not `steady`.
        """
        if self.state is not _GOOD or self._bad[1] or self.error is not None or self.doubted:
            return False
        self.looks += 1
        if not confirm:
            self.passed += 1
        if ended > self.last_at:  # noqa: PLR1730 - `max` costs a call, and this is done for every look
            self.last_at = ended
        if at > self._passed_at:  # noqa: PLR1730 - as above
            self._passed_at = at
        return True

    def resume(self, at: float) -> None:
        """Looks are made again, after passes that were left out and counted (the simulator's); the last of them began `at`."""
        self.last_at = at
        self._passed_at = max(self._passed_at, at)

    def _count(self, sample: Sample, *, blip: bool) -> None:
        """Counts a look, and the failures that were taken back: by a look that began later, before the check was bad."""
        if sample.status is not Status.FAIL:
            self.passed += not sample.confirm
            self.blips += self._pending
            self._pending = 0
            return
        self.failed += not sample.confirm
        if sample.at < self._passed_at:
            self.blips += blip
        elif self.state is not CheckState.FAIL:
            self._pending += blip

    def _latch(self) -> None:
        for level in _LEVELS:
            if self._bad[level] >= self.fall - _TINY:
                self._latched = max(self._latched, level)
        while self._latched and self._good[self._latched] >= self.rise:
            self._latched -= 1
        if self._latched or self.state is not CheckState.UNKNOWN or self._good[1] >= self.rise:
            self.state = _STATES[self._latched]
        if self.state is CheckState.FAIL:
            self._pending = 0

    @property
    def unresolved(self) -> bool:
        """A run of FAIL or SLOW is under way, and it is not known yet whether it will last."""
        if self.state >= CheckState.SLOW:
            return self.state is CheckState.SLOW and self._bad[3] > 0
        return self._bad[2] > 0  # a FAIL counts as SLOW too

    @property
    def calm(self) -> bool:
        """Good, with no error, no run of FAIL or SLOW and no doubt under way: nothing to say but counts."""
        return self.state is CheckState.GOOD and self.error is None and self._bad[2] == 0 and not self.doubted

    @property
    def all_failed(self) -> bool:
        """The last looks all failed: `fall` of them, or as many more as it takes where looks get lost."""
        return self._bad[3] >= self.fall - _TINY

    @property
    def transport(self) -> bool:
        """These looks all failed in transport."""
        return self._transport >= self.fall - _TINY

    @property
    def row(self) -> int:
        """How many looks in a row must get lost here until the check is bad."""
        return ceil(self.fall / self._ambient.weight - _TINY)

    def face(self) -> tuple[CheckState, str | None, bool, bool, bool, bool, Layer]:
        """What a vote shows of this run, without its counts and reason."""
        return self.state, self.error, self.unresolved, self.doubted, self.all_failed, self.transport, self.layer

    def may_confirm(self, now: float) -> bool:
        """Whether the limit of one confirm per interval allows one now; if so it is taken."""
        if self.confirmed_at is not None and now - self.confirmed_at < _EARLY * self.rule.interval_s:
            return False
        self.confirmed_at = now
        return True

    def recheck(self, *, unpaid: bool = False) -> Recheck:
        """The looks that confirm a first bad look of our own. One that cost nothing is repeated like any other."""
        if self.rule.layer in PAID and not unpaid:
            wrong = self.rule.layer is Layer.CORRECTNESS
            return Recheck(self.rule.name, self.fall - 1, 1) if wrong else Recheck(self.rule.name, 1, self.fall)
        return Recheck(self.rule.name, self.row - 1, self.fall if self.rule.layer is Layer.USER_PATH else 1)

    def asked(self) -> Recheck:
        """The looks that answer a coordinator's question. A wrong answer among them is repeated by its own confirm."""
        if self.rule.layer is Layer.USER_PATH:
            return Recheck(self.rule.name, 1, self.fall)
        return Recheck(self.rule.name, 1 if self.rule.layer is Layer.CORRECTNESS else self.row, 1)
