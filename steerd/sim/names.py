"""Names in a scenario: what each stands for in the fleet, and hints where one stands for nothing."""

from __future__ import annotations

from steerd.config.nodes import Mapping, Node, Scalar
from steerd.config.problems import Mark, Problems, nearest, quote
from steerd.config.tables import Section
from steerd.model.fleet import Fleet

__all__ = ["known", "place_of", "text_of"]


def known(fleet: Fleet, name: str, kinds: tuple[str, ...], mark: Mark, problems: Problems) -> None:
    """Notes a problem unless `name` is one of these kinds in `fleet`."""
    kind = fleet.kind_of(name)
    if kind not in kinds:
        said = f"is a {kind}" if kind else "is unknown"
        hint = nearest(name, _names(fleet, kinds))
        problems.add(mark, f"{quote(name)} {said}, where {' or '.join(kinds)} belongs{hint}")


def _names(fleet: Fleet, kinds: tuple[str, ...]) -> list[str]:
    """Names of these kinds, for hints."""
    every = (
        *fleet.endpoint_by_name,
        *fleet.agent_by_name,
        *fleet.service_by_name,
        *(c.name for c in fleet.coordinators),
        *(r.name for r in fleet.regions),
        *(z for r in fleet.regions for z in r.zones),
    )
    found = [n for n in every if fleet.kind_of(n) in kinds]
    return [*found, "leader"] if "coordinator" in kinds else found


def place_of(section: Section) -> str:
    """`FILE:LINE:COLUMN`."""
    mark = section.mark()
    return f"{mark.file}:{mark.line}:{mark.column}"


def text_of(section: Section) -> str:
    """A mapping as it stands in the file, roughly."""
    return "{" + ", ".join(f"{k}: {_said(e.value)}" for k, e in section.node.entries.items()) + "}"


def _said(node: Node) -> str:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{k}: {_said(e.value)}" for k, e in node.entries.items()) + "}"
    return "[" + ", ".join(_said(n) for n in node.items) + "]"
