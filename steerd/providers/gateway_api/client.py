"""The I/O of the gateway-api provider: one HTTPRoute read and patched on condition of its resourceVersion."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.asking import remaining_s
from steerd.providers.base import (
    Change,
    Conflict,
    Context,
    Denied,
    Misconfigured,
    ProviderError,
    Receipt,
    Refused,
    Unreachable,
    Untold,
    Verified,
)
from steerd.providers.gateway_api import CAPABILITIES, KIND, RIGHTS
from steerd.providers.gateway_api.translate import (
    Patch,
    differences,
    not_taken,
    observed_from,
    patch_of,
    path_of,
    review_of,
    seen_at,
    seen_from,
    translate,
)
from steerd.providers.rest import Answer, Rest
from steerd.providers.settings import Settings
from steerd.providers.written import check_stale

__all__ = ["GatewayApi"]

KNOWN_S = 60.0
"""How long an identity is used before it is looked up again: tokens of service accounts and plug-ins are renewed."""

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

TRIES = 3
"""A controller that writes the status between our read and our write is no conflict."""


class GatewayApi:
    """One cluster."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._kubeconfig, self._context = settings.maybe_text("kubeconfig"), settings.maybe_text("context")
        self._timeout_s = settings.number("timeout", 0.01, 60)
        place = f"kubernetes/{self._kubeconfig or 'own'}/{self._context or ''}"
        self._rest = Rest(
            "the Kubernetes API",
            "",
            self._timeout_s,
            authorize=self._authorize,
            meaning=_meaning,
            pace=context.pace(place, settings.number("calls_per_s", 0.01, 1000)),
            trust=self._trust,
        )
        self._identity: Configuration | None = None
        self._known_until = 0.0

    async def open(self) -> None:
        """Finds the cluster and who we are in it; nothing is asked yet."""
        await self._who(asyncio.get_running_loop().time() + self._timeout_s)

    async def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._identity = None
        await self._rest.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """The rule as the API has it."""
        found = await self._get(path_of(route), deadline)
        return observed_from(route, seen_from(route, found) if found is not None else None)

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.gateway_api.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Compare the rule and its fence, then patch on condition that nobody wrote since."""
        patch: Patch = change.payload
        seen = patch.seen
        for attempt in range(TRIES):
            found = await self._get(seen.path, deadline)
            now = seen_at(seen.path, seen.index, found) if found is not None else None
            check_stale(change, now.fence if now is not None else None)
            if found is None or now is None or (now.refs, now.fence) != (seen.refs, seen.fence):
                raise Conflict(f"{change.route}: the rule has changed since it was read")
            try:
                answer = await self._rest.call(
                    "PATCH",
                    f"{seen.path}?fieldManager=steerd&fieldValidation=Strict",
                    deadline,
                    patch_of(patch, found, change.fence),
                    {"Content-Type": "application/merge-patch+json"},
                )
            except Conflict:
                if attempt == TRIES - 1:
                    raise
                continue
            return Receipt(change.route, f"resourceVersion {answer.data['metadata']['resourceVersion']}")
        raise AssertionError("the loop above returns or raises")

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """A SelfSubjectAccessReview per verb and route: every user may ask that of themselves, where RBAC was left as it comes."""
        found: list[str] = []
        for route in routes:
            for verb in RIGHTS["httproutes"]:
                try:
                    said = (await self._rest.call("POST", REVIEWS, deadline, review_of(route, verb))).data
                except Denied as error:
                    return [*found, Untold(f"{error.text}: create of selfsubjectaccessreviews was taken away")]
                if not (said.get("status") or {}).get("allowed"):
                    found.append(f"{verb} of {path_of(route).removeprefix('/apis/')}")
        return found

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back, and what the Gateways' controllers say of this generation."""
        found = await self._get(path_of(route), deadline)
        observed = observed_from(route, seen_from(route, found) if found is not None else None)
        wrong = differences(route, change.desired, observed)
        if not change.nothing and change.fence.newer_than(observed.fence):
            wrong.append("the fence there is not ours")
        wrong += not_taken(found) if found is not None else []
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    async def _get(self, path: str, deadline: float) -> Mapping[str, Any] | None:
        try:
            found = (await self._rest.call("GET", path, deadline)).data
        except _NoRoute:
            return None
        if not isinstance(found, dict) or found.get("kind") != "HTTPRoute":
            raise Refused("what answers is no Kubernetes API", "compare the kubeconfig's server")
        return found

    # -- who we are ------------------------------------------------------------------------------------------------

    async def _authorize(self, _body: bytes, deadline: float) -> Mapping[str, str]:
        who = await self._who(deadline)
        self._rest.base = str(who.host).rstrip("/")
        token = await who.get_api_key_with_prefix("BearerToken")
        return {"Authorization": str(token)} if token else {}

    async def _who(self, deadline: float) -> Configuration:
        now = asyncio.get_running_loop().time()
        if self._identity is None or now >= self._known_until:
            self._identity = await self._find(deadline)
            self._known_until = now + KNOWN_S
        return self._identity

    async def _find(self, deadline: float) -> Configuration:
        made = Configuration()
        try:
            async with asyncio.timeout(remaining_s(deadline, self._timeout_s)):
                if self._kubeconfig is None and self._context is None:
                    load_incluster_config(client_configuration=made)  # type: ignore[no-untyped-call]
                else:
                    await load_kube_config(self._kubeconfig, self._context, made, persist_config=False)
        except TimeoutError:
            raise Unreachable(
                "the kubeconfig's plug-in gave no identity in time", "run `kubectl` on this host"
            ) from None
        except (ConfigException, OSError, yaml.YAMLError) as error:
            raise Misconfigured(
                f"no identity for the Kubernetes API: {error}",
                "in a cluster run with a service account; outside of one set `kubeconfig` (and `context`)",
            ) from None
        return made

    def _trust(self) -> ssl.SSLContext | None:
        who = self._identity
        if who is None or not str(who.host).startswith("https"):
            return None
        made = ssl.create_default_context(cafile=who.ssl_ca_cert)
        if not who.verify_ssl:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if who.cert_file:
            made.load_cert_chain(who.cert_file, keyfile=who.key_file)
        return made


class _NoRoute(Misconfigured):
    """There is no such HTTPRoute."""


def _meaning(answer: Answer, where: str) -> ProviderError | None:
    told = answer.data if isinstance(answer.data, dict) else {}
    if answer.status == 404 and (told.get("details") or {}).get("name"):
        return _NoRoute(where, "compare the route's `backend` and `namespace`")
    if answer.status == 404:
        return Misconfigured(where, "the cluster has no Gateway API v1: install its CRDs")
    if answer.status == 401:
        return Misconfigured(where, "the identity is not taken: renew the kubeconfig, or look at the service account")
    if answer.status == 403:
        return Denied(where, "grant get and patch of this HTTPRoute: packaging/kubernetes/rbac.yaml")
    if answer.status == 422:
        return Refused(where, "the cluster's version of the Gateway API or a policy of it forbids this")
    return None
