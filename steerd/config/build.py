"""Sections -> `Fleet`: everything that concerns more than one key is checked here and in the files it calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from steerd.config import layout_rules
from steerd.config.canonical import digest
from steerd.config.checks import Pace
from steerd.config.endpoints import read_text
from steerd.config.kinds import PROBE_KINDS, STORE_KINDS, defaults_of, fields_of, settings_of
from steerd.config.layout import DEPENDENCIES, PROVIDERS, ROOT, STORE
from steerd.config.nodes import compose
from steerd.config.own_stacks import own_stacks
from steerd.config.problems import Mark, Problems, nearest, quote
from steerd.config.routes import Book
from steerd.config.services import build_services
from steerd.config.specs import BAD
from steerd.config.tables import Items, Section
from steerd.config.topology import Build, agents, coordinators, listen, named, regions
from steerd.model.fleet import (
    Contact,
    Coordinator,
    Dependency,
    Fleet,
    Listen,
    ProviderSpec,
    Service,
    StoreSpec,
    Telemetry,
)

__all__ = ["Loaded", "load", "load_with_files", "parse"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A fleet and every file it was read from (for the watcher)."""

    fleet: Fleet
    files: tuple[Path, ...]


def load(path: Path) -> Fleet:
    """The fleet described by the file at `path`. Raises `ConfigError` with every problem."""
    return load_with_files(path).fleet


def load_with_files(path: Path) -> Loaded:
    """The fleet and the files it was read from. Raises `ConfigError` with every problem."""
    problems = Problems()
    text = read_text(path, Mark(str(path), 1, 1), problems)
    problems.raise_if_any()
    assert text is not None
    return _parse(text, str(path), path.parent, path)


def parse(text: str, filename: str, base: Path) -> Fleet:
    """The fleet described by `text`. `filename` is for messages; files named inside are relative to `base`.

    Raises `ConfigError` with every problem, never anything else.
    """
    return _parse(text, filename, base, None).fleet


def _parse(text: str, filename: str, base: Path, path: Path | None) -> Loaded:
    problems = Problems()
    node = compose(text, filename, problems)
    root = ROOT.read(node, problems) if node is not None else BAD
    if root is BAD:
        problems.raise_if_any()
        raise AssertionError("a config that cannot be read has a problem")
    build = Build(root, problems, base, stacks=dict(own_stacks(root, problems)))
    fleet = _fleet(build)
    problems.raise_if_any()
    files = ([path] if path else []) + build.files
    return Loaded(replace(fleet, config_hash=digest(fleet)), tuple(files))


def _fleet(build: Build) -> Fleet:
    root = build.root
    base_listen = listen(root.section("listen"), Listen())
    all_regions = regions(build)
    all_coordinators = coordinators(build, base_listen)
    all_agents = agents(build, base_listen)
    store = _store(build, all_coordinators)
    providers = _providers(build, all_coordinators)
    dependencies = _dependencies(build)
    mode = root.get("mode", "steer")
    services = build_services(build, dependencies, Book(providers), mode)
    _sees(build, services)
    vantages = {build.zone_region.get(a.zone, a.zone) for a in all_agents}
    telemetry = root.section("telemetry")
    fleet = Fleet(
        name=root.get("fleet", ""),
        mode=mode,
        regions=all_regions,
        agents=all_agents,
        coordinators=all_coordinators,
        store=store,
        services=services,
        dependencies=tuple(d for d, _ in dependencies.values()),
        providers=tuple(providers.values()),
        references=tuple(root.get("references", ())),
        quorum=layout_rules.quorum(root.section("quorum"), max(1, min(2, len(vantages)))),
        guards=layout_rules.guards(root.section("guards")),
        verdict=layout_rules.verdict(root.section("verdict")),
        gray=layout_rules.gray(root.section("gray")),
        damping=layout_rules.damping(root.section("damping")),
        ramp=layout_rules.ramp(root.section("ramp")),
        stacks=build.stacks,
        tokens_per_day=budget.get("tokens_per_day") if (budget := root.section("budget")) else None,
        contacts=_contacts(root),
        alerts=tuple(dict(a) for a in root.get("alerts", ())),
        telemetry=Telemetry(telemetry.get("otlp"), telemetry.get("prometheus", True)) if telemetry else Telemetry(),
        listen=base_listen,
    )
    _quorum_possible(build, fleet)
    return fleet


def _contacts(root: Section) -> tuple[Contact, ...]:
    return tuple(Contact(c.get("name", ""), c.get("phone"), c.get("url")) for c in root.get("contacts", ()))


def _store(build: Build, all_coordinators: tuple[Coordinator, ...]) -> StoreSpec:
    section = build.root.section("store")
    declared = build.root.section("coordinators")
    if section is not None:
        spec = StoreSpec(section.get("kind"), STORE.settings(section))
    elif build.root.given("store"):
        return StoreSpec()
    else:
        spec = StoreSpec("sqlite", defaults_of(STORE_KINDS["sqlite"]))
    if spec.kind != "etcd" and len(all_coordinators) > 1 and declared is not None:
        second = all_coordinators[1].name
        text = f"store {spec.kind!r} serves exactly one coordinator: use `store: {{kind: etcd, ...}}`, or keep one coordinator"
        build.problems.add(declared.key_mark(second), text)
    return spec


def _providers(build: Build, all_coordinators: tuple[Coordinator, ...]) -> dict[str, ProviderSpec]:
    found = {}
    for name, section, _ in named(build, "providers"):
        region = section.get("region")
        known = region is not None and build.known_region(region, section.mark("region"))
        if known and not any(c.region == region for c in all_coordinators):
            text = f"no coordinator is in region {quote(region)} to carry out this provider's writes"
            build.problems.add(section.mark("region"), text)
        found[name] = ProviderSpec(name, section.get("kind"), region, PROVIDERS.settings(section))
    return found


_PLACES = ("url", "host", "dsn", "brokers", "queue", "bucket", "command")
"""Settings that say where a dependency is; an endpoint's check has the endpoint's own URL."""


def _dependencies(build: Build) -> dict[str, tuple[Dependency, Pace]]:
    found = {}
    for name, section, mark in named(build, "dependencies"):
        kind = PROBE_KINDS[section.get("kind")]
        instances = section.section("instances")
        by_region = {}
        for region, one in instances or ():
            assert instances is not None
            build.known_region(region, instances.key_mark(region))
            by_region[region] = settings_of(kind, one, common={}, defaults=False)
        settings = DEPENDENCIES.settings(section)
        _placed(build, section, mark, [settings | own for own in by_region.values()] or [settings])
        interval, timeout = section.get("interval"), section.get("timeout")
        if interval is not None and timeout is not None and timeout > interval:
            build.problems.add(section.mark("timeout"), "the timeout is over the interval: one look at a time")
        dependency = Dependency(
            name, kind.name, section.get("stateful", False), section.get("max_lag"), settings, by_region
        )
        found[name] = (dependency, Pace(interval, timeout))
    return found


def _placed(build: Build, section: Section, mark: Mark, instances: list[dict[str, object]]) -> None:
    """Every instance says where it is, and has what its kind requires."""
    kind = PROBE_KINDS[section.get("kind")]
    known = fields_of(kind)
    for name, other in dict.fromkeys(pair for settings in instances for pair in kind.lacking(settings)):
        build.problems.add(section.mark(name), f"`{name}` needs `{other}` beside it")
    places = [p for p in _PLACES if p in known]
    for settings in instances:
        for key, field in known.items():
            if field.required and key not in settings and not section.given(key):
                build.problems.add(mark, f"`{key}` is missing in a dependency of kind {kind.name!r}: {field.help}")
        if places and not any(p in settings or section.given(p) for p in places):
            build.problems.add(mark, f"the dependency does not say where it is: give `{'` or `'.join(places)}`")


def _sees(build: Build, services: tuple[Service, ...]) -> None:
    known = {s.name for s in services} | {e.name for s in services for e in s.endpoints}
    for name, section, _ in named(build, "agents"):
        seen = section.get("sees")
        if isinstance(seen, Items):
            for one, mark in seen.pairs():
                if one not in known and build.names.get(one, ("", None))[0] not in {"service", "endpoint"}:
                    text = f"agent {name} cannot see {quote(one)}: no service or endpoint has that name"
                    build.problems.add(mark, f"{text}{nearest(one, known)}")


def _quorum_possible(build: Build, fleet: Fleet) -> None:
    """With fewer vantage zones or regions than the quorum asks for, nothing would ever be decided."""
    declared = build.root.section("agents")
    if declared is None or not build.whole or len(fleet.agents) != len(declared.node.entries):
        return
    section = build.root.section("quorum") or build.root
    zones = {a.zone for a in fleet.agents}
    if len(zones) < fleet.quorum.voices:
        mark = section.mark("voices") if section.given("voices") else declared.mark()
        text = f"the agents stand in {len(zones)} vantage zones and a decision needs {fleet.quorum.voices} voices"
        build.problems.add(mark, f"{text}: add agents in other zones, or set `quorum: {{voices: {len(zones)}}}`")
    if len(fleet.vantage_regions) < fleet.quorum.vantage_regions:
        text = f"the agents stand in {len(fleet.vantage_regions)} vantage regions, not {fleet.quorum.vantage_regions}"
        build.problems.add(section.mark("vantage_regions"), f"{text}: add agents elsewhere, or lower `vantage_regions`")
