"""One failure mode of one engine: how it is provoked, and what `steerd probe` and a running agent must say of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steerd.model.sample import Layer
from steerd.model.vote import Verdict
from tests.engines.telling import Watched, seen, watching
from tests.support.wait import until, until_sync

__all__ = ["Case", "agent_tells", "probe_tells"]

STATUSES = {"FAIL": Verdict.UNHEALTHY, "SATURATED": Verdict.SATURATED, "SLOW": Verdict.DEGRADED}
CODES = {"healthy": 0, "saturated": 0, "degraded": 0, "unhealthy": 1, "unknown": 2}


@dataclass(frozen=True)
class Case:
    """`row` names the mode in the table of probes.md. `breaks` provokes it on a healthy engine and mends it at its end.

    `says` is what each check named must come to: (status, pattern of the reason). `blames` are the
    checks of which any may be the reason of an agent's vote: the first one that notices is. `settings` are those of checks.
    """

    row: str
    breaks: Callable[[Any], AbstractContextManager[None]]
    verdict: str
    says: Mapping[str, tuple[str, str | None]]
    blames: tuple[str, ...] = ()
    layer: Layer | None = None
    transport: bool | None = None
    start: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    probe: tuple[str, ...] = ()
    """Further arguments of `steerd probe`."""
    agent: bool = True
    """False where an agent's look cannot be met at the right moment."""

    def __str__(self) -> str:
        return self.row.replace(" ", "-")


def probe_tells(case: Case, server: Any, file: Path) -> None:
    """`steerd probe` before, during and after."""
    until_sync(lambda: seen(file).verdict == "healthy", 30.0)
    with case.breaks(server):
        found = seen(file, *case.probe)
    assert (found.code, found.verdict) == (CODES[case.verdict], case.verdict), found
    for check, (status, reason) in case.says.items():
        assert found.checks[check][1] == status, (check, found)
        assert _is(found.checks[check][2], reason), (check, found)
    if case.layer is not None:
        assert any(found.checks[check][0] == case.layer for check in case.blames), found
    until_sync(lambda: seen(file).verdict == "healthy", 30.0)


async def agent_tells(case: Case, server: Any, file: Path) -> None:
    """The agent's vote goes from healthy to what it must be, for the right reason, and back."""
    async with watching(file) as watched, contextlib.AsyncExitStack() as stack:
        broken = case.breaks(server)
        await asyncio.to_thread(broken.__enter__)
        stack.push_async_callback(asyncio.to_thread, broken.__exit__, None, None, None)
        if case.verdict == "healthy":
            await _alerts(case, watched)
        else:
            await _votes(case, watched)
        await stack.aclose()
        await watched.until(Verdict.HEALTHY)
        await until(lambda: not watched.vote.errors, 60.0)


async def _alerts(case: Case, watched: Watched) -> None:
    for check, (status, reason) in case.says.items():
        if status == "ERROR":
            await watched.until_error(check, reason or "")
    await watched.until(Verdict.HEALTHY)  # a restart was in between
    assert not any(host for _, _, _, host in watched.ears.errors)


async def _votes(case: Case, watched: Watched) -> None:
    def blamed() -> bool:
        vote = watched.vote
        status, reason = case.says.get(vote.check or "", ("", ""))
        return (
            vote.verdict is Verdict(case.verdict)
            and vote.check in case.blames
            and STATUSES.get(status) is vote.verdict
            and _is(vote.reason, reason)
            and case.layer in (None, vote.layer)
            and case.transport in (None, vote.transport)
        )

    await watched.until(Verdict(case.verdict))
    try:
        await until(blamed, 30.0)
    except AssertionError:
        raise AssertionError(f"it says {watched.vote}") from None
    well = [check for check, (status, _) in case.says.items() if status == "PASS"]
    await until(lambda: all(watched.run(check).state == 0 for check in well), 30.0)  # whatever the verdict is
    assert blamed(), watched.vote


def _is(reason: str | None, wanted: str | None) -> bool:
    if reason is None or wanted is None:
        return reason is wanted
    return re.fullmatch(wanted, reason) is not None
