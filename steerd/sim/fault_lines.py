"""Faults of a scenario, one mapping each, checked against its fleet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steerd.config.nodes import Node
from steerd.config.problems import Mark, Problems, nearest, quote
from steerd.config.tables import Section
from steerd.model.fleet import Fleet
from steerd.sim.kinds import KINDS, LASTING, NEEDS, ONCE
from steerd.sim.layout import FAULT
from steerd.sim.names import known, place_of
from steerd.sim.network import GROUPS
from steerd.sim.scenario import Fault

__all__ = ["FaultLines"]

_TIMES = ("at", "until", "for", "kind")


class FaultLines:
    """`load` reads a config that a fault names; it notes its problems at the mark it is given."""

    def __init__(
        self, fleet: Fleet, duration_s: float, load: Callable[[str, Mark], Fleet | None], problems: Problems
    ) -> None:
        self._fleet, self._duration_s, self._load, self._problems = fleet, duration_s, load, problems

    def read(self, node: Node) -> Fault | None:
        """One fault, or None after noting its problems."""
        before = len(self._problems)
        section = FAULT.read(node, self._problems)
        if not isinstance(section, Section) or len(self._problems) > before:
            return None
        if section.get("at") >= self._duration_s:
            self._add(section.mark("at"), f"the scenario ends before that: its `duration` is {self._duration_s:g} s")
        found = self._what(section)
        if found is None:
            return None
        on, target, kind = found
        needs = NEEDS.get((on, kind), {})
        self._keys(section, on, kind)
        values = section.get("demand") if on == "demand" else section
        for key, required in needs.items():
            if required and key not in values:
                self._add(section.mark(), f"{kind} on {on} needs `{key}`")
        until = self._until(section, on, kind)
        args: dict[str, Any] = {k: values.get(k) for k in needs if k in values}
        if on == "link":
            args["from"], args["to"] = self._link(section)
        if kind == "external-edit" and "record" in args:
            self._check_record(section, target, args["record"])
        if on == "operator" and "name" in args:
            self._known(args["name"], ("endpoint", "zone", "region"), section.mark("name"))
        if "file" in args:
            args["fleet"] = self._load(args["file"], section.mark("file"))
        if (on, kind) in LASTING and until is not None:  # an operator says how long, and steerd ends it
            args["for"], until = until - section.get("at"), None
        if len(self._problems) > before:
            return None
        return Fault(section.get("at"), on, target, kind, until, args, place_of(section))

    def _keys(self, section: Section, on: str, kind: str) -> None:
        """Nothing may stand there that would mean nothing."""
        times = ("at",) if (on, kind) in ONCE else _TIMES
        takes = (*NEEDS.get((on, kind), {}), *times)
        for key in section.node.entries:
            if key in takes or key in (on, "kind"):
                continue
            if key in _TIMES:
                self._add(section.key_mark(key), f"{kind} on {on} happens once: it has no `{key}`")
            else:
                self._add(section.key_mark(key), f"{kind} on {on} takes no {quote(key)}{nearest(key, takes)}")

    def _what(self, section: Section) -> tuple[str, str, str] | None:
        """(on, target, kind), or None after noting why not."""
        on = [o for o in KINDS if o in section]
        if "demand" in on and "service" in on:
            on.remove("service")
        if len(on) != 1:
            what = "more than one thing" if on else "nothing"
            self._add(section.mark(), f"this fault hits {what}: name one of {', '.join(KINDS)}")
            return None
        kind = on[0]
        if kind in ("operator", "config", "demand"):
            if "kind" in section:
                self._add(section.key_mark("kind"), f"`kind` means nothing beside `{kind}`: remove it")
                return None
            if kind == "demand":
                service = section.get("demand").get("service", "")
                self._known(service, ("service",), section.mark("demand"))
                return kind, service, "set"
            return kind, self._fleet.name, section.get(kind)
        word = section.get("kind")
        if word is None:
            self._add(section.mark(), f"`kind` is missing: one of {', '.join(KINDS[kind])}")
            return None
        if word not in KINDS[kind]:
            self._add(section.mark("kind"), f"{kind} has no fault {quote(word)}{nearest(word, KINDS[kind])}")
            return None
        return kind, self._target(section, kind), word

    def _target(self, section: Section, on: str) -> str:
        """The name of what it hits, checked."""
        mark = section.mark(on)
        if on == "clock":
            name = str(section.get("clock").get("of", ""))
            self._known(name, ("agent", "coordinator"), mark)
            return name
        if on == "link":
            return "link"
        name = str(section.get(on))
        if on == "coordinator" and name == "leader":
            return name
        if on == "provider":
            if name not in self._fleet.provider_by_name:
                self._add(mark, f"no provider is called {quote(name)}{nearest(name, self._fleet.provider_by_name)}")
        elif on == "dependency":
            names = [n for d in self._fleet.dependencies for n in (d.name, *(f"{d.name}@{r}" for r in d.instances))]
            if name not in names:
                self._add(mark, f"no dependency is called {quote(name)}{nearest(name, names)}")
        elif on != "store":
            self._known(name, (on,), mark)
        return name

    def _link(self, section: Section) -> tuple[str, str]:
        link = section.get("link")
        for key in ("from", "to"):
            name = link.get(key, "")
            fine = name in GROUPS or name in self._fleet.provider_by_name
            if not fine and self._fleet.kind_of(name) is None:
                self._add(link.mark(key), f"nothing is called {quote(name)}; use a name, or one of {', '.join(GROUPS)}")
        return link.get("from", ""), link.get("to", "")

    def _until(self, section: Section, on: str, kind: str) -> float | None:
        at: float = section.get("at")
        if (on, kind) in ONCE:
            return None
        if "until" in section and "for" in section:
            self._add(section.key_mark("for"), "`until` and `for` say the same: keep one")
        if "for" in section:
            return at + float(section.get("for"))
        until: float | None = section.get("until")
        if until is not None and until <= at:
            self._add(section.mark("until"), "it would end before it begins")
        if until is None and (on, kind) == ("clock", "suspend"):
            self._add(section.mark(), "a suspended machine needs `for` or `until`")
        return until

    def _check_record(self, section: Section, provider: str, record: str) -> None:
        routes = [r for r in self._fleet.route_by_key.values() if r.provider == provider]
        targets = [t.key for r in routes for t in r.targets]
        if record not in targets:
            self._add(section.mark("record"), f"{provider} serves no {quote(record)}{nearest(record, targets)}")

    def _known(self, name: str, kinds: tuple[str, ...], mark: Mark) -> None:
        known(self._fleet, name, kinds, mark, self._problems)

    def _add(self, mark: Mark, text: str) -> None:
        self._problems.add(mark, text)
