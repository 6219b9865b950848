"""The haproxy provider where HAProxy asks: a listener for its agent checks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.asking import parse_server, remaining_s
from steerd.providers.base import Change, Conflict, Context, Misconfigured, Receipt, Unreachable, Verified
from steerd.providers.haproxy import AGENT_CAPABILITIES, KIND
from steerd.providers.haproxy.agent import Board, Listener, Posted
from steerd.providers.haproxy.translate import server_name
from steerd.providers.records import needs_fence
from steerd.providers.settings import Settings

__all__ = ["HAProxyAgent", "Post", "observed_from", "translate"]


@dataclass(frozen=True, slots=True)
class Post:
    """The payload of a change: `new` replaces `old` if `old` still stands."""

    old: Posted | None
    new: Posted


def observed_from(route: Route, posted: Posted | None) -> Observed:
    """What is answered for the route's targets. Pure."""
    if posted is None:
        return Observed(weights={t.key: 0 for t in route.targets}, exists=False)
    names = {t.key: server_name(route, t.key) for t in route.targets}
    return Observed(
        weights={key: posted.weights.get(name, 0) for key, name in names.items()},
        values={key: (name,) for key, name in names.items() if posted.weights.get(name, 0) > 0},
        fence=posted.fence,
        token=posted,
    )


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The answers that turn `observed` into `desired`. Pure. Raises ValueError on an empty state or a weight out of range."""
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    top = AGENT_CAPABILITIES.weight_max
    if wrong := [m for m in desired.members if not 0 <= m.weight <= top]:
        raise ValueError(f"{route.key}: weight {wrong[0].weight} of {wrong[0].target} is not from 0 to {top}")
    old = observed.token if isinstance(observed.token, Posted) else None
    weights = {server_name(route, m.target): m.weight for m in desired.members}
    same = old is not None and old.weights == weights
    moved = [
        f"{name} {weight}%"
        for name, weight in sorted(weights.items())
        if (old.weights.get(name) if old else None) != weight
    ]
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Post(old, Posted(route.name, weights, fence)),
        nothing=same and not needs_fence(old.fence if old else None, fence),
        summary=f"{route.name}: {' '.join(moved) or 'fence only'}",
    )


class HAProxyAgent:
    """One listener, for any number of HAProxies. What it answers is forgotten at a restart, and then decided anew."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = AGENT_CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        if settings.maybe_text("socket") is not None:
            raise settings.wrong(
                "agent", "and `socket` exclude each other", "keep one: only one side may set the weights"
            )
        try:
            self._listen = parse_server(settings.text("agent"), 0)
        except ValueError as error:
            raise settings.wrong("agent", str(error), "write HOST:PORT, for example 127.0.0.1:5555") from None
        self._board = Board()
        self._listener = Listener(lambda line, host: self._board.answer(line, host, time.monotonic()))
        self._open = False

    @property
    def port(self) -> int | None:
        """The port while open; tells it where the config said 0."""
        return self._listener.port

    async def open(self) -> None:
        """Start to listen. Raises `Misconfigured`."""
        try:
            await self._listener.open(self._listen.host, self._listen.port)
        except OSError as error:
            raise Misconfigured(
                f"cannot listen on {self._listen}: {error.strerror or error}",
                "stop what holds the port, or set `agent`",
            ) from None
        self._open = True

    async def close(self) -> None:
        """Stop answering: HAProxy keeps the weights it has; safe to call twice."""
        self._open = False
        await self._listener.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """What is answered now."""
        self._ready(deadline)
        return observed_from(route, self._board.get(route.name))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Answer so from now on."""
        self._ready(deadline)
        post: Post = change.payload
        standing = self._board.get(post.new.backend)
        if standing is not None and standing.fence.newer_than(change.fence):
            raise Conflict(f"{change.route}: {standing.fence.text!r} is newer than {change.fence.text!r}")
        if standing != post.old:
            raise Conflict(f"{change.route}: the answers for {post.new.backend} were changed since they were read")
        self._board.post(post.new)
        return Receipt(change.route, f"{self._board.asked(post.new.backend, time.monotonic())} HAProxies ask for it")

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """That every HAProxy that asks has been told, and that one does ask."""
        observed = await self.read(route, deadline)
        now = time.monotonic()
        again = translate(route, change.desired, observed, change.fence)
        wrong = [] if again.nothing else [f"the answers are not as desired ({again.summary})"]
        wrong += self._board.behind(route.name, now)
        if not self._board.asked(route.name, now):
            wrong.append(
                f"no HAProxy asks for servers of {route.name}: set `agent-check` and `agent-send` in haproxy.cfg"
            )
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    def _ready(self, deadline: float) -> None:
        if not self._open:
            raise Unreachable("the listener for agent checks is not running")
        remaining_s(deadline, 1.0)
