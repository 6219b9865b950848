"""What handlers find on the application, by typed key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from steerd.api.auth import Auth
from steerd.api.ports import Metrics, Steering

__all__ = ["ACCEPT", "AUTH", "LIVE", "METRICS", "READY", "STEERING", "Accept", "Live", "Ready"]

Ready = Callable[[], tuple[bool, str]]
Accept = Callable[[], Awaitable[str | None]]


@dataclass(slots=True)
class Live:
    """Long answers that are open now. On shutdown each is told to end; `stopping` refuses new ones."""

    closers: dict[object, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    stopping: bool = False
    watchers: int = 0


STEERING = web.AppKey("steering", Steering)
AUTH = web.AppKey("auth", Auth)
METRICS = web.AppKey("metrics", Metrics)
LIVE = web.AppKey("live", Live)
READY = web.AppKey[Ready]("ready", Callable)  # type: ignore[arg-type]  # a Callable type is no runtime type
ACCEPT = web.AppKey[Accept]("accept", Callable)  # type: ignore[arg-type]  # a Callable type is no runtime type
