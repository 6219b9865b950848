"""Structured logs: one event, one line; JSON unless somebody watches on a terminal; secrets never.

Use the standard library: `logging.getLogger("steerd.agent").info("stream is up", extra={"coordinator": "euw1"})`. What
is in `extra` becomes fields. Known secrets (`hide`), credentials in URLs and headers, and fields named like secrets are
masked.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, TextIO

__all__ = ["MASK", "HumanFormatter", "JsonFormatter", "hide", "redact", "setup"]

MASK: Final = "***"

_LONGEST: Final = 8192
"""Characters of one field; what is longer is cut."""

_SECRET_KEY: Final = re.compile(r"(?i)(pass(word|wd)?|secret|token|api_?key|authorization|credential|private_?key)$")
_PATTERNS: Final = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}"), rf"\1 {MASK}"),
    (re.compile(r"(?i)([a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s@]+@"), rf"\1{MASK}@"),
    (
        re.compile(r"(?i)\b(password|passwd|secret|token|api[_-]?key)(\"?\s*[=:]\s*\"?)(?!\s)[^\s\"',;&]+"),
        rf"\1\2{MASK}",
    ),
)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LEVELS: Final = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_hidden: set[str] = set()


def hide(value: str) -> None:
    """From now on `value` (a resolved secret) is masked wherever it would be logged. Very short values are not: masking
    "a" would garble everything and hide nothing."""
    if len(value) >= 4:
        _hidden.add(value)


def redact(text: str) -> str:
    """`text` without known secrets and without what looks like credentials."""
    for value in _hidden:
        if value in text:
            text = text.replace(value, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _clean(key: str, value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if _SECRET_KEY.search(key):
        return MASK
    if isinstance(value, dict):
        return {str(k): _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(key, v) for v in value]
    return redact(str(value))[:_LONGEST]


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for key, value in vars(record).items():
        if key not in _STANDARD:
            yield key, _clean(key, value)


def _message(record: logging.LogRecord) -> str:
    return redact(record.getMessage())[:_LONGEST]


class JsonFormatter(logging.Formatter):
    """`{"time": "2026-01-02T03:04:05.678Z", "level": "INFO", "logger": ..., "event": ..., fields...}`; an exception is
    the field `exception`, with its traceback as text."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event: dict[str, Any] = {
            "time": at,
            "level": record.levelname,
            "logger": record.name,
            "event": _message(record),
        }
        event |= {(f"{key}_" if key in event else key): value for key, value in _fields(record)}
        if record.exc_info:
            event["exception"] = redact(self.formatException(record.exc_info))[-_LONGEST:]
        return json.dumps(event, ensure_ascii=False, default=str)


class HumanFormatter(logging.Formatter):
    """`03:04:05.678 INFO  agent: stream is up  coordinator=euw1`, in local time; an exception as its type, text,
    place."""

    def format(self, record: logging.LogRecord) -> str:
        """One line for people."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        level = _LEVELS.get(record.levelname, record.levelname)
        line = f"{at} {level:<5} {record.name.removeprefix('steerd.')}: {_message(record)}"
        fields = "  ".join(f"{key}={_word(value)}" for key, value in _fields(record))
        if fields:
            line += f"  {fields}"
        if record.exc_info and record.exc_info[1] is not None:
            line += f"  {_where(record.exc_info[1])}"
        return line.replace("\r", "\\r").replace("\n", "\\n")


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and re.search(r'[\s"=]', text) else text


def _where(error: BaseException) -> str:
    place, frame = "", error.__traceback__
    while frame is not None:
        place = f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        frame = frame.tb_next
    return f"error={json.dumps(redact(f'{type(error).__name__}: {error}{place}'), ensure_ascii=False)}"


def setup(*, as_json: bool | None = None, level: str = "INFO", stream: TextIO | None = None) -> logging.Handler:
    """Sends every log record of this process to `stream` (standard error). `as_json` None: unless it is a terminal.

    `level` is a name of the standard library. Returns the handler; calling again replaces the one set before.
    """
    out = stream if stream is not None else sys.stderr
    if as_json is None:
        as_json = not out.isatty()
    handler = logging.StreamHandler(out)
    handler.set_name("steerd")
    handler.setFormatter(JsonFormatter() if as_json else HumanFormatter())
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == "steerd"]:
        root.removeHandler(old)
        old.flush()
    root.addHandler(handler)
    root.setLevel(level)
    for noisy in ("aiohttp.access", "asyncio", "urllib3"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    return handler
