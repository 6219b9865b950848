"""Completions, embeddings, inference and scripts; and what a question asks when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from probes.answer import Prompt, wrong
from probes.baseline import Baseline
from probes.catalog_paths import LONG_EVERY
from probes.chat_stream import ChatStream
from probes.outcome import Layer, Outcome, Status
from probes.questions import Rota
from tests.support.looking import Look
from tests.support.model_server import ModelServer

Site = Callable[..., Awaitable[str]]
SUM = {"ask": "What is 2+2?", "expect": r"\b4\b"}
TENSOR = {"name": "x", "shape": [2], "datatype": "FP32", "data": [2, 3]}


async def user(look: Look, kind: str, url: str, model: str | None = "demo-7b", **settings: Any) -> Outcome:
    fresh = settings.pop("fresh", False)
    within_s = settings.pop("within_s", 5.0)
    return await look(kind, url, settings, layer="user_path", within_s=within_s, model=model, fresh=fresh)


@pytest.mark.parametrize(
    ("mode", "status", "layer", "reason"),
    [
        ("healthy", Status.PASS, Layer.USER_PATH, None),
        ("stall", Status.FAIL, Layer.USER_PATH, "no first token in time"),
        ("cut", Status.FAIL, Layer.USER_PATH, "stream broken off"),
        ("error-frame", Status.FAIL, Layer.USER_PATH, "error frame in the stream"),
        ("no-finish", Status.FAIL, Layer.USER_PATH, "stream cut before its finish_reason"),
        ("garbage", Status.FAIL, Layer.CORRECTNESS, "wrong answer"),
        ("gibberish", Status.FAIL, Layer.CORRECTNESS, "gibberish: one character repeated"),
        ("wrong-model", Status.FAIL, Layer.READINESS, "model not found"),
        ("refuse", Status.SATURATED, Layer.USER_PATH, "HTTP 429: full"),
        ("unauthorized", Status.ERROR, Layer.USER_PATH, "HTTP 401: credentials refused"),
    ],
)
async def test_completions_of_text(
    look: Look, model_server: ModelServer, mode: str, status: Status, layer: Layer, reason: str | None
) -> None:
    model_server.mode(mode)
    outcome = await user(look, "openai-completions", model_server.url, prompts=[SUM], ttft_limit=0.4)
    assert (outcome.status, outcome.layer, outcome.reason) == (status, layer, reason)
    assert outcome.unanswered == (mode == "stall")


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        ("healthy", Status.PASS, None),
        ("garbage", Status.FAIL, "two texts have the same embedding"),
        ("wrong-model", Status.FAIL, "model not found"),
        ("unloaded", Status.FAIL, "model not loaded"),
        ("refuse", Status.SATURATED, "HTTP 429: full"),
        ("unauthorized", Status.ERROR, "HTTP 401: credentials refused"),
        ("stall", Status.FAIL, "no answer in time"),
    ],
)
async def test_embeddings(look: Look, model_server: ModelServer, mode: str, status: Status, reason: str | None) -> None:
    model_server.mode(mode)
    outcome = await user(look, "openai-embeddings", model_server.url, within_s=0.5 if mode == "stall" else 5.0)
    assert (outcome.status, outcome.reason) == (status, reason)
    if status is Status.PASS:
        assert outcome.tokens > 4
        assert outcome.readings["dimensions"] == 8
    if mode == "stall":
        assert outcome.tokens > 4  # it may have got to them


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        ([[0.1, 0.2], [0.3, 0.1]], None),
        ([[0.1, 0.2]], "answer has not one vector for each text"),
        ([[0.0, 0.0], [0.3, 0.1]], "embedding is one number repeated"),
        ([[0.1, None], [0.3, 0.1]], "embedding has values that are no numbers"),
        ([[0.1, float("nan")], [0.3, 0.1]], "embedding has values that are no numbers"),
        ([[0.1, 0.2], [0.3]], "embedding has the wrong length"),
        ([[0.1, 0.2, 0.3], [0.3, 0.1, 0.1]], "embedding has the wrong length"),
        (["AAAA", "BBBB"], "embedding is no vector"),
    ],
)
async def test_vectors_that_mean_nothing(look: Look, site: Site, vectors: list[Any], reason: str | None) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"embedding": vector} for vector in vectors]})

    outcome = await user(look, "openai-embeddings", await site({"/v1/embeddings": handler}), dimensions=2)
    assert (outcome.status, outcome.reason) == (Status.PASS if reason is None else Status.FAIL, reason)


@pytest.mark.parametrize(
    ("mode", "status", "layer", "reason"),
    [
        ("healthy", Status.PASS, Layer.USER_PATH, None),
        ("garbage", Status.FAIL, Layer.CORRECTNESS, "wrong answer"),
        ("wrong-model", Status.FAIL, Layer.USER_PATH, "HTTP 404"),
        ("refuse", Status.SATURATED, Layer.USER_PATH, "HTTP 429: full"),
    ],
)
async def test_inference(
    look: Look, model_server: ModelServer, mode: str, status: Status, layer: Layer, reason: str | None
) -> None:
    model_server.mode(mode)
    condition = {"path": "outputs.0.data.0", "equals": 5}
    outcome = await user(look, "kserve-infer", model_server.url, inputs=[TENSOR], json=condition)
    if mode == "wrong-model":
        assert (outcome.status, outcome.reason) == (Status.FAIL, "model not found")
        return
    assert (outcome.status, outcome.layer, outcome.reason) == (status, layer, reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"outputs": []}, "answer has no outputs"),
        ([], "answer has no outputs"),
        ({"outputs": [{"name": "y"}]}, "output without a shape"),
        ({"outputs": [{"name": "y", "shape": [2, 2], "data": [1, 2, 3]}]}, "output is not as long as its shape says"),
        ({"outputs": [{"name": "y", "shape": [2], "data": [1, None]}]}, "output has values that are no numbers"),
        ({"outputs": [{"name": "y", "shape": [2, 2], "data": [[1, 2], [3, 4]]}]}, None),
    ],
)
async def test_inferences_that_are_none(look: Look, site: Site, answer: Any, reason: str | None) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(answer)

    url = await site({"/v2/models/m/infer": handler})
    outcome = await user(look, "kserve-infer", url, "m", inputs=[TENSOR])
    assert (outcome.status, outcome.reason) == (Status.PASS if reason is None else Status.FAIL, reason)


# -- what is asked when


async def test_only_long_prompts_go_wrong(look: Look, model_server: ModelServer) -> None:
    model_server.mode("long", words=200)
    short = await user(look, "openai-chat", model_server.url, prompts=[SUM])
    assert short.status is Status.PASS
    settings = {"prompts": [SUM], "long_every": 3, "long_words": 300}
    statuses = [(await user(look, "openai-chat", model_server.url, **settings)).status for _ in range(5)]
    # The third is long; what failed is asked again until it goes well.
    assert statuses == [Status.PASS, Status.PASS, Status.FAIL, Status.FAIL, Status.FAIL]
    model_server.mode("healthy")
    assert (await user(look, "openai-chat", model_server.url, **settings)).status is Status.PASS
    # Another agent that is asked to confirm asks the long one too, wherever its own turn stands.
    model_server.mode("long", words=200)
    confirm = {"prompts": [SUM], "long_every": 100, "long_words": 300}
    assert (await user(look, "openai-chat", model_server.url, **confirm)).status is Status.PASS
    assert (await user(look, "openai-chat", model_server.url, **confirm, fresh=True)).status is Status.FAIL


async def test_a_long_question_is_asked_now_and_then_without_being_told_to(
    look: Look, model_server: ModelServer
) -> None:
    model_server.mode("long", words=1000)
    statuses = [(await user(look, "openai-chat", model_server.url, prompts=[SUM])).status for _ in range(LONG_EVERY)]
    assert statuses == [Status.PASS] * (LONG_EVERY - 1) + [Status.FAIL]
    for every, status in ((None, Status.FAIL), (0, Status.PASS)):
        confirm = await user(look, "openai-chat", model_server.url, prompts=[SUM], long_every=every, fresh=True)
        assert confirm.status is status


async def test_a_context_too_small_for_a_long_question_is_nobodys_fault(look: Look, site: Site) -> None:
    asked: list[int] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        words = len((await request.json())["messages"][-1]["content"].split())
        asked.append(words)
        if words > 500:
            return web.json_response({"error": {"message": "maximum context length is 512 tokens"}}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        frame = {"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]}
        await response.write(b"data: " + json.dumps(frame).encode() + b"\n\n")
        return response

    url = await site({"/v1/chat/completions": handler})
    for turn in range(5):
        confirm = turn in (2, 4)
        assert (await user(look, "openai-chat", url, prompts=[SUM], fresh=confirm)).status is Status.PASS
    assert sum(words > 500 for words in asked) == 1
    wanted = [(await user(look, "openai-chat", url, prompts=[SUM], long_every=2)).status for _ in range(2)]
    assert wanted == [Status.PASS, Status.ERROR]  # who asks for it is told


async def test_an_engine_too_slow_for_a_long_question_is_asked_no_other(look: Look, site: Site) -> None:
    asked: list[int] = []
    patience = 500

    async def handler(request: web.Request) -> web.StreamResponse:
        words = len((await request.json())["messages"][-1]["content"].split())
        asked.append(words)
        if words > patience:
            await asyncio.Event().wait()  # it reads the prompt for longer than anybody waits
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        frame = {"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]}
        await response.write(b"data: " + json.dumps(frame).encode() + b"\n\n")
        return response

    url = await site({"/v1/chat/completions": handler})

    async def statuses(*confirms: bool, **settings: Any) -> set[Status]:
        settings = {"prompts": [SUM], "ttft_limit": 0.3, **settings}
        return {(await user(look, "openai-chat", url, **settings, fresh=fresh)).status for fresh in confirms}

    regular = [False] * (LONG_EVERY + 1)
    for number, turns in enumerate(([True, False, True], [False, True, False], regular)):
        asked.clear()
        assert await statuses(*turns, gap=9.0 + number) == {Status.PASS}
        assert sum(words > patience for words in asked) == 1
    # Who asks for it is told; and one that answered them once and does not any more has become slow.
    assert await statuses(True, long_every=2) == {Status.FAIL}
    patience = 10_000
    assert await statuses(True, gap=8.0) == {Status.PASS}
    patience = 500
    assert await statuses(True, gap=8.0) == {Status.FAIL}


async def test_two_of_three_answers_decide(look: Look, site: Site) -> None:
    replies: list[str] = []
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append((await request.json())["messages"][-1]["content"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        frame = {"choices": [{"delta": {"content": replies.pop(0)}, "finish_reason": "stop"}]}
        usage = {"choices": [], "usage": {"completion_tokens": 1, "total_tokens": 10}}
        for one in (frame, usage, "[DONE]"):
            await response.write(b"data: " + (one if isinstance(one, str) else json.dumps(one)).encode() + b"\n\n")
        return response

    url = await site({"/v1/chat/completions": handler})
    prompts = [{"ask": name, "expect": "yes"} for name in ("one", "two", "three")]
    replies[:] = ["no", "yes", "yes"]
    forgiven = await user(look, "openai-chat", url, prompts=prompts)
    assert (forgiven.status, forgiven.tokens, len(asked)) == (Status.PASS, 30, 3)
    assert "one wrong answer of three" in (forgiven.detail or "")
    assert [text.split("\n")[-1] for text in asked] == ["one", "two", "three"]
    replies[:] = ["no", "no"]
    wrong_ = await user(look, "openai-chat", url, prompts=prompts)
    assert (wrong_.status, wrong_.layer, wrong_.reason, wrong_.tokens) == (
        Status.FAIL, Layer.CORRECTNESS, "wrong answer", 20,
    )  # fmt: skip
    replies[:] = ["no", "yes", "no"]
    assert (await user(look, "openai-chat", url, prompts=prompts)).status is Status.FAIL


def test_fixed_and_nonce_beginnings_take_turns() -> None:
    rota = Rota((Prompt("a"), Prompt("b")))
    texts = [rota.next("e1", confirm=False)[0].text for _ in range(4)]
    assert texts[:2] == ["a", "b"]
    assert [text.split("\n")[-1] for text in texts[2:]] == ["a", "b"]
    assert all(text.startswith("Request ") for text in texts[2:])
    assert {Rota((Prompt("a"),), "fixed").next("e1", confirm=False)[0].text} == {"a"}
    assert Rota((Prompt("a"),), "nonce").next("e1", confirm=False)[0].text.startswith("Request ")


async def test_slow_tokens_are_slow(look: Look, model_server: ModelServer) -> None:
    model_server.mode("cpu", factor=20)
    slow = await user(look, "openai-chat", model_server.url, prompts=[SUM], token_rate=200.0)
    assert (slow.status, slow.reason) == (Status.SLOW, "tokens come slower than their objective")


def test_the_baseline_sets_limits_once_it_knows_enough() -> None:
    baseline = Baseline()
    assert baseline.ttft_limit_s(None) == 30.0
    assert baseline.ttft_limit_s(2.0) == 20.0
    assert (baseline.inter_token_limit_s, baseline.ttft_slow_s) == (None, None)
    for _ in range(20):
        baseline.well(1.2, 0.02)
    assert baseline.ttft_limit_s(1.0) == pytest.approx(24.0)  # 20 x what is usual here, over 10 x the objective
    assert baseline.ttft_limit_s(2.9) == pytest.approx(29.0)
    assert baseline.ttft_limit_s(9.0) == 30.0
    assert baseline.inter_token_limit_s == pytest.approx(0.1)
    assert baseline.ttft_slow_s == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("The answer is 4.", None),
        ("Ответ: Jean-Luc wohnt in Москве", None),
        ("答えは四です。カタカナ and English", None),
        ("привет слово שלום 你好吗 hello ไทยภาษา", "gibberish: many scripts mixed"),
        ("аשก你אб요ąลж中ש", "gibberish: many scripts mixed"),
    ],
)
def test_a_mix_of_scripts_is_gibberish(text: str, sign: str | None) -> None:
    said = ChatStream()
    said.text, said.chunks, said.finish_reason = text, 1, "stop"
    found = wrong(Prompt("say something"), said)
    assert (found and found[0]) == sign


# -- scripts


def shop(calls: list[tuple[str, str | None, Any]]) -> dict[str, Any]:
    async def login(request: web.Request) -> web.Response:
        calls.append(("login", None, await request.json()))
        return web.json_response({"session": {"id": "s-123456"}}, headers={"X-Ticket": "t-9"})

    async def cart(request: web.Request) -> web.Response:
        calls.append((request.path, request.headers.get("X-Session"), request.headers.get("Authorization")))
        if request.headers.get("X-Session") != "s-123456":
            return web.Response(status=401, text=f"who is {request.headers.get('X-Session')}?")
        return web.json_response({"items": 2, "usage": {"total_tokens": 7}})

    return {"/login": login, "/cart/t-9": cart}


LOGIN: dict[str, Any] = {
    "name": "login",
    "path": "/login",
    "send": {"model": "$model"},
    "capture": {"id": {"json": "session.id"}, "ticket": {"header": "X-Ticket"}},
}
CART: dict[str, Any] = {"name": "cart", "path": "/cart/${ticket}", "headers": {"X-Session": "${id}"}}


async def test_a_script_carries_values_from_step_to_step(look: Look, site: Site) -> None:
    calls: list[Any] = []
    url = await site(shop(calls))
    steps = [LOGIN, {**CART, "expect": {"json": {"path": "items", "equals": 2}, "pattern": "items", "status": 200}}]
    outcome = await look("script", url, {"steps": steps, "api_key": ("k",)}, model="m", resolve=lambda _: "key-1")
    assert (outcome.status, outcome.tokens) == (Status.PASS, 7)
    assert calls == [("login", None, {"model": "m"}), ("/cart/t-9", "s-123456", "Bearer key-1")]
    assert {"step_1_s", "step_2_s"} <= outcome.readings.keys()


@pytest.mark.parametrize(
    ("step", "status", "reason"),
    [
        ({"path": "/nowhere"}, Status.FAIL, "cart: HTTP 404"),
        ({"headers": {"X-Session": "no-such-session"}}, Status.ERROR, "cart: HTTP 401: credentials refused"),
        ({"expect": {"status": 500}}, Status.FAIL, "cart: HTTP 200"),
        (
            {"expect": {"json": {"path": "items", "equals": 3}}},
            Status.FAIL,
            "cart: answer's items is not as it should be",
        ),
        ({"expect": {"pattern": "nothing"}}, Status.FAIL, "cart: answer lacks the pattern"),
        ({"capture": {"x": {"json": "no.such"}}}, Status.FAIL, "cart: answer has no x to capture"),
        ({"capture": {"x": {"pattern": "(items)"}}}, Status.PASS, None),
        ({"expect": {"slow": "1ms", "within": "10s"}}, Status.SLOW, "cart: slower than 0.001 s"),
    ],
)
async def test_the_step_that_does_not_hold_is_named(
    look: Look, site: Site, step: dict[str, Any], status: Status, reason: str | None
) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.01)
        response: web.StreamResponse = await routes["/cart/t-9"](request)
        return response

    routes = shop([])
    url = await site({**routes, "/cart/t-9": slow})
    outcome = await look("script", url, {"steps": [LOGIN, {**CART, **step}]}, model="m")
    assert (outcome.status, outcome.reason) == (status, reason)
    assert "s-123456" not in repr(outcome)  # what was captured may be a secret


async def test_what_a_script_under_a_budget_cost_is_never_thought_to_be_less(look: Look, site: Site) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/hang":
            await asyncio.Event().wait()
        return web.Response(status=500 if request.path == "/broken" else 200, text="x" * 40)

    url = await site({f"/{name}": answer for name in ("ask", "hang", "broken")})
    send = {"prompt": "y" * 100, "max_tokens": 50}
    sent = -(-len(json.dumps(send)) // 4)
    for path, tokens in (("/ask", sent + 10), ("/hang", sent + 50), ("/broken", 0)):
        steps = [{"path": "/ask", "method": "GET"}, {"path": path, "send": send, "method": "POST"}]
        settings = {"steps": steps, "budget": {"tokens_per_day": 1000}}
        outcome = await look("script", url, settings, within_s=0.5)
        assert outcome.tokens == tokens, (path, outcome)
        free = await look("script", url, {"steps": steps}, within_s=0.5)
        assert free.tokens == 0


async def test_a_step_over_its_own_limit_fails(look: Look, site: Site) -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    url = await site({"/": never})
    steps = [{"name": "ask", "path": "/", "expect": {"within": "100ms"}}]
    outcome = await look("script", url, {"steps": steps})
    assert (outcome.status, outcome.reason) == (Status.FAIL, "ask: slower than 0.1 s")
    late = await look("script", url, {"steps": [{"path": "/"}]}, within_s=0.2)
    assert (late.status, late.transport, late.unanswered) == (Status.FAIL, True, True)


async def test_a_script_that_cannot_connect_is_transport(look: Look) -> None:
    outcome = await look("script", "http://127.0.0.1:1", {"steps": [{"path": "/"}]})
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)


# -- the version label


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({"json": "version"}, "v1"),
        ({"json": "no.such"}, None),
        ({"path": "/metrics", "metric": "vllm:num_requests_running", "label": "model_name"}, "demo-7b"),
        ({"path": "/metrics", "metric": "no_such_metric"}, None),
        ({"path": "/nowhere", "json": "version"}, None),
    ],
)
async def test_the_version_label(look: Look, model_server: ModelServer, settings: Any, label: str | None) -> None:
    model_server.mode("healthy", version="v1")
    outcome = await look("version", model_server.url, settings, layer="progress")
    assert (outcome.status, outcome.version) == (Status.ERROR if label is None else Status.PASS, label)
    assert not outcome.host_error
