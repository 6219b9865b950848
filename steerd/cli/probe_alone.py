"""What `steerd probe` looks at without an endpoint around it: a dependency of a config, or one kind of look by itself."""

from __future__ import annotations

from collections.abc import Iterator

from probes.registry import KINDS
from probes.target import Target
from steerd.cli.errors import BadInput
from steerd.config.presets import CLASSES, DEFAULT_CLASS, default_interval_s, default_layer, default_timeout_s
from steerd.model.fleet import Check, Dependency, Fleet
from steerd.model.sample import Layer

__all__ = ["of_dependency", "of_kind"]

_PREFIX = "dependency:"


def of_dependency(fleet: Fleet, name: str) -> Iterator[tuple[Check, Target]]:
    """The looks at dependency NAME, one for each of its instances, or at the one of NAME@REGION; nothing when the config has
    none of that name.
    """
    name, _, region = name.partition("@")
    for dependency in fleet.dependencies:
        if dependency.name != name:
            continue
        paced = next((c for s in fleet.services for c in s.checks if c.name == _PREFIX + name), _default(dependency))
        for where in dependency.instances or ("",):
            if region in ("", where):
                subject = f"{name}@{where}" if where else name
                settings = {**dependency.settings, **dependency.instances.get(where, {})}
                check = Check(subject, paced.layer, paced.kind, paced.interval_s, paced.timeout_s, settings)
                yield check, Target(subject, _url(settings.get("url")))


def of_kind(kind: str, url: str | None, model: str | None) -> tuple[Check, Target]:
    """One look of `kind` with its own defaults; the check is called like the kind. Raises `BadInput`."""
    known = KINDS.get(kind)
    if known is None or not known.built:
        names = ", ".join(sorted(name for name, one in KINDS.items() if one.built))
        raise BadInput(f"No kind of look is called {kind!r}; there are {names}.")
    layer = default_layer(kind, kind)
    interval_s = default_interval_s(layer, CLASSES[DEFAULT_CLASS]) or 30.0
    settings = {setting.name: setting.default for setting in known.settings if setting.default is not None}
    check = Check(kind, layer, kind, interval_s, default_timeout_s(layer, interval_s), settings)
    return check, Target(kind, url or "", model=model)


def _default(dependency: Dependency) -> Check:
    """For a dependency that no service depends on."""
    interval_s = default_interval_s(Layer.DEPENDENCY, CLASSES[DEFAULT_CLASS]) or 10.0
    timeout_s = default_timeout_s(Layer.DEPENDENCY, interval_s)
    return Check(_PREFIX + dependency.name, Layer.DEPENDENCY, dependency.kind, interval_s, timeout_s)


def _url(value: object) -> str:
    return value if isinstance(value, str) else ""
