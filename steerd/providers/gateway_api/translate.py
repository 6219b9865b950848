"""From an HTTPRoute as read and a desired state to the patch of its rules. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers import weighing
from steerd.providers.base import Change, Misconfigured
from steerd.providers.records import needs_fence

__all__ = [
    "Patch",
    "Seen",
    "differences",
    "not_taken",
    "observed_from",
    "patch_of",
    "path_of",
    "review_of",
    "seen_at",
    "seen_from",
    "translate",
]

WEIGHT_MAX, WEIGHT_UNSAID = 1_000_000, 1
"""The largest weight, and the one a backendRef has where none is given (Gateway API, BackendRef)."""

GROUP = "gateway.networking.k8s.io"

API = f"/apis/{GROUP}/v1"


@dataclass(frozen=True, slots=True)
class Seen:
    """One rule of an HTTPRoute as read: `refs` are its backendRefs, `index` where it stands. What changes by itself (status,
    resourceVersion) is left out."""

    path: str
    index: int
    refs: tuple[Mapping[str, Any], ...]
    fence: Fence | None = None

    @property
    def weights(self) -> dict[str, int]:
        """Name of a backendRef -> weight."""
        return {n: int(r.get("weight", WEIGHT_UNSAID)) for n, r in zip(self.names, self.refs, strict=True)}

    @property
    def names(self) -> tuple[str, ...]:
        """What each backendRef is called: its name alone where only one has it, else `[NAMESPACE/]NAME[:PORT]`."""
        plain = [str(r.get("name")) for r in self.refs]
        return tuple(n if plain.count(n) == 1 else _long(r) for n, r in zip(plain, self.refs, strict=True))


@dataclass(frozen=True, slots=True)
class Patch:
    """The payload of a change: `weights` of the backendRefs in the rule, if it still is as `seen`."""

    seen: Seen
    weights: tuple[int, ...]


def _long(ref: Mapping[str, Any]) -> str:
    space, port = ref.get("namespace"), ref.get("port")
    return f"{f'{space}/' if space else ''}{ref.get('name')}{f':{port}' if port else ''}"


def path_of(route: Route) -> str:
    """Of the HTTPRoute in the Kubernetes API."""
    space = quote(str(route.settings.get("namespace") or "default"), safe="")
    return f"{API}/namespaces/{space}/httproutes/{quote(route.name, safe='')}"


def _mark(index: int) -> str:
    """The annotation that holds the fence of one rule: each rule may carry another service's split."""
    return f"steerd/fence.{index}"


def review_of(route: Route, verb: str) -> dict[str, Any]:
    """The question whether we may do `verb` to the HTTPRoute."""
    space = str(route.settings.get("namespace") or "default")
    attributes = {"group": GROUP, "resource": "httproutes", "namespace": space, "name": route.name, "verb": verb}
    spec = {"resourceAttributes": attributes}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}


def seen_from(route: Route, found: Mapping[str, Any]) -> Seen:
    """The route's rule of the HTTPRoute. Raises `Misconfigured`."""
    return seen_at(path_of(route), int(route.settings.get("rule") or 0), found)


def seen_at(path: str, index: int, found: Mapping[str, Any]) -> Seen:
    """One rule of the HTTPRoute. Raises `Misconfigured` where there is no such rule or names in it are ambiguous."""
    name = found.get("metadata", {}).get("name")
    rules = found.get("spec", {}).get("rules") or []
    if not 0 <= index < len(rules):
        raise Misconfigured(
            f"the HTTPRoute {name} has {len(rules)} rules, `rule: {index}` is none of them",
            "rules are counted from 0: `kubectl get httproute NAME -o yaml` shows them",
        )
    notes = found.get("metadata", {}).get("annotations") or {}
    fence = Fence.parse(notes.get(_mark(index), ""))
    made = Seen(path, index, tuple(rules[index].get("backendRefs") or ()), fence)
    if len(set(made.names)) < len(made.names):
        raise Misconfigured(
            f"rule {index} of the HTTPRoute {name} lists one backend twice: {', '.join(made.names)}",
            "give the rule one backendRef per service and port",
        )
    return made


def _names(route: Route, desired: Desired | None = None) -> dict[str, str]:
    own = {t.key: t.server or t.key for t in route.targets}
    return own | {m.target: own.get(m.target, m.target) for m in (desired.members if desired else ())}


def observed_from(route: Route, seen: Seen | None) -> Observed:
    """What the rule means for the route's targets. `seen` is None where there is no such HTTPRoute."""
    fence = seen.fence if seen is not None else None
    return weighing.observe(route, _names(route), seen.weights if seen is not None else None, fence, seen)


def differences(route: Route, desired: Desired, observed: Observed) -> list[str]:
    """What is not as desired, one line each."""
    standing = observed.token.weights if isinstance(observed.token, Seen) else {}
    return weighing.differences(desired, _names(route, desired), standing)


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The weights that turn `observed` into `desired`.

    Raises ValueError on an empty state or a weight out of range; `Misconfigured` when there is no such HTTPRoute, a target to
    be in service is no backendRef of the rule, or another fleet steers it.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    seen = observed.token
    if not isinstance(seen, Seen):
        raise Misconfigured(f"{route.key}: there is no HTTPRoute {route.name}", "compare `backend` and `namespace`")
    names = _names(route, desired)
    action = (
        "add it to the rule's backendRefs with weight 0, or say under the route's `servers` what it is called there"
    )
    weights = weighing.wanted(route, desired, names, seen.weights, WEIGHT_MAX, action)
    weighing.check_fleet(route, seen.fence, fence, f"delete the annotation {_mark(seen.index)}")
    changed = weighing.changes(names, seen.weights, weights)
    fence_only = not changed and needs_fence(seen.fence, fence)
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Patch(seen, tuple(weights[n] for n in seen.names)),
        nothing=not changed and not fence_only,
        summary="; ".join(changed) or ("fence only" if fence_only else "unchanged"),
    )


def patch_of(patch: Patch, found: Mapping[str, Any], fence: Fence) -> dict[str, Any]:
    """The JSON merge patch: the list of rules is replaced whole, as `found` has it but for the weights, on condition that the
    object's resourceVersion still is that of `found`."""
    rules = [dict(rule) for rule in found["spec"]["rules"]]
    weighed = [{**ref, "weight": w} for ref, w in zip(patch.seen.refs, patch.weights, strict=True)]
    rules[patch.seen.index]["backendRefs"] = weighed
    notes = {_mark(patch.seen.index): fence.text}
    return {
        "metadata": {"resourceVersion": found["metadata"]["resourceVersion"], "annotations": notes},
        "spec": {"rules": rules},
    }


def not_taken(found: Mapping[str, Any]) -> list[str]:
    """What the Gateways' controllers say against it, one line each: a route accepted is served by those that say so only."""
    generation = int(found.get("metadata", {}).get("generation") or 0)
    parents = found.get("status", {}).get("parents") or []
    wrong = [] if parents else ["no Gateway says that it serves the HTTPRoute"]
    for parent in parents:
        name = parent.get("parentRef", {}).get("name")
        told = {c.get("type"): c for c in parent.get("conditions") or ()}
        for kind in ("Accepted", "ResolvedRefs"):
            condition = told.get(kind)
            if condition is None or int(condition.get("observedGeneration") or 0) < generation:
                wrong.append(f"Gateway {name} has not told {kind} of this change yet")
            elif condition.get("status") != "True":
                wrong.append(f"Gateway {name}: {kind} is {condition.get('status')}: {condition.get('message')}")
    return wrong
