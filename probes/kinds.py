"""How a probe kind declares itself: its name, its settings, and whether this build has it.

The same shape as `steerd.model.kinds`, which probes may not import: a config is checked against either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Kind", "Setting", "SettingType"]

SettingType = Literal[
    "string", "int", "float", "bool", "duration", "fraction", "url", "secret", "path", "strings", "map", "any"
]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a check's config. `choices` limits a string, or the schemes of a URL; `required` has no default;
    `needs` are settings that must stand beside it. Durations are written with a unit (`2s`) and arrive at the probe as
    float seconds under the same key.
    """

    name: str
    type: SettingType
    help: str
    default: Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A probe kind by name. `built` is False for a plug-in that cannot be used, and `help` says why; `extra` names the pip extra
    it needs, `modules` the imports that prove the extra is installed.
    """

    name: str
    help: str
    settings: tuple[Setting, ...] = ()
    built: bool = True
    extra: str | None = None
    modules: tuple[str, ...] = ()

    def setting(self, name: str) -> Setting | None:
        """The setting called `name`, or None."""
        return next((s for s in self.settings if s.name == name), None)

    def lacking(self, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(setting, setting that it needs and that is not there) of every setting given."""
        given = {name for name, value in settings.items() if value is not None}
        return [(s.name, other) for s in self.settings if s.name in given for other in s.needs if other not in given]
