"""A local Cloudflare API: load balancers of one zone, pools of one account, and tokens.

Every request is held against the typed parameters of Cloudflare's own SDK, in which nothing unknown may stand, and against the
permission groups that the API reference names for it (`x-api-token-group` of its OpenAPI document).
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from cloudflare.resources.load_balancers import LoadBalancersResource
from cloudflare.types.load_balancers import LoadBalancerEditParams, PoolEditParams, PoolListParams, SearchListParams
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tests.support.cloud.http import Asked, HttpError, JsonServer

__all__ = ["ACCOUNT", "GROUPS", "TOKEN", "ZONE_ID", "LocalCloudflare", "check", "cloudflare_error", "pool_id"]

ACCOUNT, ZONE_ID, TOKEN = "a" * 32, "b" * 32, "hunter2"
BASE = "/client/v4"

BALANCERS_WRITE, BALANCERS_READ = "Load Balancers Write", "Load Balancers Read"
POOLS_WRITE, POOLS_READ = "Load Balancing: Monitors and Pools Write", "Load Balancing: Monitors and Pools Read"
GROUPS = {
    ("GET", "load balancers"): {BALANCERS_WRITE, BALANCERS_READ},
    ("PATCH", "load balancers"): {BALANCERS_WRITE},
    ("GET", "pools"): {POOLS_WRITE, POOLS_READ},
    ("PATCH", "pools"): {POOLS_WRITE},
}
"""What is asked of what -> the permission groups of which one is enough."""


def pool_id(name: str) -> str:
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def cloudflare_error(
    status: int, code: int, message: str, chain: Iterable[Mapping[str, Any]] = (), **headers: str
) -> HttpError:
    error = {"code": code, "message": message, **({"error_chain": list(chain)} if chain else {})}
    return HttpError(status, {"success": False, "errors": [error], "messages": [], "result": None}, **headers)


def _dicts_in(hint: Any) -> Iterable[Any]:
    if typing.get_origin(hint) is None and hasattr(hint, "__total__"):
        yield hint
    for inner in typing.get_args(hint):
        yield from _dicts_in(inner)


def _strict(params: Any, seen: set[Any] | None = None) -> TypeAdapter[Any]:
    """Of a TypedDict of the SDK, in which (and in those inside it) nothing unknown may stand."""
    seen = set() if seen is None else seen
    seen.add(params)
    params.__pydantic_config__ = ConfigDict(extra="forbid")
    for hint in typing.get_type_hints(params, include_extras=True).values():
        for inner in _dicts_in(hint):
            if inner not in seen:
                _strict(inner, seen)
    return TypeAdapter(params)


_EDIT_BALANCER, _EDIT_POOL = _strict(LoadBalancerEditParams), _strict(PoolEditParams)
_LIST_POOLS, _PAGES = _strict(PoolListParams), _strict(SearchListParams)
_LIST_BALANCERS = set(inspect.signature(LoadBalancersResource.list).parameters) - {
    "self", "extra_headers", "extra_query", "extra_body", "timeout",
}  # fmt: skip


def check(params: TypeAdapter[Any], document: Any) -> None:
    """Raises `HttpError` where `document` is not what the SDK would send."""
    try:
        params.validate_python(document, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise cloudflare_error(400, 1002, f"validation failed: {where}: {first['msg']}") from None


class LocalCloudflare(JsonServer):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.token_id, self.token_status = TOKEN, "c" * 32, "active"
        self.owner = "user"
        """Whose token it is: `user` or `account`."""
        self.granted = {BALANCERS_WRITE, POOLS_WRITE}
        self.policies: list[dict[str, Any]] | None = None
        """What the token may read of itself; None: it may not."""
        self.called: list[tuple[str, str]] = []
        self.page_size = 25
        self.untold: set[str] = set()
        """Of `result_info`, every part of which is optional."""
        self.balancers: dict[str, dict[str, Any]] = {}
        self.elsewhere: dict[str, dict[str, Any]] = {}
        """Load balancers of another zone of the account."""
        self.pools: dict[str, dict[str, Any]] = {}

    @property
    def api(self) -> str:
        return self.url + BASE

    # What people see and do in the dashboard.

    def add(self, name: str, weights: Mapping[str, float], policy: str = "random", **more: Any) -> str:
        """A load balancer over pools of these names; returns its id."""
        for pool in (*weights, f"spare of {name}"):
            self.add_pool(pool)
        made = {
            "id": pool_id(f"lb {name}"),
            "created_on": "2026-01-01T00:00:00.000000Z",
            "modified_on": "2026-01-01T00:00:00.000000Z",
            "description": "of the chat team",
            "name": name,
            "enabled": True,
            "ttl": 30,
            "fallback_pool": pool_id(f"spare of {name}"),
            "default_pools": [pool_id(p) for p in weights],
            "region_pools": {"WEU": [pool_id(next(iter(weights)))]},
            "proxied": True,
            "steering_policy": policy,
            "session_affinity": "none",
            "random_steering": {"default_weight": 1, "pool_weights": {pool_id(p): w for p, w in weights.items()}},
            "zone_name": "acme.example",
        }
        self.balancers[made["id"]] = {**made, **more}
        return str(made["id"])

    def add_pool(self, name: str) -> None:
        made = {"id": pool_id(name), "name": name, "enabled": True, "minimum_origins": 1, "origins": []}
        self.pools.setdefault(pool_id(name), made)

    def balancer(self, name: str) -> dict[str, Any]:
        return next(b for b in self.balancers.values() if b["name"] == name)

    def edit(self, name: str, weights: Mapping[str, float]) -> None:
        """By hand: weights, of pools that come in too."""
        with self.lock:
            found = self.balancer(name)
            for pool, weight in weights.items():
                self.add_pool(pool)
                if pool_id(pool) not in found["default_pools"]:
                    found["default_pools"].append(pool_id(pool))
                found["random_steering"].setdefault("pool_weights", {})[pool_id(pool)] = weight

    def weights(self, name: str) -> dict[str, float]:
        """Pool by its name -> weight, as traffic goes: a disabled pool takes nothing."""
        with self.lock:
            found = self.balancer(name)
            given, unsaid = (
                found["random_steering"].get("pool_weights", {}),
                found["random_steering"].get("default_weight", 1),
            )
            pools = [self.pools[p] for p in found["default_pools"]]
            return {p["name"]: given.get(p["id"], unsaid) if p["enabled"] else 0.0 for p in pools}

    def percents(self, name: str) -> dict[str, int]:
        return {p: round(w * 100) for p, w in self.weights(name).items()}

    # What the API answers.

    def authorize(self, asked: Asked) -> None:
        scheme, _, given = asked.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not given:
            chain = [{"code": 6111, "message": "Invalid format for Authorization header"}]
            raise cloudflare_error(400, 6003, "Invalid request headers", chain)
        if given != self.token or self.token_status == "expired":
            raise cloudflare_error(401, 1000, "Invalid API Token")

    def answer(self, asked: Asked) -> Any:
        path = asked.path.removeprefix(BASE)
        if path in ("/user/tokens/verify", f"/accounts/{ACCOUNT}/tokens/verify") and asked.method == "GET":
            if path.startswith("/user") != (self.owner == "user"):
                raise cloudflare_error(401, 1000, "Invalid API Token")
            return self._envelope({"id": self.token_id, "status": self.token_status})
        if asked.method == "GET" and path in (
            f"/user/tokens/{self.token_id}",
            f"/accounts/{ACCOUNT}/tokens/{self.token_id}",
        ):
            if self.policies is None or path.startswith("/user") != (self.owner == "user"):
                raise cloudflare_error(403, 9109, "Unauthorized to access requested resource")
            return self._envelope({"id": self.token_id, "status": self.token_status, "policies": self.policies})
        path, references, _ = path.partition("/references")
        found = re.fullmatch(r"/(zones|accounts)/([^/]+)/load_balancers(/pools)?(?:/([^/]+))?", path)
        if found is None or not asked.path.startswith(BASE) or (found[1] == "accounts") != bool(found[3]):
            raise cloudflare_error(404, 7000, "No route for that URI")
        if found[2] != (ZONE_ID if found[1] == "zones" else ACCOUNT):
            raise cloudflare_error(404, 7003, f"Could not route to {path}, perhaps your object identifier is invalid?")
        what = "pools" if found[3] else "load balancers"
        self._may(asked.method, what)
        standing = self.pools if found[3] else self.balancers
        owner = {"account_id": found[2]} if found[3] else {"zone_id": found[2]}
        if found[4] is None and asked.method == "GET":
            return self._list(standing, what, owner, asked.query)
        if found[4] not in standing:
            raise cloudflare_error(404, 1001, f"{what} object not found")
        if asked.query:
            raise cloudflare_error(400, 1002, f"no such parameters: {dict(asked.query)}")
        if references and (what, asked.method) == ("pools", "GET"):
            return self._envelope(self._references(found[4]))
        if references:
            raise cloudflare_error(404, 7000, "No route for that URI")
        if asked.method == "PATCH":
            self._patch(standing[found[4]], what, {**owner, **(asked.body or {})})
        elif asked.method != "GET":
            raise cloudflare_error(405, 10405, "Method not allowed for this authentication scheme")
        return self._envelope(copy.deepcopy(standing[found[4]]))

    def _references(self, pool: str) -> list[dict[str, str]]:
        """Load balancers of all zones of the account that name the pool anywhere, and its monitor."""
        told = [
            {
                "reference_type": "referrer",
                "resource_type": "load_balancer",
                "resource_id": b["id"],
                "resource_name": b["name"],
            }
            for b in (*self.balancers.values(), *self.elsewhere.values())
            if pool in json.dumps({k: v for k, v in b.items() if k != "id"})
        ]
        monitor = {"resource_type": "monitor", "resource_id": pool_id("monitor"), "resource_name": "login page"}
        return [*told, {"reference_type": "referral", **monitor}]

    def _may(self, method: str, what: str) -> None:
        self.called.append((method, what))
        if not GROUPS.get((method, what), set()) & self.granted:
            raise cloudflare_error(403, 10000, "Authentication error")

    def _envelope(self, result: Any, **more: Any) -> dict[str, Any]:
        return {"success": True, "errors": [], "messages": [], "result": result, **more}

    def _list(self, standing: Mapping[str, Any], what: str, owner: Mapping[str, str], query: Mapping[str, str]) -> Any:
        pages = {k: float(v) for k, v in query.items() if k in ("page", "per_page")}
        check(_PAGES, {"account_id": ACCOUNT, **pages})
        rest = {**owner, **{k: v for k, v in query.items() if k not in pages}}
        if what == "pools":
            check(_LIST_POOLS, rest)
        elif unknown := rest.keys() - _LIST_BALANCERS:
            raise cloudflare_error(400, 1002, f"no such parameters: {unknown}")
        size, page = int(pages.get("per_page", self.page_size)), int(pages.get("page", 1))
        listed = list(standing.values())
        shown = copy.deepcopy(listed[(page - 1) * size : page * size])
        info = {
            "page": page,
            "per_page": size,
            "count": len(shown),
            "total_count": len(listed),
            "total_pages": -(-len(listed) // size),
        }
        told = {k: v for k, v in info.items() if k not in self.untold}
        return self._envelope(shown, **({"result_info": told} if told else {}))

    def _patch(self, standing: dict[str, Any], what: str, params: dict[str, Any]) -> None:
        check(_EDIT_POOL if what == "pools" else _EDIT_BALANCER, params)
        body = {k: v for k, v in params.items() if k not in ("account_id", "zone_id")}
        steering = body.get("random_steering", {})
        for pool, weight in steering.get("pool_weights", {}).items():
            if pool not in self.pools or not 0 <= weight <= 1 or abs(weight * 100 - round(weight * 100)) > 1e-9:
                raise cloudflare_error(400, 1002, f"validation failed: pool_weights: {pool}: {weight}")
        unsaid = steering.get("default_weight", 1)
        if not 0 <= unsaid <= 1 or abs(unsaid * 10 - round(unsaid * 10)) > 1e-9:
            raise cloudflare_error(400, 1002, f"validation failed: default_weight: {unsaid}")
        standing.update(copy.deepcopy(body))
        standing["modified_on"] = "2026-01-02T00:00:00.000000Z"
