"""JSON Schema (draft 2020-12) of the config file, from the same layout that reads it."""

from __future__ import annotations

from typing import Any

from steerd.config.layout import ROOT
from steerd.config.specs import NAME_PATTERN
from steerd.config.units import DURATION_PATTERN, FRACTION_PATTERN, RATE_PATTERN

__all__ = ["schema"]

_DEFS: dict[str, Any] = {
    "name": {"type": "string", "pattern": NAME_PATTERN, "description": "letters, digits, '-', '_' and '.'"},
    "text": {"type": ["string", "number", "boolean"]},
    "duration": {"type": "string", "pattern": DURATION_PATTERN, "description": "250ms, 5s, 10m, 1h, 2m30s"},
    "fraction": {
        "anyOf": [{"type": "string", "pattern": FRACTION_PATTERN}, {"type": "number", "minimum": 0, "maximum": 1}],
        "description": "80%, 2/3 or 0.8",
    },
    "rate": {"type": "string", "pattern": RATE_PATTERN, "description": "50/s, 600/m"},
    "secret": {
        "type": "object",
        "properties": {
            "file": {"type": "string"},
            "env": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,254}$"},
        },
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
        "description": "a secret by reference: {file: PATH} or {env: NAME}",
    },
}


def schema() -> dict[str, Any]:
    """The schema, for editors. What concerns several keys at once is checked by `steerd config check` only."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "steerd config",
        "$defs": _DEFS,
        **ROOT.schema(),
    }
