"""Everything the core can ask for. A coordinator carries effects out in the order given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steerd.model.plan import Alert as AlertFact
from steerd.model.plan import Decision, HardState
from steerd.model.route import Desired, Fence

__all__ = ["Alert", "Answer", "Apply", "ConfirmNow", "Effect", "Persist", "Record", "RunHook", "Verify"]


@dataclass(frozen=True, slots=True)
class ConfirmNow:
    """Ask these agents to look at these endpoints at once; at those in `paid` also with the checks that cost tokens."""

    endpoints: tuple[str, ...]
    agents: tuple[str, ...]
    paid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Persist:
    """Write the decision (None: only the hard state changed) and the hard state in one transaction, fenced by epoch.

    The effects after it in the same step that belong to this decision must not start unless it succeeded.
    """

    decision: Decision | None
    state: HardState


@dataclass(frozen=True, slots=True)
class Apply:
    """Write `desired` to a route, conditionally; answer with `ApplyFinished`."""

    route: str
    decision: str
    desired: Desired
    fence: Fence
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Verify:
    """Read back, and ask every authoritative server of a DNS route; answer with `VerifyFinished`."""

    route: str
    decision: str
    desired: Desired
    fence: Fence


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run one activation step; answer with `HookFinished`."""

    service: str
    region: str
    step: int
    hook: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert began (`active`) or ended."""

    alert: AlertFact
    active: bool


@dataclass(frozen=True, slots=True)
class Record:
    """Something happened that history, logs and metrics should tell. `kind` is a fixed word, `data` its facts.

    Kinds: health, diagnosis, drain, step, restore, restored, decision, veto, applied, apply-failed, in-sync, drift, operator,
    leadership, config, vantage, suspect, agreed, activate, takeover.
    """

    kind: str
    of: str
    text: str
    at: float
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an `OperatorCommand`: `ok`, or `vetoed` with the guard's words, or `invalid`."""

    id: str
    result: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


Effect = ConfirmNow | Persist | Apply | Verify | RunHook | Alert | Record | Answer
