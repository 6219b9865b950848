"""The life of a daemon: read the config, start the parts, follow changes of the config, and end all of it cleanly.

`agent`, `coordinator` and `run` differ only in the parts they have. A part that ends by itself takes the process down
with exit 1 and one line in the log: whoever supervises the process starts it anew, and the store has what matters.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from steerd import __version__
from steerd.agent.agent import Agent
from steerd.api.app import make_app, make_small_app
from steerd.api.auth import Auth
from steerd.api.server import ApiServer, ListenError
from steerd.cli.errors import BadInput
from steerd.cli.parts import Telemetry, changed_providers, providers_of, resolve, ring_of, store_of
from steerd.config import ConfigError, load, warnings
from steerd.config.reload import ConfigWatcher
from steerd.config.support import unbuilt
from steerd.coordinator.clock import SystemClock
from steerd.coordinator.coordinator import Coordinator
from steerd.coordinator.hooks import SystemHooks
from steerd.model.fleet import Fleet
from steerd.providers.base import Misconfigured
from steerd.providers.pace import Paces
from steerd.stores.base import StoreError
from steerd.telemetry import logs
from steerd.telemetry.observers import AgentTelemetry, CoordinatorTelemetry

__all__ = ["Daemon", "config_option", "serve"]

log = logging.getLogger("steerd")

POLL_CONFIG_EVERY_S = 2.0
STOP_WITHIN_S = 4.5

config_option = click.option(
    "--config",
    "config",
    envvar="STEERD_CONFIG",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The fleet's config file (STEERD_CONFIG).",
)


def serve(config: Path, *, agent: str | None = None, coordinator: str | None = None) -> None:
    """Run the daemon until it is told to stop; ends the process with its exit code.

    An empty name means: the only one there is in the config.
    """
    try:
        fleet = load(config)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise BadInput(
            f"{config}: the config has {_count(len(error.problems), 'problem')}; nothing was started."
        ) from None
    both = (
        agent is not None and coordinator is not None
    )  # `steerd run` has --agent and --coordinator, the others --name
    if agent is not None:
        option = "--agent" if both else "--name"
        agent = _named("agent", agent, [a.name for a in fleet.agents], option)
    if coordinator is not None:
        option = "--coordinator" if both else "--name"
        coordinator = _named("coordinator", coordinator, [c.name for c in fleet.coordinators], option)
    if lacking := _lacking(fleet, agent, coordinator):
        for line in lacking:
            click.echo(f"{config}: {line}", err=True)
        raise BadInput("this build cannot run that config; nothing was started.")
    logs.setup()
    _raise_descriptor_limit()
    for warning in warnings(fleet):
        log.warning("%s", warning)
    sys.exit(_run(_main(config, fleet, agent, coordinator)))


def _raise_descriptor_limit() -> None:
    """Every look and stream holds a descriptor, and many systems start a process with 1024 of those it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS says "unlimited" and refuses it
        log.warning("the limit of open files stays at %d: %s", soft, error)


def _run(main: Coroutine[Any, Any, int]) -> int:
    """On uvloop where it is installed: it is optional, and not to be had on every platform."""
    if find_spec("uvloop") is None:
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415  see above

    return uvloop.run(main)


async def _main(config: Path, fleet: Fleet, agent: str | None, coordinator: str | None) -> int:
    try:
        daemon = Daemon(config, fleet, agent, coordinator)
    except Misconfigured as error:
        log.critical("%s: %s", error.text, error.action)
        return 1
    return await daemon.run()


def _named(kind: str, name: str, known: list[str], option: str) -> str:
    """`name`, or the only one known when it is empty."""
    if name in known:
        return name
    have = f"the config has {', '.join(known)}" if known else f"the config has none: add one under `{kind}s:`"
    if name:
        raise BadInput(f"no {kind} is called {name!r}; {have}.")
    if len(known) == 1:
        return known[0]
    raise BadInput(f"which {kind}? Say {option} NAME or STEERD_{kind.upper()}; {have}.")


def _lacking(fleet: Fleet, agent: str | None, coordinator: str | None) -> list[str]:
    lines = unbuilt(fleet, "agent") if agent else []
    return list(dict.fromkeys([*lines, *(unbuilt(fleet, "coordinator") if coordinator else [])]))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


class Daemon:
    """The parts of one process, and their life. Raises `Misconfigured` when a provider cannot be made."""

    def __init__(self, config: Path, fleet: Fleet, agent: str | None, coordinator: str | None) -> None:
        self._fleet = fleet
        self._watcher = ConfigWatcher(config, fleet)
        self._again = asyncio.Event()
        self._refused: Fleet | None = None
        self._stop = asyncio.Event()
        self._telemetry = Telemetry(fleet, coordinator or agent or "")
        self._servers: list[ApiServer] = []
        self._paces = Paces()
        self.coordinator = self._make_coordinator(coordinator) if coordinator else None
        self.agent = self._make_agent(agent) if agent else None

    # -- parts ----------------------------------------------------------------------------------------------------

    def _make_coordinator(self, name: str) -> Coordinator:
        meters = self._telemetry.meters
        self._providers = providers_of(self._fleet, self._paces)
        self._paces.keep(self._providers)

        def told() -> dict[str, Any]:
            return made.status()

        made = Coordinator(
            self._fleet,
            name,
            store=store_of(self._fleet, name),
            providers=self._providers,
            clock=SystemClock(),
            observer=CoordinatorTelemetry(meters, told, self._service_of, self._telemetry.traces),
            ring=ring_of(self._fleet, name),
            hooks=SystemHooks(resolve),
            paces=self._paces,
        )
        mine = next(c for c in self._fleet.coordinators if c.name == name)
        auth = Auth(lambda: self._fleet, resolve)
        app = make_app(made, auth=auth, meters=self._telemetry.scrapes, ready=self._ready, accept=self._accept)
        self._servers.append(ApiServer(app, mine.listen or self._fleet.listen))
        return made

    def _make_agent(self, name: str) -> Agent:
        listen = self._fleet.agent_by_name[name].listen
        if listen is not None:
            app = make_small_app(self._agent_ready, self._telemetry.scrapes)
            self._servers.append(ApiServer(app, listen, unix=False))
        return Agent(self._fleet, name, resolve=resolve, observer=AgentTelemetry(self._telemetry.meters))

    def _service_of(self, endpoint: str) -> str | None:
        found = self._fleet.endpoint_by_name.get(endpoint)
        return None if found is None else found.service

    def _ready(self) -> tuple[bool, str]:
        """A coordinator is ready when it says so; an agent beside it only has to run."""
        assert self.coordinator is not None
        ready, text = self.coordinator.ready()
        if ready and self.agent is not None and not self.agent.status()["running"]:
            return False, "the agent is not running yet"
        return ready, text

    def _agent_ready(self) -> tuple[bool, str]:
        """An agent alone is ready when some coordinator hears it."""
        assert self.agent is not None
        streams = self.agent.status().get("streams", {})
        heard = sorted(name for name, stream in streams.items() if stream["state"] == "connected")
        return (True, f"heard by {', '.join(heard)}") if heard else (False, "no coordinator hears this agent")

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Until SIGTERM or SIGINT, or until a part dies. The exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._again.set)
        names = {"coordinator": self.coordinator, "agent": self.agent}
        who = " and ".join(f"{kind} {part.name}" for kind, part in names.items() if part is not None)
        log.info("steerd %s starts: %s", __version__, who, extra={"config_hash": self._fleet.config_hash})
        try:
            code = await self._supervise()
        finally:
            await self._close()
        log.info("steerd ends with exit code %d", code)
        return code

    async def _serve(self) -> None:
        """Answer from the moment on when the coordinator takes ballots: a full ballot that comes earlier would be lost."""
        while self.coordinator is not None and self.coordinator.ready() == (False, "not running"):
            if self._stop.is_set():
                return
            await asyncio.sleep(0.01)  # the store takes a few ms to open
        for server in self._servers:
            await server.start()
            where = f"port {server.port}" + (f" and {server.socket_path}" if server.socket_path else "")
            log.info("listening on %s", where)
        await self._stop.wait()

    async def _supervise(self) -> int:
        """Run the parts; the first that ends before it was told to decides the exit code."""
        work: dict[str, Coroutine[Any, Any, None]] = {
            "API": self._serve(),
            "config watcher": self._follow_config(),
            "telemetry": self._telemetry.run(self._stop),
        }
        if self.coordinator is not None:
            work["coordinator"] = self.coordinator.run(self._stop)
        if self.agent is not None:
            work["agent"] = self.agent.run(self._stop)
        tasks = {asyncio.create_task(part, name=name) for name, part in work.items()}
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        code = 0
        if not stopped.done():
            code = 1
            for task in tasks:
                if task.done():
                    _tell_death(task)
        self._stop.set()
        # The API closes beside the coordinator's handover: agents are told at once, and go elsewhere.
        closing = [asyncio.create_task(server.stop()) for server in self._servers]
        done, late = await asyncio.wait([*tasks, *closing], timeout=STOP_WITHIN_S)
        for task in late:
            log.error("%s did not end within %.1f s and is cut off", task.get_name(), STOP_WITHIN_S)
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done & tasks:
            if not task.cancelled() and task.exception() is not None and code == 0:
                _tell_death(task)
                code = 1
        return code

    async def _close(self) -> None:
        for server in self._servers:
            await server.stop()
        await self._telemetry.close()

    # -- config ---------------------------------------------------------------------------------------------------

    async def _follow_config(self) -> None:
        """Look for a changed file every 2 s, and at once on SIGHUP."""
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while not self._stop.is_set():
                again = asyncio.create_task(self._again.wait())
                await asyncio.wait({again, stopped}, timeout=POLL_CONFIG_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                again.cancel()
                if self._again.is_set():
                    self._again.clear()
                    self._watcher.force()
                await self._look_at_config()
        finally:
            stopped.cancel()

    async def _look_at_config(self) -> None:
        before = self._watcher.problem
        # Reading a large config takes a second: not on the loop.
        fleet = await asyncio.to_thread(self._watcher.poll)
        if fleet is not None:
            self._refused = None
            self._say(self._put_in_force(fleet, accepted=False), fleet)
        elif self._watcher.problem != before:
            self._say(self._watcher.problem, None)

    def _say(self, problem: str | None, fleet: Fleet | None) -> None:
        """Tell log and status how a reload went; None for well."""
        if self.coordinator is not None:
            self.coordinator.config_problem = problem
        if problem is not None:
            self._refused = fleet
            log.error("the config on disk is not in force: %s", problem)
        elif fleet is None:
            log.info("the config on disk is the one in force again")
        elif self.coordinator is None:  # a coordinator says so itself
            log.info("config %s is in force", fleet.config_hash)

    def _put_in_force(self, fleet: Fleet, *, accepted: bool) -> str | None:
        """Give every part the new config. Why not, when one cannot have it: then all keep the old one."""
        agent, coordinator = self.agent, self.coordinator
        if agent is not None and agent.name not in fleet.agent_by_name:
            return f"agent {agent.name} is not in it: stop this process, or name it again"
        if coordinator is not None and coordinator.name not in {c.name for c in fleet.coordinators}:
            return f"coordinator {coordinator.name} is not in it: stop this process, or name it again"
        names = (part.name if part is not None else None for part in (agent, coordinator))
        if lacking := _lacking(fleet, *names):
            return "; ".join(lacking)
        if coordinator is not None:
            try:
                providers = changed_providers(self._fleet, fleet, self._providers, self._paces)
            except Misconfigured as error:
                self._paces.drop()
                return f"{error.text}: {error.action}"
            why = coordinator.reload(fleet, accepted=accepted, providers=providers)
            if why is not None:
                self._paces.drop()
                return why
            self._providers = providers
            self._paces.keep(providers)
        if agent is not None:
            agent.reload(fleet)
        if fleet.listen != self._fleet.listen or fleet.telemetry != self._fleet.telemetry:
            log.warning("`listen` and `telemetry` take effect at the next start")
        self._fleet = fleet
        return None

    async def _accept(self) -> str | None:
        """An operator accepts the config that was refused. Why not, or None."""
        if self._watcher.problem is not None:
            return f"the config on disk is bad: {self._watcher.problem}"
        if self._refused is None:
            return "no config waits to be accepted: the one on disk is in force"
        fleet, self._refused = self._refused, None
        problem = self._put_in_force(fleet, accepted=True)
        self._say(problem, fleet)
        return problem


def _tell_death(task: asyncio.Task[None]) -> None:
    """One clear line on why a part ended."""
    error = None if task.cancelled() else task.exception()
    if error is None:
        log.critical("the %s ended by itself", task.get_name())
    elif isinstance(error, StoreError | ListenError):
        log.critical("the %s cannot go on: %s", task.get_name(), error)
    else:
        log.critical("the %s died: %s: %s", task.get_name(), type(error).__name__, error, exc_info=error)
