"""Whether what was expected happened. Every form is a function of the recorder's series."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from steerd.model.fleet import Fleet
from steerd.sim.recorder import Recorder, Series
from steerd.sim.scenario import Expectation, Scenario

__all__ = ["Failure", "judge"]

_SHARE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that does not hold: which, why, and the moment to look at."""

    text: str
    why: str
    at: float
    place: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.why}" + (f" ({self.place})" if self.place else "")


def judge(scenario: Scenario, recorder: Recorder) -> list[Failure]:
    """Everything expected that did not hold, in the order of the file."""
    found = []
    for wanted in scenario.expect:
        why = _FORMS[wanted.form](wanted, scenario, recorder)
        if why is not None:
            found.append(Failure(wanted.text, why[1], why[0], wanted.place))
    return found


Verdict = tuple[float, str] | None
"""(the moment to look at, why not), or None when it holds."""


def _spans(series: Series, start: float, end: float) -> Iterator[tuple[float, float, object]]:
    """(from, to, value) of each stretch that meets [start, end]."""
    for index, (since, value) in enumerate(series):
        until = series[index + 1][0] if index + 1 < len(series) else float("inf")
        if since <= end and until >= start and not (until == start and since < start):
            yield max(since, start), min(until, end), value


def _over_time(
    wanted: Expectation, series: Series, start: float, lasts: float, holds: Callable[[object], bool], said: str
) -> Verdict:
    """`by`: at some moment; `during`: at every one."""
    if wanted.during is not None:
        start, end = wanted.during
        if end > lasts:
            return lasts, f"the rehearsal ended at {lasts:.1f} s, before that"
        for at, _, value in _spans(series, start, end):
            if not holds(value):
                return at, f"{said} {_word(value)} at {at:.1f} s"
        return None if series else (end, f"{said} never known")
    end = wanted.by if wanted.by is not None else lasts
    for _, _, value in _spans(series, start, end):
        if holds(value):
            return None
    later = next((t for t, v in series if t > end and holds(v)), None)
    last = next((v for t, v in reversed(series) if t <= end), None)
    when = f"it was so at {later:.1f} s" if later is not None else "it never was"
    return end, f"{said} {_word(last)} by then; {when}"


def _word(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _health(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    series = recorder.health.get(wanted.of[0], [(0.0, "unknown")])
    return _over_time(wanted, series, 0.0, scenario.duration_s, lambda v: v == wanted.word, "health is")


def _share(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    test = wanted.test
    assert test is not None, "the reader gives every share a test"
    series = recorder.shares.get(wanted.of[0], [])

    def holds(value: object) -> bool:
        return isinstance(value, float) and test.holds(value, _SHARE_TOLERANCE)

    return _over_time(wanted, series, scenario.first_fault_s, scenario.duration_s, holds, "share is")


def _never_drained(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    for at, name in recorder.drained:
        for whom in wanted.of:
            if name == whom or _contains(scenario.fleet, name, whom):
                return at, f"{name} was drained at {at:.1f} s"
    return None


def _contains(fleet: Fleet, outer: str, inner: str) -> bool:
    """`outer` is a zone or region, `inner` a zone or endpoint in it."""
    endpoint = fleet.endpoint_by_name.get(inner)
    zone = endpoint.zone if endpoint is not None else inner
    return outer != inner and outer in (zone, fleet.zone_region.get(zone))


def _diagnosis(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    end = wanted.by if wanted.by is not None else scenario.duration_s
    agents = {a.name: a.zone for a in scenario.fleet.agents}
    of = {agents.get(n, n) for n in wanted.of} | set(wanted.of)
    found = [d for d in recorder.diagnoses if d[1] == wanted.word and (not of or d[2] in of)]
    if any(d[0] <= end and wanted.label in (None, d[3]) for d in found):
        return None
    said = ", ".join(f"{d[1]} {d[2]}{f' ({d[3]})' if d[3] else ''} at {d[0]:.1f} s" for d in recorder.diagnoses[:5])
    return end, f"diagnosed: {said or 'nothing'}"


def _transitions(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    names = wanted.of or tuple(scenario.fleet.endpoint_by_name)
    count = sum(recorder.transitions[n] for n in names)
    return _count(wanted, count, scenario)


def _writes(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    verdict = _count(wanted, len(recorder.writes), scenario)
    return verdict and (recorder.writes[-1][0] if recorder.writes else scenario.duration_s, verdict[1])


def _count(wanted: Expectation, count: int, scenario: Scenario) -> Verdict:
    assert wanted.test is not None, "the reader gives every count a test"
    return None if wanted.test.holds(count) else (scenario.duration_s, f"there were {count}")


def _alert(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    end = wanted.by if wanted.by is not None else scenario.duration_s
    times = [at for at, kind, _, active in recorder.alerts if kind == wanted.word and active]
    if any(at <= end for at in times):
        return None
    return end, f"first alerted at {times[0]:.1f} s" if times else "never alerted"


def _no_alert(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    del scenario
    for at, kind, of, active in recorder.alerts:
        if kind == wanted.word and active:
            return at, f"alerted on {of} at {at:.1f} s"
    return None


def _frozen(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    want = wanted.word == "true"
    return _over_time(wanted, recorder.frozen, 0.0, scenario.duration_s, lambda v: v is want, "frozen is")


def _state(wanted: Expectation, scenario: Scenario, recorder: Recorder) -> Verdict:
    series = recorder.agents.get(wanted.of[0], [])
    start = scenario.first_fault_s
    return _over_time(wanted, series, start, scenario.duration_s, lambda v: v == wanted.word, "it is")


_FORMS: dict[str, Callable[[Expectation, Scenario, Recorder], Verdict]] = {
    "health": _health,
    "share": _share,
    "never_drained": _never_drained,
    "diagnosis": _diagnosis,
    "transitions": _transitions,
    "writes": _writes,
    "alert": _alert,
    "no_alert": _no_alert,
    "frozen": _frozen,
    "state": _state,
}
