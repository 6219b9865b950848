"""Everything one engine remembers, in one place. Stages read it; each part has one stage that writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steerd.core.activate import Activation
from steerd.core.alerts import AlertBoard
from steerd.core.classes import Classes
from steerd.core.confirm import Confirmer
from steerd.core.damping import Damper
from steerd.core.datagate import LagBoard, lags_to_store
from steerd.core.diagnose import Diagnoser
from steerd.core.domains import Domains
from steerd.core.drains import Drains
from steerd.core.effects import Effect, Record
from steerd.core.gray import GrayBand
from steerd.core.instant import Instant
from steerd.core.quorum import EndpointBoard
from steerd.core.readings import Readings
from steerd.core.shares import Result
from steerd.core.split import Splitter
from steerd.core.steer import RouteState, Steer
from steerd.core.timers import Timers
from steerd.core.velocity import Velocity
from steerd.core.votes import VoteTable
from steerd.model.fleet import Fleet, Service
from steerd.model.plan import Active, Decision, Freeze, HardState, Pin, Veto
from steerd.model.route import Capabilities, Desired

__all__ = ["ServiceState", "World"]


@dataclass(slots=True)
class ServiceState:
    """What is remembered of one service's plan.

    `reason` is the fingerprint of everything that may change a plan (drains, pins, config): a plan is computed again only when
    it changes, so that nothing is reshuffled without a reason. `factors` maps endpoints that weigh less to (factor, since when);
    `plan_vetoes` is what the last plan stopped, `short` that something stayed for want of room. `generation` counts the configs
    that changed what it is planned by. `adopted` tells that routes' state was taken over or published once.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    result: Result | None = None
    reason: object = None
    generation: int = 0
    adopted: bool = False
    demand: float | None = None
    vetoes: list[Veto] = field(default_factory=list)
    last: Decision | None = None
    bootstrap_since: float | None = None
    undecided_since: float | None = None
    plan_vetoes: tuple[Veto, ...] = ()
    short: bool = False
    factors: dict[str, tuple[float, float]] = field(default_factory=dict)
    spill: dict[str, float] = field(default_factory=dict)
    standby_since: dict[str, float] = field(default_factory=dict)
    seen_vetoes: frozenset[tuple[str, str]] = frozenset()


class World:
    """The engine's memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.out: list[Effect] = []
        self.timers = Timers()
        self.fleet = Fleet(name="")
        self.capabilities: Mapping[str, Capabilities] = {}
        self.domains = Domains(self.fleet)
        self.votes = VoteTable(self.timers)
        self.board = EndpointBoard(self.fleet, self.votes, self.timers)
        self.gray = GrayBand(self.timers)
        self.votes.watched = self.gray.hot
        self.instant = Instant()
        self.votes.taken = lambda agent, old, new: self.instant.looks.append((agent, old, new))
        self.readings = Readings()
        self.damper = Damper()
        self.velocity = Velocity()
        self.diagnoser = Diagnoser(self.timers)
        self.confirmer = Confirmer()
        self.alerts = AlertBoard(self.emit)
        self.dirty: dict[str, None] = {}
        self.drains = Drains(self.timers, self.emit, self.alerts, self._touch_domain)
        self.steer = Steer(self.timers, self.emit)
        self.services: dict[str, ServiceState] = {}
        self.pins: dict[str, Pin] = {}
        self.freeze: Freeze | None = None
        self.leading = False
        self.leader: str | None = None
        self.epoch = 0
        self.seq = 0
        self.state_changed = False
        self.last_change: dict[str, float] = {}
        self.started_at = 0.0
        self.answered: set[str] = set()
        """Services that had a quorum since this coordinator began."""
        self.now = 0.0
        self.active: dict[str, Active] = {}
        self.lags = LagBoard()
        self.activations: dict[tuple[str, str], Activation] = {}
        self.wanted_regions: set[tuple[str, str]] = set()
        self._classes: dict[str, Classes] = {}
        self._splitters: dict[str, Splitter] = {}

    def emit(self, effect: Effect) -> None:
        self.out.append(effect)

    def record(self, kind: str, of: str, text: str, now: float, **data: object) -> None:
        """Adds a `Record` effect."""
        self.out.append(Record(kind, of, text, now, data))

    def touch(self, service: str) -> None:
        """The service must be reviewed before this step ends."""
        self.dirty[service] = None

    def _touch_domain(self, name: str) -> None:
        self.state_changed = True
        for service in self.domains.services_in(name):
            self.dirty[service] = None

    def service(self, name: str) -> Service:
        return self.fleet.service_by_name[name]

    def classes(self, service: str) -> Classes:
        """The kinds of endpoints of a service; made once per config."""
        known, spec = self._classes.get(service), self.service(service)
        if known is None or known.service is not spec:
            known = self._classes[service] = Classes(spec, self.domains.region_of_zone)
        return known

    def forget_classes(self) -> None:
        """A new config: what was made for the old one goes."""
        self._classes, self._splitters = {}, {}

    def splitter(self, state: RouteState) -> Splitter:
        """What turns shares into a route's desired state; made once per config."""
        route, classes = state.route, self.classes(state.route.service)
        known = self._splitters.get(route.key)
        if known is None or known.route is not route or known.caps is not state.caps or known.classes is not classes:
            known = self._splitters[route.key] = Splitter(route, state.caps, classes)
        return known

    def observing(self, service: str) -> bool:
        """Observe mode, of the fleet or the service: everything is decided, nothing is written."""
        return "observe" in (self.fleet.mode, self.service(service).mode)

    def hard_state(self) -> HardState:
        """What must survive a restart, as of now."""
        desired: dict[str, Desired] = {
            k: d
            for k, s in self.steer.routes.items()
            if not s.observe_only and (d := s.wanted or s.desired) is not None
        }
        return HardState(
            drains=tuple(self.drains.book[k] for k in sorted(self.drains.book)),
            pins=tuple(self.pins[k] for k in sorted(self.pins)),
            freeze=self.freeze,
            desired=desired,
            shares={n: s.shares for n, s in self.services.items() if s.shares},
            last_change=dict(self.last_change),
            penalties=dict(self.damper.penalties),
            factors={e: f for s in self.services.values() for e, (f, _) in s.factors.items()},
            removed={s: tuple(entries) for s, entries in self.velocity.log.items()},
            epoch=self.epoch,
            seq=self.seq,
            active={s: self.active[s] for s in sorted(self.active)},
            lags=lags_to_store(self),
        )
