"""HTTP front of the demo's model server: the OpenAI paths, a serving stack's own ones, and a control path for tests."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from steerd.demo.model_engine import Engine, answer_to
from steerd.demo.model_modes import Behaviour, Mode
from steerd.demo.model_other import OtherPaths
from steerd.demo.model_stacks import FACES, exposition

__all__ = ["ModelApi"]

_OTHER_MODEL = "another-model"
_STALE_MS = 600_000
_SYNTHETIC = 2
"""Requests in flight that `stall` and `busy` make up, so that the engine has work whoever else asks."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ModelApi:
    """One server's state and handlers. `quit` is called to crash (it must not return)."""

    def __init__(
        self,
        name: str,
        model: str,
        *,
        version: str = "v1",
        stack: str = "vllm",
        quit: Callable[[int], object] = os._exit,  # noqa: A002 - what it does
    ) -> None:
        self.name = name
        self.face = FACES[stack]
        self.engine_pid: int | None = None
        self.model = model
        self.version = version
        self.engine = Engine()
        self.behaviour = Behaviour()
        self.requests: Counter[str] = Counter()
        self._quit = quit
        self._owed = 0.0
        self._frozen: str | None = None
        self._changed = asyncio.Event()
        self._made_up: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        """The application, not yet listening."""
        app = web.Application(middlewares=[self._count_and_break], client_max_size=1 << 20)
        app.add_routes(
            [
                web.get("/v1/models", self.models),
                web.post("/v1/chat/completions", self.chat),
                web.post("/v1/completions", self.chat),
                web.get("/version", self.versions),
                web.get("/control", self.control_state),
                web.post("/control", self.control),
                *(web.get(path, self.health) for path in (*self.face.live, *self.face.ready)),
                *(web.get(path, self.document) for path in self.face.documents or ()),
                *(web.get(path, self.metrics) for path in self.face.metrics or ()),
                *OtherPaths(self).routes(),
            ]
        )
        app.on_cleanup.append(self._cleanup)
        return app

    # -- control: for tests and the demo, from loopback only

    async def control(self, request: web.Request) -> web.Response:
        """POST {"mode": MODE, ...options, "version": LABEL}."""
        asked = await request.json()
        try:
            self.behaviour = Behaviour.of(asked)
        except (TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        self.version = str(asked.get("version", self.version))
        mode = self.behaviour.mode
        self.engine.stalled = mode is Mode.STALL
        self.engine.factor = self.behaviour.factor if mode in (Mode.SLOW, Mode.CPU) else 1.0
        self._frozen = None
        self._changed.set()
        self._changed = asyncio.Event()
        await self.engine.wake()
        self._work(_SYNTHETIC if mode in (Mode.STALL, Mode.BUSY) else 0)
        if mode is Mode.CRASH:
            # After the answer is out, so that whoever asked knows that it was heard.
            asyncio.get_running_loop().call_later(0.02, self._quit, 137)
        return await self.control_state(request)

    async def control_state(self, _: web.Request) -> web.Response:
        """GET: name, mode, version label, requests per path."""
        return web.json_response(
            {
                "name": self.name,
                "model": self.model,
                "mode": self.behaviour.mode,
                "version": self.version,
                "engine_pid": self.engine_pid,
                "requests": dict(self.requests),
            }
        )

    @web.middleware
    async def _count_and_break(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/control":
            if not ipaddress.ip_address(request.remote or "0.0.0.0").is_loopback:  # noqa: S104 - means nobody here
                return web.json_response({"error": "control is for loopback"}, status=403)
            return await handler(request)
        self.requests[request.path] += 1
        behaviour = self.behaviour
        mode = behaviour.mode
        if mode is Mode.HANG:
            await self._changed.wait()
        if mode is Mode.ERRORS and self._errs(behaviour.rate):
            return _error(behaviour.status, "internal error")
        if mode is Mode.LOADING and request.path not in (*self.face.live, *(self.face.metrics or ())):
            return _error(self.face.unready, "Model is not ready")
        if mode is Mode.UNAUTHORIZED and request.path.startswith("/v1/"):
            return _error(401, "Incorrect API key provided")
        if mode is Mode.UNLOADED and request.method == "POST":
            return _error(400, "model is not loaded")
        if mode is Mode.REFUSE and request.method == "POST":
            return _error(429, "queue is full", {"Retry-After": "1"})
        response = await handler(request)
        if not response.prepared:
            response.headers["X-Model-Version"] = self.version
        return response

    def _errs(self, rate: float) -> bool:
        """True for `rate` of the calls, evenly spread: tests must not depend on luck."""
        self._owed += rate
        if self._owed < 1.0 - 1e-9:
            return False
        self._owed -= 1.0
        return True

    # -- the paths of a model server

    async def health(self, _: web.Request) -> web.StreamResponse:
        if self.behaviour.mode is Mode.BUSY:
            changed = self._changed
            with contextlib.suppress(TimeoutError):  # the delay is over: answer
                await asyncio.wait_for(changed.wait(), self.behaviour.delay_s)
        return web.Response(text=self.face.plain)

    async def document(self, request: web.Request) -> web.StreamResponse:
        assert self.face.documents is not None
        return web.json_response(self.face.documents[request.path](self.served, self.behaviour.mode is Mode.CPU))

    async def models(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"object": "list", "data": [{"id": self.served, "object": "model"}]})

    async def versions(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"version": self.version})

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        mode = self.behaviour.mode
        if mode is Mode.SCRAPE_HANG:
            await self._changed.wait()
        assert self.face.metrics is not None
        rows = self.face.metrics[request.path](self.engine)
        if mode is not Mode.STALE:
            return web.Response(text=exposition(rows, self.served, self.face.label))
        if self._frozen is None:
            stamp_ms = int(time.time() * 1000) - _STALE_MS
            self._frozen = exposition(rows, self.served, self.face.label, stamp_ms)
        return web.Response(text=self._frozen)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = await request.json()
            plain = request.path == "/v1/completions"
            question = str(asked["prompt"] if plain else asked["messages"][-1]["content"])
            model = str(asked["model"])
        except (KeyError, IndexError, TypeError, ValueError):
            return _error(400, "messages (or prompt) and model are required")
        if model != self.served:
            return _error(404, f"The model `{model}` does not exist.")
        text = self._answer(question)
        limit = asked.get("max_tokens")
        count = len(question.split())
        if asked.get("stream"):
            options = asked.get("stream_options") or {}
            usage = bool(options.get("include_usage"))
            return await self._stream(request, text, count, limit, usage=usage, plain=plain)
        tokens = [token async for token in self.engine.generate(text, count)]
        finish = "length" if limit and len(tokens) > limit else "stop"
        said = "".join(tokens[:limit])
        answer = {"text": said} if plain else {"message": {"role": "assistant", "content": said}}
        body = self._frame([{"index": 0, **answer, "finish_reason": finish}], "chat.completion")
        return web.json_response(body | {"usage": _usage(count, len(tokens))})

    async def _stream(
        self, request: web.Request, text: str, count: int, limit: int | None, *, usage: bool, plain: bool
    ) -> web.StreamResponse:
        mode = self.behaviour.mode
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Model-Version": self.version}
        response = web.StreamResponse(headers=headers)
        # As real servers do, the head goes out before the first token is made.
        await response.prepare(request)
        if not plain:
            await self._send(response, self._frame([_choice({"role": "assistant", "content": ""})]))
        made, half = 0, max(1, len(text.split()) // 2)
        async for token in self.engine.generate(text, count):
            if made >= half and mode in (Mode.CUT, Mode.ERROR_FRAME):
                break
            made += 1
            await self._send(response, self._frame([_text(token) if plain else _choice({"content": token})]))
            if limit and made >= limit:
                break
        if mode is Mode.CUT:
            assert request.transport is not None
            request.transport.abort()
            return response
        if mode is Mode.ERROR_FRAME:
            await self._send(response, {"error": {"message": "EngineCore died", "type": "internal", "code": 500}})
            return response
        if mode is not Mode.NO_FINISH:
            finish = "length" if limit and made >= limit else "stop"
            await self._send(response, self._frame([_text("", finish) if plain else _choice({}, finish)]))
            if usage:
                await self._send(response, self._frame([]) | {"usage": _usage(count, made)})
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    def _answer(self, question: str) -> str:
        mode = self.behaviour.mode
        if mode is Mode.GARBAGE:
            return "The moon is made of green cheese."
        if mode is Mode.GIBBERISH or (mode is Mode.LONG and len(question.split()) > self.behaviour.words):
            return "!" * 24
        return "" if mode is Mode.EMPTY else answer_to(question)

    @property
    def served(self) -> str:
        """The model id that this server says it serves."""
        return _OTHER_MODEL if self.behaviour.mode is Mode.WRONG_MODEL else self.model

    def _frame(self, choices: list[dict[str, Any]], kind: str = "chat.completion.chunk") -> dict[str, Any]:
        created = int(time.time())
        return {"id": "chatcmpl-demo", "object": kind, "created": created, "model": self.served, "choices": choices}

    async def _send(self, response: web.StreamResponse, frame: dict[str, Any]) -> None:
        await response.write(b"data: " + json.dumps(frame).encode() + b"\n\n")

    # -- requests that the engine makes up

    def _work(self, requests: int) -> None:
        for task in self._made_up:
            task.cancel()
        self._made_up = {asyncio.create_task(self._endless_work()) for _ in range(requests)}

    async def _endless_work(self) -> None:
        while True:
            async for _ in self.engine.generate("busy with the work of somebody else", 8):
                pass

    async def _cleanup(self, _: web.Application) -> None:
        tasks = tuple(self._made_up)
        self._work(0)
        await asyncio.gather(*tasks, return_exceptions=True)


def _text(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "text": text, "finish_reason": finish}


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"object": "error", "message": text, "code": status, "error": {"message": text, "code": status}}
    return web.json_response(body, status=status, headers=headers)
