"""The drain book: which domains are out, on their way out, or on their way back, and why.

`review` looks at one service: it compares what the diagnosis wants drained with what is drained, asks the guards, and moves
every automatic ramp whose time has come. Operators' drains (`steerd.core.operated`) stand beside automatic ones; the one that takes
more away wins in the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from steerd.core import guards, ramp
from steerd.core.alerts import AlertBoard
from steerd.core.domains import Domains
from steerd.core.effects import Effect, Record
from steerd.core.quorum import EndpointBoard
from steerd.core.review import Review
from steerd.core.timers import Timers
from steerd.core.wants import Want, narrowed, wants_of, well
from steerd.model.plan import Cause, Drain, Phase, Veto

__all__ = ["Drains"]

_AGAIN_S = 10.0
"""How soon a step that something stands in the way of is tried again."""


class Drains:
    """All drains, by `Drain.key`."""

    def __init__(
        self, timers: Timers, emit: Callable[[Effect], None], alerts: AlertBoard, touch: Callable[[str], None]
    ) -> None:
        self._timers = timers
        self._emit = emit
        self._alerts = alerts
        self._touch = touch
        self._waiting: list[Veto] = []
        self._wider: list[str] = []
        self.book: dict[str, Drain] = {}
        self.holds: dict[str, dict[str, Veto]] = {}
        """What holds an operator's drain back: its key -> service -> veto."""

    def of_service(self, service: str, domains: Domains) -> list[Drain]:
        """Drains that touch the service, its own and operators' over all services."""
        return [
            d
            for d in self.book.values()
            if d.service == service or (d.service is None and domains.members(service, d.name))
        ]

    def review(self, review: Review, board: EndpointBoard, domains: Domains, now: float) -> None:
        """Brings the book in line with the diagnosis of one service."""
        wants = wants_of(review.service, review.diagnoses, board, domains, self._timers, now)
        mine = sorted(self.of_service(review.service, domains), key=lambda d: d.key)
        self._wider = [d.key for d in mine if d.kind != "endpoint"]
        for drain in mine:
            self._advance(drain, wants, review, board, domains, now)
        holds = (self.holds.get(d.key, {}).get(review.service) for d in self.of_service(review.service, domains))
        review.vetoes.extend(veto for veto in holds if veto is not None)
        review.vetoes.extend(self._waiting)
        self._waiting.clear()
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
        if not drain.automatic:
            return  # moved already: `steerd.core.operated` asks all services of an operator's drain
        if review.frozen is not None:
            self._stand_still(drain, review, board, domains, now)
            return  # an operator's freeze has no exception: every automatic ramp stands still
        members = domains.members(review.service, drain.name)
        bad = self._still_bad(drain, wants, members, board, review.service)
        if bad and self._absorbed(drain, wants, review.service, domains):
            return
        want = wants.get(drain.name)
        if bad:
            drain = self._worsen(drain, want, review, now)
            self._stay_out(drain, review, members, now)
            return
        if drain.cause is Cause.NEW and board.down_in(review.service, drain.name):
            self._relapse(drain, review, now)
            return
        if review.everywhere:
            self._stand_still(drain, review, board, domains, now)
            return  # nothing automatic moves while everything looks bad, restores neither
        is_well = well(board, review.service, drain)
        if drain.phase is Phase.DRAINING:
            drain = replace(drain, phase=Phase.HELD)  # nothing wants it out any more: no further
        drain = self._put(ramp.watch(drain, well=is_well, now=now))
        due = ramp.next_at(drain, review.ramp)
        if due is None:
            return
        if drain.phase is Phase.HELD and drain.cause is not Cause.NEW:
            due = max(review.limits.back_at(drain, due), review.limits.turns_at(drain.name, "in"))
        if now < due:
            self._timers.at(due, "service", review.service)
        elif drain.phase is not Phase.RESTORING or is_well:
            self._step(drain, review, now)

    def _still_bad(
        self, drain: Drain, wants: Mapping[str, Want], members: frozenset[str], board: EndpointBoard, service: str
    ) -> bool:
        """Named, or inside something named that is out itself. What a guard keeps in service holds nothing well inside it."""
        if drain.name in wants:
            return True
        wider = [w for w in wants.values() if members and members <= w.endpoints]
        out = any(f"auto:{service}:{w.name}" in self.book for w in wider)
        return out or (bool(wider) and not well(board, service, drain))

    def _absorbed(self, drain: Drain, wants: Mapping[str, Want], service: str, domains: Domains) -> bool:
        """A wider drain that is fully out makes a narrower one of its endpoints superfluous."""
        members = domains.members(service, drain.name)
        for other in (self.book[key] for key in self._wider if key in self.book):
            if (
                other.key == drain.key
                or other.service != service
                or not other.automatic
                or other.phase is not Phase.HELD
                or other.fraction < 1.0
            ):
                continue
            if other.name in wants and members < domains.members(service, other.name):
                self.remove(drain.key)
                return True
        return False

    def _worsen(self, drain: Drain, want: Want | None, review: Review, now: float) -> Drain:
        """What was gray is down now, or what was down is confirmed dead: fewer limits bind, and the dead leave at once."""
        if want is None:
            return drain
        if want.cause is Cause.DEAD and drain.cause in (Cause.DOWN, Cause.GRAY):
            after = replace(drain, cause=Cause.DEAD, reason=want.reason, most=1.0)
            if drain.phase is not Phase.RESTORING:
                after = replace(after, phase=Phase.HELD, fraction=1.0, step_at=now)
            return self._put(after)
        if want.cause is Cause.DOWN and drain.cause is Cause.GRAY and drain.phase is not Phase.RESTORING:
            after = replace(
                drain, cause=Cause.DOWN, reason=want.reason, most=1.0, phase=Phase.DRAINING, well_since=None
            )
            return self._put(replace(after, step_at=now - review.ramp.drain_step_every_s))
        return drain

    def _stay_out(self, drain: Drain, review: Review, members: frozenset[str], now: float) -> None:
        """The domain is bad: what came back goes out again, and what is on its way out goes on."""
        self._relapse(drain, review, now)
        drain = self.book[drain.key]
        if drain.phase is not Phase.DRAINING or review.everywhere:
            return
        due = ramp.next_at(drain, review.ramp)
        if due is not None and now < due and drain.cause is not Cause.DOWN:  # down: cut by velocity, goes on as it may
            self._timers.at(due, "service", review.service)
            return
        intent = guards.Intent(review.service, drain.name, drain.kind, drain.cause, members)
        veto = guards.check(intent, review.standing(), now)
        if veto is not None:
            self._waiting.append(veto)
            self._timers.at(now + review.ramp.drain_step_every_s, "service", review.service)
        elif not self._suffers(drain, review, now):
            self._step(drain, review, now)

    def _suffers(self, drain: Drain, review: Review, now: float) -> bool:
        """The receivers got worse past their objective: stop, and take the last step back, once."""
        why = review.limits.worse(drain)
        if why is None:
            return False
        after = ramp.step_back(drain, review.ramp, now)
        self._put(after)
        text = f"one step back, to {after.fraction:.0%} out, and no further: {why}"
        self._alerts.set("drain-stopped", drain.name, f"{drain.name}: {text}", now)
        self._emit(Record("step", drain.name, text, now, {"service": review.service, "fraction": after.fraction}))
        review.limits.moved(drain.fraction, after)
        return True

    def _relapse(self, drain: Drain, review: Review, now: float) -> None:
        self._alerts.clear("restore-held", drain.name)
        if drain.phase is not Phase.RESTORING and drain.well_since is None:
            return
        after = ramp.relapse(drain, now)
        if drain.phase is Phase.RESTORING:
            until = review.limits.turns_at(drain.name, "out") if drain.cause is not Cause.DEAD else now
            if now < until:
                self._timers.at(until, "service", review.service)
                return
            cut, veto = review.limits.cut(drain.fraction, after)
            if veto is not None:
                self._waiting.append(veto)
            if cut is None:
                return
            after = cut
            text = "bad again while returning: back to zero"
            self._emit(Record("drain", drain.name, text, now, {"by": "automatic", "service": review.service}))
            review.limits.flapped(drain)
        cause = Cause.DOWN if drain.cause is Cause.NEW else drain.cause
        after = replace(after, cause=cause)
        review.limits.moved(drain.fraction, after)
        self._put(after)

    def _stand_still(self, drain: Drain, review: Review, board: EndpointBoard, domains: Domains, now: float) -> None:
        """Nothing moves; but a domain that fails meanwhile has to be healthy for `restore_after` anew."""
        if board.down_in(review.service, drain.name):
            self._put(ramp.watch(drain, well=False, now=now))

    def _step(self, drain: Drain, review: Review, now: float) -> None:
        returning = drain.phase is not Phase.DRAINING
        if returning and self._no_room(drain, review, now):
            return
        after = ramp.step(drain, review.ramp, now)
        if not returning and after is not None and after.fraction >= 1.0 and self._last_one(drain, review, now):
            return
        if after is None:
            self.remove(drain.key)
            self._alerts.clear("drain-stopped", drain.name)
            review.limits.back(drain)
            self._emit(Record("restored", drain.name, "fully back in service", now, {"service": review.service}))
            return
        if not returning:
            cut, veto = review.limits.cut(drain.fraction, after)
            if veto is not None:
                self._waiting.append(veto)
            if cut is None:
                return
            after = cut
        review.limits.moved(drain.fraction, after)
        self._put(after)
        kind = "restore" if returning else "step"
        word = f"{1 - after.fraction:.0%} back" if returning else f"{after.fraction:.0%} out"
        self._emit(Record(kind, drain.name, word, now, {"service": review.service, "fraction": after.fraction}))
        due = ramp.next_at(after, review.ramp)
        if due is not None:
            self._timers.at(due, "service", review.service)

    def _no_room(self, drain: Drain, review: Review, now: float) -> bool:
        """The checks of a returning domain; asked again every 10 s, with an alert meanwhile."""
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
        intent = guards.Intent(review.service, drain.name, drain.kind, drain.cause, members)
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
        if f"auto:{review.service}:{want.name}" in self.book:
            return
        if self._covered(want, review.service, domains):
            return
        intent = guards.Intent(review.service, want.name, want.kind, want.cause, want.endpoints)
        veto = guards.check(intent, review.standing(), now)
        if veto is None and want.cause is not Cause.DEAD:
            veto = review.limits.dwell(want.name)
        if veto is not None:
            review.vetoes.append(veto)
            if veto.guard == "never-empty":
                self._return_early(wants, review, board, domains, now)
                for narrower in narrowed(review.service, want, board, domains, review.shares):
                    self._admit(narrower, wants, review, board, domains, now)
            return
        hold = review.takeover(want.name, want.kind)
        if hold is not None:  # a text means: not yet, whoever takes over still prepares
            if isinstance(hold, Veto):
                review.vetoes.append(hold)
            return
        drain = Drain(
            name=want.name, kind=want.kind, cause=want.cause, by="automatic", reason=want.reason, since=now,
            service=review.service, most=review.limits.most(want.name) if want.cause is Cause.GRAY else 1.0,
        )  # fmt: skip
        begun, veto = review.limits.cut(0.0, ramp.begin(drain, review.ramp, now))
        if veto is not None:
            review.vetoes.append(veto)
        if begun is None:
            return
        self._open(begun, want, review, domains, now)

    def _open(self, drain: Drain, want: Want, review: Review, domains: Domains, now: float) -> None:
        """A new automatic drain enters the book; narrower ones that it takes out as far go."""
        if drain.cause is Cause.GRAY:
            drain = review.limits.began(drain)
        review.limits.moved(0.0, drain)
        self._put(drain)
        data = {"by": "automatic", "service": review.service, "cause": want.cause.value, "fraction": drain.fraction}
        half = f" (at most {drain.most:.0%}: it was drained less than an hour ago)" if drain.most < 1.0 else ""
        self._emit(Record("drain", want.name, want.reason + half, now, data))
        if drain.phase is Phase.DRAINING:
            due = ramp.next_at(drain, review.ramp)
            self._timers.at(due if due is not None else now, "service", review.service)
        for other in list(self.book.values()) if len(want.endpoints) > 1 else ():
            narrower = domains.members(review.service, other.name) < want.endpoints
            less = other.fraction <= drain.fraction
            if (
                other.automatic
                and other.service == review.service
                and narrower
                and other.cause is not Cause.NEW
                and less
            ):
                self.remove(other.key)

    def _return_early(
        self, wants: Mapping[str, Want], review: Review, board: EndpointBoard, domains: Domains, now: float
    ) -> None:
        """All that is left in service is failing: a domain that is healthy again comes back without waiting `restore_after`."""
        if review.frozen is not None or review.everywhere:
            return
        for drain in sorted(self.of_service(review.service, domains), key=lambda d: d.key):
            members = domains.members(review.service, drain.name)
            if not drain.automatic or drain.phase is not Phase.HELD:
                continue
            if self._still_bad(drain, wants, members, board, review.service):
                continue
            if well(board, review.service, drain):
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
        self.holds.pop(key, None)
        drain = self.book.pop(key, None)
        if drain is not None:
            self._alerts.clear("restore-held", drain.name)
            self._touch(drain.name)
        return drain
