"""Routes of a service: which targets each can weigh, and what stands in a record for them."""

from __future__ import annotations

import json
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import Any

from steerd.config.kinds import setting_spec, thaw
from steerd.config.problems import Mark, nearest, quote
from steerd.config.record_values import DNS_KINDS, LABEL, SERVER_KINDS, Draft, distinct, values_of
from steerd.config.specs import BAD
from steerd.config.tables import Items, Section
from steerd.config.topology import Build
from steerd.model.fleet import Endpoint, ProviderSpec
from steerd.model.route import Route, Target
from steerd.providers.registry import ROUTE_SETTINGS

__all__ = ["Book", "build_route", "check_prefer"]

_EXTRA_KEYS = sorted({s.name for settings in ROUTE_SETTINGS.values() for s in settings})
"""Keys that only routes of some provider kinds take."""

_OWNED = {"elbv2": "rule", "route53-arc": "controls", "aws-zonal-shift": "resource"}
"""Kinds whose routes name what they change by a setting; their `name` is only a word for it."""

_SWITCHED = {"cloudflare": ("pools", "disable_pools")}
"""Kinds whose routes may share what a setting names, unless another setting of one of them takes it out for all that use it."""


@dataclass(slots=True)
class Book:
    """Which records and backends are taken, by whom, over all services."""

    providers: MappingABC[str, ProviderSpec]
    taken: dict[str, tuple[str, Mark]] = field(default_factory=dict)
    shared: dict[str, tuple[str, Mark, bool]] = field(default_factory=dict)
    """Thing -> service, place and whether it is switched there, of the first route that names it or of one that switches it."""


def build_route(
    build: Build, book: Book, service: str, endpoints: tuple[Endpoint, ...], section: Section
) -> Route | None:
    """One route, or None when it is not whole (its problems are noted)."""
    provider = _provider(build, book, section)
    if provider is None or "per" not in section:
        return None
    types = _types(build, section, provider)
    if types is None:
        return None
    draft = Draft(build, service, section, provider, types, section.get("per"))
    name = _name(draft)
    scope = _scope(draft, endpoints)
    draft.only = _only(draft)
    draft.extras = _extras(draft)
    if endpoints:
        draft.members = _members(draft, endpoints, scope)
        prefer = check_prefer(build, section, endpoints)
    else:
        prefer = None
    targets = _targets(draft)
    if name is None:
        return None
    extra = section.get("set")
    key = f"{provider.name}/{name}" + (f"/{extra}" if extra else "")
    _take(draft, book, name, extra)
    return Route(
        key=key,
        service=service,
        provider=provider.name,
        name=name,
        per=section.get("per"),
        targets=targets,
        types=types,
        ttl_s=float(section.get("ttl", 30.0)),
        scope=scope,
        prefer=prefer,
        only=draft.only,
        on_drift=section.get("on_drift", "report"),
        settings=draft.extras,
    )


def _provider(build: Build, book: Book, section: Section) -> ProviderSpec | None:
    name = section.get("provider")
    if name is None:
        return None
    provider = book.providers.get(name)
    if provider is None:
        declared = build.root.section("providers")
        if declared is None or not declared.given(name):
            hint = nearest(name, book.providers) or "; declare it under `providers`"
            build.problems.add(section.mark("provider"), f"there is no provider {quote(name)}{hint}")
    return provider


def _types(build: Build, section: Section, provider: ProviderSpec) -> tuple[str, ...] | None:
    types: tuple[str, ...] = tuple(section.get("type", ()))
    if provider.kind in SERVER_KINDS:
        for key in ("type", "ttl", "set", "targets"):
            if section.given(key):
                text = f"`{key}` is for DNS records; a route of kind {provider.kind!r} takes `backend` and `servers`"
                build.problems.add(section.key_mark(key), text)
        return ()
    if not types:
        return ("A",) if provider.kind in DNS_KINDS else ()
    single = {"CNAME", "ALIAS"} & set(types)
    if single and len(types) > 1:
        build.problems.add(section.mark("type"), f"{single.pop()} stands alone on a name: only A and AAAA go together")
        return None
    if len(set(types)) != len(types):
        build.problems.add(section.mark("type"), "a type stands twice: write each once")
    return types


def _name(draft: Draft) -> str | None:
    section = draft.section
    wants = "name" if draft.dns else "backend" if draft.provider.kind in SERVER_KINDS else None
    other = {"name": "backend", "backend": "name"}.get(wants or "")
    if wants and other and section.given(other):
        text = f"a route of kind {draft.provider.kind!r} takes `{wants}`, not `{other}`"
        draft.build.problems.add(section.key_mark(other), text)
        return None
    if wants is None and section.given("name") and section.given("backend"):
        draft.wrong("backend", "`name` and `backend` are two words for one thing here: keep one of them")
    if draft.dns and section.given("servers"):
        draft.build.problems.add(
            section.key_mark("servers"), "`servers` is for load balancers; DNS records take `targets`"
        )
    if not section.given("name") and not section.given("backend"):
        draft.wrong(None, f"`{wants or 'name'}` is missing in a route")
        return None
    name: str | None = section.get("name", section.get("backend"))
    if name is None or not draft.dns:
        return name
    name = name.rstrip(".").lower()
    labels = name.split(".")
    if len(name) > 244 or len(labels) < 2 or not all(LABEL.fullmatch(label) for label in labels):
        draft.wrong("name", f"{quote(name)} is not the full name of a record: chat.example.com, say")
        return None
    zones = draft.provider.settings.get("zone") or draft.provider.settings.get("zones") or ()
    origins = [z.rstrip(".").lower() for z in ((zones,) if isinstance(zones, str) else zones) if isinstance(z, str)]
    if origins and not any(name == o or name.endswith(f".{o}") for o in origins):
        text = f"{quote(name)} is outside the zone of provider {draft.provider.name!r}: end it in .{origins[0]}"
        draft.wrong("name", text)
    return name


def _scope(draft: Draft, endpoints: tuple[Endpoint, ...]) -> str | None:
    given = draft.section.get("scope")
    if given is None:
        return None
    build, mark = draft.build, draft.section.mark("scope")
    if isinstance(given, Section):
        if len(given.node.entries) != 1:
            build.problems.add(mark, "`scope` takes one region or one zone: {region: NAME} or {zone: NAME}")
            return None
        kind, name = next(iter(given), (None, None))
        if kind is None:
            return None
        known = set(build.regions if kind == "region" else build.zone_region)
        mark = given.mark(kind)
    else:
        name, known = given, {*build.regions, *build.zone_region}
    if name not in known:
        build.problems.add(mark, f"there is no such region or zone: {quote(str(name))}{nearest(str(name), known)}")
        return None
    in_zone = name in build.zone_region
    if draft.per == "region" or (in_zone and draft.per == "zone"):
        fits = "`per: endpoint`" if in_zone else "`per: zone` or `per: endpoint`"
        draft.wrong("per", f"a route within {name} has nothing to split per {draft.per}: use {fits}")
    if endpoints and not any(name in {e.zone, build.zone_region.get(e.zone)} for e in endpoints):
        build.problems.add(mark, f"the service has no endpoints in {quote(str(name))}, so this route would be empty")
        return None
    return str(name)


def _only(draft: Draft) -> tuple[str, ...]:
    given = draft.section.get("only")
    if not isinstance(given, Items):
        return ()
    return tuple(name for name, mark in given.pairs() if draft.build.known_region(name, mark))


def _members(draft: Draft, endpoints: tuple[Endpoint, ...], scope: str | None) -> dict[str, list[Endpoint]]:
    """Target key -> its endpoints, in the order of the config."""
    found: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        region = draft.build.zone_region[endpoint.zone]
        if scope is not None and scope not in {endpoint.zone, region}:
            continue
        key = {"endpoint": endpoint.name, "zone": endpoint.zone, "region": region}[draft.per]
        found.setdefault(key, []).append(endpoint)
    return found


def _targets(draft: Draft) -> tuple[Target, ...]:
    section = draft.section
    fixed, servers = section.section("targets"), section.section("servers")
    for key, given in (("targets", fixed), ("servers", servers)):
        for name, _ in given or ():
            if draft.members and given is not None and name not in draft.members:
                hint = nearest(name, draft.members)
                draft.wrong_at(given.key_mark(name), f"{quote(name)} in `{key}` is no {draft.per} of this route{hint}")
    found = []
    for key, members in draft.members.items():
        values = values_of(draft, key, fixed)
        own = servers.get(key, key) if servers else key
        server = own if draft.provider.kind in SERVER_KINDS or servers else None
        # A target outside `only` stays known, so that a value of it that stands in the record is ours to take out.
        if values or not draft.types or draft.resident(key):
            found.append(Target(key, tuple(e.name for e in members), values, server))
    if draft.members and not any(draft.resident(key) for key in draft.members):
        draft.wrong("only", "no endpoint of this route is in these regions, so it could never be served")
    distinct(draft, found)
    return tuple(found)


def _extras(draft: Draft) -> dict[str, Any]:
    """The keys that only this kind of provider takes, defaults filled in."""
    section, kind = draft.section, draft.provider.kind
    known = {s.name: s for s in ROUTE_SETTINGS.get(kind, ())}
    found = {s.name: thaw(s.default) for s in known.values() if s.default is not None}
    for name in _EXTRA_KEYS:
        if name not in section:
            if name in known and known[name].required and not section.given(name):
                draft.wrong(None, f"`{name}` is missing in a route of kind {kind!r}: {known[name].help}")
            continue
        if name not in known:
            kinds = ", ".join(k for k, settings in ROUTE_SETTINGS.items() if name in {s.name for s in settings})
            draft.wrong_at(section.key_mark(name), f"`{name}` is for routes of kind {kinds}; this one is {kind!r}")
            continue
        value = setting_spec(known[name]).read(section.get(name), draft.build.problems)
        if value is not BAD:
            found[name] = thaw(value)
    if "set" in section:
        found["set"] = section.get("set")
    return found


def _take(draft: Draft, book: Book, name: str, extra: str | None) -> None:
    """One record, one owner: two entries of `providers` that are the same system count as one."""
    _take_things(draft, book)
    _share_things(draft, book)
    spec = draft.provider
    system = json.dumps([spec.kind, spec.region, {k: str(v) for k, v in sorted(spec.settings.items())}, name, extra])
    if not spec.settings:
        system = f"{spec.name}/{system}"
    taken = book.taken.get(system)
    key = "name" if draft.section.given("name") else "backend"
    if taken is None:
        book.taken[system] = (draft.service, draft.section.mark(key))
        return
    thing = "record" if draft.dns else "backend"
    whose = "this service" if taken[0] == draft.service else f"service {taken[0]!r}"
    hint = "; write both types in one route: `type: [A, AAAA]`" if draft.dns and taken[0] == draft.service else ""
    draft.wrong(
        key, f"{thing} {quote(name)} is written by {whose} already (line {taken[1].line}): each has one owner{hint}"
    )


def _take_things(draft: Draft, book: Book) -> None:
    """What a route changes, however it is called, has one owner too: each write would undo the other's."""
    kind, setting = draft.provider.kind, _OWNED.get(draft.provider.kind)
    given = draft.extras.get(setting) if setting else None
    if setting is None or not given:
        return
    mark = draft.section.mark(setting)
    for thing in sorted({str(v) for v in given.values()} if isinstance(given, MappingABC) else {str(given)}):
        key = json.dumps([kind, setting, thing])
        taken = book.taken.setdefault(key, (draft.service, mark))
        if taken[1] is not mark:
            whose = "another route of this service" if taken[0] == draft.service else f"service {taken[0]!r}"
            draft.wrong_at(
                mark, f"{quote(thing)} is written by {whose} already (line {taken[1].line}): each has one owner"
            )


def _share_things(draft: Draft, book: Book) -> None:
    """What one route switches off is off for the others that share it, and they would switch it on again in turn."""
    kind = draft.provider.kind
    setting, switch = _SWITCHED.get(kind, ("", ""))
    given = draft.extras.get(setting)
    if not given:
        return
    mark, switches = draft.section.mark(setting), bool(draft.extras.get(switch))
    for thing in sorted({str(v) for v in given.values()}):
        key = json.dumps([kind, setting, thing])
        service, other, switched = book.shared.get(key, (draft.service, mark, False))
        if other is not mark and (switches or switched):
            whose = "another route of this service" if service == draft.service else f"service {service!r}"
            draft.wrong_at(
                mark,
                f"{quote(thing)} is used by {whose} too (line {other.line}): with `{switch}` each has one owner;"
                f" leave `{switch}` out of both, or give each {setting} of its own",
            )
        if key not in book.shared or (switches and not switched):
            book.shared[key] = (draft.service, mark, switches)


def check_prefer(build: Build, section: Section, endpoints: tuple[Endpoint, ...]) -> dict[str, float] | None:
    """`prefer` of a route or of `routing`: known regions with endpoints, summing to about 1."""
    given = section.section("prefer")
    if given is None:
        return None
    served = {build.zone_region[e.zone] for e in endpoints}
    found: dict[str, float] = {}
    for name, share in given:
        if not build.known_region(name, given.key_mark(name)):
            continue
        if endpoints and name not in served and share > 0:
            build.problems.add(
                given.key_mark(name),
                f"the service has no endpoints in region {quote(name)} that could take {share:.0%}",
            )
        found[name] = float(share)
    whole = len(given.node.entries) == len(found)
    if whole and abs(sum(found.values()) - 1) > 0.01:
        build.problems.add(given.mark(), f"the shares sum to {sum(found.values()):.0%}: make it 100%")
    return found
