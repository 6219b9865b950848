"""One look at one endpoint: `Probe.look(target, deadline) -> Outcome`.

Usable on its own: nothing in here imports steerd. Schedules, votes and metrics are built around this primitive.
"""

from __future__ import annotations

from probes.outcome import Layer, Outcome, Stages, Status
from probes.probe import Probe, look_safely
from probes.target import Target

__all__ = ["Layer", "Outcome", "Probe", "Stages", "Status", "Target", "look_safely"]
