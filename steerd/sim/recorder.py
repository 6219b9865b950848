"""What happened, as seen by the coordinator that leads: series over time for expectations, and a timeline for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from steerd.core.effects import Alert, Effect, Record
from steerd.core.world import World
from steerd.model.fleet import Fleet
from steerd.model.health import DiagnosisKind, Health

__all__ = ["Recorder", "Series"]

Series = list[tuple[float, Any]]
"""(since, value), ordered by time."""

_TIMELINE = 5000
_QUIET = frozenset({"suspect", "agreed"})


def put(series: Series, at: float, value: Any) -> bool:
    """Append where it differs from the last; True when it does."""
    if series and series[-1][1] == value:
        return False
    series.append((at, value))
    return True


class Recorder:
    """`watched` are agents whose state is wanted. Times are seconds since the start."""

    def __init__(self, fleet: Fleet, watched: Iterable[str]) -> None:
        self.fleet = fleet
        self.health: dict[str, Series] = {}
        self.shares: dict[str, Series] = {}
        self.agents: dict[str, Series] = {name: [(0.0, "absent")] for name in watched}
        self.frozen: Series = [(0.0, False)]
        self.alerts: list[tuple[float, str, str, bool]] = []
        self.diagnoses: list[tuple[float, str, str, str | None]] = []
        self.drained: list[tuple[float, str]] = []
        self.transitions: Counter[str] = Counter()
        self.writes: list[tuple[float, str]] = []
        self.timeline: list[dict[str, Any]] = []
        self.dropped = 0
        self._unknown: dict[str, None] = {}
        """Endpoints whose health is not known yet, of the fleet that is seen."""
        self._seen: Fleet | None = None
        self._diagnosed: dict[str, object] = {}
        self._active: dict[tuple[str, str], str] = {}

    # -- from the engine ----------------------------------------------------------------------------------------------

    def step(self, world: World, effects: Iterable[Effect], at: float) -> None:
        """One step of the engine that leads."""
        for effect in effects:
            if isinstance(effect, Record):
                self._record(world, effect, at)
            elif isinstance(effect, Alert):
                self.alert(effect.alert.kind, effect.alert.of, effect.alert.text, at, active=effect.active)
        self._first_answers(world, at)
        self._domains(world, at)
        put(self.frozen, at, self._is_frozen(world))
        self.hear(world, at)

    def hear(self, world: World, at: float) -> None:
        """A frame of an agent came: that agent may be heard again, or doubt itself."""
        for name, series in self.agents.items():
            state = world.votes.agents.get(name)
            if state is not None:
                word = "absent" if not state.fresh else "voting" if state.abstaining is None else "abstaining"
                if put(series, at, word):
                    self.say(at, "agent", name, word)

    def look_at(self, world: World, at: float) -> None:
        """Another coordinator leads from now on: what it believes is what counts."""
        for name in sorted(world.board.states):
            state = world.board.states[name]
            self._set_health(name, state.health, at)
        self._diagnosed = {}
        active = {key: alert.text for key, alert in world.alerts.active.items()}
        for (kind, of), text in list(self._active.items()):
            if (kind, of) not in active:
                self.alert(kind, of, text, at, active=False)
        for (kind, of), text in active.items():
            self.alert(kind, of, text, at, active=True)
        self._domains(world, at)

    def _record(self, world: World, record: Record, at: float) -> None:
        if record.kind == "health" and record.of in world.board.states:
            self._set_health(record.of, Health[str(record.data["health"]).upper()], at)
        elif record.kind == "drain" and record.data.get("by") == "automatic":
            self.drained.append((at, record.of))
        if record.kind not in _QUIET:
            self.say(at, record.kind, record.of, record.text)

    def _first_answers(self, world: World, at: float) -> None:
        """The engine has no word on an endpoint that turns out healthy at first sight: its state tells. Costs nothing once all
        are known."""
        if self._seen is not world.fleet:
            self._seen = world.fleet
            self._unknown = {n: None for n in sorted(world.board.states) if self._word_of(n) == Health.UNKNOWN.word}
        for name in tuple(self._unknown):
            state = world.board.states.get(name)
            if state is not None:
                self._set_health(name, state.health, at)

    def _word_of(self, endpoint: str) -> str:
        series = self.health.get(endpoint)
        return str(series[-1][1]) if series else Health.UNKNOWN.word

    def _set_health(self, name: str, health: Health, at: float) -> None:
        if health is Health.UNKNOWN:
            self._unknown[name] = None
        else:
            self._unknown.pop(name, None)
        series = self.health.setdefault(name, [(0.0, Health.UNKNOWN.word)])
        before = series[-1][1]
        if put(series, at, health.word) and not (before == "unknown" and health is Health.HEALTHY):
            self.transitions[name] += 1

    def _domains(self, world: World, at: float) -> None:
        """Health of zones and regions, where a diagnosis changed."""
        for service, diagnosis in world.diagnoser.services.items():
            if self._diagnosed.get(service) is diagnosis.current:
                continue
            self._diagnosed[service] = diagnosis.current
            for found in diagnosis.current:
                entry = (found.kind.value, found.of, found.label)
                if not any(d[1:] == entry for d in self.diagnoses[-20:]):
                    self.diagnoses.append((at, *entry))
            self._name_domains(world, service, at)

    def _name_domains(self, world: World, service: str, at: float) -> None:
        named: dict[str, Health] = {}
        current = world.diagnoser.services[service].current
        for found in current:
            if found.kind in (DiagnosisKind.ZONE, DiagnosisKind.REGION):
                named[found.of] = max(named.get(found.of, Health.HEALTHY), found.health)
        for zone in world.domains.zones.get(service, ()):
            region = world.domains.region_of_zone(zone)
            for name in (zone, region):
                worst = max(named.get(name, Health.HEALTHY), named.get(region, Health.HEALTHY))
                series = self.health.setdefault(name, [(0.0, Health.UNKNOWN.word)])
                if put(series, at, worst.word) and len(series) > 2:
                    self.transitions[name] += 1

    def _is_frozen(self, world: World) -> bool:
        return world.freeze is not None or any(d.everywhere for d in world.diagnoser.services.values())

    # -- from elsewhere -----------------------------------------------------------------------------------------------

    def alert(self, kind: str, of: str, text: str, at: float, *, active: bool) -> None:
        """An alert began, changed its words, or ended."""
        known = (kind, of) in self._active
        if active:
            self._active[kind, of] = text
        else:
            self._active.pop((kind, of), None)
        if known != active:
            self.alerts.append((at, kind, of, active))
            self.say(at, "alert" if active else "alert over", of, f"{kind}: {text}")
        if active and kind == "vantage-isolated":
            self.diagnoses.append((at, DiagnosisKind.VANTAGE.value, of, None))

    def standing(self, kind: str) -> bool:
        """Whether any alert of this kind stands now."""
        return any(k == kind for k, _ in self._active)

    def publish(self, shares: dict[str, float], at: float) -> None:
        """What is served now: name -> share."""
        for name, share in shares.items():
            put(self.shares.setdefault(name, []), at, share)

    def write(self, provider: str, name: str, text: str, at: float) -> None:
        """A provider took a write."""
        self.writes.append((at, f"{provider}/{name}"))
        self.say(at, "write", f"{provider}/{name}", text)

    def say(self, at: float, kind: str, of: str, text: str) -> None:
        """A line of the timeline."""
        if len(self.timeline) >= _TIMELINE:
            self.dropped += 1
            return
        self.timeline.append({"at": round(at, 3), "kind": kind, "of": of, "text": text})
