"""Runs the body of a look under its deadline and turns what breaks into the right outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace

from probes.clock import Phase, StageClock
from probes.faults import Fault, fault_of, timeout_fault
from probes.outcome import Layer, Outcome, Stages, Status
from probes.wire.resolver import Resolver

__all__ = ["failure", "guarded", "outcome_of", "result", "scrubbed"]


async def guarded(layer: Layer, deadline: float, clock: StageClock, work: Awaitable[Outcome]) -> Outcome:
    """`work`'s outcome, or that of its failure. An exception that is not the network's is raised on (a bug: see
    `look_safely`).
    """
    limit_s = deadline - asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(deadline) as limit:
            return await work
    except Exception as error:
        if isinstance(error, TimeoutError) and limit.expired():
            return outcome_of(timeout_fault(clock.phase, limit_s, alone=_alone(clock)), layer, clock)
        fault = fault_of(error, clock.phase, answered=clock.answered, alone=_alone(clock))
        if fault is None:
            raise
        return outcome_of(fault, layer, clock)
    finally:
        if clock.name is not None and clock.resolved:
            Resolver.of(asyncio.get_running_loop()).answered(clock.name)


def _alone(clock: StageClock) -> bool:
    """The look ended while its name was resolved, and other names do resolve."""
    if clock.name is None or clock.phase is not Phase.DNS:
        return False
    return Resolver.of(asyncio.get_running_loop()).alone(clock.name)


def outcome_of(fault: Fault, layer: Layer, clock: StageClock, *, version: str | None = None) -> Outcome:
    """The outcome of a fault, with the stages so far."""
    return failure(fault, layer, clock.stages(), version)


def failure(fault: Fault, layer: Layer, stages: Stages, version: str | None = None) -> Outcome:
    """The outcome of a fault that came after these stages."""
    return Outcome(
        fault.status,
        layer,
        fault.reason,
        transport=fault.transport,
        unanswered=fault.unanswered,
        host_error=fault.host_error,
        duration_s=stages.total_s or 0.0,
        stages=stages,
        detail=fault.detail,
        version=version,
    )


def scrubbed(outcome: Outcome, hidden: Sequence[str]) -> Outcome:
    """The same outcome without the values that were sent as secrets: servers repeat them in their errors."""
    reason, detail = outcome.reason, outcome.detail
    for value in hidden:
        # Shorter ones would tear words apart; what is that short is no secret.
        if len(value) >= 4:
            reason = reason and reason.replace(value, "<redacted>")
            detail = detail and detail.replace(value, "<redacted>")
    return (
        outcome
        if (reason, detail) == (outcome.reason, outcome.detail)
        else replace(outcome, reason=reason, detail=detail)
    )


def result(
    status: Status,
    layer: Layer,
    clock: StageClock,
    reason: str | None = None,
    *,
    detail: str | None = None,
    version: str | None = None,
    readings: Mapping[str, float] | None = None,
    tokens: int = 0,
) -> Outcome:
    """An outcome that is not a fault of the network, with the stages so far."""
    stages = clock.stages()
    return Outcome(
        status,
        layer,
        reason,
        duration_s=stages.total_s or 0.0,
        stages=stages,
        detail=detail,
        version=version,
        readings=readings or {},
        tokens=tokens,
    )
