"""The coordinator: feeds the engine and carries its wishes out (architecture.md, LEAD).

    frames, answers of providers, leadership, operators, time -> inbox -> Engine.step -> pipeline -> executor -> inbox
                                                                          `-> agents (confirm), history, event stream

Every task runs in one group: one that fails takes the coordinator with it, and its supervisor starts it anew. What was decided
is in the store, what is served at the providers: a restart carries on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import msgspec

from steerd.coordinator.alarms import Alarms
from steerd.coordinator.beacons import Beacons
from steerd.coordinator.blind import Blindness
from steerd.coordinator.calls import CallRules, Calls
from steerd.coordinator.clock import Clock
from steerd.coordinator.commands import Commands
from steerd.coordinator.connections import Connections
from steerd.coordinator.demand import Ask, Demands, ask_prometheus
from steerd.coordinator.deputy import Deputy
from steerd.coordinator.executor import Executor
from steerd.coordinator.face import first_of, leader_hint, note_of, restart_needed
from steerd.coordinator.feed import Feed
from steerd.coordinator.following import Following
from steerd.coordinator.hooks import HookRunner, Hooks, NoHooks
from steerd.coordinator.inbox import Inbox
from steerd.coordinator.journal import Journal
from steerd.coordinator.leadership import Leadership
from steerd.coordinator.links import AgentLink, Links
from steerd.coordinator.observer import CoordinatorObserver, NullObserver
from steerd.coordinator.outbox import Outbox
from steerd.coordinator.pipeline import Pipeline
from steerd.coordinator.reads import Reads
from steerd.coordinator.remote import Remote
from steerd.coordinator.ring import Ring
from steerd.coordinator.shown import Shown
from steerd.coordinator.takeover import Takeover
from steerd.coordinator.turns import work
from steerd.core.effects import Alert, Answer, ConfirmNow, Effect, Persist, Record, RunHook
from steerd.core.engine import Engine
from steerd.core.events import (
    AgentLost,
    BallotReceived,
    ConfigLoaded,
    DemandObserved,
    Event,
    LeadershipChanged,
    OperatorCommand,
    RouteObserved,
    StateFollowed,
)
from steerd.model.fleet import Fleet
from steerd.model.plan import HardState
from steerd.model.route import Capabilities
from steerd.model.vote import Ballot, Heartbeat, Welcome
from steerd.providers.base import Provider
from steerd.providers.pace import Paces
from steerd.stores.base import Store, StoreError

__all__ = ["Coordinator"]

log = logging.getLogger(__name__)

OPEN_WITHIN_S = 2.0
HAND_OVER_S = 2.5
CLOSE_STORE_S = 0.5


class Coordinator(Shown):
    """One coordinator of `fleet`, called `name`. `run` it, then use the rest from the same event loop.

    `config_problem` is for the daemon to set while the newest config file is bad: it is shown in `status`.
    """

    def __init__(
        self,
        fleet: Fleet,
        name: str,
        *,
        store: Store,
        providers: Mapping[str, Provider],
        clock: Clock,
        observer: CoordinatorObserver | None = None,
        ring: Ring | None = None,
        hooks: HookRunner | None = None,
        ask: Ask = ask_prometheus,
        paces: Paces | None = None,
    ) -> None:
        self.name = name
        self.config_problem: str | None = None
        self._fleet = fleet
        self._store = store
        self._providers = dict(providers)
        self._clock = clock
        self._observer = observer or NullObserver()
        self._ring = ring
        self._engine = Engine(name)
        self._inbox = Inbox()
        self._feed = Feed()
        self._links = Links(lambda agent: self._inbox.post(AgentLost(agent)))
        self._leadership = Leadership(store, fleet.name, name, clock, self._lead_moved, observer=self._observer)
        self._journal = Journal(store, fleet.name, clock, observer=self._observer)
        self._outbox = Outbox(self._journal, clock, self._in_flight)
        self._connections = Connections(providers, clock, self._provider_opened, paces)
        calls = Calls(self._connections.get, self._lease_remaining, clock)
        fleet_now = lambda: self._fleet  # noqa: E731  the config in force, for the parts beside
        self._remote = Remote(
            name, self._journal, clock, fleet_now, lambda: self._lead.leading, self._inbox.post, self._outbox.receipt
        )
        self._beacons = Beacons(self._journal, clock, fleet_now)
        self._deputy = Deputy(name, self._journal, self._connections.get, clock, fleet_now, self._follows)
        self._executor = Executor(
            calls,
            clock,
            emit=self._inbox.post,
            receipt=self._outbox.receipt,
            persisted=self._journal.persisted,
            observer=self._observer,
            remote=self._remote,
        )
        self._reads = Reads(clock, self._executor.read, self._may_read)
        self._commands = Commands(self._inbox.post)
        self._hooks = Hooks(hooks or NoHooks(), clock, self._inbox.post)
        self._following = Following(self._journal, clock, follows=self._follows, tell=self._inbox.post)
        settled = lambda: self._executor.settle(CallRules().call_s)  # noqa: E731  waited for before the lead is let go
        self._blindness = Blindness(self._leadership, clock, self._engine.hears_quorum, fleet_now, settled)
        self._alarms = Alarms(self._tell)
        self._demands = Demands(clock, self._inbox.post, self._alarms, ask)
        self._pipeline = Pipeline(
            self._journal,
            self._executor,
            clock,
            answer=self._commands.answered,
            stale=self._leadership.stand_down,
            trouble=self._store_trouble,
        )
        self._takeover = Takeover(
            self._leadership, self._journal, self._pipeline, clock, tell=self._led, trouble=self._store_trouble
        )
        self._state: HardState | None = None
        self._lead = LeadershipChanged(False, 0, None)
        self._running = False

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set: then hand the lead over and end within 5 s.

        Raises `StoreBusy` or another `StoreError` when the store cannot be opened, and whatever made a task fail.
        """
        self._beacons.load()
        await self._store.open()
        try:
            if self._ring is not None:
                self._ring.open()  # behind the store's lock: a coordinator started twice must not spoil the other's ring
            self._step(ConfigLoaded(self._fleet, self._capabilities(), accepted=True), self._clock.now())
            self._step(self._lead, self._clock.now())
            self._configure()
            async with asyncio.TaskGroup() as group:
                self._executor.start(group)
                self._hooks.start(group)
                self._running = True
                parts = (self._turns, self._pipeline.run, self._outbox.run, self._reads.run, self._takeover.run)
                beside = (self._following, self._blindness, self._demands, self._remote, self._deputy, self._beacons)
                tasks = [group.create_task(part()) for part in (*parts, *(b.run for b in beside))]
                await self._connections.open(group, OPEN_WITHIN_S)
                tasks.append(group.create_task(self._leadership.run()))
                await stop.wait()
                await self._hand_over()
                for task in tasks:
                    task.cancel()
                await self._connections.close()
                self._executor.cancel()
                self._hooks.cancel()
        except BaseExceptionGroup as failed:
            raise first_of(failed) from failed
        finally:
            await self._close()

    async def _hand_over(self) -> None:
        """Finish what is under way, store what happened, and free the lead for others."""
        self._links.end_all("this coordinator stops")
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await self._pipeline.settle()
                await self._executor.settle(HAND_OVER_S / 2)
                await self._outbox.flush()
                await self._leadership.resign()
        except (TimeoutError, StoreError) as error:
            log.warning("stopping without a clean handover (%s): the lead ends with its lease", str(error) or "no time")

    async def _close(self) -> None:
        self._running = False
        self._journal.follow()
        self._feed.end()
        self._links.end_all("this coordinator stops")
        self._commands.end("not-leading", "this coordinator stops: ask again in a moment")
        await self._connections.close()
        if self._ring is not None:
            self._ring.close()
        with suppress(TimeoutError):  # its disk stands still; nothing is lost, every write was durable when answered
            async with asyncio.timeout(CLOSE_STORE_S):
                await self._store.close()

    # -- the loop -------------------------------------------------------------------------------------------------

    async def _turns(self) -> None:
        await work(self._inbox, self._clock, self._engine.wake_at, self._step)

    def _step(self, event: Event, now: float) -> None:
        if isinstance(event, LeadershipChanged):
            self._lead = event
            self._state = event.state if event.leading else None
            self._hooks.cancel()
        elif isinstance(event, StateFollowed):
            self._state = event.state
        if self._ring is not None:
            self._ring.append(event, now, self._opening)
        began = self._clock.loop_time()
        effects = self._engine.step(event, now)
        self._observer.on_step(event, effects, now, self._clock.loop_time() - began)
        if isinstance(event, (ConfigLoaded, LeadershipChanged)):
            self._set_routes()
        elif isinstance(event, RouteObserved):
            self._reads.done(event.route, ok=event.observed is not None)
        if effects:
            for effect in effects:
                self._carry_out(effect, now)
            self._pipeline.submit(effects)

    def _carry_out(self, effect: Effect, now: float) -> None:
        """What needs no store and no provider."""
        if isinstance(effect, ConfirmNow):
            self._links.confirm(effect.agents, effect.endpoints, effect.paid)
        elif isinstance(effect, Record | Alert):
            self._tell(effect, now)
        elif isinstance(effect, Persist):
            self._state = effect.state
        elif isinstance(effect, RunHook):
            self._hooks.submit(effect)

    def _tell(self, effect: Record | Alert, now: float) -> None:
        note = note_of(effect, now)
        if self._feed.heard:
            self._feed.push(msgspec.to_builtins(note, enc_hook=repr))
        if self._journal.leading:
            self._outbox.note(note)

    def _opening(self) -> list[tuple[Event, float]]:
        """How an engine gets from nothing to here, but for votes: what a new file of the ring begins with."""
        now = self._clock.now()
        lead = replace(self._lead, state=self._state, open=())
        return [(ConfigLoaded(self._fleet, self._capabilities(), accepted=True), now), (lead, now)]

    def _set_routes(self) -> None:
        """Routes as the engine has them: it still knows the targets that left the config, so that they are taken out."""
        routes = self._engine.routes()
        self._executor.set_routes(routes)
        self._reads.set_routes(routes)

    def _configure(self) -> None:
        self._demands.configure(self._fleet)
        self._links.configure(self._fleet.agent_by_name, len(self._fleet.endpoint_by_name))
        self._alarms.keep("agent-cut-off", self._fleet.agent_by_name, self._clock.now())

    def _capabilities(self) -> dict[str, Capabilities]:
        return {name: provider.capabilities for name, provider in self._providers.items()}

    # -- the lead -------------------------------------------------------------------------------------------------

    def _lead_moved(self) -> None:
        self._takeover.moved()

    def _in_flight(self) -> set[str]:
        return self._executor.in_flight

    def _led(self, event: LeadershipChanged) -> None:
        self._inbox.post(event)
        if event.leading:
            self._outbox.wake()
            self._reads.soon(self._fleet.route_by_key)
        if event.leading or self._lead.leading:
            self._observer.on_leader(event.leading, event.epoch)

    def _follows(self) -> bool:
        return not self._lead.leading and self._leadership.token is None

    def _may_read(self) -> bool:
        return self._lead.leading and self._lease_remaining() > 0

    def _provider_opened(self, name: str) -> None:
        if self._may_read():
            self._reads.soon([k for k, r in self._fleet.route_by_key.items() if r.provider == name])

    # -- agents ---------------------------------------------------------------------------------------------------

    def connect_agent(self, name: str) -> AgentLink:
        """A stream for the authenticated agent `name`; `await link.get()` gives what goes down, `link.close()` ends it."""
        seen = self._engine.incarnation_of(name)
        welcome = Welcome(self.name, self._fleet.config_hash, self._lead.leading, seen)
        return self._links.connect(name, welcome, self._clock.now())

    def receive(self, frame: Ballot | Heartbeat) -> None:
        """A frame of its authenticated agent. One beyond its allowance ends the agent's stream, with an alert."""
        if not self._running or frame.agent not in self._fleet.agent_by_name:
            return
        now = self._clock.now()
        why = self._links.accept(frame, now)
        if why is None and not self._inbox.offer(BallotReceived(frame)):
            why = "more than this coordinator can keep up with"
            self._links.end(frame.agent, why)
        if why != "":
            text = f"{frame.agent} sent {why}" if why is not None else None
            self._alarms.say("agent-cut-off", frame.agent, text, "look at that agent: it is broken, or not ours", now)

    def observe_demand(self, service: str, value: float | None) -> None:
        """The demand of `service` as measured elsewhere, in the unit of its capacities; None when it is not known."""
        self._inbox.post(DemandObserved(service, value))

    # -- operators and readers --------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The core at work, to be read by whoever rehearses or watches it; only this coordinator steps it."""
        return self._engine

    @property
    def fleet(self) -> Fleet:
        """The config in force; another after a reload."""
        return self._fleet

    async def command(self, command: OperatorCommand) -> Answer:
        """Carry out an operator's command. `result`: ok, vetoed, invalid, not-leading, or not-persisted."""
        if not self._lead.leading or not self._running:
            known, told = self._leadership.follows()
            text, data = leader_hint(self._fleet, self.name, self._leadership.holder if known else None, told)
            return Answer(command.id, "not-leading", text, data)
        return await self._commands.ask(command)

    def reload(
        self,
        fleet: Fleet,
        *,
        accepted: bool = False,
        providers: Mapping[str, Provider] | None = None,
    ) -> str | None:
        """Put a new config in force; None, or why the old one stays.

        `providers` is the whole new set where their settings changed: what is the same object stays open. `accepted` lets
        capacity go that will be missed (decisions.md, section 12).
        """
        old = self._fleet
        if (why := restart_needed(old, fleet, providers_given=providers is not None)) is not None:
            return why
        if not accepted and (why := self._engine.refusal(fleet)) is not None:
            self._inbox.post(ConfigLoaded(fleet, self._capabilities(), accepted))  # the engine says no, with an alert
            return why
        if providers is not None:
            self._providers = dict(providers)
            self._connections.replace(providers)
        self._fleet = fleet
        self.config_problem = None
        self._configure()
        self._inbox.post(
            ConfigLoaded(fleet, self._capabilities(), accepted=True)
        )  # asked above: one answer for all parts
        log.info("config %s is in force", fleet.config_hash)
        return None

    # -- troubles of the process ------------------------------------------------------------------------------------

    def _store_trouble(self, text: str | None) -> None:
        action = "nothing is written until the store works"
        self._alarms.say("store-unavailable", self._fleet.name, text, action, self._clock.now())
