"""Faults begin and end: what each kind does to endpoints, agents, coordinators, the network, the store and the providers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from steerd.model.vote import Verdict
from steerd.sim.agent import SimAgent
from steerd.sim.kinds import PLACES
from steerd.sim.network import Link
from steerd.sim.process import CoordinatorProcess
from steerd.sim.scenario import Fault
from steerd.sim.scene import Scene
from steerd.sim.targets import Target

__all__ = ["Faults"]


End = Callable[[], None]
"""Undoes a fault."""


def nothing() -> None:
    """The end of what happens once."""


class Faults:
    """Carries faults out. `last_end` is when the last one that ends has ended."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._demands: dict[str, list[tuple[float, float]]] = {}
        """Service -> (since, demand) of every change that lasts, the newest last."""

    def schedule(self, faults: tuple[Fault, ...]) -> None:
        """Put all of them into the heap."""
        for fault in faults:
            self._scene.kernel.at(fault.at, self._begin, fault)

    def _begin(self, fault: Fault) -> None:
        scene = self._scene
        if fault.args.get("when") == "applying":
            name = scene.leader() if fault.target == "leader" else fault.target
            scene.when_applying(name, lambda: self._start(fault, name))
        else:
            self._start(
                fault, scene.leader() if (fault.on, fault.target) == ("coordinator", "leader") else fault.target
            )

    def _start(self, fault: Fault, target: str) -> None:
        scene = self._scene
        scene.said("fault", target, fault.text)
        end = self._do(fault, target)
        if fault.until is not None:
            scene.kernel.after(fault.until - fault.at, self._end, fault, target, end)

    def _end(self, fault: Fault, target: str, end: End) -> None:
        self._scene.said("fault over", target, fault.text)
        end()

    def _do(self, fault: Fault, target: str) -> End:
        if fault.on in PLACES:
            return self._power(target) if fault.kind == "power-loss" else self._endpoints(fault, target)
        return self._HOW[fault.on](self, fault, target)

    # -- endpoints ----------------------------------------------------------------------------------------------------

    def _members(self, name: str) -> list[Target]:
        """Targets in an endpoint, zone, region or service."""
        names = self._scene.network.selects(name)
        return [t for n, t in sorted(self._scene.targets.items()) if n in names]

    def _endpoints(self, fault: Fault, target: str) -> End:
        hit = [t for t in self._members(target) if t.name in self._scene.fleet.endpoint_by_name]
        if fault.kind == "flap":
            return self._flap(fault, hit)
        ends = [self._mark(t, fault) for t in hit]
        self._touch(hit)

        def end() -> None:
            for undo in ends:
                undo()
            self._touch(hit)

        return end

    def _mark(self, target: Target, fault: Fault) -> End:
        """One fault on one endpoint; several of a kind may overlap."""
        kind, args = fault.kind, fault.args
        lists: dict[str, tuple[list[float] | list[str], object]] = {
            "errors": (target.errors, args.get("rate")),
            "slow": (target.slow, args.get("factor")),
            "stalled": (target.stalled, self._scene.kernel.now),
            "version": (target.labels, args.get("label")),
        }
        if kind in lists:
            values, value = lists[kind]
            values.append(value)  # type: ignore[arg-type]  # the reader gave each kind a value of its type
            return lambda: values.remove(value)  # type: ignore[arg-type]  # the same value
        field = {"crash": "crashed", "hang": "hung"}.get(kind, kind)
        setattr(target, field, getattr(target, field) + 1)
        return lambda: setattr(target, field, getattr(target, field) - 1)

    def _flap(self, fault: Fault, hit: list[Target]) -> End:
        """Begins down."""
        state = {"down": False, "over": False}

        def turn() -> None:
            if state["over"] and not state["down"]:
                return
            state["down"] = not state["down"] and not state["over"]
            for target in hit:
                target.crashed += 1 if state["down"] else -1
            self._touch(hit)
            if not state["over"]:
                self._scene.kernel.after(float(fault.args["down" if state["down"] else "up"]), turn)

        def end() -> None:
            state["over"] = True
            turn()

        turn()
        return end

    def _touch(self, hit: list[Target]) -> None:
        names = [t.name for t in hit]
        for agent in self._scene.agents.values():
            agent.wake_all(names)

    def _power(self, place: str) -> End:
        scene = self._scene
        names = scene.network.selects(place)
        hit = self._members(place)
        agents = [a for n, a in scene.agents.items() if n in names]
        processes = [p for n, p in scene.processes.items() if n in names]
        for target in hit:
            target.off += 1
        for agent in agents:
            agent.stopped += 1
            agent.stop()
        for process in processes:
            process.stopped += 1
            self._gone(process)
        self._touch(hit)

        def end() -> None:
            for target in hit:
                target.off -= 1
            for agent in agents:
                agent.stopped -= 1
                agent.start()
            for process in processes:
                process.stopped -= 1
                process.start()
            self._touch(hit)

        return end

    def _gone(self, process: CoordinatorProcess) -> None:
        """Killed; agents notice that their streams broke."""
        process.kill()
        for agent in self._scene.agents.values():
            agent.lost(process.name)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def _link(self, fault: Fault, target: str) -> End:
        del target
        args = fault.args
        link = Link(args["from"], args["to"], loss=args.get("rate", 0.0), latency_s=args.get("add", 0.0))
        link.cut = fault.kind == "partition"
        return self._cut(link)

    def _cut(self, *links: Link) -> End:
        network = self._scene.network
        network.links.extend(links)
        self._rewire(links)

        def end() -> None:
            for link in links:
                network.links.remove(link)
            self._rewire(links)

        return end

    def _rewire(self, links: tuple[Link, ...]) -> None:
        network = self._scene.network
        network.changed()
        touched = {n for link in links for s in (link.source, link.to) for n in network.selects(s)}
        subjects = sorted(touched & self._scene.targets.keys())
        for name, agent in self._scene.agents.items():
            if name in touched:
                agent.wake_all(subjects)

    def _isolated(self, name: str) -> End:
        return self._cut(Link(name, "any", cut=True), Link("any", name, cut=True))

    def _agent(self, fault: Fault, target: str) -> End:
        agent = self._scene.agents[target]
        if fault.kind == "isolate":
            return self._isolated(target)
        if fault.kind == "pause":
            agent.pause()
            return agent.resume
        if fault.kind == "lie":
            agent.lie = Verdict(fault.args["verdict"])
            agent.say_all()
            return lambda: self._honest(agent)
        if fault.kind == "lag":
            agent.lag_s = float(fault.args["seconds"])
            agent.wake_all()
            return lambda: setattr(agent, "lag_s", 0.0)
        agent.stopped += 1
        agent.stop()

        def end() -> None:
            agent.stopped -= 1
            agent.start()

        return end

    def _honest(self, agent: SimAgent) -> None:
        agent.lie = None
        agent.say_all()

    def _coordinator(self, fault: Fault, target: str) -> End:
        process = self._scene.processes[target]
        if fault.kind == "isolate":
            return self._isolated(target)
        process.pause()
        if fault.kind == "pause":
            return process.resume
        process.stopped += 1
        self._scene.kernel.after(0.0, self._gone, process)  # not from inside its own loop

        def end() -> None:
            process.stopped -= 1
            process.start()

        self._scene.kernel.after(0.0, process.resume)
        return end

    def _store(self, fault: Fault, target: str) -> End:
        del target
        weather = self._scene.weather
        if fault.kind == "slow":
            seconds = float(fault.args["seconds"])
            weather.slow_s += seconds
            return lambda: setattr(weather, "slow_s", weather.slow_s - seconds)
        if fault.kind == "stale-reads":
            weather.data.fall_behind()
            return weather.data.catch_up
        weather.data.lose_leader()
        if fault.kind == "leader-loss":
            self._scene.kernel.after(weather.election_s, weather.data.elect)
            return nothing
        return weather.data.elect

    def _provider(self, fault: Fault, target: str) -> End:
        far = self._scene.fars[target]
        if fault.kind == "errors":
            rate = float(fault.args["rate"])
            far.errors.append(rate)
            return lambda: far.errors.remove(rate)
        if fault.kind == "external-edit":
            for route in self._routes_serving(target, fault.args["record"]):
                far.system.edit(route, {fault.args["record"]: fault.args["set"]})
            self._scene.edited()
            return nothing
        field = "throttled" if fault.kind == "throttle" else "losing_answers"
        setattr(far, field, getattr(far, field) + 1)
        return lambda: setattr(far, field, getattr(far, field) - 1)

    def _routes_serving(self, provider: str, record: str) -> Iterator[str]:
        for route in self._scene.fleet.route_by_key.values():
            if route.provider == provider and any(t.key == record for t in route.targets):
                yield route.name

    def _dependency(self, fault: Fault, target: str) -> End:
        hit = self._members(target)
        if fault.kind == "lag":
            return self._lag(hit, float(fault.args["seconds"]))
        for one in hit:
            if fault.kind == "crash":
                one.crashed += 1
            else:
                one.slow.append(10.0)
        self._touch(hit)

        def end() -> None:
            for one in hit:
                if fault.kind == "crash":
                    one.crashed -= 1
                else:
                    one.slow.remove(10.0)
            self._touch(hit)

        return end

    def _lag(self, hit: list[Target], seconds: float) -> End:
        """Replicas fall behind; the primary has nothing to be behind of."""
        behind = [t for t in hit if t.lag_s is not None and not t.primary]
        before = [t.lag_s for t in behind]
        for target in behind:
            target.lag_s = seconds

        def end() -> None:
            for target, lag_s in zip(behind, before, strict=True):
                target.lag_s = lag_s

        return end

    def _operator(self, fault: Fault, target: str) -> End:
        del target
        self._scene.operate(fault)
        return nothing

    def _demand(self, fault: Fault, target: str) -> End:
        """At its end what was asked for before is asked for again, or what has begun since and still lasts."""
        surges = self._demands.setdefault(target, [])
        surge = (fault.at, float(fault.args["value"]))
        surges.append(surge)
        self._scene.demand(target, surge[1])

        def end() -> None:
            surges.remove(surge)
            self._scene.demand(target, surges[-1][1] if surges else None)

        return end

    def _clock(self, fault: Fault, target: str) -> End:
        scene = self._scene
        agent, process = scene.agents.get(target), scene.processes.get(target)
        if fault.kind == "jump":
            if agent is not None:
                agent.wall_jump(float(fault.args["by"]))
            if process is not None:
                process.wall_offset_s += float(fault.args["by"])
            return nothing
        if agent is not None:
            agent.pause()
            return agent.resume
        assert process is not None, "the reader knows both"
        process.pause(suspend=True)
        return process.resume

    def _config(self, fault: Fault, target: str) -> End:
        del target
        self._scene.reload(fault.args["fleet"])
        return nothing

    _HOW: dict[str, Callable[[Faults, Fault, str], End]] = {  # noqa: RUF012  a table that nobody changes
        "link": _link,
        "agent": _agent,
        "coordinator": _coordinator,
        "store": _store,
        "provider": _provider,
        "dependency": _dependency,
        "operator": _operator,
        "demand": _demand,
        "clock": _clock,
        "config": _config,
    }
