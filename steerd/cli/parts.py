"""The parts of a daemon, made from a config: the one place where stores, providers and telemetry are put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from steerd.config import secrets
from steerd.coordinator.ring import Ring
from steerd.model.fleet import Fleet, Secret
from steerd.providers import registry
from steerd.providers.base import Context, Provider
from steerd.providers.pace import Paces
from steerd.stores.base import Store
from steerd.stores.memory import MemoryData, MemoryStore
from steerd.stores.registry import KINDS
from steerd.stores.sqlite import SqliteStore
from steerd.telemetry import logs
from steerd.telemetry.meters import Meters
from steerd.telemetry.traces import Traces

__all__ = ["Telemetry", "changed_providers", "providers_of", "resolve", "ring_of", "store_of"]

_EXPORT_WITHIN_S = 1.5
"""A collector that does not answer must not hold up the end of a daemon."""


def resolve(secret: Secret) -> str:
    """The value of a secret; from now on the log masks it. Raises `SecretError`."""
    value = secrets.resolve(secret)
    logs.hide(value)
    return value


def store_of(fleet: Fleet, coordinator: str) -> Store:
    """The store of `coordinator`, not opened yet. Raises LookupError for a kind without code (`unbuilt` says so before)."""
    if fleet.store.kind == "sqlite":
        return SqliteStore(_store_path(fleet), coordinator)
    if fleet.store.kind == "memory":
        return MemoryStore(MemoryData(time.monotonic))
    raise LookupError(f"store kind {fleet.store.kind!r} is not built")


def ring_of(fleet: Fleet, coordinator: str) -> Ring | None:
    """Where the engine's inputs are recorded: beside the store's file; nowhere for a store without one."""
    return Ring(_store_path(fleet).with_name(f"{coordinator}.ring")) if fleet.store.kind == "sqlite" else None


def _store_path(fleet: Fleet) -> Path:
    default = next(s.default for s in KINDS["sqlite"].settings if s.name == "path")
    return Path(fleet.store.settings.get("path") or default)


def providers_of(fleet: Fleet, paces: Paces) -> dict[str, Provider]:
    """Every provider that a route uses, not opened yet. Raises `Misconfigured` with what to do."""
    used = {route.provider for route in fleet.route_by_key.values()}
    specs = [spec for spec in fleet.providers if spec.name in used]
    return {spec.name: registry.build(Context(fleet, spec, resolve, paces)) for spec in specs}


def changed_providers(old: Fleet, new: Fleet, running: Mapping[str, Provider], paces: Paces) -> dict[str, Provider]:
    """The providers for `new`: those whose settings and routes are as they were stay the same objects."""
    made = providers_of(new, paces)
    for name, provider in running.items():
        if name in made and _needs(old, name) == _needs(new, name):
            made[name] = provider
    return made


def _needs(fleet: Fleet, provider: str) -> tuple[object, ...]:
    """What a provider is built from: its settings, and the routes it serves."""
    routes = tuple(route for route in fleet.route_by_key.values() if route.provider == provider)
    return (fleet.name, fleet.provider_by_name.get(provider), routes)


class Telemetry:
    """Meters and traces of one process, by the config it started with."""

    def __init__(self, fleet: Fleet, instance: str) -> None:
        identity = {"service.instance.id": instance, "steerd.fleet": fleet.name}
        told = fleet.telemetry
        self.meters = Meters(
            prometheus=told.prometheus, otlp=told.otlp, identity=identity, export_timeout_s=_EXPORT_WITHIN_S
        )
        self.traces = Traces(otlp=told.otlp, identity=identity, export_timeout_s=_EXPORT_WITHIN_S)
        self.scrapes = self.meters if told.prometheus else None

    async def run(self, stop: asyncio.Event) -> None:
        """Send to the collector until `stop` is set."""
        sending = asyncio.create_task(self.meters.run())
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({sending, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if sending in done:
            sending.result()  # raises what it died of; without a collector it is simply done
            await stopped
        sending.cancel()
        stopped.cancel()
        await asyncio.gather(sending, stopped, return_exceptions=True)

    async def close(self) -> None:
        """Send what is left."""
        await self.meters.close()
        await asyncio.to_thread(self.traces.close)
