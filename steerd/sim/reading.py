"""Scenario files -> `Scenario`, or every problem at once with its place and a hint (`ConfigError`, as for a config)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steerd import config
from steerd.config.endpoints import read_text
from steerd.config.nodes import Mapping, Node, Scalar, compose
from steerd.config.problems import ConfigError, Mark, Problems, nearest, quote
from steerd.config.specs import BAD
from steerd.config.tables import Section
from steerd.model.fleet import Fleet
from steerd.sim.kinds import KINDS, NEEDS, PLACES
from steerd.sim.layout import EXPECT, FAULT, SCENARIO
from steerd.sim.network import GROUPS
from steerd.sim.scenario import Expectation, Fault, Scenario

__all__ = ["load_scenario", "parse_faults"]

_TIMES = frozenset({"at", "until", "for", "kind"})
_FORMS = (
    "health",
    "share",
    "never_drained",
    "diagnosis",
    "transitions",
    "writes",
    "alert",
    "no_alert",
    "frozen",
    "state",
)


def load_scenario(path: Path, fleet: Fleet | None = None) -> Scenario:
    """The scenario at `path`, on its own config or on `fleet`. Raises `ConfigError` with every problem."""
    problems = Problems()
    text = read_text(path, Mark(str(path), 1, 1), problems)
    problems.raise_if_any()
    assert text is not None
    node = compose(text, str(path), problems)
    section = SCENARIO.read(node, problems) if node is not None else BAD
    problems.raise_if_any()
    assert isinstance(section, Section)
    if fleet is None:
        fleet = _fleet(path.parent / section.get("config"), section.mark("config"), problems)
        problems.raise_if_any()
        assert fleet is not None
    reader = _Reader(fleet, path.parent, section.get("duration"), problems)
    faults = tuple(f for n in section.get("faults", ()) if (f := reader.fault(n)) is not None)
    expect = tuple(e for n in section.get("expect", ()) if (e := reader.expectation(n)) is not None)
    problems.raise_if_any()
    return Scenario(
        name=section.get("scenario"),
        about=section.get("about", ""),
        fleet=fleet,
        duration_s=section.get("duration"),
        faults=faults,
        expect=expect,
        seed=section.get("seed", 1),
        source=str(path),
    )


def parse_faults(lines: list[str], fleet: Fleet, duration_s: float) -> tuple[Fault, ...]:
    """Faults from the command line, each `key=value key=value`. Raises `ConfigError`; the place is `--fault:N:COLUMN`."""
    problems = Problems()
    reader = _Reader(fleet, Path(), duration_s, problems)
    found = []
    for number, line in enumerate(lines, start=1):
        node = _words(line, number, problems)
        fault = reader.fault(node) if node is not None else None
        if fault is not None:
            found.append(fault)
    problems.raise_if_any()
    return tuple(found)


def _words(line: str, number: int, problems: Problems) -> Node | None:
    """`at=60s zone=a kind=crash`, as the mapping it stands for; a dot makes a mapping inside (`link.from=agents`)."""
    parts: dict[str, Any] = {}
    column = 1
    for word in line.split():
        key, equals, value = word.partition("=")
        if not equals:
            problems.add(Mark("--fault", number, column), f"{quote(word)} is no KEY=VALUE")
            return None
        outer, dot, inner = key.partition(".")
        if dot:
            parts.setdefault(outer, {})[inner] = value
        else:
            parts[key] = value
        column += len(word) + 1
    text = "\n".join(
        f"{key}: {{{', '.join(f'{k}: {quote(v)}' for k, v in value.items())}}}"
        if isinstance(value, dict)
        else f"{key}: {quote(value)}"
        for key, value in parts.items()
    )
    return compose(text, "--fault", problems)


def _fleet(path: Path, mark: Mark, problems: Problems) -> Fleet | None:
    try:
        return config.load(path)
    except ConfigError as error:
        for problem in error.problems:
            place = Mark(problem.file, problem.line, problem.column)
            problems.add(mark if problem.file == mark.file and problem.line == 1 else place, problem.text)
        return None


class _Reader:
    """Faults and expectations of one scenario, checked against its fleet."""

    def __init__(self, fleet: Fleet, base: Path, duration_s: float, problems: Problems) -> None:
        self._fleet, self._base, self._duration_s, self._problems = fleet, base, duration_s, problems

    # -- faults -------------------------------------------------------------------------------------------------------

    def fault(self, node: Node) -> Fault | None:
        """One fault, or None after noting its problems."""
        before = len(self._problems)
        section = FAULT.read(node, self._problems)
        if not isinstance(section, Section) or len(self._problems) > before:
            return None
        found = self._what(section)
        if found is None:
            return None
        on, target, kind = found
        known = NEEDS.get((on, kind), {})
        mine = {on, *_TIMES}
        for key in section.node.entries:
            if key not in known and key not in mine:
                self._add(
                    section.key_mark(key), f"{kind} on {on} takes no {quote(key)}{nearest(key, (*known, *_TIMES))}"
                )
        values = section.get("demand") if on == "demand" else section
        for key, required in known.items():
            if required and key not in values:
                self._add(section.mark(), f"{kind} on {on} needs `{key}`")
        until = self._until(section, on, kind)
        args: dict[str, Any] = {k: values.get(k) for k in known if k in values}
        if on == "link":
            args["from"], args["to"] = self._link(section)
        if kind == "external-edit" and "record" in args:
            self._check_record(section, target, args["record"])
        if on == "operator" and "name" in args:
            self._known(args["name"], ("endpoint", "zone", "region"), section.mark("name"))
        if "file" in args:
            args["fleet"] = _fleet(self._base / args["file"], section.mark("file"), self._problems)
        if len(self._problems) > before:
            return None
        return Fault(section.get("at"), on, target, kind, until, args, _place(section))

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
            names = [d.name for d in self._fleet.dependencies]
            if name.partition("@")[0] not in names:
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
        if on in ("operator", "demand", "config") or (on, kind) in (("clock", "jump"), ("provider", "external-edit")):
            if "until" in section:
                self._add(section.key_mark("until"), f"{kind} on {on} happens once: it has no `until`")
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

    # -- expectations -------------------------------------------------------------------------------------------------

    def expectation(self, node: Node) -> Expectation | None:
        """One expectation, or None after noting its problems."""
        before = len(self._problems)
        section = EXPECT.read(node, self._problems)
        if not isinstance(section, Section) or len(self._problems) > before:
            return None
        forms = [f for f in _FORMS if f in section]
        if len(forms) != 1:
            self._add(section.mark(), f"an expectation needs one of {', '.join(_FORMS)}")
            return None
        form = forms[0]
        during = section.get("during")
        of = self._whom(section, form)
        if ("by" in section) + (during is not None) > 1:
            self._add(section.mark(), "`by` and `during` exclude each other")
        if during is not None and during[1] < during[0]:
            self._add(section.mark("during"), "it would end before it begins")
        self._check_form(section, form, of)
        if len(self._problems) > before:
            return None
        value = section.get(form)
        test = value if form in ("share", "transitions", "writes") else None
        return Expectation(
            form=form,
            of=of,
            word="" if test is not None or form == "never_drained" else str(value).lower(),
            label=section.get("label"),
            test=test,
            by=section.get("by"),
            during=(during[0], during[1]) if during is not None else None,
            text=_text(section),
            place=_place(section),
        )

    def _whom(self, section: Section, form: str) -> tuple[str, ...]:
        if form == "never_drained":
            names = tuple(section.get(form))
            for name, mark in section.get(form).pairs():
                self._known(name, (*PLACES[:3],), mark)
            return names
        key = next((k for k in ("endpoint", "zone", "region", "agent", "of") if k in section), None)
        if key is None:
            return ()
        name = section.get(key)
        kinds = {"of": ("endpoint", "zone", "region", "agent", "service")}.get(key, (key,))
        if name != self._fleet.name:
            self._known(name, kinds, section.mark(key))
        return (name,)

    def _check_form(self, section: Section, form: str, of: tuple[str, ...]) -> None:
        if form in ("health", "share") and (not of or section.get("agent") or section.get("of")):
            self._add(section.mark(), f"{form} needs an endpoint, a zone or a region")
        if form in ("health", "share", "frozen") and "by" not in section and "during" not in section:
            self._add(section.mark(), f"{form} needs `by` or `during`")
        if form == "state" and "agent" not in section:
            self._add(section.mark(), "state needs an agent")

    def _known(self, name: str, kinds: tuple[str, ...], mark: Mark) -> None:
        kind = self._fleet.kind_of(name)
        if kind not in kinds:
            said = f"is a {kind}" if kind else "is unknown"
            names = _names(self._fleet, kinds)
            self._add(mark, f"{quote(name)} {said}, where {' or '.join(kinds)} belongs{nearest(name, names)}")

    def _add(self, mark: Mark, text: str) -> None:
        self._problems.add(mark, text)


def _names(fleet: Fleet, kinds: tuple[str, ...]) -> list[str]:
    """Names of these kinds, for hints."""
    every = (
        *fleet.endpoint_by_name,
        *fleet.agent_by_name,
        *fleet.service_by_name,
        *(c.name for c in fleet.coordinators),
        *(r.name for r in fleet.regions),
        *(z for r in fleet.regions for z in r.zones),
    )
    return [n for n in every if fleet.kind_of(n) in kinds]


def _place(section: Section) -> str:
    mark = section.mark()
    return f"{mark.file}:{mark.line}:{mark.column}"


def _text(section: Section) -> str:
    """An expectation as it stands in the file, roughly."""
    return "{" + ", ".join(f"{k}: {_said(e.value)}" for k, e in section.node.entries.items()) + "}"


def _said(node: Node) -> str:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{k}: {_said(e.value)}" for k, e in node.entries.items()) + "}"
    return "[" + ", ".join(_said(n) for n in node.items) + "]"
