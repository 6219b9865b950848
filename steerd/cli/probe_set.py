"""`--set checks.NAME.KEY=VALUE` of `steerd probe`: settings of checks overridden, each read as its kind declares it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from probes.kinds import Setting
from probes.registry import KINDS
from probes.units import duration_s
from steerd.cli.errors import BadInput
from steerd.cli.probe_jobs import Job
from steerd.model.fleet import Check, Secret

__all__ = ["overridden"]


def overridden(jobs: list[Job], overrides: Sequence[str]) -> list[Job]:
    """`jobs` with the settings of `overrides`. Raises `BadInput` with what would be right."""
    found = {job.check.name: job for job in jobs}
    for override in overrides:
        where, equals, value = override.partition("=")
        parts = where.split(".")
        if not equals or len(parts) != 3 or parts[0] != "checks":
            raise BadInput(f"--set {override}: write checks.NAME.KEY=VALUE, for example checks.liveness.timeout=1s")
        _, name, key = parts
        if name not in found:
            raise BadInput(f"--set {override}: there is no check {name!r}; checks here are {', '.join(found)}")
        job = found[name]
        try:
            found[name] = replace(job, check=_with(job.check, key, value))
        except (ValueError, yaml.YAMLError) as error:
            raise BadInput(f"--set {override}: {error}") from error
    return list(found.values())


def _with(check: Check, key: str, value: str) -> Check:
    """`check` with one setting replaced. Raises ValueError with what would be right."""
    if key in ("interval", "timeout"):
        seconds = duration_s(value)
        if seconds <= 0:
            raise ValueError(f"{key} must be longer than 0")
        return replace(check, interval_s=seconds) if key == "interval" else replace(check, timeout_s=seconds)
    kind = KINDS[check.kind]
    setting = kind.setting(key)
    if setting is None:
        known = ", ".join(["interval", "timeout", *(s.name for s in kind.settings)])
        raise ValueError(f"{check.kind} has no setting {key!r}; it has {known}")
    return replace(check, settings={**check.settings, key: _read(setting, value)})


def _read(setting: Setting, value: str) -> Any:
    if setting.choices and setting.type != "url" and value not in setting.choices:
        raise ValueError(f"{value!r} is none of {', '.join(setting.choices)}")
    match setting.type:
        case "duration":
            return duration_s(value)
        case "secret":
            source, _, ref = value.partition(":")
            if source == "env" and ref:
                return Secret("env", ref)
            if source == "file" and ref:
                return Secret("file", ref)
            raise ValueError("secrets go by reference: write env:NAME or file:PATH")
        case "int":
            return int(value)
        case "float" | "fraction":
            return float(value)
        case "bool":
            if value not in ("true", "false"):
                raise ValueError(f"{value!r} is neither true nor false")
            return value == "true"
        case "strings":
            return [item.strip() for item in value.split(",")]
        case "map" | "any":
            return yaml.safe_load(value)
    return value
