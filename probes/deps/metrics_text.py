"""Chosen metrics out of Prometheus text, without reading the rest of a long page."""

from __future__ import annotations

from collections.abc import Collection

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Series", "chosen"]

Series = dict[str, list[tuple[dict[str, str], float]]]
"""Metric name -> (labels, value) of each of its series."""


def chosen(page: str, names: Collection[str]) -> Series:
    """The series of `names`. Raises ValueError when one of their lines is malformed."""
    lines = [line for line in page.splitlines() if line.partition("{")[0].split(" ", 1)[0] in names]
    found: Series = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), float(sample.value)))
    return found
