"""Checks of a service: what its stack looks at, overridden and extended by the config, plus its dependencies'."""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Any

from probes.stacks import Stack, StackCheck
from steerd.config.kinds import PROBE_KINDS, defaults_of, settings_of, thaw
from steerd.config.layout_service import CHECK_COMMON, check_table
from steerd.config.nodes import Mapping, Node, Scalar, describe
from steerd.config.presets import DEPENDENCY_EVERY_S, Preset, default_interval_s, default_layer, default_timeout_s
from steerd.config.problems import Mark, Problems, nearest, quote
from steerd.config.tables import Section
from steerd.config.units import format_duration
from steerd.config.version_checks import labelled
from steerd.model.fleet import Check, Dependency
from steerd.model.sample import Layer

__all__ = ["DEPENDENCY_PREFIX", "Pace", "build_checks", "dependency_check", "dropped"]

DEPENDENCY_PREFIX = "dependency:"
_MODEL = "$model"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a dependency is looked at, and how long a look may take; seconds, None for the default."""

    interval_s: float | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What of the service flows into its checks."""

    preset: Preset
    class_name: str
    model: str | None
    ttft_s: float | None


def dropped(stack: Stack) -> list[StackCheck]:
    """The stack's own checks whose kind is a plug-in that cannot be used: left out, with a warning, unless a config names them."""
    return [c for c in stack.checks if not PROBE_KINDS[c.kind].built]


def build_checks(
    section: Section,
    stack: Stack,
    mark: Mark,
    preset: Preset,
    version: MappingABC[str, Any] | None,
    problems: Problems,
) -> tuple[Check, ...]:
    """The checks of the service in `section`, in the stack's order, then the config's."""
    before = len(problems)
    objectives = section.section("objectives")
    wanted = _Wanted(
        preset,
        section.get("class", "interactive"),
        section.get("model"),
        objectives.get("ttft") if objectives else None,
    )
    overrides = section.section("checks")
    named: dict[str, Node | None] = dict(overrides) if overrides else {}
    found: list[Check] = []
    lacking = {c.name for c in dropped(stack)} | {c.name for c in stack.checks if c.optional}
    off = {name for name, node in named.items() if _is_off(node, problems)}
    for base in stack.checks:
        if base.name in off or (base.name in lacking and base.name not in named):
            continue
        check = _check(base.name, base, named.get(base.name), mark, wanted, problems)
        if check is not None:
            found.append(check)
    known = {c.name for c in stack.checks}
    for name, node in named.items():
        if name in known:
            continue
        at = overrides.key_mark(name) if overrides else mark
        if name in off:
            problems.add(at, f"stack {stack.name!r} has no check {quote(name)} to switch off{nearest(name, known)}")
            continue
        check = _check(name, None, node, at, wanted, problems)
        if check is not None:
            found.append(check)
    if not found and not named:
        problems.add(
            mark, f"nothing is checked: stack {stack.name!r} has no checks of its own, so name some under `checks`"
        )
    elif not any(c.layer in {Layer.LIVENESS, Layer.READINESS} for c in found) and len(problems) == before:
        problems.add(mark, "no check of layer liveness or readiness is left: an endpoint could never be called healthy")
    _needs_model(found, stack.name, section, mark, problems)
    return labelled(found, version)


def _is_off(node: Node | None, problems: Problems) -> bool:
    if node is None:
        return True
    if not isinstance(node, Mapping) or "off" not in node.entries:
        return False
    value = node.entries["off"].value
    if isinstance(value, Scalar) and value.text.lower() in {"true", "yes", "on"}:
        others = [key for key in node.entries if key != "off"]
        if others:
            problems.add(
                node.entries["off"].mark, f"`off: true` leaves no room for {', '.join(others)}: keep one or the other"
            )
        return True
    return False


def _check(
    name: str, base: StackCheck | None, node: Node | None, mark: Mark, wanted: _Wanted, problems: Problems
) -> Check | None:
    section: Section | None = None
    kind = base.kind if base else None
    if node is not None:
        if not isinstance(node, Mapping):
            problems.add(
                node.mark,
                f"{describe(node)} where a check belongs: write {{interval: 5s, ...}}, or null to switch it off",
            )
            return None
        kind = _kind(name, kind, node, problems)
        if kind is None:
            return None
        read = check_table(kind).read(node, problems)
        section = read if isinstance(read, Section) else None
    assert kind is not None
    own = base if base is not None and base.kind == kind else None
    layer = Layer(section.get("layer")) if section and "layer" in section else None
    if layer is None:
        layer = Layer(base.layer) if base else default_layer(name, kind)
    interval = _interval(section, own, layer, wanted)
    if interval is None:
        if section is not None and not section.given("interval"):
            problems.add(section.mark(), f"class {wanted.class_name!r} gives no interval for {layer}: add `interval`")
        return None
    timeout = section.get("timeout") if section else None
    if timeout is None:
        stack_timeout = own.timeout_s if own else None
        timeout = min(interval, stack_timeout) if stack_timeout else default_timeout_s(layer, interval)
    elif timeout > interval and section is not None:
        text = f"a timeout of {format_duration(timeout)} is over the interval of {format_duration(interval)}: one look at a time"
        problems.add(section.mark("timeout"), text)
    settings = _settings(kind, own, section, wanted)
    if kind == "progress" and not (section and "sample" in section):
        settings["sample"] = interval  # readings further apart than this were missed
    _check_settings(section, kind, settings, section.mark() if section else mark, problems)
    return Check(name, layer, kind, interval, timeout, settings)


def _kind(name: str, inherited: str | None, node: Mapping, problems: Problems) -> str | None:
    entry = node.entries.get("kind")
    if entry is None:
        if inherited is not None:
            return inherited
        if name in PROBE_KINDS:
            return name
        problems.add(
            node.mark, f"check {quote(name)} is not the stack's, so it needs a `kind`{nearest(name, PROBE_KINDS)}"
        )
        return None
    if isinstance(entry.value, Scalar) and entry.value.text in PROBE_KINDS:
        return entry.value.text
    word = entry.value.text if isinstance(entry.value, Scalar) else ""
    problems.add(entry.value.mark, f"{describe(entry.value)} is no kind of probe{nearest(word, PROBE_KINDS)}")
    return None


def _interval(section: Section | None, own: StackCheck | None, layer: Layer, wanted: _Wanted) -> float | None:
    if section is not None and "interval" in section:
        return float(section.get("interval"))
    if own is not None and own.interval_s is not None:
        return own.interval_s
    return default_interval_s(layer, wanted.preset)


def _settings(kind: str, own: StackCheck | None, section: Section | None, wanted: _Wanted) -> dict[str, Any]:
    """The kind's defaults, under the stack's settings, under the config's; then what flows in from the service."""
    probe = PROBE_KINDS[kind]
    known = {s.name for s in probe.settings}
    settings = settings_of(probe, section, common=CHECK_COMMON) if section else defaults_of(probe)
    given = {key for key, _ in section} if section else set()
    if own is not None:
        settings.update({key: thaw(value) for key, value in own.settings.items() if key not in given})
    if wanted.model is not None and "model" in known and settings.get("model") in {None, _MODEL}:
        settings["model"] = wanted.model
    if wanted.ttft_s is not None and "ttft" in known and "ttft" not in settings:
        settings["ttft"] = wanted.ttft_s
    return settings


def _check_settings(
    section: Section | None, kind: str, settings: MappingABC[str, Any], mark: Mark, problems: Problems
) -> None:
    """What a setting's type cannot say: required ones, patterns."""
    for setting in PROBE_KINDS[kind].settings:
        if setting.required and setting.name not in settings and not (section and section.given(setting.name)):
            problems.add(mark, f"`{setting.name}` is missing in a check of kind {kind!r}: {setting.help}")
    if section is None:
        return
    if "budget" in section:
        _budget(section.get("budget"), section.mark("budget"), problems)
    for name, other in PROBE_KINDS[kind].lacking(settings):
        problems.add(section.mark(name), f"`{name}` needs `{other}` beside it")
    if "pattern" in section:
        _pattern(section.get("pattern"), section.mark("pattern"), problems)
    prompts = section.get("prompts")
    if prompts is None:
        return
    for prompt in prompts if isinstance(prompts, tuple) else (prompts,):
        if not isinstance(prompt, dict) or not isinstance(prompt.get("ask"), str) or set(prompt) - {"ask", "expect"}:
            problems.add(section.mark("prompts"), "prompts is a list of {ask: TEXT, expect: PATTERN}")
            continue
        expect = prompt.get("expect", ())
        for pattern in expect if isinstance(expect, tuple) else (expect,):
            _pattern(pattern, section.mark("prompts"), problems)


def _budget(value: MappingABC[str, Any], mark: Mark, problems: Problems) -> None:
    whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value.values())
    if (
        set(value) not in ({"tokens_per_day"}, {"tokens_per_day", "stand_in"})
        or not whole
        or not value["tokens_per_day"]
    ):
        problems.add(
            mark, "budget is {tokens_per_day: 200000}, and `stand_in: 20` beside it where real requests may stand in"
        )


def _pattern(value: Any, mark: Mark, problems: Problems) -> None:
    try:
        re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError) as error:
        problems.add(mark, f"{quote(str(value))} is not a regular expression: {error}")


def _needs_model(checks: list[Check], stack: str, section: Section, mark: Mark, problems: Problems) -> None:
    if section.given("model"):
        return
    asking = [c.name for c in checks if _mentions_model(c.settings)]
    if asking:
        problems.add(
            mark,
            f"`model` is missing: stack {stack!r} asks for it in {', '.join(asking)}; give `model: ID`, or switch them off",
        )


def _mentions_model(value: Any) -> bool:
    if isinstance(value, str):
        return _MODEL in value
    if isinstance(value, MappingABC):
        return any(_mentions_model(v) for v in value.values())
    return isinstance(value, (tuple, list)) and any(_mentions_model(v) for v in value)


def dependency_check(dependency: Dependency, pace: Pace) -> Check:
    """The check that every service depending on `dependency` carries.

    With instances its settings are empty: those of the dependency and of the endpoint's own instance apply.
    """
    interval = pace.interval_s or DEPENDENCY_EVERY_S
    timeout = pace.timeout_s or default_timeout_s(Layer.DEPENDENCY, interval)
    settings: dict[str, Any] = {} if dependency.instances else dict(dependency.settings)
    return Check(DEPENDENCY_PREFIX + dependency.name, Layer.DEPENDENCY, dependency.kind, interval, timeout, settings)
