"""Typed reading of one provider's settings. `steerd.config` has checked names and types; a provider checks the rest."""

from __future__ import annotations

from typing import Any

from steerd.model.fleet import ProviderSpec, Secret
from steerd.model.kinds import Kind
from steerd.providers.base import Misconfigured

__all__ = ["Settings"]


class Settings:
    """The settings of one entry of `providers:`, defaults of its `Kind` filled in. Every error names the key."""

    def __init__(self, spec: ProviderSpec, kind: Kind) -> None:
        self._where = f"providers.{spec.name}"
        self._values: dict[str, Any] = {s.name: s.default for s in kind.settings}
        self._values.update({k: v for k, v in spec.settings.items() if v is not None})

    def wrong(self, name: str, text: str, action: str = "") -> Misconfigured:
        """An error about one key, to be raised by the caller."""
        return Misconfigured(f"{self._where}.{name}: {text}", action)

    def text(self, name: str) -> str:
        """A required string."""
        value = self._values.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "is required", f"set `{name}` of this provider in the config")
        return value

    def maybe_text(self, name: str) -> str | None:
        """A string, or None when unset."""
        return self.text(name) if self._values.get(name) is not None else None

    def number(self, name: str, low: float, high: float) -> float:
        """A number (durations are seconds) from `low` to `high`."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.wrong(name, f"must be from {low:g} to {high:g}, is {value!r}")
        return float(value)

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of strings, empty when unset."""
        value = self._values.get(name) or ()
        return (value,) if isinstance(value, str) else tuple(str(v) for v in value)

    def secret(self, name: str) -> Secret | None:
        """A secret by reference, or None when unset."""
        value = self._values.get(name)
        if value is None or isinstance(value, Secret):
            return value
        raise self.wrong(name, "must be a reference", f"write `{name}: {{file: PATH}}` or `{name}: {{env: NAME}}`")
