"""From a look that is due to what follows from it: the verdict, what is told, and looks to make at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from probes.outcome import Outcome, Status
from steerd.agent.beat import LaneBeat
from steerd.agent.costs import Costs
from steerd.agent.lag import LagMonitor
from steerd.agent.looker import Looker, sample_of
from steerd.agent.observer import AgentObserver
from steerd.agent.purse import Purse
from steerd.agent.references import References
from steerd.agent.scheduler import Beat, Due, Scheduler
from steerd.agent.voter import Voter
from steerd.agent.watchlist import Watch
from steerd.core.verdict import CheckRun
from steerd.model.vote import Confirm

__all__ = ["Looks"]


class Looks:
    """Every look of an agent, from its start to what follows from it. `scheduler` is given after it was made with `look` and
    `beat`. `count` is how many looks have ended, `worst_delay_s` the latest start since somebody reset it.
    """

    scheduler: Scheduler

    def __init__(
        self, looker: Looker, voter: Voter, lag: LagMonitor, references: References, observer: AgentObserver
    ) -> None:
        self.looker = looker
        self.voter = voter
        self.box = voter.box
        self.doubt = voter.doubt
        self.purse = Purse()
        self.costs = Costs()
        self.count = 0
        self.worst_delay_s = 0.0
        self.generation = 0
        self.errors: dict[tuple[str, str], tuple[str, str]] = {}
        """(subject, check) -> (service, reason) of the checks that cannot do their job."""
        self._beats: dict[tuple[str, str], LaneBeat] = {}
        self._lag = lag
        self._references = references
        self._observer = observer
        self._confirm_gap_s = 0.0
        self._watched: frozenset[tuple[str, str]] = frozenset()

    def configure(self, watches: Iterable[Watch], confirm_gap_s: float) -> None:
        """Takes the watches of a config, after the ballot box has."""
        self.generation += 1
        self._confirm_gap_s = confirm_gap_s
        self._watched = frozenset(watch.key for watch in watches)
        self._beats = {key: beat for key, beat in self._beats.items() if key in self._watched}
        for key in self.errors.keys() - self._watched:
            service, _ = self.errors.pop(key)
            self._observer.on_error_over(key[0], service, key[1])

    def beat(self, watch: Watch, ended: Callable[[], None]) -> Beat | None:
        """See `steerd.agent.scheduler.Beats`."""
        if self.purse.minds(watch.key):
            return None  # each of its looks is asked for before it is made
        lane = self.looker.lane(watch)
        if lane is None:
            return None
        passed = self._observer.passes(watch.subject, watch.service, watch.zone, watch.check.name)
        beat = self._beats[watch.key] = LaneBeat(self, watch, lane, passed, ended)
        return beat

    def addresses(self) -> dict[str, dict[str, str]]:
        """How the last look at each address ended, where a name has several: by "subject check", then by address."""
        return {
            f"{subject} {check}": found for (subject, check), beat in self._beats.items() if (found := beat.addresses())
        }

    def run_of(self, watch: Watch) -> CheckRun | None:
        """The run that the watch's looks go into; None where the config has none any more."""
        try:
            return self.box.run(watch.subject, watch.check.name)
        except KeyError:
            return None

    async def look(self, due: Due) -> None:
        """One look in a task."""
        loop, check = asyncio.get_running_loop(), due.watch.check
        started = loop.time()
        if not due.queued:
            self.doubt.late_look(started - due.intended, check.interval_s, started)
        outcome = self.purse.instead(due, started)
        if outcome is None:
            outcome = await self.looker.look(due, check.timeout_s * self.doubt.timeout_factor(started))
            self.purse.paid(due, outcome, loop.time())
        elif outcome.status is Status.ERROR:
            self._tell(due.watch, outcome, max(0.0, started - due.intended))
            return  # nothing was seen, so what the votes say stays
        ended = loop.time()
        if check.kind == "progress":
            self.purse.progress(due.watch.subject, outcome, ended)
        self.ended(due, outcome, started, ended)

    def ended(self, due: Due, outcome: Outcome, started: float, ended: float) -> None:
        """What follows from a look. Times are steady seconds."""
        doubt = self.doubt
        outcome = _believed(outcome, self._lag.during(started, ended))
        self.count += 1
        cost = self.costs.of(due.watch.check.kind)
        cost.looks += 1
        cost.seconds += outcome.duration_s
        cost.tokens += outcome.tokens
        delay_s = max(0.0, started - due.intended)
        self.worst_delay_s = max(self.worst_delay_s, delay_s)
        self._tell(due.watch, outcome, delay_s)
        if outcome.host_error:
            doubt.host_error(outcome.reason, ended)
        elif outcome.status is not Status.ERROR:
            doubt.looked()
        sample = sample_of(due, outcome, at=started, tokens=self.looker.tokens(due.watch.subject))
        seen = self.voter.observe(sample, ended)
        if seen.urgent:
            self._references.kick()
        if self.box.abstaining is None:  # a host in trouble would only make more of it
            for recheck in seen.confirm:
                self.scheduler.confirm(due.watch.key, recheck, self._confirm_gap_s)

    def got_out(self, now: float) -> None:
        """A look passed that changed no verdict. It may still end this agent's doubt of itself; what only time ends is noticed with
        the next pulse of the event loop (`steerd.agent.lag`), not thousands of times a second by looks.
        """
        if self.doubt.looked() and self.box.abstaining is not None:
            self.voter.reconsider(now)

    def asked(self, confirm: Confirm) -> None:
        """A coordinator says: look at these now."""
        if self.box.abstaining is not None:
            return
        now = asyncio.get_running_loop().time()
        for endpoint in confirm.endpoints:
            for recheck in self.box.asked(endpoint, now, paid=endpoint in confirm.paid):
                self.scheduler.confirm((endpoint, recheck.check), recheck, self._confirm_gap_s)

    def _tell(self, watch: Watch, outcome: Outcome, delay_s: float) -> None:
        self._observer.on_look(
            watch.subject,
            watch.service,
            watch.zone,
            watch.check.name,
            outcome=outcome,
            delay_s=delay_s,
        )
        if watch.key not in self._watched:
            return  # the look ended after a reload took its check away: nobody would ever say that it is well again
        if outcome.status is Status.ERROR and not outcome.transport:
            reason = outcome.reason or "the probe could not do its job"
            if self.errors.get(watch.key) != (watch.service, reason):
                self.errors[watch.key] = watch.service, reason
                self._observer.on_error_outcome(
                    watch.subject,
                    watch.service,
                    watch.check.name,
                    reason,
                    host=outcome.host_error,
                    detail=outcome.detail,
                )
        elif watch.key in self.errors:
            del self.errors[watch.key]
            self._observer.on_error_over(watch.subject, watch.service, watch.check.name)


def _believed(outcome: Outcome, lag_s: float) -> Outcome:
    """The outcome, unless it blames the target for time that this process lost itself."""
    if lag_s <= 0.0 or outcome.status not in {Status.FAIL, Status.SLOW}:
        return outcome
    return replace(
        outcome,
        status=Status.ERROR,
        reason="the event loop of this host was late during the look",
        detail=f"{lag_s:.2f} s late; without that: {outcome.status} {outcome.reason}",
        transport=False,
        host_error=True,
    )
