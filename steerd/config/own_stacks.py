"""Serving stacks: those of `probes/stacks/`, and those that a config brings itself (`stacks`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes import stacks
from probes.stacks import Stack
from steerd.config.kinds import stack_names
from steerd.config.problems import Mark, Problems, nearest, quote
from steerd.config.tables import Section
from steerd.model.fleet import Fleet

__all__ = ["chosen", "own_stacks", "stack_of"]


def own_stacks(root: Section, problems: Problems) -> dict[str, Mapping[str, Any]]:
    """The config's own stacks as documents by name; what is wrong with one is a problem where its name stands."""
    section = root.section("stacks")
    documents: dict[str, Mapping[str, Any]] = dict(section) if section else {}
    good: dict[str, Mapping[str, Any]] = {}
    for name, document in documents.items():
        assert section is not None
        try:
            stacks.own(documents, name)
        except ValueError as error:
            problems.add(section.key_mark(name), str(error))
        else:
            good[name] = document
    return good


def chosen(
    documents: Mapping[str, Mapping[str, Any]], declared: Section | None, name: str, mark: Mark, problems: Problems
) -> Stack | None:
    """The stack that a service names, or None after noting that there is none."""
    if name in documents or name in stack_names():
        return stacks.own(documents, name)
    if declared is None or not declared.given(name):
        problems.add(mark, f"there is no stack {quote(name)}{nearest(name, [*stack_names(), *documents])}")
    return None


def stack_of(fleet: Fleet, name: str) -> Stack:
    """The stack `name` in a fleet that was checked."""
    return stacks.own(fleet.stacks, name)
