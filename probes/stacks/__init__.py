"""Serving stacks: which paths and metrics mean what, as YAML files beside this one.

    name: vllm
    help: what it is
    notes: [what an operator should know]
    checks:
      liveness: {layer: liveness, kind: http, interval: 5s, timeout: 2s, why: ..., settings: {path: /health}}

`interval` may be left out: the service's class then says how often. `optional: true` leaves a check out until a config names it.
In any text setting `$model` stands for the service's model id. Durations in `settings` are written with a unit and read as float
seconds.

A config brings stacks of its own, by the same keys; `extends` begins with the checks of another one, and a check of the same name
then needs only what differs (null takes it out):

    stacks:
      mine:
        extends: vllm
        checks:
          liveness: {settings: {path: /livez}}
          progress: null
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

__all__ = ["Stack", "StackCheck", "load", "names", "own", "read"]

_STACK = {"name", "help", "extends", "notes", "checks"}
_CHECK = {"layer", "kind", "interval", "timeout", "settings", "why", "optional"}


@dataclass(frozen=True, slots=True)
class StackCheck:
    """One check of a stack. Times are seconds; None leaves them to the service's class. `why` says what it tells. An `optional` one
    is made only where a config names it.
    """

    name: str
    layer: str
    kind: str
    interval_s: float | None
    timeout_s: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """A serving stack."""

    name: str
    help: str
    checks: tuple[StackCheck, ...] = ()
    notes: tuple[str, ...] = ()


def names() -> list[str]:
    """All stacks of this package, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


@lru_cache(maxsize=64)
def load(name: str) -> Stack:
    """The stack called `name`. Raises KeyError with the known names."""
    if name not in names():
        raise KeyError(f"there is no stack {name!r}; known are {', '.join(names())}")
    return read(resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def own(documents: Mapping[str, Any], name: str) -> Stack:
    """The stack `name` where a config brings `documents` of its own, by name; one of ours where it does not.

    Raises KeyError with the known names, and `SettingError` naming the key at fault.
    """
    return _own(documents, name, ())


def _own(documents: Mapping[str, Any], name: str, within: tuple[str, ...]) -> Stack:
    if name not in documents:
        if name not in names():
            known = sorted({*names(), *documents})
            raise KeyError(f"there is no stack {name!r}; known are {', '.join(known)}")
        return load(name)
    document = documents[name]
    where = f"stacks.{name}"
    if not isinstance(document, Mapping):
        raise SettingError(f"{where}: a stack is a map with some of {', '.join(sorted(_STACK))}")
    base = document.get("extends")
    if base is None:
        return _stack(document, where, name, None)
    # A stack that extends its own name extends ours of that name.
    others = {key: one for key, one in documents.items() if key != name}
    if base in within:
        raise SettingError(f"{where}.extends: stacks extend each other in a circle: {', '.join((*within, name))}")
    try:
        return _stack(document, where, name, _own(others, str(base), (*within, name)))
    except KeyError as error:
        raise SettingError(f"{where}.extends: {error.args[0]}") from error


def read(text: str, where: str) -> Stack:
    """The stack that a YAML text describes. Raises `SettingError` naming `where` and the key at fault."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError(f"{where}: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise SettingError(f"{where}: a stack is a map with at least `name` and `help`")
    base = None if document.get("extends") is None else load(str(document["extends"]))
    return _stack(document, where, document["name"], base)


def _stack(document: Mapping[str, Any], where: str, name: str, base: Stack | None) -> Stack:
    _known(document, _STACK, where)
    given = document.get("checks") or {}
    if not isinstance(given, Mapping):
        raise SettingError(f"{where}: checks: write a map of name: check")
    checks = {check.name: check for check in base.checks} if base else {}
    for key, body in given.items():
        if body is None and key in checks:
            del checks[key]
        else:
            checks[str(key)] = _check(str(key), body, where, checks.get(str(key)))
    notes = document.get("notes") or ()
    return Stack(
        name,
        str(document.get("help") or (f"{base.help}, with changes of this config" if base else "")),
        tuple(checks.values()),
        tuple(str(note) for note in (notes if isinstance(notes, (list, tuple)) else (notes,)))
        or (base.notes if base else ()),
    )


def _check(name: str, body: Any, where: str, base: StackCheck | None) -> StackCheck:
    place = f"{where}: checks.{name}"
    if not isinstance(body, Mapping):
        raise SettingError(f"{place}: write a map with at least `kind`")
    _known(body, _CHECK, place)
    word = str(body.get("kind") or (base.kind if base else None))
    kind = KINDS.get(word)
    if kind is None:
        raise SettingError(f"{place}.kind: {word!r} is no probe kind; known are {', '.join(sorted(KINDS))}")
    if base is not None and base.kind != kind.name:
        base = None  # another kind takes other settings
    layer = str(body.get("layer") or (base.layer if base else name))
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
        (base.interval_s if base else None) if interval is None else duration_s(interval),
        (base.timeout_s if base else None) if timeout is None else duration_s(timeout),
        {**(base.settings if base else {}), **settings},
        str(body.get("why") or (base.why if base else "")),
        bool(body.get("optional", base.optional if base else False)),
    )


def _known(body: Mapping[str, Any], known: set[str], place: str) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise SettingError(f"{place}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
