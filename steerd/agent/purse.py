"""What looks may cost: token budgets per endpoint and over the fleet, and real requests that stand in for a canary (probes.md).

Each of the K agents that take turns at a check has a K-th of its budget, and of the fleet's. When that is gone regular looks are
left out, and progress alone tells about the endpoint; what stood in the votes stays. Confirms, and looks at endpoints that are not
known to be well, have a reserve.

A confirm asks a long question too and costs fifty times what a look does. It is held at what it costs, so a storm of them keeps to
the budget; but the reserve is there for it, so where that is less, all of it pays for one confirm, which goes into debt.

Under a budget, `stand_in` requests that the engine finished well within one interval, with none that failed, are as good as a
canary of ours for telling that it works. They say nothing of the answers, so every fourth turn asks all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from probes.catalog_paths import LONG_WORDS
from probes.outcome import Layer as ProbeLayer
from probes.outcome import Outcome, Status
from steerd.agent.scheduler import Due
from steerd.agent.watchlist import Watch
from steerd.core.budget import TokenBudget
from steerd.core.verdict import PAID
from steerd.model.fleet import Check

__all__ = ["Purse"]

_STAND_IN = 20
_ASK_EVERY = 4
_PROMPT_TOKENS = 30
"""Tokens of a small question, before one was counted."""

_WORD_TOKENS = 1.3
_LONG_KINDS = frozenset({"openai-chat", "openai-completions"})

_LEARN = 0.3
_MOST = 4.0


@dataclass(slots=True)
class _Account:
    """One check of one endpoint. `cost` is what a look is thought to cost, from those before, and `confirm` what a confirm is."""

    cost: float
    confirm: float
    budget: TokenBudget | None
    stand_in: int
    well: bool = False
    turns: int = 0

    @classmethod
    def of(cls, check: Check) -> _Account:
        """One that knows no look yet."""
        cost = float(check.settings.get("max_tokens") or 16) + _PROMPT_TOKENS
        return cls(cost, cost + _long_tokens(check), None, 0)

    def asks(self, budget: TokenBudget, *, confirm: bool) -> float:
        """Tokens that must be there for a look: see the module's text of confirms."""
        return min(self.confirm, max(self.cost, budget.reserve)) if confirm else self.cost

    def learn(self, outcome: Outcome, *, confirm: bool) -> None:
        """Take what a look has cost. A long question now and then is not what the next one costs; nor is a confirm that failed
        at its short question.
        """
        tokens = outcome.tokens
        if not tokens:
            return
        if not confirm:
            self.cost += _LEARN * (min(tokens, _MOST * self.cost) - self.cost)
        elif outcome.status is Status.PASS or tokens > self.confirm:
            self.confirm += _LEARN * (min(tokens, _MOST * self.confirm) - self.confirm)


@dataclass(slots=True)
class _Traffic:
    """Requests that an engine finished, as its progress look counts them: (when, well, failed)."""

    seen: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=64))
    moving: bool = False

    def within(self, since: float) -> tuple[float, float]:
        recent = [entry for entry in self.seen if entry[0] >= since]
        return sum(entry[1] for entry in recent), sum(entry[2] for entry in recent)


class Purse:
    """See the module's text. Times are steady seconds."""

    def __init__(self) -> None:
        self._fleet: TokenBudget | None = None
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._traffic: dict[str, _Traffic] = {}
        self._held: dict[tuple[str, str], list[float]] = {}
        self.left_out = 0
        self.stood_in = 0

    def configure(self, watches: Iterable[Watch], tokens_per_day: float | None, agents: int, now: float) -> None:
        """Takes a config: `agents` share `tokens_per_day`. Budgets go on from what was left of them; new ones begin empty."""
        share = None if tokens_per_day is None else tokens_per_day / max(1, agents)
        self._fleet = _kept(self._fleet, share, now)
        accounts = {}
        subjects = set()
        for watch in watches:
            subjects.add(watch.subject)
            given = watch.check.settings.get("budget")
            if not isinstance(given, Mapping) and watch.check.layer not in PAID:
                continue
            per_day = given.get("tokens_per_day") if isinstance(given, Mapping) else None
            old = self._accounts.get(watch.key)
            account = old or _Account.of(watch.check)
            account.budget = _kept(account.budget, None if per_day is None else per_day / watch.agents, now)
            account.stand_in = int(given.get("stand_in", _STAND_IN)) if isinstance(given, Mapping) else 0
            accounts[watch.key] = account
        self._accounts = accounts
        self._traffic = {subject: seen for subject, seen in self._traffic.items() if subject in subjects}

    def minds(self, key: tuple[str, str]) -> bool:
        """True where looks of this (subject, check) are asked for with `instead`."""
        return key in self._accounts

    def instead(self, due: Due, now: float) -> Outcome | None:
        """What stands in the place of a look that is due: a PASS where real requests tell as much, an ERROR where there are no
        tokens for it. None lets it be made; `paid` must then be told what it cost.
        """
        account = self._accounts.get(due.watch.key)
        if account is None:
            return None
        layer = ProbeLayer(due.watch.check.layer.value)
        if not due.confirm:
            account.turns += 1
        served = self._stands_in(due, account, now)
        if served:
            self.stood_in += 1
            return Outcome(Status.PASS, layer, detail=f"{served:.0f} real requests stand in for a question of ours")
        for budget in (account.budget, self._fleet):
            if budget is not None and not self._allows(budget, account, due, now):
                self.left_out += 1
                whose = "the fleet" if budget is self._fleet else due.watch.subject
                why = "begins empty and fills up" if budget.untouched else "is spent"
                return Outcome(Status.ERROR, layer, f"the token budget of {whose} {why}: progress has to tell alone")
        thought = account.confirm if due.confirm else account.cost
        self._spend(account, thought, now)
        self._held.setdefault(due.watch.key, []).append(thought)
        return None

    def paid(self, due: Due, outcome: Outcome, now: float) -> None:
        """A look that `instead` let through has ended."""
        key = due.watch.key
        account, held = self._accounts.get(key), self._held.get(key)
        if account is None or not held:
            return
        thought = held.pop()
        if not held:
            del self._held[key]
        self._spend(account, outcome.tokens - thought, now)
        account.learn(outcome, confirm=due.confirm)
        if outcome.status is not Status.ERROR:
            account.well = outcome.status is Status.PASS

    def progress(self, subject: str, outcome: Outcome, now: float) -> None:
        """A progress look has ended: what it counted are real requests."""
        traffic = self._traffic.setdefault(subject, _Traffic())
        traffic.moving = outcome.status is Status.PASS
        readings = outcome.readings
        if "served" in readings or "failed" in readings:
            traffic.seen.append((now, readings.get("served", 0.0), readings.get("failed", 0.0)))

    def status(self, now: float) -> dict[str, float]:
        """For people: looks left out for want of tokens, real requests that stood in, and what is left of the fleet's budget."""
        found: dict[str, float] = {"left_out": self.left_out, "stood_in": self.stood_in}
        if self._fleet is not None:
            found["fleet_tokens_left"] = round(self._fleet.left(now))
        return found

    def _allows(self, budget: TokenBudget, account: _Account, due: Due, now: float) -> bool:
        reserve = due.confirm or not account.well
        return budget.allows(account.asks(budget, confirm=due.confirm), now, reserve=reserve)

    def _stands_in(self, due: Due, account: _Account, now: float) -> float:
        """How many real requests may stand in for this look; 0 when it must be made."""
        traffic = self._traffic.get(due.watch.subject)
        if due.confirm or traffic is None or not account.stand_in or not account.well or not traffic.moving:
            return 0.0
        if account.turns % _ASK_EVERY == 0:
            return 0.0
        served, failed = traffic.within(now - due.watch.check.interval_s)
        return served if served >= account.stand_in and not failed else 0.0

    def _spend(self, account: _Account, tokens: float, now: float) -> None:
        for budget in (account.budget, self._fleet):
            if budget is not None:
                budget.spend(tokens, now)


def _long_tokens(check: Check) -> float:
    """Tokens of the long question that a confirm asks beside the short one."""
    if check.kind not in _LONG_KINDS or check.settings.get("long_every") == 0:
        return 0.0
    return float(check.settings.get("long_words") or LONG_WORDS) * _WORD_TOKENS


def _kept(old: TokenBudget | None, per_day: float | None, now: float) -> TokenBudget | None:
    if per_day is None:
        return None
    return TokenBudget(per_day, now) if old is None else old.changed(per_day, now)
