"""A coordinator process that kills itself at a chosen point: `python -m tests.coordinator.victim SETTINGS.json`.

Real SQLite, real DNS updates, real time; its agents vote from within. Only this launcher knows about dying: it wraps the
store and the provider. The point is armed once the file `down` names an endpoint that fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from steerd.coordinator.clock import SystemClock
from steerd.coordinator.coordinator import Coordinator
from steerd.model.fleet import Fleet, ProviderSpec, Secret
from steerd.model.route import Observed, Route
from steerd.providers.base import Change, Context, Provider, Receipt, Verified
from steerd.providers.rfc2136 import build
from steerd.stores.base import Compare, Op, Txn
from steerd.stores.sqlite import SqliteStore
from tests.coordinator.rig import Agents
from tests.support.fleets import make_fleet

__all__ = ["POINTS", "RECORD", "make"]

RECORD = "chat.acme.example"

POINTS = (
    "before persist",
    "after persist",
    "before read",
    "before apply",
    "after apply",
    "before receipt",
    "before verify",
    "after verify",
    "after receipt",
)
"""In the order in which a decision passes them."""


def make(server: str, key: str) -> Fleet:
    """Two regions, four zones, one endpoint each, on one record of a DNS server; the secret is in $TSIG."""
    fleet = make_fleet({"eu": 2, "us": 2}, per_zone=1)
    service = fleet.services[0]
    route = replace(service.routes[0], key=f"dns/{RECORD}", name=RECORD)
    settings = {
        "server": server, "zone": "acme.example", "key": key, "secret": Secret("env", "TSIG"), "verify": [server],
    }  # fmt: skip
    return replace(
        fleet,
        services=(replace(service, routes=(route,)),),
        providers=(ProviderSpec("dns", "rfc2136", settings=settings),),
    )


class Trap:
    """Kills the process at `point`, once armed."""

    def __init__(self, point: str | None, down: Path) -> None:
        self._point = point
        self._down = down

    def reached(self, point: str) -> None:
        if point == self._point and self._down.exists():
            os.kill(os.getpid(), signal.SIGKILL)


class TrappedStore(SqliteStore):
    def __init__(self, path: str, trap: Trap) -> None:
        super().__init__(path, "victim")
        self._trap = trap

    async def txn(self, compare: tuple[Compare, ...], then: tuple[Op, ...]) -> Txn:
        what = {op.key.split("/")[2] for op in then}
        name = "persist" if "decisions" in what else "receipt" if "receipts" in what else ""
        self._trap.reached(f"before {name}")
        done = await super().txn(compare, then)
        self._trap.reached(f"after {name}")
        return done


class TrappedProvider:
    """The real one, with every change that is sent written to a log first."""

    def __init__(self, inner: Provider, trap: Trap, log: Path) -> None:
        self.kind = inner.kind
        self.capabilities = inner.capabilities
        self.open = inner.open
        self.close = inner.close
        self.translate = inner.translate
        self._inner = inner
        self._trap = trap
        self._log = log
        self._decided = False

    async def read(self, route: Route, deadline: float) -> Observed:
        self._trap.reached("before read")
        return await self._inner.read(route, deadline)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        self._trap.reached("before apply")
        with self._log.open("a") as log:
            log.write(change.summary + "\n")
        receipt = await self._inner.apply(change, deadline)
        self._trap.reached("after apply")
        return receipt

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        self._trap.reached("before verify")
        verified = await self._inner.verify(route, change, deadline)
        self._trap.reached("after verify")
        return verified


async def main(settings: dict[str, Any]) -> None:
    folder = Path(settings["folder"])
    fleet = make(settings["server"], settings["key"])
    trap = Trap(settings["point"], folder / "down")
    context = Context(fleet, fleet.providers[0], lambda secret: os.environ[secret.ref])
    provider = TrappedProvider(build(context), trap, folder / "sent")
    store = TrappedStore(str(folder / "steerd.db"), trap)
    coordinator = Coordinator(fleet, "victim", store=store, providers={"dns": provider}, clock=SystemClock())  # type: ignore[dict-item]  # kind is a class variable of the protocol
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    agents = Agents(fleet)

    async def world() -> None:
        """Votes as the file says, and what this coordinator sees, in a file for the test."""
        while True:
            await asyncio.sleep(0.1)
            if not coordinator.ready()[0]:
                continue
            if (folder / "down").exists():
                agents.down = set((folder / "down").read_text().split())
            agents.send(coordinator)
            status = coordinator.status()
            route = status["services"]["chat"]["routes"][0]
            seen = {
                "pid": os.getpid(),
                "leading": status["coordinator"]["leading"],
                "health": status["services"]["chat"]["health"],
                "in_sync": route["in_sync"],
                "observed": sorted(t for t, w in (route["observed"] or {}).items() if w),
                "waiting": status["coordinator"]["history_waiting"],
            }
            (folder / "seen.new").write_text(json.dumps(seen))
            (folder / "seen.new").replace(folder / "seen")

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(world())
        await coordinator.run(stop)
        watching.cancel()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
