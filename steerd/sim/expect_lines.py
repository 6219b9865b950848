"""What a scenario expects, one mapping each, checked against its fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steerd.config.nodes import Node
from steerd.config.problems import Mark, Problems, nearest, quote
from steerd.config.tables import Section
from steerd.core.alerts import ACTIONS, LEADERS
from steerd.model.fleet import Fleet
from steerd.sim.kinds import PLACES
from steerd.sim.layout import EXPECT
from steerd.sim.names import known, place_of, text_of
from steerd.sim.scenario import Expectation

__all__ = ["ALERTS", "FORMS", "ExpectLines", "Form"]

ALERTS = frozenset(ACTIONS) | LEADERS | {"agent-cut-off", "config-refused", "store-unavailable"}
"""Kinds of alerts that a rehearsal can show."""


@dataclass(frozen=True, slots=True)
class Form:
    """What may stand beside a form's first word: who (`one`: exactly one of these must stand), when (`timed`: one of these must
    stand, not both), and what else."""

    one: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    timed: bool = False
    also: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.one, *self.times, *self.also)


_WHEN = ("by", "during")

FORMS: Mapping[str, Form] = {
    "health": Form(("endpoint", "zone", "region"), _WHEN, timed=True),
    "share": Form(("endpoint", "zone", "region"), _WHEN, timed=True),
    "never_drained": Form(),
    "diagnosis": Form(times=("by",), also=("of", "label")),
    "transitions": Form(also=("of",)),
    "writes": Form(),
    "alert": Form(times=("by",)),
    "no_alert": Form(),
    "frozen": Form(times=_WHEN, timed=True),
    "state": Form(("agent",), _WHEN),
}
"""Form -> the keys it takes. Whatever else stands beside it would be ignored, so it is a problem."""


_OF = {"diagnosis": ("endpoint", "zone", "region", "agent", "service"), "transitions": ("endpoint", "zone", "region")}
"""What `of` may name."""


class ExpectLines:
    """Reads them; what is wrong goes to `problems`."""

    def __init__(self, fleet: Fleet, duration_s: float, problems: Problems) -> None:
        self._fleet, self._duration_s, self._problems = fleet, duration_s, problems

    def read(self, node: Node) -> Expectation | None:
        """One expectation, or None after noting its problems."""
        before = len(self._problems)
        section = EXPECT.read(node, self._problems)
        if not isinstance(section, Section) or len(self._problems) > before:
            return None
        forms = [f for f in FORMS if f in section]
        if len(forms) != 1:
            self._add(section.mark(), f"an expectation needs one of {', '.join(FORMS)}")
            return None
        form = forms[0]
        self._keys(section, form)
        if len(self._problems) > before:
            return None
        self._times(section)
        of = self._whom(section, form)
        if form in ("alert", "no_alert") and section.get(form) not in ALERTS:
            word = section.get(form)
            self._add(section.mark(form), f"there is no alert {quote(word)}{nearest(word, sorted(ALERTS))}")
        if len(self._problems) > before:
            return None
        during = section.get("during")
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
            text=text_of(section),
            place=place_of(section),
        )

    def _keys(self, section: Section, form: str) -> None:
        """Everything that must stand there, and nothing that would mean nothing."""
        takes = FORMS[form]
        for key in section.node.entries:
            if key != form and key not in takes.keys:
                what = f"; it takes {', '.join(takes.keys)}" if takes.keys else ""
                self._add(section.key_mark(key), f"{form} takes no {quote(key)}{what}")
        who = [k for k in takes.one if k in section]
        if takes.one and len(who) != 1:
            self._add(section.mark(), f"{form} needs one of {', '.join(takes.one)}")
        if takes.timed and not any(k in section for k in takes.times):
            self._add(section.mark(), f"{form} needs `by` or `during`")
        if all(k in section for k in _WHEN):
            self._add(section.mark(), "`by` and `during` exclude each other")

    def _times(self, section: Section) -> None:
        """A moment that never comes proves nothing."""
        during = section.get("during")
        if during is not None and len(during) == 2 and during[1] < during[0]:
            self._add(section.mark("during"), "it would end before it begins")
        for key, last in (("by", section.get("by")), ("during", during[-1] if during else None)):
            if last is not None and last > self._duration_s:
                self._add(section.mark(key), f"the scenario ends before that: its `duration` is {self._duration_s:g} s")

    def _whom(self, section: Section, form: str) -> tuple[str, ...]:
        if form == "never_drained":
            for name, mark in section.get(form).pairs():
                self._known(name, PLACES[:3], mark)
            return tuple(section.get(form))
        key = next((k for k in (*FORMS[form].one, "of") if k in section), None)
        if key is None:
            return ()
        name = section.get(key)
        kinds = _OF[form] if key == "of" else (key,)
        if name != self._fleet.name or key != "of":
            self._known(name, kinds, section.mark(key))
        return (name,)

    def _known(self, name: str, kinds: tuple[str, ...], mark: Mark) -> None:
        known(self._fleet, name, kinds, mark, self._problems)

    def _add(self, mark: Mark, text: str) -> None:
        self._problems.add(mark, text)
