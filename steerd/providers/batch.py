"""What providers share whose zone takes one batch of changes, whole or not at all, and keeps the fence in a TXT beside. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from steerd.model.route import Fence

__all__ = ["Batch", "fence_in", "txt_text", "txt_value"]

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Batch:
    """The payload of a change: `changes` are sent in one call, and `seen` is the fence they were made against.

    `served` is record type -> what any server may answer with once the batch is there (None: not known, an alias answers).
    """

    seen: Fence | None
    changes: tuple[Mapping[str, Any], ...]
    served: Mapping[str, frozenset[str] | None] = field(default_factory=dict)


def txt_value(text: str) -> str:
    """One TXT value: quoted strings of at most 255 bytes each."""
    safe = text.encode("ascii", "backslashreplace").decode()
    parts = (safe[i : i + 255] for i in range(0, len(safe), 255))
    return " ".join('"' + p.replace("\\", "\\\\").replace('"', '\\"') + '"' for p in parts)


def txt_text(value: str) -> str:
    """The text of one TXT value."""
    return "".join(re.sub(r"\\(.)", r"\1", part) for part in _QUOTED.findall(value))


def fence_in(values: Iterable[str]) -> Fence | None:
    """The newest fence of ours among TXT values."""
    fences = [f for f in (Fence.parse(txt_text(v)) for v in values) if f is not None]
    return max(fences, key=lambda f: (f.epoch, f.seq), default=None)
