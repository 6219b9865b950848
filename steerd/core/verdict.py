"""One agent's view of one endpoint: the verdict over all its checks, and the vote that says it (decisions.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steerd.core.checkrun import PAID, CheckRule, CheckRun, CheckState, Recheck
from steerd.model.sample import Layer, Sample, Status
from steerd.model.vote import CheckCounts, Verdict, Vote

__all__ = ["PAID", "CheckRule", "CheckRun", "CheckState", "EndpointTracker", "Observation", "Recheck"]

_UNHEALTHY = (Layer.LIVENESS, Layer.READINESS, Layer.PROGRESS, Layer.USER_PATH, Layer.CORRECTNESS)
"""Layers whose FAIL makes an endpoint unhealthy, in the order in which they are named as the reason."""

_GATES = (Layer.LIVENESS, Layer.READINESS)
"""Layers that must be good before an endpoint is healthy; the others only once they have answered."""

_STALE_PERIODS = 3.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What a look did. `changed`: the vote must be sent. `urgent`: at once. `confirm`: looks to make at once."""

    changed: bool = False
    urgent: bool = False
    confirm: tuple[Recheck, ...] = ()


_NOTHING = Observation()
_CHANGED = Observation(changed=True)


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
            run.passes(sample.at, sample.at + sample.duration_s, confirm=sample.confirm)
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

    def doubt(self, check: str, now: float) -> bool:
        """A look by `check` will not pass, and what it says comes later: suspect until then. True when that is new."""
        run = self.runs.get(check)
        if run is None:
            return False
        run.last_at = max(run.last_at, now)  # it was looked at, so the vote is as fresh as ever
        if run.doubted or run.unresolved or run.state is CheckState.FAIL:
            return False
        run.doubted = True
        self.touch()
        return True

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
        looks, calm, own, broken = 0, abstaining is None, False, False
        for run in self.runs.values():
            looks += run.looks
            calm = calm and run.calm
            own = own or run.rule.layer is not Layer.DEPENDENCY
            broken = broken or run.error is not None
        mark = (looks, self._touched, abstaining is not None)
        if mark != self._built:
            self._built = mark
            self._sequence += 1
        counts = tuple([CheckCounts(name, run.passed, run.failed) for name, run in self.runs.items() if run.looks])
        if calm and own:  # the short way, for nearly all votes of a healthy fleet
            return Vote(self.endpoint, Verdict.HEALTHY, self._sequence, counts=counts, version=self.version)
        errors = self._errors() if broken else ()
        if abstaining is not None:
            verdict, behind, suspects = Verdict.UNKNOWN, None, []
        else:
            usable = [run for run in self.runs.values() if run.error is None] if broken else list(self.runs.values())
            verdict, behind = _judge(usable)
            suspects = [r for r in usable if r.rule.layer is not Layer.DEPENDENCY and (r.doubted or r.unresolved)]
            behind = behind or (suspects[0] if suspects else None)
        if behind is None and verdict is Verdict.UNKNOWN and errors and abstaining is None:
            return self._unjudged(next(r for r in self.runs.values() if r.error is not None), counts, errors)
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

    def _errors(self) -> tuple[str, ...]:
        return tuple(
            f"{name}: {run.error}" for name, run in self.runs.items() if run.error is not None and not run.muted
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
        return now - max(pulse.last_at, self._since) > _STALE_PERIODS * pulse.rule.period_s

    def stale_after(self, now: float) -> float:
        """No look made since `now` is needed for `stale` to stay false until then. A last look ahead of its time (the
        simulator's, while it leaves looks out) may turn out to be up to 2 intervals old.
        """
        assert self._pulse is not None, "a vote that nothing keeps alive is stale"
        period_s = self._pulse.rule.period_s
        seen = max(self._pulse.last_at, self._since)
        return (seen if seen <= now else now - 2.0 * period_s) + _STALE_PERIODS * period_s


def _judge(runs: Sequence[CheckRun]) -> tuple[Verdict, CheckRun | None]:
    """The table of section 2, first that matches, and the run behind it."""
    failing = [r for r in runs if r.state is CheckState.FAIL and r.rule.layer in _UNHEALTHY]
    if len(failing) == 1:
        return Verdict.UNHEALTHY, failing[0]
    if failing:
        return Verdict.UNHEALTHY, min(failing, key=lambda r: (not r.all_failed, _UNHEALTHY.index(r.rule.layer)))
    worst = max([r.state for r in runs], default=CheckState.UNKNOWN)
    if worst >= CheckState.SATURATED:
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
        answered = any(r.state is CheckState.GOOD for r in runs if r.rule.layer is not Layer.DEPENDENCY)
    return (Verdict.HEALTHY if answered else Verdict.UNKNOWN), None


def _pulse(runs: Mapping[str, CheckRun]) -> CheckRun | None:
    """The check that keeps a vote alive: liveness; without one the check of its own that this agent makes most
    often.
    """
    own = [run for run in runs.values() if run.rule.layer is not Layer.DEPENDENCY]
    return min(own, key=lambda r: (r.rule.layer is not Layer.LIVENESS, r.rule.period_s), default=None)
