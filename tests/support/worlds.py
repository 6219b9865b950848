"""A world with a fleet in force, for tests of single stages."""

from __future__ import annotations

from collections.abc import Mapping

from steerd.core.engine import Engine
from steerd.core.events import ConfigLoaded
from steerd.core.world import World
from steerd.model.fleet import Fleet
from steerd.model.route import Capabilities

__all__ = ["world_of"]


def world_of(fleet: Fleet, capabilities: Mapping[str, Capabilities]) -> World:
    engine = Engine("co")
    engine.step(ConfigLoaded(fleet, capabilities, accepted=True), 0.0)
    return engine.world
