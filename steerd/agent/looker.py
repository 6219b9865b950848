"""Makes one look: holds the probes, and turns a probe's `Outcome` into the core's `Sample`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from probes.busy import Moves, busy_or_hung, undecided
from probes.outcome import Layer as ProbeLayer
from probes.outcome import Outcome
from probes.outcome import Status as ProbeStatus
from probes.probe import Lane, Probe, look_safely
from probes.registry import make
from probes.target import Target
from steerd.agent.scheduler import Due
from steerd.agent.watchlist import Watch
from steerd.model.fleet import Check, Secret
from steerd.model.sample import Layer, Sample, Status

__all__ = ["CLOSE_S", "Looker", "close_probes", "sample_of"]

CLOSE_S = 1.0
"""Seconds that closing all probes may take."""


class Looker:
    """The probes of a watchlist: one for each check of each service, shared by its endpoints.

    A probe that cannot be made is ERROR at every look, with the reason, and is tried again at the next: a key file
    that is not there yet must not take the agent down. `resolve` turns a secret reference into its value. `doubted` is told when
    a look ran out of time and the engine's counters are asked whether it is busy or hung: the outcome comes later.
    """

    def __init__(self, resolve: Callable[[Secret], str], doubted: Callable[[Watch], None]) -> None:
        self._resolve = resolve
        self._doubted = doubted
        self._movers: dict[str, Watch] = {}
        self._checks: dict[tuple[str, str], Check] = {}
        self._probes: dict[tuple[str, str], Probe] = {}
        self._tokens: dict[str, int] = {}
        self._names: dict[tuple[str, str], set[str]] = {}

    def set_watches(self, watches: Iterable[Watch]) -> list[Probe]:
        """Takes the watches of a config. Returns the probes no longer in use: close them with `close_probes`."""
        watches = tuple(watches)
        checks = {watch.probe: watch.check for watch in watches}
        self._movers = {watch.subject: watch for watch in watches if watch.check.kind == "progress"}
        gone = [key for key in self._probes if checks.get(key) != self._checks.get(key)]
        self._checks = checks
        subjects = {watch.subject for watch in watches}
        self._tokens = {subject: spent for subject, spent in self._tokens.items() if subject in subjects}
        retired = [self._probes.pop(key) for key in gone]
        names: dict[tuple[str, str], set[str]] = {}
        for watch in watches:
            names.setdefault(watch.probe, set()).add(watch.subject)
        for key, probe in self._probes.items():
            forget: Callable[[str], None] | None = getattr(probe, "forget", None)
            if forget is not None:
                for subject in self._names.get(key, set()) - names[key]:
                    forget(subject)
        self._names = names
        for watch in watches:
            self._probe(watch)  # now, before any look is due: a client library takes a tenth of a second to load
        return retired

    async def look(self, due: Due, timeout_s: float) -> Outcome:
        """One look. Never raises but for cancellation."""
        watch = due.watch
        probe = self._probe(watch)
        if isinstance(probe, str):
            return Outcome(ProbeStatus.ERROR, ProbeLayer(watch.check.layer.value), f"{watch.check.kind}: {probe}")
        target = Target(watch.subject, watch.url, model=watch.model)
        deadline = asyncio.get_running_loop().time() + timeout_s
        outcome = await look_safely(probe, target, deadline, fresh=due.confirm)
        if outcome.tokens:
            self._tokens[watch.subject] = self._tokens.get(watch.subject, 0) + outcome.tokens
        return await self.settle(watch, outcome)

    def unsettled(self, watch: Watch, outcome: Outcome) -> bool:
        """True where `settle` has something to ask."""
        return undecided(outcome) and self._mover(watch) is not None

    async def settle(self, watch: Watch, outcome: Outcome) -> Outcome:
        """`outcome`, once the engine's counters were asked where it ran out of time: busy, or hung. 3 s at most."""
        if not undecided(outcome) or (mover := self._mover(watch)) is None:
            return outcome
        self._doubted(watch)
        return await busy_or_hung(outcome, mover, Target(watch.subject, watch.url, model=watch.model))

    def lane(self, watch: Watch) -> Lane | None:
        """What makes the watch's regular looks without a task each; None where its probe has none, or cannot be made."""
        make_lane = getattr(self._probe(watch), "lane", None)
        if make_lane is None:
            return None
        found: Lane | None = make_lane(Target(watch.subject, watch.url, model=watch.model), _untold)
        return found

    def tokens(self, subject: str) -> int:
        """Tokens that looks at `subject` have spent since the agent started."""
        return self._tokens.get(subject, 0)

    async def close(self) -> None:
        """Closes every probe."""
        probes, self._probes = list(self._probes.values()), {}
        await close_probes(probes)

    def _mover(self, watch: Watch) -> Moves | None:
        """The probe that can tell busy from hung at the endpoint of `watch`, if there is one beside it."""
        other = self._movers.get(watch.subject)
        if other is None or other.probe == watch.probe:
            return None
        probe = self._probe(other)  # where it cannot be made, its own looks say why
        return probe if isinstance(probe, Moves) else None

    def _probe(self, watch: Watch) -> Probe | str:
        """The watch's probe, or why there is none."""
        probe = self._probes.get(watch.probe)
        if probe is None:
            check = watch.check
            try:
                probe = make(check.kind, check.layer.value, check.settings, self._resolve)
            except Exception as error:  # noqa: BLE001 - whatever keeps a probe from being made is not the target's fault
                return str(error)
            self._probes[watch.probe] = probe
        return probe


def _untold(lane: Lane, outcome: Outcome | None) -> None:
    """Until the lane's owner says who is told."""


async def close_probes(probes: list[Probe]) -> None:
    """Closes probes side by side, within `CLOSE_S`; raises the first error any of them had."""
    if not probes:
        return
    done, late = await asyncio.wait([asyncio.ensure_future(probe.close()) for probe in probes], timeout=CLOSE_S)
    for task in late:
        task.cancel()
    for task in done:
        task.result()


def sample_of(due: Due, outcome: Outcome, *, at: float, tokens: int = 0) -> Sample:
    """What the core needs of an outcome. `at` is the steady time of the look's start, `tokens` what was spent so
    far.
    """
    readings = {**outcome.readings, "tokens_total": float(tokens)} if tokens else outcome.readings
    return Sample(
        endpoint=due.watch.subject,
        check=due.watch.check.name,
        layer=Layer(outcome.layer.value),
        status=Status(outcome.status.value),
        at=at,
        reason=outcome.reason,
        transport=outcome.transport,
        late_s=max(0.0, at - due.intended),
        duration_s=outcome.duration_s,
        counts_as=due.counts_as,
        confirm=due.confirm,
        unpaid=outcome.status.value == "FAIL" and outcome.transport and outcome.stages.connect_s is None,
        host_error=outcome.host_error,
        version=outcome.version,
        readings=readings,
    )
