"""Services: objectives, routing, activation, and their endpoints, checks and routes put together."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from typing import Any

from steerd.config.checks import Pace, build_checks, dependency_check
from steerd.config.endpoints import build_endpoints
from steerd.config.layout_rules import service_ramp
from steerd.config.own_stacks import chosen
from steerd.config.presets import CLASSES, DEFAULT_CLASS, Preset
from steerd.config.problems import Mark, nearest, quote
from steerd.config.routes import Book, build_route, check_prefer
from steerd.config.tables import Items, Section
from steerd.config.topology import Build, named
from steerd.model.fleet import Demand, Dependency, Endpoint, Objectives, Routing, Service

__all__ = ["build_services"]


def build_services(
    build: Build, dependencies: MappingABC[str, tuple[Dependency, Pace]], book: Book, fleet_mode: str
) -> tuple[Service, ...]:
    """Every service of the config that is whole."""
    found = []
    sections = named(build, "services")
    for name, _, mark in sections:
        build.claim(name, "service", mark)
    for name, section, mark in sections:
        found.append(_service(build, name, section, mark, dependencies, book, fleet_mode))
    _fallbacks(build, {name: section for name, section, _ in sections})
    return tuple(found)


def _service(
    build: Build,
    name: str,
    section: Section,
    mark: Mark,
    dependencies: MappingABC[str, tuple[Dependency, Pace]],
    book: Book,
    fleet_mode: str,
) -> Service:
    class_name = section.get("class", DEFAULT_CLASS)
    preset = CLASSES[class_name]
    version_section = section.section("version")
    version = dict(version_section) if version_section else None
    endpoints = build_endpoints(build, name, section)
    needs = _depends_on(build, section, dependencies)
    declared, stack_name = build.root.section("stacks"), section.get("stack", "http")
    stack = chosen(build.stacks, declared, stack_name, section.mark("stack"), build.problems)
    checks = build_checks(section, stack, mark, preset, version, build.problems) if stack is not None else ()
    checks += tuple(dependency_check(*dependencies[d]) for d in needs if d in dependencies)
    routes = [
        build_route(build, book, name, endpoints, route)
        for route in section.get("routes", ())
        if isinstance(route, Section)
    ]
    return Service(
        name=name,
        cls=class_name,
        stack=section.get("stack", "http"),
        model=section.get("model"),
        # `observe` for the fleet is a safety catch: no service steers while it is on.
        mode="observe" if fleet_mode == "observe" else section.get("mode", "steer"),
        objectives=_objectives(section, preset),
        checks=checks,
        depends_on=needs,
        demand=_demand(section.get("demand")),
        routing=_routing(build, section, endpoints),
        fallback=section.get("fallback"),
        shortfall=section.get("shortfall", preset.shortfall),
        activate=_activate(build, section, needs, dependencies),
        version=version,
        endpoints=endpoints,
        routes=tuple(r for r in routes if r is not None),
        ramp=service_ramp(build.root.section("ramp"), section.section("ramp"), preset),
    )


def _depends_on(
    build: Build, section: Section, dependencies: MappingABC[str, tuple[Dependency, Pace]]
) -> tuple[str, ...]:
    given = section.get("depends_on", Items())
    declared = build.root.section("dependencies")
    found: list[str] = []
    for name, mark in given.pairs():
        if name in found:
            build.problems.add(mark, f"dependency {quote(name)} stands twice: once is enough")
        elif name not in dependencies and not (declared and declared.given(name)):
            hint = nearest(name, dependencies) or "; declare it under `dependencies`"
            build.problems.add(mark, f"there is no dependency {quote(name)}{hint}")
        else:
            found.append(name)
    return tuple(found)


def _objectives(section: Section, preset: Preset) -> Objectives:
    given = section.section("objectives")
    if given is None:
        return Objectives(rto_s=preset.rto_s)
    return Objectives(given.get("rto", preset.rto_s), given.get("rpo"), given.get("ttft"), given.get("availability"))


def _demand(given: Any) -> Demand | None:
    if given is None:
        return None
    if isinstance(given, Section):
        return Demand(
            prometheus=given.get("prometheus"), query=given.get("query"), progress=given.get("from") == "progress"
        )
    return Demand(value=float(given))


def _routing(build: Build, section: Section, endpoints: tuple[Endpoint, ...]) -> Routing:
    given = section.section("routing")
    if given is None:
        return Routing()
    passive = given.get("mode") == "active-passive"
    served = list(dict.fromkeys(build.zone_region[e.zone] for e in endpoints))
    if not passive and "mode" not in given and given.given("mode"):
        return Routing()
    for key in ("order", "trickle"):
        if given.given(key) and not passive:
            build.problems.add(given.key_mark(key), f"`{key}` goes with `mode: active-passive` only")
    if passive and given.given("prefer"):
        build.problems.add(
            given.key_mark("prefer"), "`prefer` goes with `mode: active-active`; with active-passive `order` decides"
        )
    if passive and not given.given("order"):
        build.problems.add(
            given.mark("mode"), f"active-passive needs `order`, the regions by preference: order: [{', '.join(served)}]"
        )
    order = _order(build, given, served) if passive else ()
    prefer = None if passive else check_prefer(build, given, endpoints)
    return Routing(
        mode=given.get("mode", "active-active"),
        prefer=prefer,
        order=order,
        trickle=given.get("trickle", 0.0),
        failback=given.get("failback", "automatic"),
    )


def _order(build: Build, given: Section, served: list[str]) -> tuple[str, ...]:
    items = given.get("order")
    if not isinstance(items, Items):
        return ()
    found: list[str] = []
    for name, mark in items.pairs():
        if name in found:
            build.problems.add(mark, f"region {quote(name)} stands twice in `order`")
        elif build.known_region(name, mark):
            if served and name not in served:
                build.problems.add(mark, f"the service has no endpoints in region {quote(name)}")
            found.append(name)
    missing = [region for region in served if region not in found]
    if missing and len(items) == len(found):
        build.problems.add(
            given.mark("order"),
            f"`order` lacks {', '.join(missing)}, where the service has endpoints: add it, at the end perhaps",
        )
    return tuple(found)


def _activate(
    build: Build, section: Section, needs: tuple[str, ...], dependencies: MappingABC[str, tuple[Dependency, Pace]]
) -> dict[str, tuple[dict[str, Any], ...]]:
    """Region -> steps: {"scale": {...}} or {"wait_ready": n} or {"wait_lag": name}, with `timeout_s` and `on_failure`."""
    given = section.section("activate")
    found: dict[str, tuple[dict[str, Any], ...]] = {}
    for region, steps in given or ():
        assert given is not None
        build.known_region(region, given.key_mark(region))
        done = []
        for step in steps:
            lag = step.get("wait_lag")
            if lag is not None and lag not in needs:
                build.problems.add(
                    step.mark("wait_lag"), f"the service does not depend on {quote(lag)}{nearest(lag, needs)}"
                )
            elif lag is not None and lag in dependencies and not dependencies[lag][0].stateful:
                build.problems.add(
                    step.mark("wait_lag"),
                    f"dependency {quote(lag)} is not `stateful`: it has no replication lag to wait for",
                )
            scale = step.section("scale")
            action = (
                {"scale": {key: tuple(v) if isinstance(v, Items) else v for key, v in scale}}
                if scale is not None
                else {key: step.get(key) for key in ("wait_ready", "wait_lag") if key in step}
            )
            done.append({**action, "timeout_s": step.get("timeout", 0.0), "on_failure": step.get("on_failure", "stop")})
        found[region] = tuple(done)
    return found


def _fallbacks(build: Build, sections: MappingABC[str, Section]) -> None:
    """A fallback is another service, and following fallbacks ends somewhere."""
    target = {name: section.get("fallback") for name, section in sections.items()}
    for name, section in sections.items():
        to = target[name]
        if to is None:
            continue
        mark = section.mark("fallback")
        if to not in sections:
            _unknown_fallback(build, to, mark, sections)
            continue
        seen = [name]
        while to is not None and to not in seen:
            seen.append(to)
            to = target.get(to)
        if to == name:
            build.problems.add(mark, f"fallbacks go in a circle: {' -> '.join([*seen, name])}")


def _unknown_fallback(build: Build, to: str, mark: Mark, sections: MappingABC[str, Section]) -> None:
    """A misspelt fallback is a problem. One that resembles no service may belong to a part of the fleet that this file
    leaves out: `advice` warns of it and the coordinator does not start with it (`support`)."""
    declared = build.root.section("services")
    if declared is not None and declared.given(to):
        return
    hint = nearest(to, sections)
    if "did you mean" in hint:
        build.problems.add(mark, f"there is no service {quote(to)} to fall back on{hint}")
