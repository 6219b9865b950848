"""Wants: which domains the diagnosis wants out, and which may come back. Pure reading of health; nothing is decided here.

What is down leaves, an endpoint as much as a zone or a region. What is degraded leaves (in steps) when it is a zone or region
that has been so for 10 s; a single degraded endpoint only weighs half (`steerd.core.factors`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from steerd.core.domains import Domain, Domains
from steerd.core.quorum import EndpointBoard
from steerd.core.timers import Timers
from steerd.model.health import Diagnosis, DiagnosisKind, Health
from steerd.model.plan import Cause, Drain

__all__ = ["Want", "narrowed", "wants_of", "well"]

_STEADY_S = 10.0
"""How long a domain must be diagnosed as degraded: one cause seen at slightly different times is one decision."""

_KINDS = (DiagnosisKind.ENDPOINT, DiagnosisKind.ZONE, DiagnosisKind.REGION)


@dataclass(frozen=True, slots=True)
class Want:
    """A domain that the diagnosis wants out. Not `decided`: it is held bad from before, without a quorum now."""

    name: str
    kind: Domain
    cause: Cause
    reason: str
    endpoints: frozenset[str]
    decided: bool = True


def wants_of(
    service: str, diagnoses: Iterable[Diagnosis], board: EndpointBoard, domains: Domains, timers: Timers, now: float
) -> dict[str, Want]:
    """Domains to take out, by name. Under a global diagnosis only endpoints that are confirmed dead."""
    found: dict[str, Want] = {}
    for diagnosis in diagnoses:
        if diagnosis.kind is DiagnosisKind.GLOBAL:
            found.update(_dead(service, board, domains))
        elif diagnosis.kind in _KINDS:
            members = domains.members(service, diagnosis.of)
            cause = _cause(diagnosis)
            if cause is Cause.GRAY and now < diagnosis.since + _STEADY_S:
                timers.at(diagnosis.since + _STEADY_S, "service", service)
                continue
            if cause is None or diagnosis.of in found:
                continue
            kind: Domain = diagnosis.kind.value  # type: ignore[assignment]  # the three kinds above are the three domains
            bad = [board.states[e] for e in members if board.states[e].health >= diagnosis.health]
            decided = sum(s.decided for s in bad) * 2 > len(bad)
            reason = _reason(board, members, diagnosis)
            found[diagnosis.of] = Want(diagnosis.of, kind, cause, reason, members, decided)
    return found


def narrowed(
    service: str, want: Want, board: EndpointBoard, domains: Domains, shares: Mapping[str, float]
) -> list[Want]:
    """The endpoints that are down inside a domain which may not leave as a whole, while somebody who is not bad carries traffic:
    what fails goes, what is well stays. Empty where nobody well is left, as moving traffic between the dead helps nobody."""
    if want.kind == "endpoint" or want.cause is Cause.GRAY:
        return []
    carrying = [board.states[e] for e in domains.members_of_service(service) if shares.get(e)]
    if not any(s.decided and Health.UNKNOWN < s.health < Health.DOWN for s in carrying):
        return []
    down = [s for e in sorted(want.endpoints) if (s := board.states[e]).health is Health.DOWN]
    causes = {s.name: Cause.DEAD if board.confirmed_dead(s.name) else Cause.DOWN for s in down}
    return [Want(s.name, "endpoint", causes[s.name], s.reason or "down", frozenset({s.name}), s.decided) for s in down]


def _dead(service: str, board: EndpointBoard, domains: Domains) -> dict[str, Want]:
    dead = (e for e in sorted(domains.members_of_service(service)) if board.confirmed_dead(e))
    return {e: Want(e, "endpoint", Cause.DEAD, board.states[e].reason or "dead", frozenset({e})) for e in dead}


def _cause(diagnosis: Diagnosis) -> Cause | None:
    """None: nothing is to be drained for it."""
    if diagnosis.health is Health.DOWN:
        return Cause.DEAD if diagnosis.dead else Cause.DOWN
    return None if diagnosis.kind is DiagnosisKind.ENDPOINT else Cause.GRAY


def _reason(board: EndpointBoard, members: frozenset[str], diagnosis: Diagnosis) -> str:
    bad = sorted(e for e in members if board.states[e].health >= diagnosis.health)
    why = sorted({r for e in bad if (r := board.states[e].reason)})
    word = diagnosis.health.word
    what = f"{len(bad)} of {len(members)} endpoints {word}" if diagnosis.kind is not DiagnosisKind.ENDPOINT else word
    return f"{what}: {'; '.join(why[:2])}" if why else what


def well(board: EndpointBoard, service: str, drain: Drain) -> bool:
    """The domain may come back: health is decided now, and what is still bad in it is dealt with on its own account.

    A drain is only asked this while no diagnosis names its domain, so that single bad endpoints of a zone do not hold it.
    """
    if drain.kind == "endpoint":
        state = board.states.get(drain.name)
        return state is not None and state.decided and Health.HEALTHY <= state.health < Health.DEGRADED
    rolls = tuple(board.rolls.inside(service, drain.name))
    if not rolls or any(r.undecided or r.unknown for r in rolls):
        return False
    return any(len(r.worse) < r.size for r in rolls)
