"""Probe kinds of other packages: the entry-point group `steerd.probes`.

    [project.entry-points."steerd.probes"]
    mykind = "my_package.my_module"

The entry point leads to a module (or any object) with `KIND`, a `probes.kinds.Kind` of the entry point's name, and
`build(layer, settings, resolve)`, which returns a `probes.Probe`. A plug-in that cannot be loaded stays known by name, so that a
config which uses it is told why, and everything else works.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from probes.kinds import Kind, Setting
from probes.outcome import Layer
from probes.probe import Probe
from probes.settings import Resolve

__all__ = ["GROUP", "Build", "Plugin", "installed"]

GROUP = "steerd.probes"
Build = Callable[[Layer, Mapping[str, Any], Resolve], Probe]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A kind of another package; without `build` it cannot be used, and the kind's help says why."""

    kind: Kind
    build: Build | None = None


def installed(taken: Mapping[str, Kind]) -> dict[str, Plugin]:
    """The plug-ins of this environment by name. One that takes a name of ours is left out."""
    found: dict[str, Plugin] = {}
    for point in entry_points(group=GROUP):
        if point.name not in taken and point.name not in found:
            found[point.name] = _load(point)
    return found


def _load(point: EntryPoint) -> Plugin:
    try:
        loaded = point.load()
        kind, build = getattr(loaded, "KIND", None), getattr(loaded, "build", None)
    except Exception as error:  # noqa: BLE001 - whatever a plug-in raises is about the plug-in
        return _broken(point, f"{point.value} cannot be loaded: {type(error).__name__}: {error}"[:300])
    if not isinstance(kind, Kind) or not all(isinstance(setting, Setting) for setting in kind.settings):
        return _broken(point, f"{point.value} has no KIND of type probes.kinds.Kind")
    if kind.name != point.name:
        return _broken(point, f"the KIND of {point.value} is called {kind.name!r}, its entry point {point.name!r}")
    if not callable(build):
        return _broken(point, f"{point.value} has no build(layer, settings, resolve)")
    return Plugin(kind, build)


def _broken(point: EntryPoint, why: str) -> Plugin:
    return Plugin(Kind(point.name, why, built=False))
