"""Readings that are shown as they stand: the newest of each subject, for as long as it says something of now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from steerd.telemetry.gauges import Sample

__all__ = ["LIFE_S", "Kept"]

LIFE_S: Final = 120.0
"""Seconds after which a reading is no longer shown: its look fails, or its endpoint left the config."""

_ENGINE: Final = {"waiting": "steerd.model.queue", "kv_cache": "steerd.model.kv_cache"}
"""Reading of an engine -> its gauge."""

_LAG: Final = "lag_s"


class Kept:
    """Takes the readings of looks, and gives gauges. `clock` is steady, in seconds. Bounded by what the config names."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[tuple[str, str, str], tuple[float, float]] = {}

    def take(self, service: str, subject: str, readings: Mapping[str, float]) -> None:
        """The readings of one look; names that no gauge shows are left alone."""
        for name, metric in _ENGINE.items():
            if name in readings:
                self._values[metric, service, subject] = readings[name], self._clock()
        if _LAG in readings:
            # A dependency is shared: whose look it was says nothing.
            self._values["steerd.dependency.lag", "", subject] = readings[_LAG], self._clock()

    def samples(self) -> Iterable[Sample]:
        """What is shown now; what is too old is forgotten."""
        oldest = self._clock() - LIFE_S
        for key in [key for key, (_, at) in self._values.items() if at < oldest]:
            del self._values[key]
        for (metric, service, subject), (value, _) in self._values.items():
            if service:
                yield metric, {"service": service, "endpoint": subject}, value
            else:
                yield metric, {"dependency": subject}, value
