"""What an agent tells about itself while it works: telemetry and alerts implement this, the agent only calls it.

The calls are made on the event loop, many thousands a second for `on_look`: they must not block and must not raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from probes.outcome import Layer, Outcome, Status

__all__ = ["AgentObserver", "NullObserver", "Passed"]

Passed = Callable[[float, float], None]
"""A look passed: its duration, and the delay of its start."""


class AgentObserver(Protocol):
    """Everything an agent has to tell. Times are seconds."""

    def on_look(self, endpoint: str, service: str, zone: str, check: str, *, outcome: Outcome, delay_s: float) -> None:
        """A look ended. `delay_s` is the time from its intended to its actual start. A dependency's look has the
        dependency's instance as `endpoint`, an empty `service`, and its region (or nothing) as `zone`.
        """

    def passes(self, endpoint: str, service: str, zone: str, check: str) -> Passed:
        """What to call for each look of this check that passes and has nothing else to tell, instead of `on_look`. Asked for
        once, called for nearly every look there is.
        """

    def on_loop_lag(self, lag_s: float) -> None:
        """How late the event loop woke a timer; measured every 100 ms."""

    def on_self(self, values: Mapping[str, float]) -> None:
        """What the agent sees of itself, each 2 s: see `steerd.agent.selfview.SelfView`."""

    def on_abstain(self, reason: str | None) -> None:
        """The agent began to abstain, or votes again (None)."""

    def on_missed(self, count: int) -> None:
        """This many intended looks were not made: the one before was still in flight, or the host was too late."""

    def on_stream(self, coordinator: str, state: str, text: str) -> None:
        """A stream changed. `state`: connecting, connected, disconnected, refused (the coordinator will not have this
        agent; `text` says what to do), overflow (frames were dropped for a full ballot), bad-frame, removed (the
        coordinator left the config, or moved).
        """

    def on_unsendable(self, what: str) -> None:
        """Votes or readings, or their texts, are not said because no frame can hold them. Told once of each."""

    def on_error_outcome(
        self, endpoint: str, service: str, check: str, reason: str, *, host: bool, detail: str | None
    ) -> None:
        """A probe could not do its job (status ERROR): the check is out of the verdict. `host` when this host is to
        blame; `detail` says more, for people. Told when it begins or its reason changes, not for every look.
        """

    def on_error_over(self, endpoint: str, service: str, check: str) -> None:
        """The check that could not do its job does it again, or is gone from the config."""


class NullObserver:
    """Hears everything and says nothing."""

    def on_look(self, endpoint: str, service: str, zone: str, check: str, *, outcome: Outcome, delay_s: float) -> None:
        """See `AgentObserver`."""

    def passes(self, endpoint: str, service: str, zone: str, check: str) -> Passed:
        """See `AgentObserver`. Calls `on_look`."""

        def passed(duration_s: float, delay_s: float) -> None:
            outcome = Outcome(Status.PASS, Layer.LIVENESS, duration_s=duration_s)
            self.on_look(endpoint, service, zone, check, outcome=outcome, delay_s=delay_s)

        return passed

    def on_loop_lag(self, lag_s: float) -> None:
        """See `AgentObserver`."""

    def on_self(self, values: Mapping[str, float]) -> None:
        """See `AgentObserver`."""

    def on_abstain(self, reason: str | None) -> None:
        """See `AgentObserver`."""

    def on_missed(self, count: int) -> None:
        """See `AgentObserver`."""

    def on_stream(self, coordinator: str, state: str, text: str) -> None:
        """See `AgentObserver`."""

    def on_unsendable(self, what: str) -> None:
        """See `AgentObserver`."""

    def on_error_outcome(
        self, endpoint: str, service: str, check: str, reason: str, *, host: bool, detail: str | None
    ) -> None:
        """See `AgentObserver`."""

    def on_error_over(self, endpoint: str, service: str, check: str) -> None:
        """See `AgentObserver`."""
