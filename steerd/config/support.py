"""What a fleet needs that this build lacks: kinds not written yet, extras not installed, rules still to come.

Such a config is valid; the daemon that needs the missing part says so and does not start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from probes.registry import PLUGIN_FAULTS
from steerd.config.kinds import PROBE_KINDS, PROVIDER_KINDS, STORE_KINDS, KindLike, missing_modules
from steerd.model.fleet import Fleet

__all__ = ["unbuilt"]

Role = Literal["agent", "coordinator"]


@dataclass(frozen=True, slots=True)
class _Feature:
    """A part of the config that this build cannot carry out yet. `used` gives the places that need it."""

    roles: tuple[Role, ...]
    text: str
    used: Callable[[Fleet], Iterable[str]]


# One line each: take a line out when its part is built.
_FEATURES = (
    _Feature(
        ("coordinator",),
        "`scale` by autoscaling or kubernetes is not built yet: use `webhook` or `command`",
        lambda f: (
            f"services.{s.name}.activate.{region}"
            for s in f.services
            for region, steps in s.activate.items()
            if any(step.get("scale", {}).keys() & {"autoscaling", "kubernetes"} for step in steps)
        ),
    ),
    _Feature(
        ("coordinator",),
        "there is no such service in this config: add it, or remove `fallback`",
        lambda f: (
            f"services.{s.name}.fallback" for s in f.services if s.fallback and s.fallback not in f.service_by_name
        ),
    ),
    _Feature(
        ("agent",),
        "mutual TLS alone is not built yet: give the agent a `token`",
        lambda f: (f"agents.{a.name}" for a in f.agents if a.token is None and _mutual(f)),
    ),
)


def unbuilt(fleet: Fleet, role: Role) -> list[str]:
    """What a daemon of this role lacks to run `fleet`, one line each: `PLACE: what, and what to do`. Empty when it can start."""
    found = [
        f"{place}: {feature.text}" for feature in _FEATURES if role in feature.roles for place in feature.used(fleet)
    ]
    needs = _agent_kinds(fleet) if role == "agent" else _coordinator_kinds(fleet)
    for place, what, kind in needs:
        if not kind.built and kind.name in PLUGIN_FAULTS:
            found.append(f"{place}: {what} {kind.name!r} cannot be used: {PLUGIN_FAULTS[kind.name]}")
        elif not kind.built:
            extra = f" (it will need the extra {kind.extra!r})" if kind.extra else ""
            found.append(f"{place}: {what} {kind.name!r} is not built yet{extra}: use another kind")
        elif missing_modules(kind):
            found.append(
                f"{place}: {what} {kind.name!r} needs a client library: install the extra: pip install '.[{kind.extra}]'"
            )
    return list(dict.fromkeys(found))


def _mutual(fleet: Fleet) -> bool:
    """True when some coordinator asks agents for certificates."""
    listens = [c.listen or fleet.listen for c in fleet.coordinators]
    return any(listen.tls is not None and listen.tls.client_ca is not None for listen in listens)


def _agent_kinds(fleet: Fleet) -> Iterator[tuple[str, str, KindLike]]:
    for service in fleet.services:
        for check in service.checks:
            name = check.name.removeprefix("dependency:")
            if name != check.name:
                yield f"dependencies.{name}", "dependency kind", PROBE_KINDS[check.kind]
            else:
                yield f"services.{service.name}.checks.{name}", "probe kind", PROBE_KINDS[check.kind]


def _coordinator_kinds(fleet: Fleet) -> Iterator[tuple[str, str, KindLike]]:
    yield "store", "store", STORE_KINDS[fleet.store.kind]
    used = {route.provider for service in fleet.services for route in service.routes}
    for provider in fleet.providers:
        if provider.name in used:
            yield f"providers.{provider.name}", "provider kind", PROVIDER_KINDS[provider.kind]
