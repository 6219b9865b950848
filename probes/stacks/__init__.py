"""Serving stacks: which paths and metrics mean what, as YAML files beside this one.

    name: vllm
    help: what it is
    built: true                  # false: valid in a config, not written yet
    notes: [what an operator should know]
    checks:
      liveness: {layer: liveness, kind: http, interval: 5s, timeout: 2s, why: ..., settings: {path: /health}}

`interval` may be left out: the service's class then says how often. In any text setting `$model` stands for the
service's model id. Durations in `settings` are written with a unit and read as float seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml

from probes.errors import SettingError
from probes.outcome import Layer
from probes.registry import KINDS
from probes.units import duration_s

__all__ = ["Stack", "StackCheck", "load", "names", "read"]


@dataclass(frozen=True, slots=True)
class StackCheck:
    """One check of a stack. Times are seconds; None leaves them to the service's class. `why` says what it tells."""

    name: str
    layer: str
    kind: str
    interval_s: float | None
    timeout_s: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, slots=True)
class Stack:
    """A serving stack. `built` is False where the stack is known by name and its checks are not written yet."""

    name: str
    help: str
    built: bool
    checks: tuple[StackCheck, ...] = ()
    notes: tuple[str, ...] = ()


def names() -> list[str]:
    """All stacks, sorted, those not written yet included."""
    files = resources.files(__name__).iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


@lru_cache(maxsize=64)
def load(name: str) -> Stack:
    """The stack called `name`. Raises KeyError with the known names."""
    if name not in names():
        raise KeyError(f"there is no stack {name!r}; known are {', '.join(names())}")
    return read(resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def read(text: str, where: str) -> Stack:
    """The stack that a YAML text describes. Raises `SettingError` naming `where` and the key at fault."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError(f"{where}: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise SettingError(f"{where}: a stack is a map with at least `name` and `help`")
    _known(document, {"name", "help", "built", "notes", "checks"}, where)
    checks = document.get("checks") or {}
    if not isinstance(checks, dict):
        raise SettingError(f"{where}: checks: write a map of name: check")
    return Stack(
        document["name"],
        str(document.get("help", "")),
        bool(document.get("built", True)),
        tuple(_check(str(name), body, where) for name, body in checks.items()),
        tuple(str(note) for note in document.get("notes") or ()),
    )


def _check(name: str, body: Any, where: str) -> StackCheck:
    place = f"{where}: checks.{name}"
    if not isinstance(body, dict):
        raise SettingError(f"{place}: write a map with at least `kind`")
    _known(body, {"layer", "kind", "interval", "timeout", "settings", "why"}, place)
    kind = KINDS.get(str(body.get("kind")))
    if kind is None:
        raise SettingError(f"{place}.kind: {body.get('kind')!r} is no probe kind; known are {', '.join(sorted(KINDS))}")
    layer = str(body.get("layer", name))
    if layer not in {one.value for one in Layer}:
        raise SettingError(f"{place}.layer: {layer!r} is none of {', '.join(Layer)}")
    settings = dict(body.get("settings") or {})
    for key, value in settings.items():
        setting = kind.setting(key)
        if setting is None:
            raise SettingError(f"{place}.settings: {kind.name} has no setting {key!r}")
        if setting.type == "duration":
            settings[key] = duration_s(value)
    interval, timeout = body.get("interval"), body.get("timeout")
    return StackCheck(
        name,
        layer,
        kind.name,
        None if interval is None else duration_s(interval),
        None if timeout is None else duration_s(timeout),
        settings,
        str(body.get("why", "")),
    )


def _known(body: Mapping[str, Any], known: set[str], place: str) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise SettingError(f"{place}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
