"""What `providers test --write` may move: a record, backend or profile that serves nobody, named for it by a human. Pure.

Nothing in these systems says that a resource serves nobody, so its own name must say `scratch`: a slip of the keyboard moves no
traffic. A DNS record is made where there is none. Backends and profiles must be there, with just the two members named. What is
known by its ARN alone, or moves more than it names, is never moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steerd.model.route import Route, Target

__all__ = ["MARKED", "SCRATCH_VALUES", "WORD", "scratch_backend", "scratch_record", "why_not"]

SCRATCH_VALUES = ("192.0.2.1", "192.0.2.2")
"""Addresses kept for documentation (RFC 5737): a scratch record serves them and nobody can be behind them."""

WORD = "scratch"

MARKED: Mapping[str, str | None] = {
    "haproxy": None,
    "gateway-api": "namespace",
    "gcp-backend": "region",
    "azure-trafficmanager": None,
}
"""Kinds whose backends can be scratch ones -> the route's setting that may stand before the name, as in `PLACE/NAME`."""

_BY_ARN = "it is named by its ARN alone, and nothing in that says that it serves nobody"

_WHY_NOT: Mapping[str, str] = {
    "elbv2": f"a listener rule carries traffic, and {_BY_ARN}",
    "global-accelerator": f"an endpoint group carries traffic, and {_BY_ARN}",
    "route53-arc": f"a routing control turns cells off wherever health checks follow it, and {_BY_ARN}",
    "aws-zonal-shift": "a zonal shift takes a whole zone away from a real load balancer; there is no smaller one",
    "cloudflare": "a pool may serve other load balancers too, and taking it out takes it out of all of them",
    "webhook": "what a write does is up to the receiver: steerd cannot know that it moves nothing",
    "envoy": "Envoys ask the running daemon: nothing that is written here would reach one",
    "beacon": "it writes to no system: health checks of others ask the running daemon",
    "memory": "it writes to no system",
}


def why_not(kind: str) -> str:
    """Why nothing of this kind may be moved."""
    return _WHY_NOT.get(kind, "its routes name real resources, and nothing marks one that serves nobody")


def scratch_record(provider: str, name: str) -> Route:
    """A DNS name nobody is served from. Raises ValueError where its first label does not say so: a name may well be served by
    what its own records do not show (a wildcard, a CNAME of others to it)."""
    if WORD not in name.partition(".")[0].lower():
        raise ValueError(
            f"the first label of {name!r} does not say `{WORD}`: name a record that serves nobody, such as {WORD}.YOUR.ZONE"
        )
    keys = ("steerd-a", "steerd-b")
    targets = tuple(Target(key, (key,), {key: (SCRATCH_VALUES[n],)}) for n, key in enumerate(keys))
    return _route(provider, name, targets, types=("A",))


def scratch_backend(provider: str, kind: str, name: str, servers: Sequence[str]) -> Route:
    """A backend of just two servers. Raises ValueError with what is wrong with its name or theirs."""
    place = MARKED[kind]
    before, slash, own = name.rpartition("/")
    if slash and place is None:
        raise ValueError(f"{name!r} is no name of a {kind} backend")
    if WORD not in own.lower():
        raise ValueError(
            f"{own!r} does not say `{WORD}`: make one of that name with the two members, which serves nobody, and name that"
        )
    if len(servers) != 2 or len(set(servers)) != 2:
        raise ValueError(f"a provider of kind {kind!r} needs two members of that backend: --servers A,B")
    settings: dict[str, object] = {str(place): before} if slash else {}
    if kind == "gcp-backend":
        return _route(
            provider, own, _targets(("a", "b")), {**settings, "groups": dict(zip("ab", servers, strict=True))}
        )
    return _route(provider, own, _targets(servers), settings)


def _targets(servers: Sequence[str]) -> tuple[Target, ...]:
    return tuple(Target(server, (server,), server=server) for server in servers)


def _route(
    provider: str,
    name: str,
    targets: tuple[Target, ...],
    settings: Mapping[str, object] | None = None,
    types: tuple[str, ...] = (),
) -> Route:
    return Route(
        key=f"{provider}/{name}",
        service="steerd-test",
        provider=provider,
        name=name,
        per="endpoint",
        targets=targets,
        types=types,
        settings=settings or {},
    )
