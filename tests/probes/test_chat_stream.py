"""The grammar of a streamed completion: what is legal, and what is said of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.answer import Prompt, prompts_of, wrong
from probes.chat_stream import ChatStream, GrammarError
from probes.errors import SettingError
from probes.outcome import Status
from probes.sse import Event


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
DONE = "[DONE]"


def said(*frames: Any) -> ChatStream:
    stream = ChatStream()
    for frame in frames:
        event = (
            frame
            if isinstance(frame, Event)
            else Event("message", frame if isinstance(frame, str) else json.dumps(frame))
        )
        stream.take(event)
    stream.end()
    return stream


@pytest.mark.parametrize(
    "frames",
    [
        (chunk(""), chunk("The"), chunk(" 4"), chunk(finish="stop"), {"choices": [], "usage": USAGE}, DONE),
        (chunk("The"), chunk(" 4"), chunk(finish="stop", usage=USAGE), DONE),
        (chunk("The"), chunk(" 4", finish="stop"), {"choices": [], "usage": USAGE}, DONE),
        (chunk("The"), chunk(" 4", finish="length", usage=USAGE)),
        (chunk("The", usage={"completion_tokens": 1}), chunk(" 4", finish="stop", usage=USAGE), DONE),
        ({"choices": [], "prompt_filter_results": []}, chunk("The"), chunk(" 4", "stop"), {"usage": USAGE}, DONE),
        (
            chunk("The"),
            {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
            chunk(" 4", "stop", usage=USAGE),
        ),
        (chunk("The"), chunk(" 4", "stop", usage=USAGE), DONE, "what comes after is nobody's business"),
    ],
    ids=[
        "full",
        "usage-on-finish",
        "finish-on-content",
        "no-done",
        "usage-counts-along",
        "azure",
        "null-delta",
        "after",
    ],
)
def test_legal_streams(frames: tuple[Any, ...]) -> None:
    stream = said(*frames)
    assert stream.text == "The 4"
    assert stream.chunks == 2
    assert (stream.completion_tokens, stream.total_tokens) == (2, 11)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ((), "stream cut before its finish_reason"),
        ((chunk("The"),), "stream cut before its finish_reason"),
        ((chunk("The"), {"choices": [], "usage": USAGE}), "stream cut before its finish_reason"),
        ((chunk("The"), DONE), "[DONE] without finish_reason"),
        ((chunk("The"), {"error": {"message": "CUDA error", "code": 500}}), "error frame in the stream"),
        ((chunk("The"), Event("error", '{"message": "died"}')), "error frame in the stream"),
        ((chunk("The"), {"object": "error", "message": "EngineDead", "code": 500}), "error frame in the stream"),
        ((chunk("The", "abort"),), "finish_reason 'abort'"),
        ((chunk("The", 7),), "finish_reason 7"),  # type: ignore[arg-type]  # what a broken server would send
        (("{",), "frame that is no JSON"),
        (("[]",), "frame that is no JSON object"),
        (({"id": 1},), "frame without choices"),
        (({"choices": {}},), "frame without choices"),
    ],
)
def test_illegal_streams(frames: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(GrammarError) as caught:
        said(*frames)
    assert (caught.value.reason, caught.value.status) == (reason, Status.FAIL)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "x", "code": 429},
        {"message": "x", "code": "429"},
        {"message": "The queue is full", "code": 503},
        {"message": "server overloaded", "type": "overloaded_error"},
        "Too many requests",
    ],
)
def test_an_error_frame_that_says_full_is_saturated(error: Any) -> None:
    with pytest.raises(GrammarError) as caught:
        said(chunk("The"), {"error": error})
    assert caught.value.status is Status.SATURATED


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"tool_calls": [{"index": 0}]},
    ],
)
def test_what_counts_as_a_token(delta: dict[str, Any]) -> None:
    stream = ChatStream()
    assert not stream.take(Event("message", json.dumps({"choices": [{"delta": {"role": "assistant", "content": ""}}]})))
    assert stream.take(Event("message", json.dumps({"choices": [{"delta": delta}]})))
    assert stream.said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "error", "usage", "finish_reason", "content", "tool_calls", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def refused(frames: list[Any]) -> Status | None:
    """With what status a stream of these frames is refused, or None when it is whole; anything else is raised."""
    try:
        stream = said(*frames)
    except GrammarError as error:
        return error.status
    assert stream.finish_reason is not None
    return None


@given(st.lists(JSON | st.just(DONE), max_size=6))
def test_any_frames_are_taken_or_refused_with_a_reason(frames: list[Any]) -> None:
    refusal = refused(frames)
    assert refusal is None or refusal in (Status.FAIL, Status.SATURATED)


@given(st.text(max_size=200))
def test_any_text_alone_is_refused(text: str) -> None:
    assert refused([text]) is Status.FAIL


def answer(text: str, finish: str = "stop", reasoning: str = "") -> ChatStream:
    stream = ChatStream()
    stream.text, stream.reasoning, stream.finish_reason, stream.chunks = text, reasoning, finish, 1
    return stream


FOUR = prompts_of([{"ask": "2+2?", "expect": [r"\b4\b", "(?i)four"]}])[0]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (answer("4"), None),
        (answer("It is Four."), None),
        (answer("44"), "wrong answer"),
        (answer("five"), "wrong answer"),
        (answer("The answer to the ultimate question of", "length"), "wrong answer"),
        (answer("", "stop"), "empty answer"),
        (answer("  \n "), "empty answer"),
        (answer("!!!!!!!!!!!!"), "gibberish: one character repeated"),
        (answer("!!!!!!!!!!!!", "length"), "gibberish: one character repeated"),
        (answer("the " * 9), "gibberish: one word repeated"),
        (answer("", "length", "!!!!!!!!!!!"), "gibberish: one character repeated"),
        # Our own token limit cut these off before the answer: nothing can be said of it.
        (answer("", "length", "The user asks for a sum of"), None),
        (answer("<think>The user asks for a sum of", "length"), None),
        (answer("<think>2+2</think> it is 5, and", "length"), "wrong answer"),
    ],
)
def test_what_is_wrong_with_an_answer(stream: ChatStream, reason: str | None) -> None:
    found = wrong(FOUR, stream)
    assert (found[0] if found else None) == reason


def test_without_a_pattern_any_language_passes() -> None:
    assert wrong(Prompt("Say hello."), answer("Hi!")) is None
    assert wrong(Prompt("Say hello."), answer("")) is not None


@pytest.mark.parametrize(
    "value", [[], [{}], [{"ask": 1}], [{"ask": "x", "expects": "y"}], [{"ask": "x", "expect": "("}], 7]
)
def test_prompts_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="prompts"):
        prompts_of(value)
