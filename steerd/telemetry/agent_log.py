"""What an agent says in its own log, for whoever is on call and looks there first: one line per change, not per look.

Errors come in crowds: a host without a network fails every look of every endpoint. The same fault of the host is one
line, and the same fault of one check is told of `TOLD_EACH` endpoints; all of them stand in `steerd status`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

__all__ = ["TOLD_EACH", "AgentLog"]

TOLD_EACH: Final = 5
"""Endpoints that are named in the log for one fault of one check at one time."""

_HOST_TODO: Final = "look at this host's network, resolver, firewall and descriptors; no target is blamed"
_CHECK_TODO: Final = "mend the check (key, settings) or report the bug; the target is not blamed"

log = logging.getLogger("steerd.agent")


@dataclass(slots=True)
class _Fault:
    """One fault and where it holds now: (endpoint, check) -> whether the log named it."""

    host: bool
    reason: str
    at: dict[tuple[str, str], bool] = field(default_factory=dict)


class AgentLog:
    """Turns the calls of `steerd.agent.observer.AgentObserver` that tell of a change into lines."""

    def __init__(self) -> None:
        self._streams: dict[str, tuple[str, str]] = {}
        self._faults: dict[tuple[str, str, str], _Fault] = {}
        self._fault_at: dict[tuple[str, str], tuple[str, str, str]] = {}

    def on_abstain(self, reason: str | None) -> None:
        """The agent abstains, or votes again (None)."""
        if reason is None:
            log.info("votes again: this host is well")
        else:
            log.warning("abstains, all its votes are unknown: %s; it votes again by itself once that is over", reason)

    def on_stream(self, coordinator: str, state: str, text: str) -> None:
        """A stream to a coordinator changed. Attempts that fail like the one before are not told again."""
        if state == "removed":
            self._streams.pop(coordinator, None)
            log.info("coordinator %s left the config, or its address changed", coordinator)
        elif state in {"overflow", "bad-frame"}:
            log.warning("stream to coordinator %s: %s", coordinator, text or state)
        elif state != "connecting" and self._streams.get(coordinator) != (state, text):
            self._streams[coordinator] = state, text
            if state == "connected":
                log.info("connected to coordinator %s", coordinator)
            elif state == "refused":
                log.error("cannot vote at coordinator %s: %s", coordinator, text)
            else:
                log.warning(
                    "cannot reach coordinator %s, which does not hear this agent now: %s; trying again for ever",
                    coordinator,
                    text,
                )

    def on_unsendable(self, what: str) -> None:
        """Votes or readings that no frame can hold."""
        log.error("not told to coordinators, because it holds what is no text: %s; all else is told", what)

    def on_error_outcome(
        self, endpoint: str, service: str, check: str, reason: str, *, host: bool, detail: str | None
    ) -> None:
        """A check could not do its job, or cannot for another reason than before."""
        self._forget((endpoint, check))
        key = ("", "", reason) if host else (service, check, reason)
        fault = self._faults.setdefault(key, _Fault(host, reason))
        told = not fault.at if host else sum(fault.at.values()) < TOLD_EACH
        fault.at[endpoint, check] = told
        self._fault_at[endpoint, check] = key
        if not told:
            return
        why = f"{reason}: {detail}" if detail and detail not in reason else reason
        if host:
            log.error("cannot look, first at %s by %s: %s; %s", endpoint, check, why, _HOST_TODO)
        else:
            more = "" if sum(fault.at.values()) < TOLD_EACH else "; further endpoints with this are not told here"
            log.error("cannot check %s by %s: %s; %s%s", endpoint, check, why, _CHECK_TODO, more)

    def on_error_over(self, endpoint: str, service: str, check: str) -> None:
        """The check does its job again, or left the config."""
        del service
        fault = self._forget((endpoint, check))
        if fault is None:
            return
        if fault.host:
            if not fault.at:
                log.info("looks again everywhere; over is: %s", fault.reason)
        else:
            log.info("checks %s by %s again; over is: %s", endpoint, check, fault.reason)

    def _forget(self, place: tuple[str, str]) -> _Fault | None:
        """Takes a place out of its fault. The fault, when it ended with it or the log had named the place."""
        key = self._fault_at.pop(place, None)
        if key is None:
            return None
        fault = self._faults[key]
        told = fault.at.pop(place)
        if not fault.at:
            del self._faults[key]
        return fault if told or (fault.host and not fault.at) else None
