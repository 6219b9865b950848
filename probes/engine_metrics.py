"""Which metric means what, and one scrape of an engine turned into a reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from probes.errors import SettingError
from probes.metrics_text import MetricsReader, Series
from probes.movement import Part, Reading
from probes.settings import strings

__all__ = ["EngineMetrics", "Scrape", "scrape_of"]

_MODEL_LABELS = ("model_name", "model", "served_model_name")
_FAILED = frozenset({"error", "failed", "failure"})
_GIVEN_UP = frozenset({"abort", "aborted", "cancelled"})
"""Values of a label of finished requests: the engine's fault, and the client's."""


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """Metric names by meaning; of each list but `steps` the first that is there counts, the others are older names."""

    running: tuple[str, ...]
    waiting: tuple[str, ...]
    steps: tuple[str, ...]
    cache: tuple[str, ...]
    utilization: tuple[str, ...]
    finished: tuple[str, ...]
    failed: tuple[str, ...]
    ttft: tuple[str, ...]
    inter_token: tuple[str, ...]
    version: tuple[str, str] | None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> EngineMetrics:
        """Reads the settings. Raises `SettingError`."""
        version = settings.get("version") or {}
        if not isinstance(version, Mapping):
            raise SettingError("version: write {metric: NAME, label: LABEL}")
        label = (str(version["metric"]), str(version.get("label", "version"))) if "metric" in version else None
        found = cls(
            running=strings(settings, "running"),
            waiting=strings(settings, "waiting"),
            steps=strings(settings, "steps"),
            cache=strings(settings, "cache"),
            utilization=strings(settings, "utilization"),
            finished=strings(settings, "finished"),
            failed=strings(settings, "failed"),
            ttft=strings(settings, "ttft_metric"),
            inter_token=strings(settings, "inter_token_metric"),
            version=label,
        )
        if not found.running and not found.waiting:
            raise SettingError("running: name at least one metric of requests that run, or `waiting`")
        return found

    def reader(self) -> MetricsReader:
        """A reader for one scrape."""
        parts = [f"{name}{end}" for name in (*self.ttft, *self.inter_token) for end in ("_sum", "_count")]
        names = [
            *self.running,
            *self.waiting,
            *self.steps,
            *self.cache,
            *self.utilization,
            *self.finished,
            *self.failed,
            *parts,
        ]
        return MetricsReader.of([*names, *((self.version[0],) if self.version else ())])


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one scrape says. `problem` says why it says nothing of progress (which is unknown then, not idle)."""

    reading: Reading
    problem: str | None = None
    stale_s: float = 0.0
    cache: float | None = None
    utilization: float | None = None
    version: str | None = None
    totals: Mapping[str, float] | None = None
    """Counters that only grow: `served`, `failed`, and sums and counts of latencies."""


def scrape_of(metrics: EngineMetrics, found: MetricsReader, *, at: float, wall: float, model: str | None) -> Scrape:
    """One scrape. `at` is steady time, `wall` the epoch's: samples that carry their own time are compared with it."""
    running = _of_model(found.get(metrics.running), model)
    waiting = _of_model(found.get(metrics.waiting), model)
    steps = {name: _of_model(series, model) for name, series in found.all(metrics.steps).items()}
    stamps = [one.at for one in (*running, *waiting) if one.at is not None]
    parts = _parts(running, waiting, steps)
    reading = Reading(
        at,
        {part: work for part, (work, _) in parts.items()},
        {part: counters for part, (_, counters) in parts.items()},
        _sum(running),
        _sum(waiting),
    )
    problem = None
    if not running and not waiting:
        said = "no metrics text" if not found.lines else f"without {(*metrics.running, *metrics.waiting)[0]}"
        problem = f"the metrics are {said}" if not found.lines else f"the metrics come {said}"
    elif metrics.steps and not steps and any(reading.work.values()):
        problem = f"the metrics come without {metrics.steps[0]}"
    cache = [one.value for one in found.get(metrics.cache)]
    label = metrics.version and next((one.label(metrics.version[1]) for one in found.get(metrics.version[:1])), None)
    return Scrape(
        reading,
        problem,
        max(0.0, wall - min(stamps)) if stamps else 0.0,
        max(cache) if cache else None,
        _mean([one.value for one in found.get(metrics.utilization)]),
        label,
        _totals(metrics, found),
    )


def _of_model(series: list[Series], model: str | None) -> list[Series]:
    """The series of the target's own model, where labels tell models apart and name it; else all."""
    if model is None:
        return series
    own = [one for one in series if any(one.label(name) == model for name in _MODEL_LABELS)]
    return own or series


def _parts(
    running: list[Series], waiting: list[Series], steps: Mapping[str, list[Series]]
) -> dict[Part, tuple[float, dict[str, float]]]:
    """Work and counters by part where their labels agree; else all of it as one part."""
    work: dict[Part, float] = {}
    for one in (*running, *waiting):
        work[one.labels] = work.get(one.labels, 0.0) + one.value
    counters: dict[Part, dict[str, float]] = {}
    for name, series in steps.items():
        for one in series:
            own = counters.setdefault(one.labels, {})
            own[name] = own.get(name, 0.0) + one.value
    if work and all(part in counters for part in work):
        return {part: (value, counters[part]) for part, value in work.items()}
    whole = {name: sum(one.value for one in series) for name, series in steps.items()}
    return {(): (sum(work.values()), whole)}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _sum(series: list[Series]) -> float | None:
    return sum(one.value for one in series) if series else None


def _totals(metrics: EngineMetrics, found: MetricsReader) -> dict[str, float]:
    totals: dict[str, float] = {}
    for one in found.get(metrics.finished):
        values = {value for _, value in one.labels}
        if values & _FAILED:
            totals["failed"] = totals.get("failed", 0.0) + one.value
        elif not values & _GIVEN_UP:
            totals["served"] = totals.get("served", 0.0) + one.value
    for one in found.get(metrics.failed):
        totals["failed"] = totals.get("failed", 0.0) + one.value
    for key, names in (("ttft", metrics.ttft), ("inter_token", metrics.inter_token)):
        for end in ("_sum", "_count"):
            value = _first(found, (f"{name}{end}" for name in names))
            if value is not None:
                totals[key + end] = value
    return totals


def _first(found: MetricsReader, names: Iterable[str]) -> float | None:
    return _sum(found.get(tuple(names)))
