"""Layout of the rules' constants (decisions.md), and how they become `steerd.model.rules`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from steerd.config.presets import Preset
from steerd.config.problems import Problems
from steerd.config.specs import Duration, Fraction, Integer, Number, Rate
from steerd.config.tables import Field, Items, ListOf, Section, Table
from steerd.model.rules import Damping, Gray, Guards, Quorum, Ramp, VerdictRules

__all__ = [
    "DAMPING",
    "GRAY",
    "GUARDS",
    "QUORUM",
    "RAMP",
    "VERDICT",
    "damping",
    "gray",
    "guards",
    "quorum",
    "ramp",
    "service_ramp",
    "verdict",
]


def _quorum_order(section: Section, problems: Problems) -> None:
    down, up = section.get("down_at", Quorum().down_at), section.get("up_at", Quorum().up_at)
    if up >= down:
        key = "up_at" if section.given("up_at") else "down_at"
        problems.add(
            section.mark(key), "`up_at` must be below `down_at`, or health flaps between the two: 1/5 and 2/3, say"
        )
    if down <= 0.5:
        problems.add(
            section.mark("down_at"), "`down_at` must be above 1/2: fewer voices than a majority may not drain anything"
        )


QUORUM = Table(
    {
        "voices": Field(Integer(1, 1000), "voices (vantage zones) needed to decide", default=3),
        "vantage_regions": Field(
            Integer(1, 1000), "vantage regions needed to call anything down; default 2, or 1 if there is one"
        ),
        "down_at": Field(Fraction(above_zero=True), "share of voices that makes down", default="2/3"),
        "up_at": Field(Fraction(), "share of voices up to which it is not down", default="1/5"),
        "vote_ttl": Field(Duration(1.0), "a vote without refresh is absent after this", default="15s"),
        "settle": Field(Duration(zero=True), "wait for other endpoints in doubt", default="2s"),
        "confirm_rate": Field(Rate(), "confirm requests, at most", default="50/s"),
    },
    what="`quorum`",
    rule=_quorum_order,
)


def _removed(section: Section, problems: Problems) -> None:
    if section.given("share") != section.given("per"):
        problems.add(section.mark(), "`share` and `per` belong together: {share: 50%, per: 5m}")


GUARDS = Table(
    {
        "max_utilization": Field(Fraction(above_zero=True), "of effective capacity, for receivers", default="80%"),
        "min_in_rotation": Field(Fraction(), "members that stay in rotation", default="50%"),
        "max_zones_drained": Field(Integer(0, 1000), "zones drained per region", default=1),
        "max_regions_drained": Field(Integer(0, 1000), "regions drained", default=1),
        "max_ejected": Field(Fraction(), "single endpoints out at once", default="20%"),
        "max_removed": Field(
            Table(
                {
                    "share": Field(Fraction(above_zero=True), "of capacity"),
                    "per": Field(Duration(1.0), "within this time"),
                },
                what="`max_removed`",
                rule=_removed,
            ),
            "capacity removed at most",
        ),
        "dwell": Field(Duration(zero=True), "between opposite moves of one domain", default="60s"),
        "repeat_block": Field(Duration(zero=True), "a second gray drain within this only halves", default="1h"),
    },
    what="`guards`",
)
VERDICT = Table(
    {
        "fall": Field(Integer(1, 100), "failures in a row that make a check bad", default=3),
        "rise": Field(Integer(1, 100), "passes in a row that make a check good", default=3),
        "confirm_gap": Field(Duration(), "between the looks of a confirm", default="250ms"),
    },
    what="`verdict`",
)


def _gray_pairs(section: Section, problems: Problems) -> None:
    for key, pair in section:
        if isinstance(pair, Items) and len(pair) == 2 and pair[0] <= pair[1]:
            problems.add(section.mark(key), f"`{key}` is [ENTER, LEAVE] with ENTER above LEAVE: [20%, 5%], say")


_PAIR = ListOf(Fraction(), what="fractions", low=2, high=2)
GRAY = Table(
    {
        "degraded": Field(_PAIR, "failure rates that enter and leave degraded; default [20%, 5%]"),
        "down": Field(_PAIR, "failure rates that enter and leave down; default [50%, 10%]"),
    },
    what="`gray`",
    rule=_gray_pairs,
)


def _damping_order(section: Section, problems: Problems) -> None:
    reuse, suppress, top = (section.get(k, getattr(Damping(), k)) for k in ("reuse", "suppress", "max"))
    if not reuse < suppress <= top:
        problems.add(section.mark(), f"damping wants reuse < suppress <= max; here {reuse:g}, {suppress:g}, {top:g}")


DAMPING = Table(
    {
        "penalty": Field(Number(0), "added for each entry into down", default=1000),
        "half_life": Field(Duration(1.0), "the penalty halves in this time", default="15m"),
        "suppress": Field(Number(above=0), "restoring waits from this penalty on", default=3000),
        "reuse": Field(Number(above=0), "and goes on below this", default=750),
        "max": Field(Number(above=0), "the penalty's cap", default=12000),
    },
    what="`damping`",
    rule=_damping_order,
)


def _steps_rise(section: Section, problems: Problems) -> None:
    for key in ("drain_steps", "restore_steps"):
        steps = section.get(key)
        if not isinstance(steps, Items) or len(steps) == 0:
            continue
        rising = all(a < b for a, b in pairwise(steps))
        if not rising or steps[-1] != 1.0:
            problems.add(section.mark(key), f"`{key}` must rise and end at 100%: [25%, 50%, 100%], say")


_STEPS = ListOf(Fraction(above_zero=True), what="steps", low=1, high=100)
RAMP = Table(
    {
        "drain_steps": Field(_STEPS, "of a gray or operator drain, cumulative; default [25%, 50%, 75%, 100%]"),
        "drain_step_every": Field(Duration(), "between them", default="60s"),
        "restore_after": Field(Duration(zero=True), "healthy for this long before a restore; default by class"),
        "restore_steps": Field(_STEPS, "of a restore, cumulative; default [5%, 25%, 50%, 100%]"),
        "restore_step_every": Field(Duration(), "between them", default="5m"),
    },
    what="`ramp`",
    rule=_steps_rise,
)


def _values(section: Section | None, names: dict[str, str]) -> dict[str, Any]:
    """Field name of the model -> value, of the keys given."""
    if section is None:
        return {}
    found = {field: section.get(key) for key, field in names.items() if key in section}
    return {field: tuple(v) if isinstance(v, Items) else v for field, v in found.items()}


def quorum(section: Section | None, vantage_regions: int) -> Quorum:
    """The quorum's rules; `vantage_regions` is the default where the config gives none."""
    names = {
        "voices": "voices",
        "vantage_regions": "vantage_regions",
        "down_at": "down_at",
        "up_at": "up_at",
        "vote_ttl": "vote_ttl_s",
        "settle": "settle_s",
        "confirm_rate": "confirm_rate_per_s",
    }
    return Quorum(**{"vantage_regions": vantage_regions, **_values(section, names)})


def guards(section: Section | None) -> Guards:
    """The guards' limits."""
    names = {
        "max_utilization": "max_utilization",
        "min_in_rotation": "min_in_rotation",
        "max_zones_drained": "max_zones_drained",
        "max_regions_drained": "max_regions_drained",
        "max_ejected": "max_ejected",
        "dwell": "dwell_s",
        "repeat_block": "repeat_block_s",
    }
    removed = section.section("max_removed") if section else None
    return Guards(
        **_values(section, names), **_values(removed, {"share": "max_removed_share", "per": "max_removed_per_s"})
    )


def verdict(section: Section | None) -> VerdictRules:
    """The verdict's rules."""
    return VerdictRules(**_values(section, {"fall": "fall", "rise": "rise", "confirm_gap": "confirm_gap_s"}))


def gray(section: Section | None) -> Gray:
    """The gray band."""
    return Gray(**_values(section, {"degraded": "degraded", "down": "down"}))


def damping(section: Section | None) -> Damping:
    """Flap damping."""
    names = {"penalty": "penalty", "half_life": "half_life_s", "suppress": "suppress", "reuse": "reuse", "max": "max"}
    return Damping(**_values(section, names))


_RAMP_NAMES = {
    "drain_steps": "drain_steps",
    "drain_step_every": "drain_step_every_s",
    "restore_after": "restore_after_s",
    "restore_steps": "restore_steps",
    "restore_step_every": "restore_step_every_s",
}


def ramp(section: Section | None) -> Ramp:
    """The fleet's ramp."""
    return Ramp(**_values(section, _RAMP_NAMES))


def service_ramp(fleet: Section | None, own: Section | None, preset: Preset) -> Ramp:
    """A service's ramp: its own keys over the fleet's over its class's over the defaults."""
    given = {**_values(fleet, _RAMP_NAMES), **_values(own, _RAMP_NAMES)}
    return Ramp(**{"restore_after_s": preset.restore_after_s, **given})
