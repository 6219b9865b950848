"""Keeps credentials out of anything a probe says."""

from __future__ import annotations

import re

__all__ = ["clean", "sendable"]

_HIDDEN = "<redacted>"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host
    (re.compile(r"(?<=://)[^/\s@\"']{1,256}@"), _HIDDEN + "@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}"), r"\1 " + _HIDDEN),
    # key: value and key=value, quoted or not, as in headers, JSON and query strings
    (
        re.compile(
            r"(?i)([\"']?(?<![\w-])[\w-]{0,32}(?:authorization|api[-_ ]?key|access[-_]?key|token|secret|passwd|password)"
            r"[\"']?\s*[:=]\s*[\"']?)(?!(?:bearer|basic)\s+<redacted>)[^\s\"',;&}]{3,}"
        ),
        r"\1" + _HIDDEN,
    ),
    # keys that servers like to echo back in an error
    (re.compile(r"\b(?:sk|pk|rk|hf|nvapi)[-_][A-Za-z0-9*._-]{6,}"), _HIDDEN),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def sendable(text: str) -> str:
    """`text` as UTF-8 can carry it. Bytes of a header that are no text and a lone surrogate of a JSON document (RFC 8259, section
    8.2) become question marks: neither a frame nor a line of the log can hold them.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def clean(text: str, limit: int) -> str:
    """`text` on one line, as UTF-8 can carry it, without credentials, at most `limit` characters."""
    # The rules run on a bounded piece: what a server sent may be long, and what is cut off cannot leak.
    piece = _CONTROL.sub(" ", sendable(text[: 4 * limit]))
    for pattern, replacement in _RULES:
        piece = pattern.sub(replacement, piece)
    return piece if len(piece) <= limit else piece[: limit - 3] + "..."
