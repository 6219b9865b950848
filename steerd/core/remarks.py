"""Remarks: what is told of an endpoint besides its health: why it is not well, and which version it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steerd.core.votes import AgentState
from steerd.model.vote import Verdict, Vote

if TYPE_CHECKING:
    from steerd.core.quorum import EndpointState

__all__ = ["note_version", "reason_of"]


def reason_of(state: EndpointState) -> str | None:
    """Why the endpoint is not healthy, in words."""
    worst = [v for v in state.voices if v.verdict is not Verdict.HEALTHY]
    reasons = sorted({f"{v.layer}: {v.reason}" if v.layer else v.reason for v in worst if v.reason})
    if state.gray_text is not None and not (state.down or (state.degraded and not state.gray_down)):
        reasons = [state.gray_text]
    return "; ".join(reasons[:2]) if reasons else None


def note_version(state: EndpointState, fresh: list[tuple[AgentState, Vote]], now: float) -> None:
    """The version label most agents see; the one before it is kept, to tell a deploy from an accident."""
    seen: dict[str, int] = {}
    for _, vote in fresh:
        if vote.version is not None:
            seen[vote.version] = seen.get(vote.version, 0) + 1
    if not seen:
        return
    version = max(sorted(seen), key=lambda v: seen[v])
    if version != state.version:
        state.version_before, state.version, state.version_since = state.version, version, now
