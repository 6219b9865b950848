"""What gray band, factors, damping and repeat say of a name, in words for `explain`."""

from __future__ import annotations

from steerd.core.limits import Limits
from steerd.core.world import World
from steerd.model.plan import Drain, Phase

__all__ = ["drain_words", "rule_words"]


def rule_words(world: World, service: str, name: str, now: float) -> list[str]:
    """Lines about an endpoint, zone or region of `service` that concern rules with a memory."""
    lines: list[str] = []
    for endpoint in sorted(world.domains.members(service, name)):
        lines += _gray(world, endpoint)
        factor = world.services[service].factors.get(endpoint)
        if factor is not None:
            lines.append(f"{endpoint} weighs {factor[0]:.0%} of its capacity ({now - factor[1]:.0f} s so far)")
    penalty = world.damper.current(name, now)
    if penalty is not None:
        line = f"{name} went down {penalty.flaps} time(s) lately: its penalty is {penalty.value:.0f}"
        until = world.damper.suppressed_until(name, now)
        if until is not None:
            line += f"; it is suppressed for {until - now:.0f} s more, and comes back after that"
        lines.append(line)
    room = world.velocity.room(service, now)
    if room < world.velocity.rules.max_removed_share:
        lines.append(f"automation may take {room:.0%} of the capacity of {service} out now (max_removed)")
    return lines


def _gray(world: World, endpoint: str) -> list[str]:
    lines = []
    for check, series in sorted(world.gray.hot.get(endpoint, {}).items()):
        if not (series.mean_long or series.mean_short):
            continue
        word = " (gray: down)" if series.down else " (gray: degraded)" if series.degraded else ""
        rates = f"{series.mean_short:.0%} of looks over 60 s, {series.mean_long:.0%} over 180 s"
        lines.append(f"{endpoint} fails {rates} by {check}{word}")
    return lines


def drain_words(world: World, service: str, drain: Drain, due: float | None, now: float) -> list[str]:
    """What holds this drain back beyond its ramp; `due` is when the ramp alone would move it."""
    lines = []
    if drain.most < 1.0:
        lines.append(
            f"it goes no further than {drain.most:.0%}: a second gray drain within the hour, or its receivers suffered"
        )
    if drain.automatic and drain.phase is Phase.HELD and due is not None:
        back = Limits(world, service, now).back_at(drain, due)
        if back > due:
            lines.append(f"it flapped, and waits {back - due:.0f} s longer for that")
    return lines
