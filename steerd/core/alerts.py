"""The alert board: one alert per (kind, of); each tells what to do.

An effect is emitted only when an alert begins, ends or changes its words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from steerd.core.effects import Alert as AlertEffect
from steerd.core.effects import Effect
from steerd.model.plan import Alert

__all__ = ["ACTIONS", "LEADERS", "AlertBoard"]

LEADERS = frozenset(
    {
        "capacity-short", "drift", "foreign-fence", "overload-accepted", "residency-blocked", "restore-held", "route-unreadable",
        "vetoed", "write-failed",
    }
)  # fmt: skip
"""Alerts that only a leader can know of: they end with its lead, and the next leader raises its own."""

ACTIONS: dict[str, str] = {
    "agent-absent": "see the agent's log and whether it reaches this coordinator; its vantage zone has no voice meanwhile",
    "agent-abstaining": "see `steerd status` on that agent's host: loop lag, descriptors, resolver, network",
    "capacity-short": "add capacity or lower demand: traffic stays where it fails until it fits elsewhere (`steerd plan`)",
    "config-mismatch": "give every agent and coordinator the same file; compare `steerd config show`",
    "demand-unknown": "see where the demand comes from; until it is known, no capacity limit holds",
    "drain-stopped": "the receivers suffer: add capacity, or drain it yourself all the way (`steerd drain --now`)",
    "drift": "somebody else edited this route: set it back, `steerd restore` its target, or set `on_drift: enforce`",
    "global": "look for a deploy, a shared dependency or the monitoring itself; automatic moves are frozen",
    "observe": "this service is in observe mode: nothing is written",
    "overload-accepted": "receivers run past their capacity because the rest is dead: add capacity or shed load",
    "probe-error": "the probe could not do its job (key, config, bug); the target is not blamed: mend the check",
    "quorum-lost": "too few fresh votes: start or reconnect agents; health is held as it was and nothing is drained",
    "restore-held": "see the text: add capacity or raise max_utilization, or restore it yourself where that is asked for",
    "activation-failed": "see the text: mend the step and drain again, or take over without it (`steerd drain --force`)",
    "data-behind": "let the replica catch up, or accept the loss: `steerd drain REGION --accept-data-loss`",
    "dependency-lag": "the replica falls behind: see its database; beyond the RPO no region takes over by itself",
    "fallback-used": "send the rest to the fallback service, or add capacity: see `steerd plan`",
    "residency-blocked": "everything this route may be served from is bad: it stays as it is until some of it is well",
    "standby-drift": "the standby is not what a takeover would need: bring it to what the active region has",
    "route-unreadable": "steerd cannot read this route: check the provider's address, credentials and rights",
    "vantage-isolated": "this vantage disagrees with everybody else: look at its network and the agent's host",
    "vetoed": "see `steerd explain` for the guard; drain it yourself if you know better (`steerd drain --force`)",
    "write-failed": "the provider did not take the write: see the text; steerd keeps trying",
}


class AlertBoard:
    """Active alerts. `set` and `clear` are idempotent."""

    def __init__(self, emit: Callable[[Effect], None]) -> None:
        self._emit = emit
        self.active: dict[tuple[str, str], Alert] = {}

    def set(self, kind: str, of: str, text: str, now: float, action: str = "") -> None:
        known = self.active.get((kind, of))
        if known is not None and known.text == text:
            return
        advice = action or ACTIONS.get(kind, "")
        alert = Alert(kind, of, text, now, advice) if known is None else replace(known, text=text, action=advice)
        self.active[kind, of] = alert
        self._emit(AlertEffect(alert, active=True))

    def clear(self, kind: str, of: str) -> None:
        known = self.active.pop((kind, of), None)
        if known is not None:
            self._emit(AlertEffect(known, active=False))

    def clear_kinds(self, kinds: Collection[str]) -> None:
        """Ends every alert of these kinds."""
        for kind, of in [key for key in self.active if key[0] in kinds]:
            self.clear(kind, of)

    def assert_only(self, kind: str, texts: dict[str, str], now: float) -> None:
        """Exactly these `of` -> text stand for `kind`; every other one of it ends."""
        for _, of in [key for key in self.active if key[0] == kind and key[1] not in texts]:
            self.clear(kind, of)
        for of, text in texts.items():
            self.set(kind, of, text, now)
