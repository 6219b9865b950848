"""One rehearsal: a fleet with its agents and coordinators in virtual time, everything around them simulated."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from steerd.agent.references import reference_urls
from steerd.agent.watchlist import Watchlist, watchlists
from steerd.coordinator.coordinator import Coordinator
from steerd.coordinator.observer import NullObserver
from steerd.core.ballot_box import HEARTBEAT_S
from steerd.core.effects import Answer, Effect
from steerd.core.events import BallotReceived, Event, LeadershipChanged, OperatorCommand
from steerd.core.world import World
from steerd.model.fleet import Fleet
from steerd.model.vote import Ballot, Confirm, Heartbeat
from steerd.providers.memory import Record
from steerd.sim.agent import SimAgent
from steerd.sim.faults import Faults
from steerd.sim.kernel import Kernel
from steerd.sim.network import Network
from steerd.sim.outside import SimHooks, unmeasured
from steerd.sim.process import CoordinatorProcess, SimClock
from steerd.sim.provider import Far, SimProvider, capabilities_of
from steerd.sim.published import Served, publish_healthy
from steerd.sim.recorder import Recorder
from steerd.sim.scenario import Fault, Scenario
from steerd.sim.store import SimData, SimStore, Weather
from steerd.sim.targets import Target
from steerd.sim.trouble import Trouble
from steerd.sim.voice import Voice
from steerd.sim.watch import Watch

__all__ = ["Rehearsal"]

_EPOCH_S = 1_700_000_000.0
_LATER_S = 0.5
"""The other coordinators start after the first, so that the first leads."""
_ASK_AGAIN_S = 1.0
_ASK_FOR_S = 120.0
_PHASES = 2
"""Heartbeats of the agents fall into this many moments: fewer wake-ups, and suspects never wait for one."""


class Rehearsal:
    """Implements what faults act upon (`scene.Scene`), what agents speak to (`agent.Hub`) and who hears of it all."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario, self.fleet, self.seed = scenario, scenario.fleet, seed
        self.kernel = Kernel()
        self.network = Network(self.fleet)
        # Strings seed the same generator in every Python and under every hash seed. Faults meet the looks at another phase
        # with every seed, because the wall clock starts elsewhere.
        self._rng = Random(f"steerd {seed}")  # noqa: S311  chance in a rehearsal, not a secret
        self._epoch_s = _EPOCH_S + self._rng.randrange(1_000_000)
        self.targets: dict[str, Target] = {}
        self._add_targets()
        self.fars = {p.name: Far(p.name, capabilities_of(self.fleet)[p.name]) for p in self.fleet.providers}
        publish_healthy(self.fleet, self.fars)
        self._served = Served()
        self.data = SimData(self._steady)
        self.weather = Weather(self.data, self.network, self._rng)
        watched = [e.of[0] for e in scenario.expect if e.form == "state"]
        self.recorder = Recorder(self.fleet, watched)
        self._trouble = Trouble(self)
        self.watch = Watch(self.fleet, self.data, lambda: self.kernel.now, self._trouble.zones)
        self.problems: list[str] = []
        self._viewer = self.fleet.coordinators[0].name if self.fleet.coordinators else ""
        self._view: World | None = None
        self._at_write: dict[str, list[Callable[[], None]]] = {}
        self._demands: dict[str, float | None] = {}
        self._commands = 0
        self.processes = {c.name: self._process(c.name) for c in self.fleet.coordinators}
        self.kernel.processes.extend(self.processes.values())
        plans = watchlists(self.fleet, self.fleet.agent_by_name)
        self.agents = {a.name: self._agent(a.name, plans[a.name], n) for n, a in enumerate(self.fleet.agents)}
        self.faults = Faults(self)

    # -- building -----------------------------------------------------------------------------------------------------

    def _steady(self) -> float:
        return self._epoch_s + self.kernel.now

    def _add_targets(self) -> None:
        for endpoint in self.fleet.endpoint_by_name.values():
            self.targets.setdefault(endpoint.name, Target(endpoint.name, endpoint.zone))
        for dependency in self.fleet.dependencies:
            first = self._primary_region(dependency.name)
            for region in dependency.instances or ("",):
                name = f"{dependency.name}@{region}" if region else dependency.name
                lag_s = 1.0 if dependency.stateful else None
                self.targets.setdefault(name, Target(name, lag_s=lag_s, primary=region == first))

    def _primary_region(self, dependency: str) -> str:
        """Where the data is written: the first region in order of a service that depends on it."""
        for service in self.fleet.services:
            if dependency in service.depends_on and service.routing.order:
                return service.routing.order[0]
        return ""

    def _process(self, name: str) -> CoordinatorProcess:
        def make(clock: SimClock, observer: NullObserver, alive: Callable[[], bool]) -> Coordinator:
            providers = {far.name: SimProvider(name, far, self.network, self, self._rng) for far in self.fars.values()}
            store = SimStore(self.data, self.weather.hook(name, alive), self.watch.stored)
            return Coordinator(
                self.fleet,
                name,
                store=store,
                providers=providers,
                clock=clock,
                observer=observer,
                hooks=SimHooks(),
                ask=unmeasured,
            )

        return CoordinatorProcess(name, self.kernel, self._epoch_s, self, make)

    def _agent(self, name: str, plan: Watchlist, index: int) -> SimAgent:
        by_url = {c.url.rstrip("/") + "/livez": c.name for c in self.fleet.coordinators}
        return SimAgent(
            self.fleet,
            name,
            plan,
            kernel=self.kernel,
            network=self.network,
            targets=self.targets,
            hub=self,
            rng=self._rng,
            epoch_s=self._epoch_s,
            phase_s=HEARTBEAT_S * (1 + index % _PHASES) / _PHASES,
            references=tuple(by_url.get(url, url) for url in reference_urls(self.fleet, name)),
        )

    # -- running ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """From the start to the end of the scenario."""
        self._publish()
        for index, process in enumerate(self.processes.values()):
            self.kernel.at(_LATER_S * min(index, 1), process.start)
        for agent in self.agents.values():
            self.kernel.at(0.0, agent.start)
        self._trouble.schedule(self.scenario.faults)
        self.faults.schedule(self.scenario.faults)
        try:
            self.kernel.run(self.scenario.duration_s)
            if self._view is not None:
                self.watch.end(self._view, self._quiet_s())
        finally:
            for process in self.processes.values():
                process.kill()

    def _quiet_s(self) -> float:
        """Seconds since the last fault ended; 0 while one lasts."""
        ends = [f.until if f.until is not None else self._once(f) for f in self.scenario.faults]
        return max(0.0, self.scenario.duration_s - max(ends, default=0.0))

    def _once(self, fault: Fault) -> float:
        """When a fault without an end is over: at once where it happens once and leaves everything well."""
        done = fault.on in ("clock", "config") or (fault.on, fault.kind) == ("store", "leader-loss")
        return fault.at if done else float("inf")

    # -- scene.Scene -------------------------------------------------------------------------------------------------

    def leader(self) -> str:
        """Who leads by the store, else who led last."""
        return self.watch.lead()[0] or self._viewer

    def when_applying(self, coordinator: str, then: Callable[[], None]) -> None:
        """Call `then` between that coordinator's next read and write."""
        self._at_write.setdefault(coordinator, []).append(then)

    def said(self, kind: str, of: str, text: str) -> None:
        """A line of the timeline."""
        self.recorder.say(self.kernel.now, kind, of, text)

    def edited(self) -> None:
        """What is served changed, and not by a coordinator."""
        self._publish()

    def operate(self, fault: Fault) -> None:
        """Ask whoever leads, again and again while nobody does."""
        args = fault.args
        self._commands += 1
        command = OperatorCommand(
            id=f"rehearsal-{self._commands}",
            verb=fault.kind,  # type: ignore[arg-type]  # the reader knows the verbs
            by="operator",
            name=str(args.get("name", "")),
            reason=str(args.get("reason", "rehearsal")),
            for_s=args.get("for"),
            share=args.get("share"),
            now=bool(args.get("now", False)),
            force=bool(args.get("force", False)),
            accept_data_loss=bool(args.get("accept_data_loss", False)),
        )
        self._ask(command, self.kernel.now + _ASK_FOR_S)

    def _ask(self, command: OperatorCommand, until: float) -> None:
        if self.kernel.now > until:
            self.said("operator", command.name, f"{command.verb}: nobody could carry it out")
            return

        def answered(answer: Answer) -> None:
            self.said("answer", command.name, f"{command.verb}: {answer.result}: {answer.text}")
            if answer.result in ("not-leading", "not-persisted"):
                self.kernel.after(_ASK_AGAIN_S, self._ask, command, until)

        process = self.processes.get(self.leader())
        if process is None or not process.up:
            self.kernel.after(_ASK_AGAIN_S, self._ask, command, until)
        else:
            process.operate(command, answered)

    def demand(self, service: str, value: float | None) -> None:
        """Every coordinator observes it, those that start later too."""
        self._demands[service] = value
        for process in self.processes.values():
            if process.coordinator is not None:
                process.call(process.coordinator.observe_demand, service, value)

    def reload(self, fleet: Fleet) -> None:
        """Every process reads the new file."""
        self.fleet = fleet
        self.network.load(fleet)
        self._add_targets()
        for process in self.processes.values():
            if process.coordinator is not None:
                process.call(self._reload, process, fleet)
        plans = watchlists(fleet, fleet.agent_by_name)
        for name, agent in self.agents.items():
            if name in plans:
                agent.reload(fleet, plans[name])
            else:
                agent.stop()
        for name, plan in plans.items():
            if name not in self.agents:
                self.agents[name] = self._agent(name, plan, len(self.agents))
            self.agents[name].start()  # does nothing where it runs, or where its host is gone

    def _reload(self, process: CoordinatorProcess, fleet: Fleet) -> None:
        if process.coordinator is not None and (why := process.coordinator.reload(fleet)) is not None:
            self.said("config", process.name, f"refused: {why}")

    # -- agent.Hub ----------------------------------------------------------------------------------------------------

    def connect(self, agent: Voice, coordinator: str) -> bool:
        """A stream, when somebody listens there."""
        process = self.processes.get(coordinator)
        return process is not None and process.connect(agent.name)

    def send(self, coordinator: str, frame: Ballot | Heartbeat, latency_s: float) -> None:
        """A frame on its way."""
        self.kernel.after(latency_s, self._deliver, coordinator, frame)

    def _deliver(self, coordinator: str, frame: Ballot | Heartbeat) -> None:
        process = self.processes[coordinator]
        if process.coordinator is not None:
            process.call(process.coordinator.receive, frame)

    def answers(self, coordinator: str) -> bool:
        """A coordinator's process answers while it is up; anything else is out there and well."""
        process = self.processes.get(coordinator)
        return process is None or process.up

    # -- process.Told -------------------------------------------------------------------------------------------------

    def stepped(self, process: CoordinatorProcess, event: Event, effects: tuple[Effect, ...], now: float) -> None:
        """An engine took a step; the leading one's are recorded and checked."""
        if process.coordinator is None:
            return
        world = process.coordinator.engine.world
        if isinstance(event, LeadershipChanged) and event.leading:
            self._viewer = process.name
            if self._view is not world:
                self._view = world
                self.recorder.look_at(world, self.kernel.now)
                self.watch.took_over(world)
            for service, value in self._demands.items():
                process.call(process.coordinator.observe_demand, service, value)
        if process.name == self._viewer:
            self._view = world
            if not effects and isinstance(event, BallotReceived):  # taken in; it is judged by a tick
                self.recorder.hear(world, self.kernel.now)
                return
            self.recorder.step(world, effects, self.kernel.now)
            self.watch.stepped(world, event, effects, now)

    def fed(self, process: CoordinatorProcess, event: dict[str, Any]) -> None:
        """Alerts about the leading process itself; the engine's own came with its steps."""
        data = event.get("data") or {}
        kind = data.get("alert")
        if process.name == self._viewer and event["kind"] == "alert" and kind in ("store-unavailable", "agent-cut-off"):
            self.recorder.alert(kind, event["of"], event["text"], self.kernel.now, active=bool(data.get("active")))

    def died(self, process: CoordinatorProcess, error: BaseException) -> None:
        """A coordinator ended by itself."""
        text = f"coordinator {process.name} died at {self.kernel.now:.1f} s: {type(error).__name__}: {error}"
        self.problems.append(text)
        self.said("died", process.name, text)

    def stream_ended(self, process: CoordinatorProcess, agent: str) -> None:
        """A coordinator ended a stream: the agent notices."""
        if agent in self.agents:
            self.kernel.after(0.0, self.agents[agent].lost, process.name)

    def confirm(self, process: CoordinatorProcess, agent: str, confirm: Confirm) -> None:
        """A confirm request on its way down."""
        way = self.network.path(process.name, agent)
        if not way.cut and (way.loss == 0.0 or self._rng.random() >= way.loss) and agent in self.agents:
            self.kernel.after(way.latency_s, self.agents[agent].asked, confirm)

    # -- provider.Watcher ---------------------------------------------------------------------------------------------

    def calling(self, client: str, far: Far, seconds: float) -> None:
        """A provider is called."""
        self.watch.calling(client, far, seconds)

    def about_to_write(self, client: str) -> bool:
        """Faults that wait for this moment begin."""
        waiting = self._at_write.pop(client, [])
        for then in waiting:
            then()
        return bool(waiting)

    def wrote(self, client: str, far: Far, name: str, before: Record | None, after: Record) -> None:
        """A provider took a write."""
        self.watch.wrote(far, name, before, after)
        old = {k: m.weight for k, m in before.members.items()} if before is not None else {}
        changed = [
            f"{k} {old.get(k, 0)} -> {m.weight}" for k, m in sorted(after.members.items()) if m.weight != old.get(k, 0)
        ]
        fence = f"{after.fence.epoch}.{after.fence.seq}" if after.fence is not None else "none"
        self.recorder.write(
            far.name,
            name,
            f"by {client}, fence {fence}: {', '.join(changed[:12]) or 'no weight changed'}",
            self.kernel.now,
        )
        self._publish(f"{far.name}/{name}")

    def _publish(self, route: str | None = None) -> None:
        """Shares as served now: of the service whose `route` was written, or of all. What is served is read by the config that
        is in force at the leader: one that it refused changes nothing."""
        fleet = self._view.fleet if self._view is not None else self.fleet
        known = fleet.route_by_key.get(route) if route is not None else None
        concerned = (fleet.service_by_name[known.service],) if known is not None else None
        self.recorder.publish(self._served.read(fleet, self.fars, concerned), self.kernel.now)
