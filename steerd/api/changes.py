"""What an operator changes: each request is one command to the coordinator, and its answer comes back."""

from __future__ import annotations

import logging
import uuid
from typing import Any, Literal

from aiohttp import web

from steerd.api.bodies import DrainBody, FreezeBody, PinBody, body, flag_of
from steerd.api.keys import ACCEPT, AUTH, STEERING
from steerd.api.problems import Problem
from steerd.api.reads import answer
from steerd.api.times import stamped
from steerd.core.events import OperatorCommand

__all__ = ["accept_config", "drain", "freeze", "pin", "restore", "unfreeze", "unpin"]

log = logging.getLogger(__name__)

Verb = Literal["drain", "restore", "pin", "unpin", "freeze", "unfreeze"]


async def drain(request: web.Request) -> web.Response:
    """Take a domain out."""
    by = request.app[AUTH].operator(request).name
    asked = await body(request, DrainBody)
    return await _command(
        request,
        by,
        "drain",
        name=asked.name,
        reason=asked.reason,
        for_s=asked.for_s,
        now=asked.now,
        force=asked.force,
        accept_data_loss=asked.accept_data_loss,
    )


async def restore(request: web.Request) -> web.Response:
    """End a drain."""
    by = request.app[AUTH].operator(request).name
    flags = {name: flag_of(request, name) for name in ("now", "force", "accept_data_loss")}
    return await _command(request, by, "restore", name=request.match_info["name"], **flags)


async def pin(request: web.Request) -> web.Response:
    """Hold a share."""
    by = request.app[AUTH].operator(request).name
    asked = await body(request, PinBody)
    return await _command(
        request, by, "pin", name=asked.name, share=asked.share, reason=asked.reason, for_s=asked.for_s
    )


async def unpin(request: web.Request) -> web.Response:
    """Let go of a share."""
    by = request.app[AUTH].operator(request).name
    return await _command(request, by, "unpin", name=request.match_info["name"])


async def freeze(request: web.Request) -> web.Response:
    """Stop automatic moves."""
    by = request.app[AUTH].operator(request).name
    asked = await body(request, FreezeBody)
    return await _command(request, by, "freeze", reason=asked.reason, for_s=asked.for_s)


async def unfreeze(request: web.Request) -> web.Response:
    """Let automation move again."""
    by = request.app[AUTH].operator(request).name
    return await _command(request, by, "unfreeze")


async def accept_config(request: web.Request) -> web.Response:
    """Put in force the config on disk that was refused because it removes too much."""
    by = request.app[AUTH].operator(request).name
    accept = request.app.get(ACCEPT)
    why = "this process does not read its config from a file" if accept is None else await accept()
    if why is not None:
        raise Problem(409, why, kind="not-accepted", extra={"result": "invalid", "text": why, "data": {}})
    log.info("the config was accepted by %s", by)
    return answer({"result": "ok", "text": "the config on disk is in force", "data": {}})


async def _command(request: web.Request, by: str, verb: Verb, **facts: Any) -> web.Response:
    """Send one command and pass its answer on: 200 ok, 409 vetoed, 422 invalid, 503 when it cannot be carried out now.

    The coordinator bounds the wait for its answer.
    """
    command = OperatorCommand(id=uuid.uuid4().hex, verb=verb, by=by, **facts)
    said = await request.app[STEERING].command(command)
    document = {"result": said.result, "text": said.text, "data": stamped(said.data, "until")}
    if said.result == "ok":
        return answer(document)
    raise Problem(_STATUS.get(said.result, 422), said.text, kind=_KIND.get(said.result, said.result), extra=document)


_STATUS = {"vetoed": 409, "invalid": 422, "not-leading": 503, "not-persisted": 503}
_KIND = {"invalid": "invalid-command"}
