"""Logs: one event, one line; JSON off a terminal; secrets never."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.telemetry import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def quiet_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in ("aiohttp.access", "asyncio", "urllib3")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, value in levels.items():
        logging.getLogger(name).setLevel(value)
    logging.captureWarnings(capture=False)


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_pipe_gets_json_with_fields() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream)
    log = logging.getLogger("steerd.coordinator")
    log.info("lease renewed for %s", "euw1", extra={"epoch": 7, "left_s": 9.5, "event": "odd", "names": ["a", "b"]})
    log.debug("not shown")
    (event,) = logged(stream)
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "INFO",
        "logger": "steerd.coordinator",
        "event": "lease renewed for euw1",
        "event_": "odd",
        "epoch": 7,
        "left_s": 9.5,
        "names": ["a", "b"],
    }


def test_a_terminal_gets_words() -> None:
    stream = Terminal()
    logs.setup(stream=stream)
    logging.getLogger("steerd.agent").warning("stream lost", extra={"coordinator": "euw1", "text": "reset by peer"})
    assert 'WARN  agent: stream lost  coordinator=euw1  text="reset by peer"\n' in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_an_exception_stays_on_one_line(stream: io.StringIO) -> None:
    logs.setup(stream=stream)
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        logging.getLogger("steerd.x").exception("it broke\nbadly")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "ValueError" in text
    assert "test_logs.py" in text


def test_setup_again_replaces_the_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.setup(stream=first)
    logs.setup(stream=second, as_json=False, level="DEBUG")
    logging.getLogger("steerd.x").debug("hello")
    assert first.getvalue() == ""
    assert second.getvalue().endswith("DEBUG x: hello\n")


@pytest.mark.parametrize(
    "text",
    [
        "GET with Authorization: Bearer sk-S3CRETS3CRET",
        "header Basic S3CRETS3CRET==",
        "dsn postgres://steerd:S3CRETS3CRET@db/x",
        "password=S3CRETS3CRET rest",
        '{"api_key": "S3CRETS3CRET"}',
        "token: S3CRETS3CRET",
    ],
)
def test_what_looks_like_credentials_is_masked(text: str) -> None:
    stream = io.StringIO()
    logs.setup(stream=stream)
    logging.getLogger("steerd.x").error("%s", text, extra={"detail": text, "nested": {"a": [text]}})
    assert "S3CRET" not in stream.getvalue()
    assert stream.getvalue().count(logs.MASK) == 3


def test_fields_named_like_secrets_and_hidden_values_are_masked() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream)
    logs.hide("xyzzy-plugh")
    logs.hide("ab")
    log = logging.getLogger("steerd.x")
    try:
        raise RuntimeError("refused xyzzy-plugh")
    except RuntimeError:
        log.exception("about xyzzy-plugh", extra={"api_key": "k1", "tokens": 12, "tsig_secret": "k2", "of": "ab"})
    (event,) = logged(stream)
    assert "xyzzy" not in stream.getvalue()
    assert (event["api_key"], event["tsig_secret"]) == (logs.MASK, logs.MASK)
    assert (event["tokens"], event["of"]) == (12, "ab"), "a number of tokens is no secret, and very short values stay"


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_one_line_of_json(message: str, field: str) -> None:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "name": "n", "field": field})
    line = logs.JsonFormatter().format(record)
    assert "\n" not in line
    assert set(json.loads(line)) == {"time", "level", "logger", "event", "field"}
    assert "\n" not in logs.HumanFormatter().format(record)
