"""What a look at a simulated endpoint or dependency finds: each fault as the real probes would report it (probes.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from steerd.model.fleet import Check
from steerd.model.sample import Layer, Status
from steerd.sim.network import Path

__all__ = ["Look", "Target", "look_at", "lost"]

TTFT_S = 0.3
"""Time to first token of a healthy simulated endpoint."""
_ANSWER_S = 0.005
_TOKENS_S = 0.4
_CONNECT_S = 5.0
_TTFT_MOST_S = 30.0
_TTFT_FACTOR = 10.0
_STALL_S = 60.0
_USER = (Layer.USER_PATH, Layer.CORRECTNESS)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look tells: the fields of a `Sample` that the target decides. `layer` is None where it is the check's own."""

    status: Status
    duration_s: float
    reason: str | None = None
    transport: bool = False
    connected: bool = True
    layer: Layer | None = None
    readings: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Target:
    """An endpoint, or an instance of a dependency, with everything that is wrong with it now.

    `off` counts power losses, `crashed` crashes (several faults may overlap); `errors` and `slow` hold what each of theirs says.
    `labels` are versions, the newest last. `lag_s` is replication lag, None where there is
    nothing to replicate; the `primary` is never behind.
    """

    name: str
    zone: str = ""
    off: int = 0
    crashed: int = 0
    hung: int = 0
    garbage: int = 0
    saturated: int = 0
    errors: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)
    stalled: list[float] = field(default_factory=list)
    labels: list[str] = field(default_factory=lambda: ["v1"])
    lag_s: float | None = None
    primary: bool = False

    @property
    def well(self) -> bool:
        """Every look at it passes."""
        return not (
            self.off
            or self.crashed
            or self.hung
            or self.garbage
            or self.saturated
            or self.errors
            or self.slow
            or self.stalled
        )

    @property
    def label(self) -> str:
        return self.labels[-1]

    def ttft_s(self) -> float:
        """Seconds to the first token."""
        time_s = TTFT_S
        for factor in self.slow:
            time_s *= factor
        return time_s


@lru_cache(1024)
def _plain(status: Status, duration_s: float, reason: str | None = None) -> Look:
    """A look that read nothing. Most looks of a rehearsal are one of a few: each is made once."""
    return Look(status, duration_s, reason)


@lru_cache(1024)
def _unanswered(duration_s: float, reason: str, *, connected: bool) -> Look:
    return Look(Status.FAIL, duration_s, reason, transport=True, connected=connected)


def lost(check: Check, stretch: float) -> Look | None:
    """A look whose packets get lost on the way: nothing connects in time. None where that tells nothing."""
    if check.layer is Layer.PROGRESS:
        return None  # a scrape that fails says nothing of progress: unknown, not idle (probes.md)
    return _unanswered(_connect_s(check, stretch), "connect timed out", connected=False)


def _connect_s(check: Check, stretch: float) -> float:
    timeout_s = check.timeout_s * stretch
    return min(timeout_s, _CONNECT_S * stretch) if check.layer in _USER else timeout_s


def look_at(target: Target, check: Check, path: Path, stretch: float, now: float, rng: Random) -> Look | None:
    """One look by `check` over `path`; `stretch` is what the agent's doubt makes of timeouts. None when it tells nothing."""
    fault = _fault(target, check, path, stretch, rng)
    if fault is not None:
        # A scrape that fails says nothing of progress: unknown, not idle (probes.md).
        return None if check.layer is Layer.PROGRESS else fault
    if check.layer in _USER:
        return _generation(target, check, path, check.timeout_s * stretch, stretch)
    if check.layer is Layer.PROGRESS:
        return _progress(target, path, now)
    if check.layer is Layer.DEPENDENCY:
        return _dependency(target, path)
    return _plain(Status.PASS, _ANSWER_S + path.latency_s)


def _fault(target: Target, check: Check, path: Path, stretch: float, rng: Random) -> Look | None:
    """What keeps any answer from coming, or makes it an error; None when the target answers as it should."""
    user = check.layer in _USER
    timeout_s = check.timeout_s * stretch
    connect_s = _connect_s(check, stretch)
    astray = path.loss > 0.0 and rng.random() < path.loss
    if path.cut or target.off or astray or path.latency_s >= connect_s:
        return _unanswered(connect_s, "connect timed out", connected=False)
    if target.crashed:
        return _unanswered(path.latency_s, "connection refused", connected=False)
    if target.hung:
        limit_s = min(timeout_s, _ttft_limit_s(check) * stretch) if user else timeout_s
        return _unanswered(limit_s, "no first token in time" if user else "no answer in time", connected=True)
    if target.errors and any(rng.random() < rate for rate in target.errors):
        return _plain(Status.FAIL, _ANSWER_S + path.latency_s, "status 500")
    return None


def _ttft_limit_s(check: Check) -> float:
    ttft_s = _objective_s(check)
    return _TTFT_MOST_S if ttft_s is None else min(_TTFT_MOST_S, _TTFT_FACTOR * ttft_s)


def _objective_s(check: Check) -> float | None:
    value = check.settings.get("ttft")
    return float(value) if isinstance(value, (int, float)) else None


def _generation(target: Target, check: Check, path: Path, timeout_s: float, stretch: float) -> Look:
    """One small streamed answer."""
    limit_s = min(timeout_s, _ttft_limit_s(check) * stretch)
    ttft_s, objective_s = target.ttft_s() + path.latency_s, _objective_s(check)
    if target.stalled or ttft_s > limit_s:
        return Look(Status.FAIL, limit_s, "no first token in time", transport=True)
    readings = {"ttft_s": ttft_s}
    whole_s = min(timeout_s, ttft_s + _TOKENS_S)
    if target.saturated:
        return Look(Status.SATURATED, _ANSWER_S + path.latency_s, "status 429")
    if target.garbage:
        return Look(Status.FAIL, whole_s, "wrong answer", layer=Layer.CORRECTNESS, readings=readings)
    if objective_s is not None and ttft_s > objective_s:
        return Look(Status.SLOW, whole_s, "time to first token over its objective", readings=readings)
    return Look(Status.PASS, whole_s, readings=readings)


def _progress(target: Target, path: Path, now: float) -> Look:
    if target.stalled and now - min(target.stalled) >= _STALL_S:
        return Look(Status.FAIL, _ANSWER_S + path.latency_s, "no progress", transport=True)
    if target.saturated:
        return Look(Status.SATURATED, _ANSWER_S + path.latency_s, "queue over its limit")
    return _plain(Status.PASS, _ANSWER_S + path.latency_s)


def _dependency(target: Target, path: Path) -> Look:
    readings = {} if target.lag_s is None else {"lag_s": target.lag_s}
    if target.slow:
        return Look(Status.SLOW, 1.0, "slow", readings=readings)
    return Look(Status.PASS, _ANSWER_S + path.latency_s, readings=readings)
