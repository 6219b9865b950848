"""What agents and coordinators tell while they work, made into measurements.

`AgentTelemetry` fits `steerd.agent.observer.AgentObserver`, `CoordinatorTelemetry` fits
`steerd.coordinator.observer.CoordinatorObserver`. Neither is imported here: telemetry knows events, effects and the
model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from steerd.core.effects import Effect, Persist, Record
from steerd.core.events import Event
from steerd.telemetry import gauges
from steerd.telemetry.agent_log import AgentLog
from steerd.telemetry.coordinator_log import CoordinatorLog
from steerd.telemetry.incidents import Incident, Incidents
from steerd.telemetry.kept import Kept
from steerd.telemetry.meters import Meters

__all__ = ["AgentTelemetry", "CoordinatorTelemetry", "IncidentSink", "Look", "LookStages"]


class LookStages(Protocol):
    """The stages of a look, as far as they are measured here."""

    @property
    def first_token_s(self) -> float | None:
        """Seconds from the request to the first token."""


class Look(Protocol):
    """The outcome of a look, as far as it is measured here (`probes.Outcome` is one)."""

    @property
    def status(self) -> str:
        """PASS, FAIL, SLOW, SATURATED or ERROR."""

    @property
    def duration_s(self) -> float:
        """Seconds."""

    @property
    def stages(self) -> LookStages:
        """How long each stage took."""

    @property
    def tokens(self) -> int:
        """Tokens spent."""

    @property
    def readings(self) -> Mapping[str, float]:
        """Numbers that the look saw, by name."""


class IncidentSink(Protocol):
    """Takes incidents that have ended (`traces.Traces` is one)."""

    def tell(self, incident: Incident) -> None:
        """Must not block."""


_SELF = {
    "steerd.agent.start_delay": "start_delay_s",
    "steerd.agent.cpu_per_look": "cpu_per_look_s",
    "steerd.agent.in_flight": "in_flight",
    "steerd.agent.waiting": "waiting",
    "steerd.agent.descriptors": "descriptors",
    "steerd.agent.descriptors.limit": "descriptors_limit",
    "steerd.agent.resolver.failures": "resolver_failed",
    "steerd.agent.references.failing": "references_failing",
    "steerd.agent.clock_off": "clock_off_s",
}


_COSTS = {"looks": "steerd.probe.looks", "busy_s": "steerd.probe.busy"}


class AgentTelemetry:
    """An agent's measurements, and its log of what changed. `on_look` costs about 2 us: see `tally`."""

    def __init__(self, meters: Meters) -> None:
        self._log = AgentLog()
        self._duration = meters.tally("steerd.check.duration")
        self._delay = meters.tally("steerd.check.delay")
        self._lag = meters.tally("steerd.agent.loop_lag")
        self._ttft = meters.tally("steerd.model.ttft")
        self._inter_token = meters.tally("steerd.model.inter_token")
        self._kept = Kept()
        self._missed = 0
        self._passes: dict[tuple[str, str, str], Callable[[float, float], None]] = {}
        self._self: dict[str, float] = {}
        self._abstaining = False
        self._tokens: dict[str, int] = {}
        self._streams: dict[str, bool] = {}
        meters.add_source(self._samples)

    def on_look(self, endpoint: str, service: str, zone: str, check: str, *, outcome: Look, delay_s: float) -> None:
        """A look ended. `endpoint` is no label of the histograms, which are per service, zone, check and outcome."""
        self._duration.add((service, zone, check, outcome.status), outcome.duration_s)
        self._delay.add((check,), delay_s)
        ttft_s = outcome.stages.first_token_s
        if ttft_s is not None:
            self._ttft.add((service, zone, "look"), ttft_s)
        if outcome.tokens:
            self._tokens[service] = self._tokens.get(service, 0) + outcome.tokens
        if outcome.readings:
            self._on_readings(endpoint, service, zone, outcome.readings)

    def _on_readings(self, endpoint: str, service: str, zone: str, readings: Mapping[str, float]) -> None:
        """What an engine says of the requests of others has a source of its own: it is a mean, and not of our question."""
        self._kept.take(service, endpoint, readings)
        for tally, name, source in (
            (self._ttft, "engine_ttft_s", "engine"),
            (self._inter_token, "engine_inter_token_s", "engine"),
            (self._inter_token, "inter_token_s", "look"),
        ):
            if name in readings:
                tally.add((service, zone, source), readings[name])

    def passes(self, endpoint: str, service: str, zone: str, check: str) -> Callable[[float, float], None]:
        """`on_look` for plain passes: (duration, delay) in seconds."""
        del endpoint
        key = (service, zone, check)
        known = self._passes.get(key)
        if known is not None:
            return known
        add_duration, add_delay = self._duration.adder((service, zone, check, "PASS")), self._delay.adder((check,))

        def passed(duration_s: float, delay_s: float) -> None:
            add_duration(duration_s)
            add_delay(delay_s)

        self._passes[key] = passed
        return passed

    def on_loop_lag(self, lag_s: float) -> None:
        """The event loop woke a timer this late. Told every 100 ms, when passes are counted too: rarely would be long at once."""
        self._lag.add((), lag_s)
        self._duration.fold()
        self._delay.fold()

    def on_self(self, values: Mapping[str, float]) -> None:
        """What the agent sees of itself."""
        self._self = dict(values)

    def on_abstain(self, reason: str | None) -> None:
        """The agent abstains, or votes again (None)."""
        self._abstaining = reason is not None
        self._log.on_abstain(reason)

    def on_missed(self, count: int) -> None:
        """Looks that were not made."""
        self._missed += count

    def on_stream(self, coordinator: str, state: str, text: str) -> None:
        """A stream to a coordinator changed; what is dropped or garbled on it leaves it up."""
        if state == "removed":
            self._streams.pop(coordinator, None)
        elif state not in {"overflow", "bad-frame"}:
            self._streams[coordinator] = state == "connected"
        self._log.on_stream(coordinator, state, text)

    def on_unsendable(self, what: str) -> None:
        """Some of what was seen cannot be said."""
        self._log.on_unsendable(what)

    def on_error_outcome(
        self, endpoint: str, service: str, check: str, reason: str, *, host: bool, detail: str | None
    ) -> None:
        """As a number it stands in `steerd.check.outcomes` with outcome ERROR."""
        self._log.on_error_outcome(endpoint, service, check, reason, host=host, detail=detail)

    def on_error_over(self, endpoint: str, service: str, check: str) -> None:
        """See `on_error_outcome`."""
        self._log.on_error_over(endpoint, service, check)

    def _samples(self) -> Iterable[gauges.Sample]:
        for labels, count in self._duration.counts():
            yield "steerd.check.outcomes", labels, count
        yield "steerd.check.missed", {}, self._missed
        for metric, name in _SELF.items():
            if name in self._self:
                yield metric, {}, self._self[name]
        for said, value in self._self.items():
            name, dot, kind = said.partition(".")
            if dot and name in _COSTS:
                yield _COSTS[name], {"kind": kind}, value
        yield from self._kept.samples()
        yield "steerd.agent.abstaining", {}, float(self._abstaining)
        for coordinator, up in self._streams.items():
            yield "steerd.agent.stream", {"coordinator": coordinator}, float(up)
        for service, tokens in self._tokens.items():
            yield "steerd.probe.tokens", {"service": service}, tokens


class CoordinatorTelemetry:
    """A coordinator's measurements.

    `status` gives the dict of `steerd status --json`; `service_of` an endpoint's service. Incidents that ended go to
    `sink`.
    """

    def __init__(
        self,
        meters: Meters,
        status: Callable[[], Mapping[str, Any]],
        service_of: Callable[[str], str | None],
        sink: IncidentSink | None = None,
    ) -> None:
        self._meters = meters
        self._status = status
        self._incidents = Incidents(service_of)
        self._sink = sink
        self._leading = False
        self._log = CoordinatorLog()
        meters.add_source(self._samples)

    def on_step(self, event: Event, effects: tuple[Effect, ...], now: float, duration_s: float) -> None:
        """The engine took one step. Only a leader's steps count: a follower's effects are not carried out."""
        del duration_s
        self._log.on_effects(effects, leading=self._leading)
        if not self._leading:
            return
        for effect in effects:
            if isinstance(effect, Persist) and effect.decision is not None:
                self._meters.count("steerd.decisions", {"service": effect.decision.service})
            elif isinstance(effect, Record) and effect.kind == "veto":
                labels = {"service": str(effect.data.get("service", "")), "guard": str(effect.data.get("guard", ""))}
                self._meters.count("steerd.vetoes", labels)
        for incident in self._incidents.fold(event, effects, now):
            for stage, seconds in incident.stages():
                labels = {"service": incident.service, "stage": stage}
                self._meters.record("steerd.failover.duration", labels, seconds)
            if self._sink is not None:
                self._sink.tell(incident)

    def on_write(self, provider: str, route: str, result: str, duration_s: float) -> None:
        """A provider's write ended. `result` as in `ApplyFinished`."""
        del route
        self._meters.record("steerd.provider.write.duration", {"provider": provider}, duration_s)
        if result not in {"applied", "unchanged"}:
            self._meters.count("steerd.provider.write.failures", {"provider": provider, "result": result})

    def on_store(self, op: str, duration_s: float, *, ok: bool) -> None:
        """The store answered, or failed to."""
        self._meters.record("steerd.store.duration", {"op": op, "ok": "true" if ok else "false"}, duration_s)

    def on_leader(self, leading: bool, epoch: int) -> None:  # noqa: FBT001 - the observer's signature
        """This coordinator won or lost the lead."""
        del epoch
        self._leading = leading
        if not leading:
            self._incidents.clear()

    def _samples(self) -> Iterable[gauges.Sample]:
        yield "steerd.leader", {}, float(self._leading)
        yield from gauges.samples(self._status())
