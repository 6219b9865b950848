"""Constants of the rules in decisions.md, each with its default. Times in seconds, fractions 0..1."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Damping", "Gray", "Guards", "Quorum", "Ramp", "VerdictRules"]


@dataclass(frozen=True, slots=True)
class Quorum:
    """Section 4. `vantage_regions` is 1 where the config has only one vantage region (config fills it)."""

    voices: int = 3
    vantage_regions: int = 2
    down_at: float = 2 / 3
    up_at: float = 1 / 5
    vote_ttl_s: float = 15.0
    settle_s: float = 2.0
    confirm_rate_per_s: float = 50.0


@dataclass(frozen=True, slots=True)
class VerdictRules:
    """Section 2."""

    fall: int = 3
    rise: int = 3
    confirm_gap_s: float = 0.25


@dataclass(frozen=True, slots=True)
class Gray:
    """Section 4, gray band: (enter, leave) failure rates."""

    degraded: tuple[float, float] = (0.20, 0.05)
    down: tuple[float, float] = (0.50, 0.10)


@dataclass(frozen=True, slots=True)
class Damping:
    """Section 5."""

    penalty: float = 1000.0
    half_life_s: float = 900.0
    suppress: float = 3000.0
    reuse: float = 750.0
    max: float = 12000.0


@dataclass(frozen=True, slots=True)
class Guards:
    """Section 8."""

    max_utilization: float = 0.80
    min_in_rotation: float = 0.50
    max_zones_drained: int = 1
    max_regions_drained: int = 1
    max_ejected: float = 0.20
    max_removed_share: float = 0.50
    max_removed_per_s: float = 300.0
    dwell_s: float = 60.0
    repeat_block_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Ramp:
    """Section 9. Steps are cumulative fractions of the move."""

    drain_steps: tuple[float, ...] = (0.25, 0.50, 0.75, 1.0)
    drain_step_every_s: float = 60.0
    restore_after_s: float = 600.0
    restore_steps: tuple[float, ...] = (0.05, 0.25, 0.50, 1.0)
    restore_step_every_s: float = 300.0
