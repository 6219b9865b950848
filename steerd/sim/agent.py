"""A simulated agent: the real ballot box, cadence and self-doubt, driven by the kernel's heap instead of tasks and sockets.

A look of a check that is plainly well (its run steady, nothing wrong with agent, way and target) would change nothing but
counts. Such a job is *parked*: its looks are not made, and counted when somebody asks. It is woken by any fault that touches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import log
from random import Random

from steerd.agent.watchlist import Watchlist
from steerd.core.ballot_box import BallotBox
from steerd.core.doubt import SelfDoubt
from steerd.core.verdict import Recheck
from steerd.model.fleet import Fleet
from steerd.model.sample import Layer, Sample, Status
from steerd.model.vote import Confirm
from steerd.sim.jobs import Job
from steerd.sim.kernel import Kernel
from steerd.sim.network import Network
from steerd.sim.targets import Look, Target, look_at, lost
from steerd.sim.voice import Hub, Voice

__all__ = ["SimAgent"]

_NOW_S = 0.05
"""A look that ends sooner than this ends in the instant in which it began."""
_QUIET = frozenset({Layer.LIVENESS, Layer.READINESS, Layer.PROGRESS})
"""Layers whose passing looks carry no readings, so that they may be parked."""


class SimAgent(Voice):
    """One agent. `epoch_s` is the wall clock at the start, `phase_s` when its heartbeats fall."""

    def __init__(
        self,
        fleet: Fleet,
        name: str,
        plan: Watchlist,
        *,
        kernel: Kernel,
        network: Network,
        targets: dict[str, Target],
        hub: Hub,
        rng: Random,
        epoch_s: float,
        phase_s: float,
        references: tuple[str, ...],
    ) -> None:
        super().__init__(
            fleet,
            name,
            kernel=kernel,
            network=network,
            hub=hub,
            rng=rng,
            epoch_s=epoch_s,
            phase_s=phase_s,
            references=references,
        )
        self.plan = plan
        self.stopped = 0
        self._targets = targets
        self._paused_at = 0.0

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process: a new incarnation that knows nothing."""
        if self.running or self.stopped:
            return
        now = self._kernel.now
        self._life += 1
        self.running = True
        self._box = BallotBox(self.name, self._life)
        self._doubt = SelfDoubt(now)
        self._streams = set()
        self._flush_at = None
        self.by_subject = {}
        self._configure()
        self._kernel.after(self._phase_s, self._heartbeat, self._life)
        self._kernel.after(self._phase_s / 2, self._check_references, self._life, True)
        for coordinator in self.fleet.coordinators:
            self._kernel.after(0.1 + self._phase_s / 4, self._connect, coordinator.name, self._life)

    def stop(self) -> None:
        """The process or its host is gone. Counted: as many `start`s with `stopped` back at 0 bring it back."""
        self.running = False
        self._life += 1
        self._streams = set()

    def pause(self) -> None:
        """Stands still: nothing is looked at and nothing is sent."""
        self.paused += 1
        if self.paused > 1:
            return
        self._paused_at = self._kernel.now
        self.wake_all()

    def resume(self) -> None:
        """Goes on, and notices how late it is."""
        self.paused -= 1
        if self.paused or not self.running:
            return
        self._doubt.loop_lag(self._kernel.now - self._paused_at, self._kernel.now)
        self._life += 1  # what was in flight tells nothing of its target, and old timers have rung in vain
        self._flush_at = None
        for job in self._all_jobs():
            job.busy = False
            self._plan(job)
        self._reconsider()
        self._heartbeat(self._life)
        self._check_references(self._life, True)
        for coordinator in self.fleet.coordinators:
            self._connect(coordinator.name, self._life)

    def wall_jump(self, seconds: float) -> None:
        """Its wall clock is set: the next looks shift, nothing else."""
        self.wake_all()
        self.wall_offset_s += seconds

    def reload(self, fleet: Fleet, plan: Watchlist) -> None:
        """A new config."""
        self.fleet, self.plan = fleet, plan
        if not self.running:
            return
        self._configure()
        for coordinator in fleet.coordinators:
            if coordinator.name not in self._streams:
                self._connect(coordinator.name, self._life)
        self._send_full(self._streams)

    def _configure(self) -> None:
        now = self._kernel.now
        self.wake_all()
        self._box.configure(self.plan.subjects, self.plan.shared, self.fleet.verdict, self.fleet.config_hash, now)
        old = {job.watch.key: job for job in self._all_jobs()}
        self.by_subject = {}
        for watch in self.plan.watches:
            run, known = self._box.run(watch.subject, watch.check.name), old.get(watch.key)
            if known is not None and known.watch == watch:
                del old[watch.key]
            else:
                known = Job(watch, run, self._targets[watch.subject])
                self._plan(known)
            known.run = run
            self.by_subject[watch.subject] = (*self.by_subject.get(watch.subject, ()), known)
        for job in old.values():
            job.live = False

    def _all_jobs(self) -> Iterator[Job]:
        for jobs in self.by_subject.values():
            yield from jobs

    # -- looking ------------------------------------------------------------------------------------------------------

    def _plan(self, job: Job) -> None:
        """Put the job's next slot into the heap."""
        wall = self._wall()
        job.slot, job.due_at = job.watch.cadence.following(wall, job.slot)
        self._arm(job, job.due_at - wall)

    def _arm(self, job: Job, in_s: float) -> None:
        job.armed = job.slot
        self._kernel.after(in_s, self._due, job, job.slot, self._life)

    def _due(self, job: Job, slot: int, life: int) -> None:
        if life != self._life or job.armed != slot:
            return
        job.armed = None
        if not job.live or job.parked or self.paused:
            return
        self._plan(job)
        if not job.busy:
            self._look(job, 1, regular=True)

    def _look(self, job: Job, counts_as: int, *, regular: bool) -> None:
        now, watch = self._kernel.now, job.watch
        path = self._network.trip(self.name, watch.subject)
        look = look_at(job.target, watch.check, path, self._doubt.timeout_factor(now), now, self._rng)
        if look is None:
            return
        if look.duration_s <= _NOW_S:
            self._done(job, look, now, counts_as, regular, self._life)
            return
        job.busy = job.busy or regular
        self._kernel.after(look.duration_s, self._done, job, look, now, counts_as, regular, self._life)

    def _done(self, job: Job, look: Look, began: float, counts_as: int, regular: bool, life: int) -> None:  # noqa: FBT001  a heap call has no keywords
        if life != self._life or not job.live:
            return
        if regular:
            job.busy = False
        if self.paused:
            return
        now, watch = self._kernel.now, job.watch
        if self.lag_s > 0:
            look = self._believed(look, now)
        sample = Sample(
            endpoint=watch.subject,
            check=watch.check.name,
            layer=look.layer or watch.check.layer,
            status=look.status,
            at=began,
            reason=look.reason,
            transport=look.transport,
            duration_s=look.duration_s,
            counts_as=counts_as,
            confirm=not regular,
            unpaid=look.status is Status.FAIL and not look.connected,
            host_error=look.status is Status.ERROR and self.lag_s > 0,
            version=job.target.label if look.status is not Status.FAIL or not look.transport else None,
            readings=look.readings,
        )
        seen = self._box.observe(sample, now)
        if seen.urgent:
            self._kick()
            self._flush()
        elif seen.changed:
            self._flush_soon()
        if self._box.abstaining is None:
            for recheck in seen.confirm:
                self._confirm(job, recheck)
        if look.status is not Status.PASS or self._box.abstaining is not None:
            self._reconsider()  # a pass gives no new doubt, and what there is only wears off
        if not job.run.steady:
            self.wake(job)  # a look that was under way when it was parked has failed
        elif look.status is Status.PASS and self._quiet(job):
            self._park(job)

    def _believed(self, look: Look, now: float) -> Look:
        """A late event loop is nobody else's fault (as in the real agent)."""
        self._doubt.host_error("the event loop of this host was late", now)
        if look.status not in (Status.FAIL, Status.SLOW):
            return look
        return replace(look, status=Status.ERROR, reason="the event loop of this host was late", transport=False)

    def _confirm(self, job: Job, recheck: Recheck) -> None:
        now, gap_s, kernel = self._kernel.now, self.fleet.verdict.confirm_gap_s, self._kernel
        for number in range(recheck.looks):
            kernel.at(now + number * gap_s, self._confirm_look, job, recheck.counts_as, self._life)

    def _confirm_look(self, job: Job, counts_as: int, life: int) -> None:
        if life != self._life or not job.live or self.paused:
            return
        if job.parked:
            loss = self._network.trip(self.name, job.watch.subject).loss
            if loss == 0.0 or self._rng.random() >= loss:
                now = self._kernel.now
                job.run.passes(now, now, confirm=True)  # as `observe` would take it
                return
            self.wake(job)
            self._lose(job, counts_as, regular=False)
            return
        self._look(job, counts_as, regular=False)

    def asked(self, confirm: Confirm) -> None:
        """A coordinator says: look at these now."""
        if not self.running or self.paused or self._box.abstaining is not None:
            return
        for endpoint in confirm.endpoints:
            rechecks = self._box.asked(endpoint, self._kernel.now, paid=endpoint in confirm.paid)
            for recheck in rechecks:
                job = next(j for j in self.by_subject[endpoint] if j.watch.check.name == recheck.check)
                self._confirm(job, recheck)

    # -- parked looks ---------------------------------------------------------------------------------------------------

    def _quiet(self, job: Job) -> bool:
        watch = job.watch
        return (
            watch.check.layer in _QUIET
            and self.lag_s == 0
            and job.target.well
            and not self._network.trip(self.name, watch.subject).cut
        )

    def _park(self, job: Job) -> None:
        """Until a fault touches it, or until the look that will get lost: chance has no memory, so it is drawn at once."""
        if job.parked or job.slot is None:
            return
        loss = self._network.trip(self.name, job.watch.subject).loss
        if loss >= 1.0:
            return
        if loss == 0.0:
            job.park(None)
            return
        passing = int(log(1.0 - self._rng.random()) / log(1.0 - loss))
        lost = job.slot + passing
        job.park(lost)
        at = self._kernel.now + job.watch.cadence.time(lost) - self._wall()
        self._kernel.at(at, self._lost_due, job, lost, self._life)

    def _lost_due(self, job: Job, slot: int, life: int) -> None:
        if life != self._life or not job.live or not job.parked or job.fails_at != slot or self.paused:
            return
        job.unpark(self._wall(), self._kernel.now)
        self._plan(job)
        self._lose(job, 1, regular=True)

    def _lose(self, job: Job, counts_as: int, *, regular: bool) -> None:
        """A look that is known to get lost."""
        check, now = job.watch.check, self._kernel.now
        look = lost(check, self._doubt.timeout_factor(now))
        if look is not None:
            job.busy = job.busy or regular
            self._kernel.after(look.duration_s, self._done, job, look, now, counts_as, regular, self._life)

    def wake(self, job: Job) -> None:
        """Count what a parked job would have seen, and look again from its next slot on."""
        if not job.parked:
            return
        wall = self._wall()
        job.unpark(wall, self._kernel.now)
        if job.armed is None and job.slot is not None and self.running and not self.paused:
            self._arm(job, job.due_at - wall)  # not `_plan`: this slot has not been looked at yet

    def wake_all(self, subjects: Iterable[str] | None = None) -> None:
        """Wake the jobs of these subjects, or all."""
        if subjects is None:
            for job in self._all_jobs():
                self.wake(job)
            return
        for subject in subjects:
            for job in self.by_subject.get(subject, ()):
                self.wake(job)
