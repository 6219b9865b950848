"""Where scenarios are: the project's own, and the shared catalogue beside the checkout or above it."""

from __future__ import annotations

from pathlib import Path

from tests.support.tree import ROOT

__all__ = ["OWN", "shared"]

OWN = ROOT / "tests" / "scenarios"


def shared() -> Path | None:
    """The catalogue, or None where this checkout stands alone."""
    for above in ROOT.parents:
        folder = above / "shared" / "scenarios"
        if folder.is_dir():
            return folder
    for sibling in sorted(ROOT.parent.parent.glob("*/shared/scenarios")):
        return sibling
    return None
