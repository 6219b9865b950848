"""How a simulated agent speaks: streams to coordinators, deltas and heartbeats, and its doubt of itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Protocol

from steerd.core.ballot_box import COALESCE_S, HEARTBEAT_S, BallotBox
from steerd.core.doubt import SelfDoubt
from steerd.model.fleet import Fleet
from steerd.model.sample import Layer
from steerd.model.vote import Ballot, Heartbeat, Verdict
from steerd.sim.jobs import Job
from steerd.sim.kernel import Kernel
from steerd.sim.network import Network

__all__ = ["Hub", "Voice"]

_REFERENCES_EVERY_S = 5.0
_KICK_GAP_S = 1.0
_REFERENCE_TIMEOUT_S = 2.0
_CONNECT_AGAIN_S = 1.0


class Hub(Protocol):
    """What agents speak to: the coordinators' processes, by name."""

    def connect(self, agent: Voice, coordinator: str) -> bool:
        """A stream; False when nobody listens there."""

    def send(self, coordinator: str, frame: Ballot | Heartbeat, latency_s: float) -> None:
        """A frame up a stream."""

    def answers(self, coordinator: str) -> bool:
        """Whether that process answers at all."""


class Voice:
    """The half of an agent that speaks. `epoch_s` is the wall clock at the start, `phase_s` when its heartbeats fall,
    `references` the names of what it looks at to tell its own trouble from a target's."""

    def __init__(
        self,
        fleet: Fleet,
        name: str,
        *,
        kernel: Kernel,
        network: Network,
        hub: Hub,
        rng: Random,
        epoch_s: float,
        phase_s: float,
        references: tuple[str, ...],
    ) -> None:
        self.name = name
        self.fleet = fleet
        self.by_subject: dict[str, tuple[Job, ...]] = {}
        self.wall_offset_s = 0.0
        self.lag_s = 0.0
        self.lie: Verdict | None = None
        self.running = False
        self.paused = 0
        self._kernel, self._network = kernel, network
        self._hub, self._rng, self._epoch_s, self._phase_s = hub, rng, epoch_s, phase_s
        self._references = references
        self._life = 0
        self._streams: set[str] = set()
        self._flush_at: float | None = None
        self._kicked_at = -10.0
        self._box = BallotBox(name, 0)
        self._doubt = SelfDoubt(0.0)

    def _wall(self) -> float:
        return self._epoch_s + self._kernel.now + self.wall_offset_s

    def _settle(self, endpoints: Iterable[str]) -> None:
        wall = self._wall()
        for endpoint in endpoints:
            for job in self.by_subject.get(endpoint, ()):
                if job.parked:
                    job.settle(wall)

    # -- speaking -------------------------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if self._flush_at is None:
            self._flush_at = self._kernel.now + COALESCE_S
            self._kernel.at(self._flush_at, self._flush_due, self._life)

    def _flush_due(self, life: int) -> None:
        if life == self._life and self._flush_at is not None and not self.paused:
            self._flush()

    def _flush(self) -> None:
        self._flush_at = None
        if self._box.dirty:
            self._settle(self._box.waiting)
            self._send(self._box.delta(self._kernel.now))

    def _heartbeat(self, life: int) -> None:
        if life != self._life or self.paused:
            return
        now = self._kernel.now
        self._kernel.after(HEARTBEAT_S, self._heartbeat, life)
        if self.lag_s:
            self._doubt.loop_lag(self.lag_s, now)
        self._reconsider()
        self._box.refresh()
        self._flush()
        self._send(self._box.heartbeat(now))

    def _send(self, frame: Ballot | Heartbeat) -> None:
        if isinstance(frame, Ballot) and self.lie is not None:
            frame = self._lying(frame, self.lie)
        for name in sorted(self._streams):
            self._send_to(name, frame)

    def _send_to(self, name: str, frame: Ballot | Heartbeat) -> None:
        way = self._network.path(self.name, name)
        if way.cut:
            self.lost(name)
        elif way.loss == 0.0 or self._rng.random() >= way.loss:
            self._hub.send(name, frame, way.latency_s)

    def _send_full(self, names: Iterable[str]) -> None:
        self._settle(self.by_subject)
        frame = self._box.full(self._kernel.now)
        if self.lie is not None:
            frame = self._lying(frame, self.lie)
        for name in sorted(names):
            self._send_to(name, frame)

    def say_all(self) -> None:
        """A full ballot to everybody, because what this agent says changed all at once."""
        if self.running:
            self._send_full(self._streams)

    def _lying(self, ballot: Ballot, verdict: Verdict) -> Ballot:
        bad = verdict is Verdict.UNHEALTHY
        votes = tuple(
            replace(
                vote,
                verdict=verdict,
                layer=Layer.LIVENESS if bad else None,
                check=vote.counts[0].check if bad and vote.counts else None,
                reason="connect timed out" if bad else None,
                transport=bad,
                all_failed=bad,
                suspect=False,
                counts=tuple(
                    replace(c, passed=0 if bad else c.passed + c.failed, failed=c.passed + c.failed if bad else 0)
                    for c in vote.counts
                ),
            )
            for vote in ballot.votes
        )
        return replace(ballot, votes=votes, abstaining=None)

    # -- streams --------------------------------------------------------------------------------------------------------

    def lost(self, coordinator: str) -> None:
        """The stream to a coordinator broke."""
        if coordinator in self._streams:
            self._streams.discard(coordinator)
            self._kernel.after(_CONNECT_AGAIN_S, self._connect, coordinator, self._life)

    def _connect(self, coordinator: str, life: int) -> None:
        if life != self._life or coordinator in self._streams:
            return
        trip = self._network.trip(self.name, coordinator)
        there = trip.clear or (not trip.cut and self._rng.random() >= trip.loss)
        if self.paused or not there or not self._hub.connect(self, coordinator):
            self._kernel.after(_CONNECT_AGAIN_S, self._connect, coordinator, life)
            return
        self._streams.add(coordinator)
        self._send_full((coordinator,))

    # -- itself ---------------------------------------------------------------------------------------------------------

    def _reconsider(self) -> None:
        reason = self._doubt.reason(self._kernel.now)
        if reason == self._box.abstaining or not self._box.abstain(reason):
            return
        if reason is None:
            self._send_full(self._streams)
        else:
            self._box.refresh()
            self._flush()

    def _kick(self) -> None:
        if self._kernel.now - self._kicked_at >= _KICK_GAP_S:
            self._kicked_at = self._kernel.now
            self._check_references(self._life, False)

    def _check_references(self, life: int, again: bool) -> None:  # noqa: FBT001  a heap call has no keywords
        if life != self._life or self.paused:
            return
        if again:
            self._kernel.after(_REFERENCES_EVERY_S, self._check_references, life, True)
        failing = sum(not self._reaches(name) for name in self._references)
        if failing:
            self._kernel.after(_REFERENCE_TIMEOUT_S, self._judge_references, failing, life)
        else:
            self._judge_references(0, life)

    def _judge_references(self, failing: int, life: int) -> None:
        if life == self._life and not self.paused:
            self._doubt.references(failing, len(self._references))
            self._reconsider()

    def _reaches(self, name: str) -> bool:
        trip = self._network.trip(self.name, name)
        return not trip.cut and self._hub.answers(name)
