"""How a plug-in (provider, store) declares itself: its name, its settings, and whether this build has it.

`steerd.config` checks a config's keys against these, so a plug-in says what it accepts in one place.
`probes.kinds` holds the same shape for probes, which may not import steerd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Kind", "Setting", "SettingType"]

SettingType = Literal[
    "string", "int", "float", "bool", "duration", "fraction", "url", "secret", "path", "strings", "map", "any"
]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a plug-in's config. `choices` limits a string; `required` has no default; `needs` are
    settings that must stand beside it."""

    name: str
    type: SettingType
    help: str
    default: Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A plug-in kind by name. `built` is False for a kind that is valid config but not written yet;
    `extra` names the pip extra it needs, `modules` the imports that prove the extra is installed."""

    name: str
    help: str
    settings: tuple[Setting, ...] = ()
    built: bool = True
    extra: str | None = None
    modules: tuple[str, ...] = ()
