"""The config file: YAML -> a checked, frozen `Fleet`, or every problem at once with its place and a hint.

    fleet = load(Path("steerd.yaml"))      # raises ConfigError

See also `steerd.config.secrets` (values of secrets), `steerd.config.support` (what this build lacks for a fleet) and
`steerd.config.reload` (noticing changes).
"""

from __future__ import annotations

from steerd.config.advice import warnings
from steerd.config.build import load, parse
from steerd.config.problems import ConfigError, Problem
from steerd.config.render import show
from steerd.config.schema import schema

__all__ = ["ConfigError", "Problem", "load", "parse", "schema", "show", "warnings"]
