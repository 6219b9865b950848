"""Paths of the demo's model server beside chat: embeddings, and the open inference protocol."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from aiohttp import web

from steerd.demo.model_engine import Engine
from steerd.demo.model_modes import Behaviour, Mode

__all__ = ["OtherPaths"]

_DIMENSIONS = 8


class Front(Protocol):
    """What of the server is needed here."""

    engine: Engine

    @property
    def behaviour(self) -> Behaviour: ...
    @property
    def served(self) -> str: ...


class OtherPaths:
    """See the module's text."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[web.RouteDef]:
        """What to serve."""
        return [
            web.post("/v1/embeddings", self.embeddings),
            web.get("/v1/models/{model}/ready", self.model_ready),
            web.get("/v2/models/{model}/ready", self.model_ready),
            web.get("/v2/models/{model}", self.metadata),
            web.post("/v2/models/{model}/infer", self.infer),
            web.post("/v2/repository/index", self.repository),
        ]

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """A vector for each text: its hash, or the same one for all in mode `garbage`."""
        asked = await request.json()
        texts = asked["input"] if isinstance(asked.get("input"), list) else [asked.get("input", "")]
        if asked.get("model") != self._front.served:
            return web.json_response(
                {"error": {"message": f"The model `{asked.get('model')}` does not exist."}}, status=404
            )
        await self._work()
        same = self._front.behaviour.mode is Mode.GARBAGE
        data = [{"index": at, "embedding": _vector("" if same else str(text))} for at, text in enumerate(texts)]
        count = sum(len(str(text).split()) for text in texts)
        return web.json_response({"data": data, "usage": {"prompt_tokens": count, "total_tokens": count}})

    async def model_ready(self, request: web.Request) -> web.StreamResponse:
        known = request.match_info["model"] == self._front.served
        return web.json_response({"ready": known}, status=200 if known else 404)

    async def metadata(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["model"] != self._front.served:
            return web.json_response({"error": "unknown model"}, status=404)
        return web.json_response({"name": self._front.served, "versions": ["1"], "platform": "demo"})

    async def repository(self, _: web.Request) -> web.StreamResponse:
        return web.json_response([{"name": self._front.served, "version": "1", "state": "READY"}])

    async def infer(self, request: web.Request) -> web.StreamResponse:
        """The sum of each input's data; a wrong one in mode `garbage`."""
        if request.match_info["model"] != self._front.served:
            return web.json_response({"error": "Request for unknown model: not found"}, status=404)
        asked = await request.json()
        await self._work()
        off = 1 if self._front.behaviour.mode is Mode.GARBAGE else 0
        outputs: list[Any] = [
            {"name": f"sum_{one['name']}", "shape": [1], "datatype": "FP32", "data": [sum(one["data"]) + off]}
            for one in asked["inputs"]
        ]
        return web.json_response({"model_name": self._front.served, "outputs": outputs})

    async def _work(self) -> None:
        async for _ in self._front.engine.generate("one", 1):
            pass


def _vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [byte / 255.0 for byte in digest[:_DIMENSIONS]]
