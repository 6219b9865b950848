"""Every traffic system steerd can write to, in one readable list.

Reading the list imports no client and no SDK; `build` imports the one that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from steerd.model.fleet import ProviderSpec
from steerd.model.kinds import Kind, Setting
from steerd.model.route import Capabilities
from steerd.providers import (
    azure_trafficmanager,
    beacon,
    clouddns,
    elbv2,
    embedded,
    envoy,
    gateway_api,
    gcp_backend,
    global_accelerator,
    haproxy,
    memory,
    powerdns,
    rfc2136,
    route53,
    route53_arc,
    webhook,
    zonal_shift,
)
from steerd.providers.base import Context, Misconfigured, Provider
from steerd.providers.planned import PLANNED, PLANNED_ROUTE_SETTINGS

__all__ = ["CAPABILITIES", "KINDS", "RIGHTS", "ROUTE_SETTINGS", "build", "capabilities_of", "missing"]

_BUILT = (
    embedded,
    rfc2136,
    powerdns,
    haproxy,
    envoy,
    beacon,
    memory,
    route53,
    route53_arc,
    zonal_shift,
    elbv2,
    global_accelerator,
    webhook,
    gateway_api,
    clouddns,
    gcp_backend,
    azure_trafficmanager,
)

_BUILDERS: Mapping[str, Callable[[Context], Provider]] = {module.KIND.name: module.build for module in _BUILT}

KINDS: dict[str, Kind] = {
    **{module.KIND.name: module.KIND for module in _BUILT},
    **{name: kind for name, (kind, _) in PLANNED.items()},
}
"""Kind name -> its settings, and whether this build has it."""

ROUTE_SETTINGS: dict[str, tuple[Setting, ...]] = {
    **{module.KIND.name: module.ROUTE_SETTINGS for module in _BUILT if hasattr(module, "ROUTE_SETTINGS")},
    **PLANNED_ROUTE_SETTINGS,
}
"""Keys a route takes beyond those of configuration.md, by provider kind."""

RIGHTS: dict[str, Mapping[str, tuple[str, ...]]] = {
    module.KIND.name: module.RIGHTS for module in _BUILT if hasattr(module, "RIGHTS")
}
"""Kind name -> what writing takes at a platform with rights of its own, by what it is granted on. Policies in packaging/ are tested
against it, and `missing_rights` asks for it."""

CAPABILITIES: dict[str, Capabilities] = {
    **{module.KIND.name: module.CAPABILITIES for module in _BUILT},
    **{name: capabilities for name, (_, capabilities) in PLANNED.items()},
}
"""Kind name -> what it can express, also for those not written yet: the planner and the simulator need it."""


def capabilities_of(spec: ProviderSpec) -> Capabilities:
    """What one entry of `providers:` can express: its kind's, unless its settings make a difference."""
    module = next((m for m in _BUILT if m.KIND.name == spec.kind), None)
    told = getattr(module, "capabilities_for", None)
    return told(spec.settings) if told is not None else CAPABILITIES[spec.kind]


def missing(kind: Kind) -> str | None:
    """Why this build cannot run `kind`, in words with what to do; None when it can."""
    if not kind.built:
        return f"provider kind {kind.name!r} is not part of this version of steerd yet"
    absent = [m for m in kind.modules if not _found(m)]
    if absent:
        extra = f": install steerd with its {kind.extra!r} extra" if kind.extra else ""
        return f"provider kind {kind.name!r} needs {', '.join(absent)}{extra}"
    return None


def build(context: Context) -> Provider:
    """The provider of one entry of `providers:`. Raises `Misconfigured` with what to do."""
    kind = KINDS.get(context.spec.kind)
    where = f"providers.{context.spec.name}"
    if kind is None:
        raise Misconfigured(
            f"{where}: there is no provider kind {context.spec.kind!r}", f"use {', '.join(sorted(KINDS))}"
        )
    if why := missing(kind):
        built = ", ".join(sorted(k.name for k in KINDS.values() if k.built))
        raise Misconfigured(f"{where}: {why}", f"kinds this build has: {built}; or set the service to `mode: observe`")
    return _BUILDERS[kind.name](context)


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
