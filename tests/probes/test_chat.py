"""`openai-chat` against the model server in every way it can fail, and against streams no server of ours makes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from probes.outcome import Layer, Outcome, Status
from tests.support.looking import Look
from tests.support.model_server import ModelServer

Site = Callable[..., Awaitable[str]]
SUMS = {"prompts": [{"ask": "What is 2+2? Answer with the number only.", "expect": r"\b4\b"}]}


async def ask(look: Look, url: str, model: str | None = "demo-7b", within_s: float = 5.0, **settings: Any) -> Outcome:
    return await look(
        "openai-chat",
        url,
        {**SUMS, **settings},
        layer="user_path",
        within_s=within_s,
        model=model,
        resolve=lambda ref: str(ref[1]),
    )


async def test_a_healthy_server_passes_with_its_readings(look: Look, model_server: ModelServer) -> None:
    model_server.mode("healthy", version="v7")
    outcome = await ask(look, model_server.url, version={"header": "X-Model-Version"}, ttft=5.0)
    assert (outcome.status, outcome.layer, outcome.reason) == (Status.PASS, Layer.USER_PATH, None)
    assert outcome.version == "v7"
    assert outcome.readings["tokens"] == 4.0
    assert outcome.tokens > 4  # the prompt's are spent too
    stages = outcome.stages
    assert stages.connect_s is not None
    assert stages.first_byte_s is not None
    assert stages.first_token_s is not None
    assert stages.first_byte_s <= stages.first_token_s == outcome.readings["ttft_s"]
    assert outcome.readings["inter_token_s"] > 0


@pytest.mark.parametrize(
    ("mode", "status", "layer", "reason", "transport"),
    [
        ("stall", Status.FAIL, Layer.USER_PATH, "no first token in time", True),
        ("hang", Status.FAIL, Layer.USER_PATH, "no first token in time", True),
        ("cut", Status.FAIL, Layer.USER_PATH, "stream broken off", False),
        ("error-frame", Status.FAIL, Layer.USER_PATH, "error frame in the stream", False),
        ("no-finish", Status.FAIL, Layer.USER_PATH, "stream cut before its finish_reason", False),
        ("garbage", Status.FAIL, Layer.CORRECTNESS, "wrong answer", False),
        ("gibberish", Status.FAIL, Layer.CORRECTNESS, "gibberish: one character repeated", False),
        ("empty", Status.FAIL, Layer.CORRECTNESS, "empty answer", False),
        ("wrong-model", Status.FAIL, Layer.READINESS, "model not found", False),
        ("unloaded", Status.FAIL, Layer.READINESS, "model not loaded", False),
        ("refuse", Status.SATURATED, Layer.USER_PATH, "HTTP 429: full", False),
        ("errors", Status.FAIL, Layer.USER_PATH, "HTTP 500", False),
        ("loading", Status.FAIL, Layer.USER_PATH, "HTTP 503", False),
        ("unauthorized", Status.ERROR, Layer.USER_PATH, "HTTP 401: credentials refused", False),
    ],
)
async def test_each_failure_is_told_apart(
    look: Look, model_server: ModelServer, mode: str, status: Status, layer: Layer, reason: str, transport: bool
) -> None:
    model_server.mode(mode)
    outcome = await ask(look, model_server.url, ttft_limit=0.4)
    assert (outcome.status, outcome.layer, outcome.reason, outcome.transport) == (status, layer, reason, transport)
    assert not outcome.host_error


async def test_a_killed_and_a_frozen_process(look: Look, model_server: ModelServer) -> None:
    model_server.pause()
    try:
        frozen = await ask(look, model_server.url, ttft_limit=0.3)
    finally:
        model_server.resume()
    assert (frozen.status, frozen.reason, frozen.transport) == (Status.FAIL, "no first token in time", True)
    model_server.kill()
    dead = await ask(look, model_server.url)
    assert (dead.status, dead.reason, dead.transport) == (Status.FAIL, "connection refused", True)


async def test_a_slow_first_token_is_slow_then_fails(look: Look, model_server: ModelServer) -> None:
    model_server.mode("slow", factor=20)  # 0.2 s to the first token
    slow = await ask(look, model_server.url, ttft=0.05, ttft_limit=4.0)
    assert (slow.status, slow.reason) == (Status.SLOW, "time to first token over its objective")
    assert slow.readings["ttft_s"] > 0.05
    # Without a limit of its own a look fails over ten times the objective.
    failed = await ask(look, model_server.url, ttft=0.005)
    assert (failed.status, failed.reason, failed.transport) == (Status.FAIL, "no first token in time", True)
    assert (await ask(look, model_server.url)).status is Status.PASS  # no objective, and nothing known to be usual


async def test_without_an_objective_ten_times_what_is_usual_is_slow(look: Look, model_server: ModelServer) -> None:
    model_server.mode("healthy")
    for _ in range(20):
        assert (await ask(look, model_server.url)).status is Status.PASS
    model_server.mode("slow", factor=80)  # 0.8 s to the first token
    slow = await ask(look, model_server.url)
    assert (slow.status, slow.reason) == (Status.SLOW, "time to first token far over what is usual here"), slow


async def test_the_deadline_of_the_look_holds_over_all_limits(look: Look, model_server: ModelServer) -> None:
    model_server.mode("stall")
    outcome = await ask(look, model_server.url, within_s=0.2)
    assert (outcome.status, outcome.transport) == (Status.FAIL, True)


async def test_a_wrong_key_path_or_model_setting(look: Look, model_server: ModelServer) -> None:
    assert (await ask(look, model_server.url, model="demo-70b")).reason == "model not found"
    lost = await ask(look, model_server.url, path="/v1/chat/nothing")
    assert (lost.status, lost.reason) == (Status.FAIL, "HTTP 404")
    nameless = await ask(look, model_server.url, model=None)
    assert (nameless.status, nameless.host_error) == (Status.ERROR, False)
    assert "`model`" in (nameless.detail or "")


async def test_questions_are_asked_in_turn_per_target(look: Look, site: Site) -> None:
    asked: list[str] = []
    url = await site({"/v1/chat/completions": _chat(asked=asked)})
    prompts = [{"ask": "one"}, {"ask": "two"}, {"ask": "three"}]
    for _ in range(4):
        assert (await ask(look, url, prompts=prompts)).status is Status.PASS
    assert asked[:3] == ["one", "two", "three"]
    assert re.fullmatch(r"Request [0-9a-f]{8}\.\none", asked[3])  # the second lap begins with what no cache has seen


def _chat(frames: list[Any] | None = None, asked: list[str] | None = None, seen: list[Any] | None = None) -> Any:
    whole = [
        {"choices": [{"delta": {"content": "4 of course"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"completion_tokens": 3, "total_tokens": 20}},
        "[DONE]",
    ]

    async def handler(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if asked is not None:
            asked.append(body["messages"][-1]["content"])
        if seen is not None:
            seen.append((body, dict(request.headers)))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for frame in whole if frames is None else frames:
            if isinstance(frame, float):
                await asyncio.sleep(frame)
                continue
            await response.write(
                b"data: " + (frame if isinstance(frame, str) else json.dumps(frame)).encode() + b"\n\n"
            )
        return response

    return handler


async def test_what_a_request_says(look: Look, site: Site) -> None:
    seen: list[Any] = []
    url = await site({"/v1/chat/completions": _chat(seen=seen)})
    body = {"max_tokens": None, "max_completion_tokens": 64}
    outcome = await ask(look, f"{url}/v1", body=body, api_key=("env", "k-1"), headers={"X-Team": "a"})
    assert (outcome.status, outcome.tokens) == (Status.PASS, 20)
    sent, headers = seen[0]
    assert sent == {
        "model": "demo-7b",
        "messages": [{"role": "user", "content": "What is 2+2? Answer with the number only."}],
        "max_completion_tokens": 64,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert headers["Authorization"] == "Bearer k-1"
    assert headers["X-Team"] == "a"
    assert headers["User-Agent"].startswith("steerd-probe/")
    assert headers["X-Steerd-Probe"].startswith("user_path/")


async def test_a_gap_in_the_stream_fails(look: Look, site: Site) -> None:
    begun = {"choices": [{"delta": {"content": "4"}}]}
    url = await site({"/v1/chat/completions": _chat([begun, 30.0])})
    outcome = await ask(look, url, gap=0.2)
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "stream stopped before its end", True)
    assert outcome.tokens == ASKED + 16  # it may have gone on to the last that it was asked for


ASKED = 11
"""Tokens of the question, by its length: 42 bytes."""
ANSWERED = {"choices": [{"delta": {"content": "4 of course"}, "finish_reason": "stop"}]}
BEGUN = {"choices": [{"delta": {"content": "4 of course"}}]}
COUNTED = {"choices": [], "usage": {"completion_tokens": 3, "total_tokens": 20}}


@pytest.mark.parametrize(
    ("frames", "body", "tokens"),
    [
        ([ANSWERED, COUNTED, "[DONE]"], {}, 20),
        ([ANSWERED, "[DONE]"], {}, ASKED + 3),  # by the length of what came
        ([BEGUN], {}, ASKED + 16),
        ([BEGUN], {"max_tokens": None, "max_completion_tokens": 64}, ASKED + 64),
        ([BEGUN, {"error": {"message": "worker died"}}], {}, ASKED + 16),
        ([*[BEGUN] * 40, 30.0], {}, ASKED + 110),  # more came than was asked for
        ([30.0], {}, ASKED + 16),
    ],
)
async def test_what_a_question_cost_is_never_thought_to_be_less(
    look: Look, site: Site, frames: list[Any], body: dict[str, Any], tokens: int
) -> None:
    url = await site({"/v1/chat/completions": _chat(frames)})
    outcome = await ask(look, url, gap=0.2, ttft_limit=0.2, body=body)
    assert outcome.tokens == tokens, outcome


async def test_what_was_refused_or_never_arrived_cost_nothing(look: Look, model_server: ModelServer) -> None:
    model_server.mode("refuse")
    assert (await ask(look, model_server.url)).tokens == 0
    assert (await ask(look, "http://127.0.0.1:1")).tokens == 0


async def test_an_end_that_never_comes_fails(look: Look, site: Site) -> None:
    finished = {"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]}
    url = await site({"/v1/chat/completions": _chat([finished, 30.0])})
    assert (await ask(look, url, gap=0.2)).reason == "stream stopped before its end"


@pytest.mark.parametrize(
    ("status", "body", "expected", "reason"),
    [
        (404, '{"error": {"message": "The model `x` does not exist"}}', Status.FAIL, "model not found"),
        (404, '{"error": "model \'x\' not found, try pulling it first"}', Status.FAIL, "model not found"),
        (400, '{"message": "Invalid model name passed"}', Status.FAIL, "model not found"),
        (400, '{"error": {"message": "model is not loaded"}}', Status.FAIL, "model not loaded"),
        (404, '{"error": "No models loaded. Please load a model first."}', Status.FAIL, "model not loaded"),
        (400, '{"error": "Model doubler is not ready yet."}', Status.FAIL, "model not ready"),
        (400, '{"message": "the image could not be loaded"}', Status.ERROR, "HTTP 400: request refused"),
        (400, '{"message": "unknown field stream_options"}', Status.ERROR, "HTTP 400: request refused"),
        (422, "", Status.ERROR, "HTTP 422: request refused"),
        (403, "", Status.ERROR, "HTTP 403: credentials refused"),
        (503, '{"message": "Model is overloaded"}', Status.SATURATED, "HTTP 503: full"),
        (503, "queue full", Status.SATURATED, "HTTP 503: full"),
        (503, "no healthy upstream", Status.FAIL, "HTTP 503"),
        (429, "", Status.SATURATED, "HTTP 429: full"),
        (200, '{"choices": []}', Status.FAIL, "answer is no event stream"),
        (204, "", Status.FAIL, "HTTP 204"),
        (302, "", Status.FAIL, "HTTP 302"),
    ],
)
async def test_answers_that_are_no_stream(
    look: Look, site: Site, status: int, body: str, expected: Status, reason: str
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="application/json")

    outcome = await ask(look, await site({"/v1/chat/completions": handler}))
    assert (outcome.status, outcome.reason) == (expected, reason)


async def test_the_key_the_server_repeats_stays_out_of_the_outcome(look: Look, site: Site) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=401, text=f"who is {request.headers['Authorization'].split()[1]}?")

    outcome = await ask(look, await site({"/v1/chat/completions": handler}), api_key=("file", "tok-verysecret"))
    assert outcome.status is Status.ERROR
    assert "verysecret" not in repr(outcome)
