"""A picture of a run: share of each zone, health of its endpoints, writes and faults over time. Plain SVG, no script."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from steerd.sim.recorder import Series
from steerd.sim.run import Result

__all__ = ["draw"]

_LEFT, _RIGHT, _WIDTH = 150.0, 20.0, 1100.0
_LANE, _GAP, _TOP = 46.0, 10.0, 70.0
_COLOURS = {
    "down": "#c62828",
    "degraded": "#ef6c00",
    "saturated": "#f9a825",
    "healthy": "#2e7d32",
    "unknown": "#9e9e9e",
}


def draw(result: Result) -> str:
    """The whole picture."""
    fleet = result.scenario.fleet
    zones = [z for r in fleet.regions for z in r.zones if z in result.recorder.shares]
    height = _TOP + len(zones) * (_LANE + _GAP) + 60
    verdict = "passed" if result.passed else "FAILED"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH:g}" height="{height:g}" fill="white"/>',
        f'<text x="10" y="22" font-size="16">{escape(result.scenario.name)}: {verdict} (seed {result.seed})</text>',
        f'<text x="10" y="40" fill="#555">{escape(result.scenario.about[:150])}</text>',
        *_faults(result, height),
    ]
    top = max((max((s for _, s in result.recorder.shares[z]), default=0.0) for z in zones), default=1.0) or 1.0
    for index, zone in enumerate(zones):
        parts += _lane(result, zone, _TOP + index * (_LANE + _GAP), top)
    parts += _writes(result, height)
    return "\n".join([*parts, "</svg>", ""])


def _x(result: Result, at: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(1.0, at / result.scenario.duration_s)


def _faults(result: Result, height: float) -> Iterator[str]:
    for fault in result.scenario.faults:
        start = _x(result, fault.at)
        end = _x(result, fault.until if fault.until is not None else result.scenario.duration_s)
        yield (
            f'<rect x="{start:.1f}" y="50" width="{max(1.0, end - start):.1f}" height="{height - 100:.1f}" fill="#c62828" '
            f'fill-opacity="0.06"><title>{escape(fault.text)}</title></rect>'
        )
        yield f'<text x="{start + 3:.1f}" y="62" fill="#c62828" font-size="10">{escape(fault.text[:60])}</text>'


def _lane(result: Result, zone: str, y: float, top: float) -> Iterator[str]:
    """Share as a line, the worst health of its endpoints as a band below."""
    yield f'<text x="10" y="{y + 24:.1f}">{escape(zone)}</text>'
    yield f'<rect x="{_LEFT:g}" y="{y:.1f}" width="{_WIDTH - _LEFT - _RIGHT:.1f}" height="{_LANE - 8:.1f}" fill="#f5f5f5"/>'
    points = []
    series: Series = result.recorder.shares[zone]
    for index, (at, share) in enumerate(series):
        level = y + (_LANE - 8) * (1 - share / top)
        following = series[index + 1][0] if index + 1 < len(series) else result.scenario.duration_s
        points += [f"{_x(result, at):.1f},{level:.1f}", f"{_x(result, following):.1f},{level:.1f}"]
    yield f'<polyline points="{" ".join(points)}" fill="none" stroke="#1565c0" stroke-width="1.5"/>'
    members = [e.name for e in result.scenario.fleet.endpoint_by_name.values() if e.zone == zone]
    slot = 6.0 / max(1, len(members))
    for row, name in enumerate(members[:12]):
        health = result.recorder.health.get(name, [(0.0, "unknown")])
        for index, (at, word) in enumerate(health):
            following = health[index + 1][0] if index + 1 < len(health) else result.scenario.duration_s
            x = _x(result, at)
            yield (
                f'<rect x="{x:.1f}" y="{y + _LANE - 7 + row * slot:.1f}" width="{_x(result, following) - x:.1f}" '
                f'height="{slot:.2f}" fill="{_COLOURS[word]}"><title>{escape(name)} {word}</title></rect>'
            )


def _writes(result: Result, height: float) -> Iterator[str]:
    y = height - 40
    yield f'<text x="10" y="{y + 4:.1f}">writes</text>'
    for at, where in result.recorder.writes:
        x = _x(result, at)
        yield (
            f'<line x1="{x:.1f}" y1="{y - 8:.1f}" x2="{x:.1f}" y2="{y + 8:.1f}" stroke="#1565c0">'
            f"<title>{escape(where)} at {at:.1f} s</title></line>"
        )
    for part in range(6):
        at = result.scenario.duration_s * part / 5
        yield f'<text x="{_x(result, at) - 10:.1f}" y="{height - 10:.1f}" fill="#555">{at:.0f} s</text>'
