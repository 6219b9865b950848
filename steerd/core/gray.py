"""Gray band: endpoints that fail some looks but never three in a row (decisions.md, section 4).

    votes' cumulative counts -> looks per vantage zone, check and 10 s slot -> rates over 60 s and 180 s -> two latches

Only endpoints with a failure in the window are kept. While an endpoint had none, all its looks passed: what a window held
before the first failure is known from the cadence, and nothing needs to be stored for the healthy part of a fleet.
Everything is judged at the turn of a slot, and the votes of one instant are taken together, so the order in which they came does
not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import floor, log, sqrt

from steerd.core.quorum import EndpointBoard, EndpointState
from steerd.core.timers import Timers
from steerd.core.votes import AgentState
from steerd.model.fleet import Fleet
from steerd.model.rules import Gray
from steerd.model.sample import Layer
from steerd.model.vote import Vote

__all__ = ["SLOT_S", "GrayBand", "Series", "trimmed_mean"]

SLOT_S = 10.0
LONG, SHORT = 18, 6
"""Slots of the two windows: 180 s and 60 s."""
_MIN_SAMPLES = 30
_ABOVE = 0.15
_WITHIN = 0.05
"""Enter 15 points above the service's lower-quartile endpoint, leave within 5 of it."""
_LUCK = 25.0
"""... and so far above it that chance does not explain it: less likely than e^-25. Every endpoint is judged every 10 s, 8.6 million
times a day in a fleet of 1000; where a fifth of all looks gets lost, 15 points come by chance every day, and even 6 standard
deviations every few days, as such rates stray further up than a normal distribution does."""
_SUPPORT = 0.5
_SUPPORT_DOWN = 0.6
"""What each supporting voice sees at least, as a part of the entering rate: 10% of 20% for degraded, 30% of 50% for down."""
_UNSENT_SLOTS = 3
"""Counts of the last 30 s may not have been sent yet (a vote is refreshed every 30 s): they come with the next vote."""
_TURNS = frozenset({Layer.USER_PATH, Layer.CORRECTNESS})
_TINY = 1e-9


def trimmed_mean(rates: Iterable[float]) -> float:
    """The mean without the highest and the lowest; of one or two rates, the lowest (nobody to agree with: no blame)."""
    ordered = sorted(rates)
    if len(ordered) < 3:
        return ordered[0] if ordered else 0.0
    kept = ordered[1:-1]
    return sum(kept) / len(kept)


class _Ring:
    """Looks of one vantage zone in the slots of the long window and the one under way, with running sums."""

    __slots__ = ("_failed", "_passed", "_slot", "failed_long", "failed_short", "passed_long", "passed_short")

    def __init__(self, slot: int) -> None:
        self._empty(slot)

    def _empty(self, slot: int) -> None:
        self._slot = slot
        self._passed = [0] * (LONG + 1)
        self._failed = [0] * (LONG + 1)
        self.passed_long = self.failed_long = self.passed_short = self.failed_short = 0

    def add(self, passed: int, failed: int, slot: int, back: int = 0) -> None:
        """Adds looks to `slot`, or to the one `back` slots before it."""
        if slot != self._slot:
            self.advance(slot)
        at = (slot - back) % (LONG + 1)
        self._passed[at] += passed
        self._failed[at] += failed
        self.passed_long += passed
        self.failed_long += failed
        if back <= SHORT:
            self.passed_short += passed
            self.failed_short += failed

    def advance(self, slot: int) -> None:
        """Forgets what left the windows by `slot`."""
        if slot - self._slot > LONG:
            self._empty(slot)
            return
        while self._slot < slot:
            self._slot += 1
            old = self._slot % (LONG + 1)
            self.passed_long -= self._passed[old]
            self.failed_long -= self._failed[old]
            self._passed[old] = self._failed[old] = 0
            leaves = (self._slot - SHORT - 1) % (LONG + 1)
            self.passed_short -= self._passed[leaves]
            self.failed_short -= self._failed[leaves]


@dataclass(slots=True)
class Series:
    """One check of one endpoint: looks per vantage zone, the rates as last judged, and the latches."""

    zones: dict[str, _Ring] = field(default_factory=dict)
    mean_long: float = 0.0
    mean_short: float = 0.0
    degraded: bool = False
    down: bool = False

    def ring(self, zone: str, slot: int) -> _Ring:
        """The zone's looks; begun with `slot` where there are none."""
        found = self.zones.get(zone)
        if found is None:
            found = self.zones[zone] = _Ring(slot)
        return found

    def rates(self, zones: Iterable[str], *, short: bool) -> tuple[dict[str, float], int]:
        """Zone -> failure rate, and the samples behind all of them; zones without a look are left out."""
        found: dict[str, float] = {}
        samples = 0
        for zone in zones:
            ring = self.zones.get(zone)
            if ring is None:
                continue
            passed, failed = (ring.passed_short, ring.failed_short) if short else (ring.passed_long, ring.failed_long)
            if passed + failed:
                found[zone] = failed / (passed + failed)
                samples += passed + failed
        return found, samples


class GrayBand:
    """All endpoints with failures in the window. `note` every vote that counts a failure more, and every one on those in `hot`;
    `judge` when the alarm "gray" rings."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._fleet = Fleet(name="")
        self._period: dict[tuple[str, str], float] = {}
        self._turns: set[tuple[str, str]] = set()
        self.hot: dict[str, dict[str, Series]] = {}

    def configure(self, fleet: Fleet) -> None:
        """Takes a new config: endpoints and checks that left it are forgotten."""
        self._fleet = fleet
        self._period = {(s.name, c.name): c.interval_s for s in fleet.services for c in s.checks}
        self._turns = {(s.name, c.name) for s in fleet.services for c in s.checks if c.layer in _TURNS}
        for name in [n for n in self.hot if n not in fleet.endpoint_by_name]:
            del self.hot[name]

    def note(self, looks: Iterable[tuple[AgentState, Vote, Vote]], board: EndpointBoard, now: float) -> None:
        """Votes were taken, all in one instant: (agent, what this start of it said before, the vote)."""
        slot = floor(now / SLOT_S)
        early: list[tuple[str, str, str, int]] = []
        for agent, old, new in looks:
            endpoint = new.endpoint
            if endpoint not in board.states:
                continue
            before, checks = old.counts, self.hot.get(endpoint)
            for place, counts in enumerate(new.counts):
                check = counts.check
                known = before[place] if place < len(before) else None
                if known is None or known.check != check:
                    known = next((c for c in before if c.check == check), None)
                passed = counts.passed - (known.passed if known is not None else 0)
                failed = counts.failed - (known.failed if known is not None else 0)
                if passed < 0 or failed < 0 or passed + failed == 0:
                    continue
                series = checks.get(check) if checks is not None else None
                if series is None and failed:
                    series = self._begin(board.states[endpoint], check, board, slot)
                    checks = self.hot[endpoint]
                if series is not None:
                    series.ring(agent.zone, slot).add(passed, failed, slot)
                else:
                    early.append((agent.zone, endpoint, check, passed))
        for zone, endpoint, check, passed in early:  # passes told before the failure that begins a series
            series = self.hot.get(endpoint, {}).get(check)
            if series is not None:
                series.ring(zone, slot).add(passed, 0, slot)

    def _begin(self, state: EndpointState, check: str, board: EndpointBoard, slot: int) -> Series:
        """The first failure in the window: everything before it passed, at the cadence of the agents that are heard."""
        series = self.hot.setdefault(state.name, {}).setdefault(check, Series())
        self._timers.at((slot + 1) * SLOT_S, "gray", "")
        seers = board.seers(state.name)
        period = self._period.get((state.service, check))
        if period is None:
            return series
        if (state.service, check) in self._turns:
            period *= max(1, len(seers))
        for agent, vote in board.fresh_votes(state.name, slot * SLOT_S):
            done = next((c.passed for c in vote.counts if c.check == check), 0)
            ring = series.ring(agent.zone, slot)
            for back in range(_UNSENT_SLOTS, LONG + 1):
                looks = int(back * SLOT_S / period) - int((back - 1) * SLOT_S / period)
                looks = min(looks, done)
                done -= looks
                ring.add(looks, 0, slot, back)
        return series

    def judge(self, board: EndpointBoard, now: float) -> set[str]:
        """Judges every endpoint kept, at the turn of a slot. Returns those whose health changed."""
        slot = floor(now / SLOT_S)
        floors = self._measure(board, slot)
        changed: set[str] = set()
        for name in sorted(self.hot):
            state, checks = board.states[name], self.hot[name]
            for check in [c for c in checks if (state.service, c) not in floors]:
                del checks[check]  # neither a failure in the window nor a latch
            if state.decided:
                for check, series in checks.items():
                    self._latch(state, series, floors[state.service, check])
            down = [c for c, s in sorted(checks.items()) if s.down]
            degraded = [c for c, s in sorted(checks.items()) if s.degraded]
            text = _words(checks, down, degraded)
            if board.set_gray(name, down=bool(down), degraded=bool(degraded), text=text, now=now):
                changed.add(name)
            if not checks:
                del self.hot[name]
        if self.hot:
            self._timers.at((slot + 1) * SLOT_S, "gray", "")
        return changed

    def _measure(self, board: EndpointBoard, slot: int) -> dict[tuple[str, str], tuple[float, float]]:
        """Brings every series up to date. Returns (service, check) -> the lower-quartile endpoint's means (long, short),
        for series worth keeping."""
        long: dict[tuple[str, str], list[float]] = {}
        short: dict[tuple[str, str], list[float]] = {}
        for name, checks in self.hot.items():
            state = board.states[name]
            zones = [v.zone for v in state.voices]
            for check, series in checks.items():
                for ring in series.zones.values():
                    ring.advance(slot)
                if not (series.down or series.degraded or any(r.failed_long for r in series.zones.values())):
                    continue
                series.mean_long = trimmed_mean(series.rates(zones, short=False)[0].values())
                series.mean_short = trimmed_mean(series.rates(zones, short=True)[0].values())
                long.setdefault((state.service, check), []).append(series.mean_long)
                short.setdefault((state.service, check), []).append(series.mean_short)
        sizes = {s.name: len(s.endpoints) for s in self._fleet.services}
        return {k: (_lower_quartile(long[k], sizes[k[0]]), _lower_quartile(short[k], sizes[k[0]])) for k in long}

    def _latch(self, state: EndpointState, series: Series, floors: tuple[float, float]) -> None:
        rules: Gray = self._fleet.gray
        series.degraded = self._hold(state, series, rules.degraded, floors[0], short=False)
        series.down = self._hold(state, series, rules.down, floors[1], short=True)

    def _hold(
        self, state: EndpointState, series: Series, limits: tuple[float, float], others: float, *, short: bool
    ) -> bool:
        """One latch: `down` over the short window, `degraded` over the long one; `others` is the lower quartile's mean."""
        enter, leave = limits
        support = _SUPPORT_DOWN if short else _SUPPORT
        mean = series.mean_short if short else series.mean_long
        rates, samples = series.rates((v.zone for v in state.voices), short=short)
        if series.down if short else series.degraded:
            return not rates or not (mean <= leave + _TINY or mean <= others + _WITHIN + _TINY)
        if samples < _MIN_SAMPLES or mean < max(enter, others + _ABOVE) - _TINY or _lucky(mean, others, samples):
            return False
        behind = [v for v in state.voices if rates.get(v.zone, 0.0) >= support * enter - _TINY]
        quorum = self._fleet.quorum
        enough = len(behind) >= quorum.down_at * len(state.voices) - _TINY
        return enough and len({v.region for v in behind}) >= quorum.vantage_regions

    def rate(self, endpoint: str) -> float:
        """The worst check's failure rate over 60 s, as last judged: 0..1."""
        return max((s.mean_short for s in self.hot.get(endpoint, {}).values()), default=0.0)


def _lucky(mean: float, others: float, samples: int) -> bool:
    """Whether an endpoint like the others may fail so much by chance (Chernoff's bound: the chance is at most e^-(samples x KL)).

    The lower quartile has been lucky itself: the others' rate is taken a standard deviation above it, and where they had no
    failure at all, as if each had had one.
    """
    usual = max(others + sqrt(others * (1.0 - others) / samples), 1.0 / samples)
    if mean <= usual or usual >= 1.0:
        return True
    divergence = mean * log(mean / usual)
    if mean < 1.0:
        divergence += (1.0 - mean) * log((1.0 - mean) / (1.0 - usual))
    return samples * divergence < _LUCK


def _lower_quartile(hot: list[float], size: int) -> float:
    """Of `size` endpoints, those not in `hot` had no failure at all. An endpoint alone has nobody to be compared with."""
    if size < 2:
        return 0.0
    place = (size - 1) // 4
    clean = size - len(hot)
    return 0.0 if place < clean else sorted(hot)[place - clean]


def _words(checks: Mapping[str, Series], down: list[str], degraded: list[str]) -> str | None:
    if down:
        return "; ".join(f"{c}: {checks[c].mean_short:.0%} of looks fail" for c in down)
    if degraded:
        return "; ".join(f"{c}: {checks[c].mean_long:.0%} of looks fail" for c in degraded)
    return None
