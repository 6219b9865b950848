"""The drain book: which domains are out, on their way out, or on their way back, and why.

`review` looks at one service: it compares what the diagnosis wants drained with what is drained, asks the guards, and moves
every ramp whose time has come. Operators' drains stand beside automatic ones; the one that takes more away wins in the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from steerd.core import guards, ramp
from steerd.core.alerts import AlertBoard
from steerd.core.domains import Domain, Domains
from steerd.core.effects import Effect, Record
from steerd.core.quorum import EndpointBoard
from steerd.core.timers import Timers
from steerd.model.health import Diagnosis, DiagnosisKind, Health
from steerd.model.plan import Cause, Drain, Freeze, Phase, Veto
from steerd.model.rules import Ramp

__all__ = ["Drains", "Review", "Want"]

_AGAIN_S = 10.0
"""How soon a step that something stands in the way of is tried again."""


@dataclass(frozen=True, slots=True)
class Want:
    """A domain that the diagnosis wants out."""

    name: str
    kind: Domain
    cause: Cause
    reason: str
    endpoints: frozenset[str]
    decided: bool


@dataclass(slots=True)
class Review:
    """What a review needs to know of the service besides the book itself."""

    service: str
    diagnoses: tuple[Diagnosis, ...]
    shares: Mapping[str, float]
    standing: Callable[[], guards.Standing]
    ramp: Ramp
    everywhere: bool
    frozen: Freeze | None
    room: Callable[[Drain], str | None]
    vetoes: list[Veto] = field(default_factory=list)


class Drains:
    """All drains, by `Drain.key`."""

    def __init__(
        self, timers: Timers, emit: Callable[[Effect], None], alerts: AlertBoard, touch: Callable[[str], None]
    ) -> None:
        self._timers = timers
        self._emit = emit
        self._alerts = alerts
        self._touch = touch
        self.book: dict[str, Drain] = {}

    def of_service(self, service: str, domains: Domains) -> list[Drain]:
        """Drains that touch the service, its own and operators' over all services."""
        return [
            d
            for d in self.book.values()
            if d.service == service or (d.service is None and domains.members(service, d.name))
        ]

    def review(self, review: Review, board: EndpointBoard, domains: Domains, now: float) -> None:
        """Brings the book in line with the diagnosis of one service."""
        wants = _wants(review, board, domains)
        for drain in sorted(self.of_service(review.service, domains), key=lambda d: d.key):
            self._advance(drain, wants, review, board, domains, now)
        for want in sorted(
            wants.values(), key=lambda w: ("region zone endpoint".index(w.kind), w.cause is not Cause.DEAD, w.name)
        ):
            self._admit(want, wants, review, board, domains, now)

    # -- drains that exist ----------------------------------------------------------------------------------------------

    def _advance(
        self,
        drain: Drain,
        wants: Mapping[str, Want],
        review: Review,
        board: EndpointBoard,
        domains: Domains,
        now: float,
    ) -> None:
        if drain.automatic and review.frozen is not None:
            self._stand_still(drain, review, board, domains, now)
            return  # an operator's freeze has no exception: every automatic ramp stands still
        members = domains.members(review.service, drain.name)
        bad = self._still_bad(drain, wants, members)
        if drain.automatic and bad and self._absorbed(drain, wants, review.service, domains):
            return
        if not drain.automatic:
            self._advance_operator(drain, review, board, domains, now)
            return
        want = wants.get(drain.name)
        if want is not None and want.cause is Cause.DEAD and drain.cause is Cause.DOWN:
            drain = self._put(replace(drain, cause=Cause.DEAD, reason=want.reason))
        if bad:
            self._relapse(drain, now)
            return
        if drain.cause is Cause.NEW and any(board.states[e].health is Health.DOWN for e in members):
            self._relapse(drain, now)
            return
        if review.everywhere:
            self._stand_still(drain, review, board, domains, now)
            return  # nothing automatic moves while everything looks bad, restores neither
        well = _well(board, members, drain)
        drain = self._put(ramp.watch(drain, well=well, now=now))
        due = ramp.next_at(drain, review.ramp)
        if due is None:
            return
        if now < due:
            self._timers.at(due, "service", review.service)
        elif drain.phase is not Phase.RESTORING or well:
            self._step(drain, review, now)

    def _advance_operator(
        self, drain: Drain, review: Review, board: EndpointBoard, domains: Domains, now: float
    ) -> None:
        if drain.phase is not Phase.RESTORING and drain.until is not None and now >= drain.until:
            if self._no_room(drain, review, now):
                return
            self._emit(Record("restore", drain.name, f"the drain by {drain.by} expired", now, {"by": "automatic"}))
            self._step(replace(drain, phase=Phase.HELD), review, now)
            return
        if drain.until is not None and drain.phase is not Phase.RESTORING:
            self._timers.at(drain.until, "service", review.service)
        due = ramp.next_at(drain, review.ramp)
        if drain.phase is Phase.HELD or due is None:
            return
        if now < due:
            self._timers.at(due, "service", review.service)
            return
        members = domains.members(review.service, drain.name)
        if drain.phase is Phase.RESTORING and not _well(board, members, drain):
            self._timers.at(now + 1.0, "service", review.service)
            return
        self._step(drain, review, now)

    def _still_bad(self, drain: Drain, wants: Mapping[str, Want], members: frozenset[str]) -> bool:
        return drain.name in wants or any(members <= w.endpoints for w in wants.values() if members)

    def _absorbed(self, drain: Drain, wants: Mapping[str, Want], service: str, domains: Domains) -> bool:
        """A wider drain that is fully out makes a narrower one of its endpoints superfluous."""
        members = domains.members(service, drain.name)
        for other in self.book.values():
            if (
                other.key == drain.key
                or other.service != service
                or not other.automatic
                or other.phase is not Phase.HELD
            ):
                continue
            if other.name in wants and members < domains.members(service, other.name):
                self.remove(drain.key)
                return True
        return False

    def _stand_still(self, drain: Drain, review: Review, board: EndpointBoard, domains: Domains, now: float) -> None:
        """Nothing moves; but a domain that fails meanwhile has to be healthy for `restore_after` anew."""
        if any(board.states[e].health is Health.DOWN for e in domains.members(review.service, drain.name)):
            self._put(ramp.watch(drain, well=False, now=now))

    def _relapse(self, drain: Drain, now: float) -> None:
        self._alerts.clear("restore-held", drain.name)
        if drain.phase is Phase.RESTORING or drain.well_since is not None:
            if drain.phase is Phase.RESTORING:
                self._emit(
                    Record("drain", drain.name, "bad again while returning: back to zero", now, {"by": "automatic"})
                )
            cause = Cause.DOWN if drain.cause is Cause.NEW else drain.cause
            self._put(replace(ramp.relapse(drain, now), cause=cause))

    def _step(self, drain: Drain, review: Review, now: float) -> None:
        returning = drain.phase is not Phase.DRAINING
        if returning and self._no_room(drain, review, now):
            return
        after = ramp.step(drain, review.ramp, now)
        if not returning and after is not None and after.fraction >= 1.0 and self._last_one(drain, review, now):
            return
        if after is None:
            self.remove(drain.key)
            self._emit(Record("restored", drain.name, "fully back in service", now, {"service": review.service}))
            return
        self._put(after)
        kind = "restore" if returning else "step"
        word = f"{1 - after.fraction:.0%} back" if returning else f"{after.fraction:.0%} out"
        self._emit(Record(kind, drain.name, word, now, {"service": review.service, "fraction": after.fraction}))
        due = ramp.next_at(after, review.ramp)
        if due is not None:
            self._timers.at(due, "service", review.service)

    def _no_room(self, drain: Drain, review: Review, now: float) -> bool:
        """The capacity check of a returning domain; asked again every 10 s, with an alert meanwhile."""
        short = review.room(drain)
        if short is None:
            self._alerts.clear("restore-held", drain.name)
            return False
        self._alerts.set("restore-held", drain.name, short, now)
        self._timers.at(now + _AGAIN_S, "service", review.service)
        return True

    def _last_one(self, drain: Drain, review: Review, now: float) -> bool:
        """The last step out is asked for again: what else was in service when the drain began may be out by now."""
        standing = review.standing()
        members = standing.domains.members(review.service, drain.name)
        intent = guards.Intent(review.service, drain.name, drain.kind, drain.cause, members, automatic=drain.automatic)
        veto = guards.check(intent, standing, now)
        if veto is None:
            return False
        review.vetoes.append(veto)
        self._timers.at(now + _AGAIN_S, "service", review.service)
        return True

    # -- new drains -------------------------------------------------------------------------------------------------------

    def _admit(
        self,
        want: Want,
        wants: Mapping[str, Want],
        review: Review,
        board: EndpointBoard,
        domains: Domains,
        now: float,
    ) -> None:
        if not want.decided:
            return  # down is only held from before: without a quorum now it starts nothing (invariant 5)
        if any(d.name == want.name and d.automatic and d.service == review.service for d in self.book.values()):
            return
        if self._covered(want, review.service, domains):
            return
        intent = guards.Intent(review.service, want.name, want.kind, want.cause, want.endpoints)
        veto = guards.check(intent, review.standing(), now)
        if veto is not None:
            review.vetoes.append(veto)
            if veto.guard == "never-empty":
                self._return_early(wants, review, board, domains, now)
            return
        drain = Drain(
            name=want.name,
            kind=want.kind,
            cause=want.cause,
            by="automatic",
            reason=want.reason,
            since=now,
            service=review.service,
        )
        self._put(ramp.begin(drain, review.ramp, now))
        self._emit(
            Record(
                "drain",
                want.name,
                want.reason,
                now,
                {"by": "automatic", "service": review.service, "cause": want.cause.value},
            )
        )
        for other in list(self.book.values()):
            narrower = domains.members(review.service, other.name) < want.endpoints
            if other.automatic and other.service == review.service and narrower and other.cause is not Cause.NEW:
                self.remove(other.key)

    def _return_early(
        self, wants: Mapping[str, Want], review: Review, board: EndpointBoard, domains: Domains, now: float
    ) -> None:
        """All that is left in service is failing: a domain that is healthy again comes back without waiting `restore_after`."""
        if review.frozen is not None or review.everywhere:
            return
        for drain in sorted(self.of_service(review.service, domains), key=lambda d: d.key):
            members = domains.members(review.service, drain.name)
            if not drain.automatic or drain.phase is not Phase.HELD or self._still_bad(drain, wants, members):
                continue
            if _well(board, members, drain):
                text = "comes back early: it is healthy, and all that is left in service fails"
                self._put(ramp.release(drain, review.ramp, now))
                self._emit(Record("restore", drain.name, text, now, {"by": "automatic", "service": review.service}))

    def _covered(self, want: Want, service: str, domains: Domains) -> bool:
        """Already out under a wider drain, automatic or an operator's, that is not on its way back."""
        for drain in self.of_service(service, domains):
            fully_out = drain.phase is Phase.HELD and drain.fraction >= 1.0
            if fully_out and want.endpoints <= domains.members(service, drain.name):
                return True
        return False

    def _put(self, drain: Drain) -> Drain:
        if self.book.get(drain.key) != drain:
            self.book[drain.key] = drain
            self._touch(drain.name)
        return drain

    def put(self, drain: Drain) -> None:
        """An operator's drain, or one that came from the store."""
        self._put(drain)

    def remove(self, key: str) -> Drain | None:
        """Takes a drain out of the book; its domain is fully in service again as far as this drain goes."""
        drain = self.book.pop(key, None)
        if drain is not None:
            self._alerts.clear("restore-held", drain.name)
            self._touch(drain.name)
        return drain


def _wants(review: Review, board: EndpointBoard, domains: Domains) -> dict[str, Want]:
    """Domains to take out. Under a global diagnosis only endpoints that are confirmed dead."""
    found: dict[str, Want] = {}
    for diagnosis in review.diagnoses:
        if diagnosis.health is not Health.DOWN:
            continue
        if diagnosis.kind is DiagnosisKind.GLOBAL:
            for endpoint in sorted(domains.members_of_service(review.service)):
                if board.confirmed_dead(endpoint):
                    reason = board.states[endpoint].reason or "dead"
                    found[endpoint] = Want(
                        endpoint, "endpoint", Cause.DEAD, reason, frozenset({endpoint}), decided=True
                    )
        elif diagnosis.kind in (DiagnosisKind.ENDPOINT, DiagnosisKind.ZONE, DiagnosisKind.REGION):
            members = domains.members(review.service, diagnosis.of)
            cause = Cause.DEAD if diagnosis.dead else Cause.DOWN
            kind: Domain = diagnosis.kind.value  # type: ignore[assignment]  # the three kinds above are the three domains
            down = [board.states[e] for e in members if board.states[e].health is Health.DOWN]
            decided = sum(s.decided for s in down) * 2 > len(down)
            reason = _reason(board, members, diagnosis)
            found[diagnosis.of] = Want(diagnosis.of, kind, cause, reason, members, decided=decided)
    return found


def _reason(board: EndpointBoard, members: frozenset[str], diagnosis: Diagnosis) -> str:
    down = sorted(e for e in members if board.states[e].health is Health.DOWN)
    why = sorted({r for e in down if (r := board.states[e].reason)})
    what = f"{len(down)} of {len(members)} endpoints down" if diagnosis.kind is not DiagnosisKind.ENDPOINT else "down"
    return f"{what}: {'; '.join(why[:2])}" if why else what


def _well(board: EndpointBoard, members: frozenset[str], drain: Drain) -> bool:
    """The domain may come back: health is decided now, and what is still down in it is drained on its own account.

    A drain is only asked this while no diagnosis names its domain, so that single bad endpoints of a zone do not hold it.
    """
    states = [board.states[e] for e in members]
    if not states or not all(s.decided and s.health is not Health.UNKNOWN for s in states):
        return False
    good = [s for s in states if s.health is not Health.DOWN]
    return len(good) == len(states) if drain.kind == "endpoint" else bool(good)
