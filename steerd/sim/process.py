"""A coordinator's process: the real `Coordinator` on a loop of its own, that can be paused, suspended, killed and started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from steerd.coordinator.coordinator import Coordinator
from steerd.coordinator.links import AgentLink, LinkClosed
from steerd.coordinator.observer import NullObserver
from steerd.core.effects import Answer, Effect
from steerd.core.events import Event, OperatorCommand
from steerd.model.vote import Confirm
from steerd.sim.kernel import Kernel
from steerd.sim.loop import ProcessLoop

__all__ = ["CoordinatorProcess", "Told"]

_AFTER_A_CRASH_S = 1.0


class Told(Protocol):
    """Who hears what a process does."""

    def stepped(self, process: CoordinatorProcess, event: Event, effects: tuple[Effect, ...], now: float) -> None:
        """The engine took a step."""

    def fed(self, process: CoordinatorProcess, event: dict[str, Any]) -> None:
        """The process told its listeners something."""

    def died(self, process: CoordinatorProcess, error: BaseException) -> None:
        """The process ended by itself: a bug."""

    def stream_ended(self, process: CoordinatorProcess, agent: str) -> None:
        """The process ended an agent's stream."""

    def confirm(self, process: CoordinatorProcess, agent: str, confirm: Confirm) -> None:
        """The process asks an agent to look now."""


class SimClock:
    """The coordinator's clocks: steady seconds of the epoch, and those of its loop."""

    def __init__(self, epoch_s: float, kernel: Kernel, loop: ProcessLoop) -> None:
        self._epoch_s = epoch_s
        self._kernel = kernel
        self._loop = loop

    def now(self) -> float:
        return self._epoch_s + self._kernel.now

    def loop_time(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))


class _Observer(NullObserver):
    def __init__(self, process: CoordinatorProcess, told: Told) -> None:
        self._process, self._told = process, told

    def on_step(self, event: Event, effects: tuple[Effect, ...], now: float, duration_s: float) -> None:
        del duration_s
        self._told.stepped(self._process, event, effects, now)


class CoordinatorProcess:
    """`make` builds a coordinator, given the clock, the observer and a test whether this life still goes on."""

    def __init__(
        self,
        name: str,
        kernel: Kernel,
        epoch_s: float,
        told: Told,
        make: Callable[[SimClock, NullObserver, Callable[[], bool]], Coordinator],
    ) -> None:
        self.name = name
        self.wake_at = float("inf")
        self.coordinator: Coordinator | None = None
        self.paused = 0
        self.stopped = 0
        self._kernel, self._told, self._make = kernel, told, make
        self.wall_offset_s = 0.0
        self._epoch_s = epoch_s
        self._lost_s = 0.0
        self._paused_at = 0.0
        self._suspended = False
        self._loop: ProcessLoop | None = None
        self._life = 0
        self._run: asyncio.Task[None] | None = None
        self._keep: set[asyncio.Task[Any]] = set()
        self._links: dict[str, AgentLink] = {}

    # -- life ---------------------------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """It exists and is not standing still."""
        return self._loop is not None and not self.paused

    def start(self) -> None:
        """A new process, unless one runs or its host is gone."""
        if self._loop is not None or self.stopped:
            return
        self._life += 1
        life = self._life
        self._lost_s = 0.0
        loop = self._loop = ProcessLoop(self._kernel.now)
        loop.set_exception_handler(self._on_error)
        clock = SimClock(self._epoch_s + self.wall_offset_s, self._kernel, loop)
        self.coordinator = self._make(clock, _Observer(self, self._told), lambda: self._life == life)
        self._run = loop.create_task(self.coordinator.run(asyncio.Event()))
        self._task(self._listen(self.coordinator))
        self.wake_at = self._kernel.now

    def kill(self) -> None:
        """Gone at once, as by SIGKILL: nothing is handed over and nothing is written any more."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        self._life += 1
        self.coordinator = None
        self.wake_at = float("inf")
        for task in asyncio.all_tasks(loop):
            task.cancel()
        for _ in range(100):
            loop.run_until_idle(self._kernel.now - self._lost_s)
            if not asyncio.all_tasks(loop):
                break
        loop.close()
        self._keep.clear()
        self._links.clear()

    def pause(self, *, suspend: bool = False) -> None:
        """Stand still. With `suspend` the machine does: the loop's clock stands still too."""
        self.paused += 1
        if self.paused == 1:
            self._paused_at, self._suspended = self._kernel.now, suspend
            self.wake_at = float("inf")
            if self._loop is not None:
                self._loop.stop()

    def resume(self) -> None:
        """Go on where it stood; every timer that rang meanwhile rings now."""
        self.paused -= 1
        if self.paused == 0:
            if self._suspended:
                self._lost_s += self._kernel.now - self._paused_at
            self.wake_at = self._kernel.now if self._loop is not None else float("inf")

    def drive(self) -> None:
        """Run what is due now."""
        loop = self._loop
        if loop is None or self.paused:
            self.wake_at = float("inf")
            return
        self.wake_at = float("inf")
        at = loop.run_until_idle(self._kernel.now - self._lost_s)
        self._kernel.events += 1
        if self._run is not None and self._run.done():
            self._died(self._run)
            return
        if not self.paused:
            self.wake_at = min(self.wake_at, at + self._lost_s)

    def _died(self, run: asyncio.Task[None]) -> None:
        error = run.exception()
        self._told.died(self, error if error is not None else RuntimeError("the coordinator ended by itself"))
        self.kill()
        self._kernel.after(_AFTER_A_CRASH_S, self.start)

    def _on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        error = context.get("exception")
        self._told.died(self, error if error is not None else RuntimeError(str(context.get("message"))))

    # -- from outside ---------------------------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Run `function` inside the process, at once or when it goes on."""
        if self._loop is not None:
            self._loop.call_soon(function, *args)
            if not self.paused:
                self.wake_at = min(self.wake_at, self._kernel.now)

    def connect(self, agent: str) -> bool:
        """A stream for `agent`; False when nobody listens."""
        coordinator = self.coordinator
        if coordinator is None or not self.up or coordinator.ready()[1] == "not running":
            return False
        self.call(self._accept, coordinator, agent)
        return True

    def _accept(self, coordinator: Coordinator, agent: str) -> None:
        link = self._links[agent] = coordinator.connect_agent(agent)
        self._task(self._read(link, agent))

    async def _read(self, link: AgentLink, agent: str) -> None:
        try:
            while True:
                frame = await link.get()
                if isinstance(frame, Confirm):
                    self._told.confirm(self, agent, frame)
        except LinkClosed:
            if self._links.get(agent) is link:  # else a newer stream of the same agent took its place
                del self._links[agent]
                self._told.stream_ended(self, agent)

    async def _listen(self, coordinator: Coordinator) -> None:
        async for event in coordinator.subscribe():
            self._told.fed(self, event)

    def operate(self, command: OperatorCommand, answered: Callable[[Answer], None]) -> None:
        """Carry out an operator's command here, again and again while it could not be stored or nobody leads."""
        if self.coordinator is not None:
            self.call(self._begin, self.coordinator, command, answered)

    def _begin(self, coordinator: Coordinator, command: OperatorCommand, answered: Callable[[Answer], None]) -> None:
        self._task(self._operate(coordinator, command, answered))

    async def _operate(
        self, coordinator: Coordinator, command: OperatorCommand, answered: Callable[[Answer], None]
    ) -> None:
        answered(await coordinator.command(command))

    def _task(self, work: Any) -> None:
        assert self._loop is not None, "only a running process has tasks"
        task = self._loop.create_task(work)
        self._keep.add(task)
        task.add_done_callback(self._keep.discard)
