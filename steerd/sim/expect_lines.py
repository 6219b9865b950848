"""What a scenario expects, one mapping each, checked against its fleet."""

from __future__ import annotations

from steerd.config.nodes import Node
from steerd.config.problems import Mark, Problems
from steerd.config.tables import Section
from steerd.model.fleet import Fleet
from steerd.sim.kinds import PLACES
from steerd.sim.layout import EXPECT
from steerd.sim.names import known, place_of, text_of
from steerd.sim.scenario import Expectation

__all__ = ["ExpectLines"]

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
            text=text_of(section),
            place=place_of(section),
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
        known(self._fleet, name, kinds, mark, self._problems)

    def _add(self, mark: Mark, text: str) -> None:
        self._problems.add(mark, text)
