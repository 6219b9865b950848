"""Looks of one lane of the wire engine, one after the other."""

from __future__ import annotations

import asyncio
from typing import Any

from probes.http_probe import HttpProbe
from probes.outcome import Layer, Outcome
from probes.target import Target
from tests.support.wait import until

__all__ = ["Row"]


class Row:
    """`look` tells the outcome of one more look, None for a plain pass; `told` has them all."""

    def __init__(self, url: str, settings: dict[str, Any] | None = None) -> None:
        self.probe = HttpProbe(Layer.LIVENESS, settings or {"fresh_every": 1000}, str)
        self.told: list[Outcome | None] = []
        lane = self.probe.lane(Target("e1", url), lambda _, outcome: self.told.append(outcome))
        assert lane is not None
        self.lane = lane

    async def look(self, within_s: float = 1.0) -> Outcome | None:
        count = len(self.told)
        self.lane.start(asyncio.get_running_loop().time() + within_s)
        await until(lambda: len(self.told) > count, 5.0)
        return self.told[-1]

    async def close(self) -> None:
        self.lane.close()
        await self.probe.close()
