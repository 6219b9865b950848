"""The steps of a `script` check as a config writes them.

    steps:
      - {name: login, method: POST, path: /login, send: {user: probe}, expect: {status: 200}, capture: {id: {json: session.id}}}
      - {path: "/sessions/${id}", headers: {X-Session: "${id}"}, expect: {json: {path: state, equals: open}, slow: 1s}}

`send` is a JSON body, `body` a text. `${name}` stands for what an earlier step captured, `$model` for the model's id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probes.errors import SettingError
from probes.json_path import Condition, conditions_of
from probes.settings import StatusSet, Text, headers_of, pattern, substitute
from probes.target import Target
from probes.units import duration_s

__all__ = ["Capture", "Expect", "Step", "filled", "steps_of"]

_STEP = {"name", "method", "path", "url", "headers", "send", "body", "expect", "capture"}
_EXPECT = {"status", "json", "pattern", "slow", "within"}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_CAPTURED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MOST_STEPS = 20


@dataclass(frozen=True, slots=True)
class Capture:
    """Where a value comes from: a JSON path, a header, or the first group of a pattern."""

    json: str | None = None
    header: str | None = None
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Expect:
    """What must hold of a step's answer. Over `slow_s` the look is SLOW, over `within_s` it fails."""

    status: StatusSet
    conditions: tuple[Condition, ...]
    pattern: re.Pattern[str] | None
    slow_s: float | None
    within_s: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """One request and what is expected of it."""

    name: str
    method: str
    path: str
    url: str | None
    headers: Mapping[str, Text]
    send: Any
    body: str | None
    expect: Expect
    capture: Mapping[str, Capture]


def steps_of(value: Any) -> tuple[Step, ...]:
    """The steps that a config's `steps` means. Raises `SettingError` naming the step."""
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= _MOST_STEPS:
        raise SettingError(f"steps: write a list of 1 to {_MOST_STEPS} steps")
    known: set[str] = set()
    found = []
    for number, item in enumerate(value, 1):
        where = f"steps, number {number}"
        if not isinstance(item, Mapping) or set(item) - _STEP:
            unknown = f"unknown key {min(set(item) - _STEP)!r}; " if isinstance(item, Mapping) else ""
            raise SettingError(f"{where}: {unknown}a step is a map with some of {', '.join(sorted(_STEP))}")
        step = _step(item, number, where)
        for name in _names_in([step.path, step.url, step.send, step.body, [t.value for t in step.headers.values()]]):
            if name not in known:
                raise SettingError(f"{where}: no earlier step captures ${{{name}}}")
        known |= set(step.capture)
        found.append(step)
    return tuple(found)


def filled(value: Any, captured: Mapping[str, str], target: Target) -> Any:
    """`value` with captured values and the model's id put in, in whatever texts it holds. Raises `MisconfiguredError`."""
    if isinstance(value, str):
        return _CAPTURED.sub(lambda found: captured[found[1]], substitute(value, target))
    if isinstance(value, Mapping):
        return {key: filled(item, captured, target) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled(item, captured, target) for item in value]
    return value


def _step(item: Mapping[str, Any], number: int, where: str) -> Step:
    send, body = item.get("send"), item.get("body")
    if send is not None and body is not None:
        raise SettingError(f"{where}: `send` is a JSON body and `body` a text: keep one")
    method = str(item.get("method", "GET" if send is None and body is None else "POST")).upper()
    if method not in _METHODS:
        raise SettingError(f"{where}: method {method!r} is none of {', '.join(_METHODS)}")
    expect, capture = item.get("expect") or {}, item.get("capture") or {}
    if not isinstance(expect, Mapping) or set(expect) - _EXPECT:
        raise SettingError(f"{where}: expect is a map with some of {', '.join(sorted(_EXPECT))}")
    if not isinstance(capture, Mapping):
        raise SettingError(f"{where}: capture is a map of NAME: {{json: PATH}}, {{header: NAME}} or {{pattern: REGEX}}")
    try:
        return Step(
            str(item.get("name", f"step {number}")),
            method,
            str(item.get("path", "")),
            None if item.get("url") is None else str(item["url"]),
            headers_of(item),
            send,
            None if body is None else str(body),
            Expect(
                StatusSet.of(expect.get("status", "200-299")),
                conditions_of(expect.get("json")),
                None if expect.get("pattern") is None else pattern("pattern", str(expect["pattern"])),
                _seconds(expect, "slow"),
                _seconds(expect, "within"),
            ),
            {str(name): _capture(str(name), one) for name, one in capture.items()},
        )
    except ValueError as error:
        raise SettingError(f"{where}: {error}") from error


def _seconds(expect: Mapping[str, Any], name: str) -> float | None:
    return None if expect.get(name) is None else duration_s(expect[name])


def _capture(name: str, value: Any) -> Capture:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise SettingError(f"capture: {name!r} is no name: use letters, digits and _")
    if not isinstance(value, Mapping) or len(value) != 1 or set(value) - {"json", "header", "pattern"}:
        raise SettingError(f"capture.{name}: write {{json: PATH}}, {{header: NAME}} or {{pattern: REGEX}}")
    kind, text = next(iter(value.items()))
    if kind == "pattern":
        compiled = pattern(f"capture.{name}", str(text))
        if compiled.groups < 1:
            raise SettingError(f"capture.{name}: the pattern needs a group: what is in it is captured")
        return Capture(pattern=compiled)
    return Capture(json=str(text)) if kind == "json" else Capture(header=str(text))


def _names_in(value: Any) -> set[str]:
    if isinstance(value, str):
        return set(_CAPTURED.findall(value))
    if isinstance(value, Mapping):
        return {name for item in value.values() for name in _names_in(item)}
    if isinstance(value, (list, tuple)):
        return {name for item in value for name in _names_in(item)}
    return set()
